/* The cluster's certificate authority as this node uses it: the first node founds it, every node
 * has the key that unseals it and so renews its own certificate, and all change to a new one when
 * the table says so.
 *
 *   no authority in the state --> found: files of this node, then the table, then its own row
 *   the table changes, or the certificate ages --> sign anew, save, use it for new connections
 *
 * The files come first: what the table holds can then be unsealed after any crash in between. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "cluster/peer_listener.h"
#include "cluster/token.h"
#include "loop/loop.h"
#include "net/tls.h"
#include "node/cluster.h"
#include "node/local_address.h"
#include "node/node.h"
#include "state/log.h"
#include "state/propose_cluster.h"
#include <errno.h>
#include <openssl/rand.h>
#include <string.h>

#define RENEW_LOOK_MS ((uint64_t)30 * 1000) /* links are pinged anyway */
#define ALONE_LOOK_MS ((uint64_t)6 * 3600 * 1000)
#define RETRY_MS      2000

char *cluster_own_address(const struct node_cluster *cluster)
{
    const struct node *node = cluster->node;
    g_autofree char *found = node->config.address ? NULL : local_address_find(node->state);
    const char *host = node->config.address ? node->config.address : found;

    return address_join(host ? host : "127.0.0.1", (uint16_t)node->config.peer_port);
}

static void hex_of(const uint8_t fingerprint[CA_FINGERPRINT_BYTES], char *text)
{
    for (unsigned i = 0; i < CA_FINGERPRINT_BYTES; i++) {
        g_snprintf(text + 2 * i, 3, "%02x", fingerprint[i]);
    }
}

char *cluster_fingerprint_hex(const uint8_t fingerprint[CA_FINGERPRINT_BYTES])
{
    char *text = g_malloc(2 * CA_FINGERPRINT_BYTES + 1);

    hex_of(fingerprint, text);
    return text;
}

/* ---- the key ---- */

struct ca *cluster_authority(struct node_cluster *cluster, GError **error)
{
    const struct cluster_ca *row = state_ca(cluster->node->state);
    uint8_t key[CA_KEY_BYTES];

    if (cluster->ca && cluster->ca_generation == row->generation) {
        return cluster->ca;
    }
    g_clear_pointer(&cluster->ca, ca_free);
    if (row->generation == 0) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_AGAIN,
                    "the cluster has no certificate authority yet: try again in a moment");
        return NULL;
    }
    if (cluster_key_load(cluster->node->config.data, key, error) < 0) {
        return NULL;
    }
    g_autoptr(GBytes) sealed = g_bytes_new(row->key.at, row->key.length);
    g_autofree char *key_pem = ca_unseal(key, sealed, error);
    explicit_bzero(key, sizeof key);
    cluster->ca =
        key_pem ? ca_new(row->certificate, key_pem, row->previous_certificate, error) : NULL;
    if (key_pem) {
        explicit_bzero(key_pem, strlen(key_pem));
    }
    cluster->ca_generation = row->generation;
    return cluster->ca;
}

/* ---- this node's certificate ---- */

static int sign_own(struct node_cluster *cluster, const struct ca *ca, const char *ca_pem,
                    const uint8_t *key, GError **error)
{
    const struct node *node = cluster->node;
    g_autofree char *key_pem = NULL, *request = NULL, *chain = NULL;

    if (ca_request(&key_pem, &request, error) < 0 ||
        ca_sign(ca, request, node->identity.id, clock_unix_ms(), &chain, error) < 0) {
        return -EIO;
    }
    struct cluster_files files = {chain, key_pem, ca_pem, key};
    return cluster_files_save(node->config.data, &files, error);
}

static int use_new_files(struct node_cluster *cluster, GError **error)
{
    if (!cluster->links) {
        return cluster_open(cluster, error);
    }
    int r = tls_context_reload(cluster->server, error);
    r = r < 0 ? r : tls_context_reload(cluster->link_client, error);
    return r < 0 ? r : tls_context_reload(cluster->raft_client, error);
}

static char *read_file(const struct node_cluster *cluster, const char *name)
{
    g_autofree char *path = g_build_filename(cluster->node->config.data, "tls", name, NULL);
    char *content = NULL;

    g_file_get_contents(path, &content, NULL, NULL);
    return content;
}

/* Of the newest authority, and not near its end. */
static bool is_good(const struct node_cluster *cluster, const char *chain)
{
    const struct cluster_ca *row = state_ca(cluster->node->state);
    g_autofree char *rest = ca_chain_rest(row->certificate, row->previous_certificate);
    struct ca_certificate own;

    return chain && ca_look(chain, &own, NULL) == 0 && !ca_is_due(&own, clock_unix_ms()) &&
           g_str_has_suffix(chain, rest);
}

static void renew(struct node_cluster *cluster)
{
    const struct cluster_ca *row = state_ca(cluster->node->state);
    g_autofree char *bundle = ca_bundle(row->certificate, row->previous_certificate);
    g_autofree char *chain = read_file(cluster, "node.pem");
    g_autofree char *trusted = read_file(cluster, "ca.pem");
    g_autoptr(GError) error = NULL;
    uint8_t key[CA_KEY_BYTES];

    bool is_other_ca = g_strcmp0(trusted, bundle) != 0;

    if (is_good(cluster, chain) && !is_other_ca) {
        return;
    }
    const struct ca *ca = cluster_authority(cluster, &error);
    if (!ca || cluster_key_load(cluster->node->config.data, key, &error) < 0 ||
        sign_own(cluster, ca, bundle, key, &error) < 0 || use_new_files(cluster, &error) < 0) {
        log_error("the certificate of this node was not renewed", "error=\"%s\"", error->message);
    } else {
        log_info("the certificate of this node is new", "generation=%" G_GUINT64_FORMAT,
                 row->generation);
        if (is_other_ca) {
            cluster_rotation_apply(cluster);
        }
    }
    explicit_bzero(key, sizeof key);
}

/* ---- this node's row ---- */

static void on_row_updated(void *owner, uint64_t token, const struct state_result *result)
{
    struct node_cluster *cluster = owner;

    cluster->is_updating_row = false;
    if (result->error < 0 || result->message) {
        log_debug("own row not updated", "error=%d message=\"%s\"", result->error,
                  result->message ? result->message : "");
        timer_start(cluster->renew_timer, RETRY_MS);
    }
}

/* The address that others know stays as long as it is one of this machine. */
static bool is_address_current(const struct node_cluster *cluster, const char *known)
{
    const struct node *node = cluster->node;
    g_autofree char *own = cluster_own_address(cluster);
    g_autofree char *host = NULL;
    uint16_t port = 0;

    if (strcmp(own, known) == 0) {
        return true;
    }
    return !node->config.address && address_split(known, &host, &port, NULL) == 0 &&
           port == node->config.peer_port && local_address_is_own(host);
}

static void update_row(struct node_cluster *cluster, const struct cluster_node *row)
{
    g_autofree char *chain = read_file(cluster, "node.pem");
    g_autofree char *address = cluster_own_address(cluster);
    g_autofree char *fingerprint = NULL;
    struct state_node_update update = {.node_id = row->id,
                                       .address = address,
                                       .version = MICROCLOUD_VERSION,
                                       .command_level = STATE_COMMAND_LEVEL};
    struct state_completion completion = {on_row_updated, cluster, 0, 0};
    struct ca_certificate own;

    if (chain && ca_look(chain, &own, NULL) == 0) {
        fingerprint = cluster_fingerprint_hex(own.fingerprint);
        update.certificate = fingerprint;
        update.fields |= strcmp(fingerprint, row->certificate) != 0 ? NODE_FIELD_CERTIFICATE : 0;
    }
    update.fields |= !is_address_current(cluster, row->address) ? NODE_FIELD_ADDRESS : 0;
    if (strcmp(row->version, MICROCLOUD_VERSION) != 0 ||
        row->command_level != STATE_COMMAND_LEVEL) {
        update.fields |= NODE_FIELD_VERSION;
    }
    if (update.fields == 0 || cluster->is_updating_row) {
        return;
    }
    if (state_propose_node_update(cluster->node->state, &update, &completion) == 0) {
        cluster->is_updating_row = true;
    } else {
        timer_start(cluster->renew_timer, RETRY_MS);
    }
}

/* ---- founding ---- */

static void on_founded(void *owner, uint64_t token, const struct state_result *result)
{
    struct node_cluster *cluster = owner;

    cluster->is_founding = false;
    if (result->error < 0 || result->message) {
        log_warning("the cluster is not founded yet", "error=\"%s\"",
                    result->message ? result->message : g_strerror(-result->error));
        timer_start(cluster->renew_timer, RETRY_MS);
        return;
    }
    cluster_look_after(cluster);
}

static void propose_own_row(struct node_cluster *cluster)
{
    const struct node *node = cluster->node;
    struct state_completion completion = {on_founded, cluster, 0, 0};
    g_autofree char *chain = read_file(cluster, "node.pem");
    g_autofree char *address = cluster_own_address(cluster);
    struct ca_certificate own = {0};

    ca_look(chain ? chain : "", &own, NULL);
    g_autofree char *fingerprint = cluster_fingerprint_hex(own.fingerprint);
    struct state_node_join join = {.node_id = node->identity.id,
                                   .name = node->identity.name,
                                   .address = address,
                                   .version = MICROCLOUD_VERSION,
                                   .certificate = fingerprint,
                                   .command_level = STATE_COMMAND_LEVEL};
    cluster->is_founding = state_propose_node_join(node->state, &join, &completion) == 0;
}

/* The first, or one that follows the one that is there. */
static int make_authority(struct node_cluster *cluster, const uint8_t *key, GError **error)
{
    struct node *node = cluster->node;
    const struct cluster_ca *old = state_ca(node->state);
    struct state_completion completion = {on_founded, cluster, 0, 0};
    g_autofree char *certificate = NULL, *ca_key = NULL, *previous = NULL;

    if (ca_found(node->identity.cluster, &certificate, &ca_key, error) < 0) {
        return -EIO;
    }
    struct ca *ca = ca_new(certificate, ca_key, NULL, error);
    int r = ca ? 0 : -EIO;
    if (r == 0 && old->generation == 0) {
        r = sign_own(cluster, ca, certificate, key, error);
    } else if (r == 0) {
        const struct ca *own = cluster_authority(cluster, error);
        r = own ? ca_previous(own, ca, &previous, error) : -EIO;
    }
    g_autoptr(GBytes) sealed = ca_seal(key, ca_key);
    gsize length;
    const uint8_t *at = g_bytes_get_data(sealed, &length);
    struct cluster_ca row = {.certificate = certificate,
                             .previous_certificate = previous ? previous : (char *)"",
                             .key = {at, length},
                             .generation = old->generation};
    if (r == 0) {
        r = state_propose_ca(node->state, &row, &completion);
        cluster->is_founding = r == 0;
    }
    if (r < 0 && error && !*error) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "%s", g_strerror(-r));
    }
    explicit_bzero(ca_key, strlen(ca_key));
    ca_free(ca);
    return r;
}

static void found(struct node_cluster *cluster)
{
    g_autoptr(GError) error = NULL;
    uint8_t key[CA_KEY_BYTES];

    /* One that is there is of an attempt that a crash ended: never lose what it may open. */
    bool has_key = cluster_key_load(cluster->node->config.data, key, NULL) == 0;
    if ((!has_key && RAND_bytes(key, sizeof key) != 1) ||
        make_authority(cluster, key, &error) < 0) {
        log_error("no certificate authority", "error=\"%s\"",
                  error ? error->message : "no randomness from the system");
        timer_start(cluster->renew_timer, RETRY_MS);
    }
    explicit_bzero(key, sizeof key);
}

int cluster_rotate(struct node_cluster *cluster, GError **error)
{
    uint8_t key[CA_KEY_BYTES];
    int r = cluster_key_load(cluster->node->config.data, key, error);

    r = r < 0 ? r : make_authority(cluster, key, error);
    explicit_bzero(key, sizeof key);
    return r;
}

/* ---- whenever something may have changed ---- */

void cluster_look_after(struct node_cluster *cluster)
{
    const struct state *state = cluster->node->state;
    const struct cluster_node *row = state_find_node(state, cluster->node->identity.id);
    g_autoptr(GError) error = NULL;

    if (!cluster->is_ready || cluster->is_founding || cluster->node->is_stopping) {
        return;
    }
    timer_start(cluster->renew_timer, state_node_count(state) > 1 ? RENEW_LOOK_MS : ALONE_LOOK_MS);
    if (state_ca(state)->generation == 0) {
        if (cluster->node->is_leading) {
            found(cluster);
        }
    } else if (!cluster->links && cluster_open(cluster, &error) < 0) {
        node_fail(cluster->node, error->message);
    } else if (state_node_count(state) == 0) {
        propose_own_row(cluster);
    } else if (row) {
        renew(cluster);
        update_row(cluster, row);
        cluster_rotation_look(cluster);
    }
}

void cluster_on_renew_timer(void *owner)
{
    cluster_look_after(owner);
}
