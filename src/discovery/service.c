/* See service.h. An answer always has all records of the instance, so that nobody need ask again.
 */
#include "discovery/service.h"
#include "discovery/dns.h"
#include <arpa/inet.h>
#include <string.h>

#define INSTANCE_SUFFIX ("." SERVICE_TYPE)
#define LEGACY_TTL_S    10 /* RFC 6762 6.7 */

void service_free(struct service *service)
{
    if (service) {
        g_free(service->name);
        g_free(service->node_id);
        g_free(service->cluster);
        g_free(service->version);
        g_free(service->address);
        g_free(service);
    }
}

static char *instance_of(const char *name)
{
    g_autofree char *label = dns_label_escape(name);

    return g_strconcat(label, INSTANCE_SUFFIX, NULL);
}

/* ---- writing ---- */

void service_write_question(GByteArray *out)
{
    dns_write_head(out, 0, 0);
    dns_write_question(out, SERVICE_TYPE, DNS_PTR, DNS_CLASS_IN);
}

static void write_owned(GByteArray *out, const char *name, uint16_t type, uint32_t ttl_s,
                        bool is_legacy, GByteArray *data)
{
    /* PTR is shared by all nodes; the others are ours alone. No flush bit for legacy askers. */
    bool is_unique = type != DNS_PTR && !is_legacy;

    dns_write_record(out, name, type, DNS_CLASS_IN | (is_unique ? DNS_CLASS_TOP_BIT : 0), ttl_s,
                     (struct bytes){data->data, data->len});
    g_byte_array_unref(data);
}

void service_write_answer(GByteArray *out, const struct service *service,
                          const struct service_place *place)
{
    g_autofree char *instance = instance_of(service->name);
    g_autofree char *host = g_strdup_printf("microcloud-%s.local", service->node_id);
    uint32_t ttl_s = place->is_legacy ? MIN(place->ttl_s, LEGACY_TTL_S) : place->ttl_s;
    bool is_legacy = place->is_legacy;

    dns_write_head(out, is_legacy ? place->id : 0, DNS_FLAG_RESPONSE | DNS_FLAG_AUTHORITY);
    if (is_legacy) {
        dns_write_question(out, SERVICE_TYPE, DNS_PTR, DNS_CLASS_IN);
    }
    GByteArray *txt = g_byte_array_new();
    dns_txt_add(txt, "cluster", service->cluster);
    dns_txt_add(txt, "node", service->node_id);
    dns_txt_add(txt, "version", service->version);
    write_owned(out, SERVICE_TYPE, DNS_PTR, ttl_s, is_legacy, dns_name_data(instance));
    write_owned(out, instance, DNS_SRV, ttl_s, is_legacy, dns_srv_data(service->port, host));
    write_owned(out, instance, DNS_TXT, ttl_s, is_legacy, txt);
    if (place->v4 != 0) {
        GByteArray *v4 = g_byte_array_new();
        g_byte_array_append(v4, (const uint8_t *)&place->v4, sizeof place->v4);
        write_owned(out, host, DNS_A, ttl_s, is_legacy, v4);
    }
    if (place->v6) {
        GByteArray *v6 = g_byte_array_new();
        g_byte_array_append(v6, place->v6->s6_addr, sizeof place->v6->s6_addr);
        write_owned(out, host, DNS_AAAA, ttl_s, is_legacy, v6);
    }
}

/* ---- reading ---- */

bool service_is_asked(struct bytes message, const char *name, uint16_t *id)
{
    g_autofree char *instance = instance_of(name);
    struct dns_reader reader;
    struct dns_record record;

    if (dns_reader_init(&reader, message) < 0 || (reader.flags & DNS_FLAG_RESPONSE)) {
        return false;
    }
    *id = reader.id;
    while (dns_reader_next(&reader, &record) == 1 && record.is_question) {
        bool is_any = record.type == DNS_ANY;
        if (((is_any || record.type == DNS_PTR) && dns_name_equal(record.name, SERVICE_TYPE)) ||
            ((is_any || record.type == DNS_SRV || record.type == DNS_TXT) &&
             dns_name_equal(record.name, instance))) {
            return true;
        }
    }
    return false;
}

struct heard {
    struct bytes message;
    GPtrArray *services;
    GPtrArray *hosts; /* char *: where the service of the same number is */
};

/* The entry of an instance's name; NULL when it is not one of ours. */
static struct service *entry_of(struct heard *heard, const char *instance, guint *number)
{
    size_t length = strlen(instance), suffix = strlen(INSTANCE_SUFFIX);

    if (length <= suffix || !dns_name_equal(instance + length - suffix, INSTANCE_SUFFIX)) {
        return NULL;
    }
    g_autofree char *name = dns_label_unescape(instance, length - suffix);
    for (*number = 0; *number < heard->services->len; ++*number) {
        struct service *service = heard->services->pdata[*number];
        if (strcmp(service->name, name) == 0) {
            return service;
        }
    }
    struct service *service = g_new0(struct service, 1);
    service->name = g_steal_pointer(&name);
    g_ptr_array_add(heard->services, service);
    g_ptr_array_add(heard->hosts, NULL);
    return service;
}

static void replace(char **to, char *text)
{
    if (text && g_utf8_validate(text, -1, NULL)) {
        g_free(*to);
        *to = text;
    } else {
        g_free(text);
    }
}

static void hear_instance(struct heard *heard, const struct dns_record *record)
{
    char target[DNS_NAME_TEXT_BYTES];
    guint number;
    struct service *service;

    if (record->type == DNS_PTR && dns_name_equal(record->name, SERVICE_TYPE) &&
        dns_record_target(heard->message, record, target, NULL) == 0) {
        service = entry_of(heard, target, &number);
        if (service) {
            service->is_gone = record->ttl_s == 0;
        }
    } else if (record->type == DNS_SRV && (service = entry_of(heard, record->name, &number)) &&
               dns_record_target(heard->message, record, target, &service->port) == 0) {
        g_free(heard->hosts->pdata[number]);
        heard->hosts->pdata[number] = g_strdup(target);
    } else if (record->type == DNS_TXT && (service = entry_of(heard, record->name, &number))) {
        replace(&service->cluster, dns_txt_get(record->data, "cluster"));
        replace(&service->node_id, dns_txt_get(record->data, "node"));
        replace(&service->version, dns_txt_get(record->data, "version"));
    }
}

static void hear_address(struct heard *heard, const struct dns_record *record)
{
    char text[INET6_ADDRSTRLEN];
    bool is_v4 = record->type == DNS_A && record->data.length == 4;
    bool is_v6 = record->type == DNS_AAAA && record->data.length == 16;

    for (guint i = 0; (is_v4 || is_v6) && i < heard->services->len; i++) {
        struct service *service = heard->services->pdata[i];
        const char *host = heard->hosts->pdata[i];
        bool is_better = is_v4 || !service->address;
        if (host && is_better && dns_name_equal(host, record->name)) {
            inet_ntop(is_v4 ? AF_INET : AF_INET6, record->data.at, text, sizeof text);
            g_free(service->address);
            service->address = g_strdup(text);
        }
    }
}

static void hear_all(struct heard *heard, void (*hear)(struct heard *, const struct dns_record *))
{
    struct dns_reader reader;
    struct dns_record record;

    if (dns_reader_init(&reader, heard->message) < 0 || !(reader.flags & DNS_FLAG_RESPONSE)) {
        return;
    }
    while (dns_reader_next(&reader, &record) == 1) {
        if (!record.is_question && record.class == DNS_CLASS_IN) {
            hear(heard, &record);
        }
    }
}

GPtrArray *service_read(struct bytes message)
{
    GPtrArray *services = g_ptr_array_new_with_free_func((GDestroyNotify)service_free);
    g_autoptr(GPtrArray) hosts = g_ptr_array_new_with_free_func(g_free);
    struct heard heard = {message, services, hosts};

    hear_all(&heard, hear_instance);
    hear_all(&heard, hear_address);
    return services;
}
