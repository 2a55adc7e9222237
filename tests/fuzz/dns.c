/* Fuzzes what comes by multicast: whatever is heard, it is read without harm, and what is a
 * question for us is answered by something that can be read again. */
#include "discovery/dns.h"
#include "discovery/service.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct bytes message = {input, size};
    uint16_t id;

    service_is_asked(message, "attic", &id);
    g_autoptr(GPtrArray) services = service_read(message);
    for (guint i = 0; i < services->len; i++) {
        struct service *service = services->pdata[i];
        if (!service->node_id || !service->cluster || !service->version ||
            strlen(service->node_id) > 64) {
            continue;
        }
        g_autoptr(GByteArray) out = g_byte_array_new();
        service_write_answer(out, service, &(struct service_place){.ttl_s = 1});
        struct dns_reader reader;
        struct dns_record record;
        int r = dns_reader_init(&reader, (struct bytes){out->data, out->len});
        while (r >= 0 && (r = dns_reader_next(&reader, &record)) == 1) {
        }
        assert(r == 0);
    }
    return 0;
}
