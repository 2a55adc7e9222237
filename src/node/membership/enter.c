/* See enter.h.
 *
 *   token -> join_client (a signal ends it) -> tls/, peers.json -> node.json, with which it counts
 */
#include "node/membership/enter.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "cluster/join.h"
#include "loop/loop.h"
#include "node/cluster.h"
#include "node/node.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct entering {
    struct node *node;
    GError **error;
    int r;
};

static GHashTable *addresses_of(const struct join_answer *answer)
{
    GHashTable *addresses = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);

    for (size_t i = 0; i < answer->node_count; i++) {
        if (answer->nodes[i].id != answer->node_id) {
            g_hash_table_insert(addresses, g_memdup2(&answer->nodes[i].id, sizeof(uint64_t)),
                                g_strdup(answer->nodes[i].address));
        }
    }
    return addresses;
}

/* Said on its command line, or by the token. */
static bool is_witness(const struct node *node, const struct join_answer *answer)
{
    return node->config.witness || g_strcmp0(answer->role, "witness") == 0;
}

static int save(const struct node *node, const struct join_answer *answer, GError **error)
{
    const char *data = node->config.data;
    g_autoptr(GHashTable) addresses = addresses_of(answer);
    struct cluster_files files = {answer->chain_pem, answer->key_pem, answer->ca_pem,
                                  answer->cluster_key};
    struct node_identity identity = {.id = answer->node_id,
                                     .name = node->config.name,
                                     .cluster = (char *)answer->cluster,
                                     .is_joining = true,
                                     .is_witness = is_witness(node, answer)};
    int r = cluster_files_save(data, &files, error);

    r = r < 0 ? r : cluster_peers_save(data, addresses, error);
    return r < 0 ? r : node_identity_save(&identity, data, error);
}

static void on_done(void *owner, const struct join_answer *answer, const GError *error)
{
    struct entering *entering = owner;

    if (error) {
        g_propagate_prefixed_error(entering->error, g_error_copy(error), "--join: ");
        entering->r = 1;
    } else {
        entering->r = save(entering->node, answer, entering->error) < 0 ? 1 : 0;
    }
    loop_stop(entering->node->loop);
}

static int ask(struct node *node, const struct token *token, GError **error)
{
    const struct node_config *config = &node->config;
    g_autofree char *address =
        config->address ? address_join(config->address, (uint16_t)config->peer_port) : NULL;
    struct join_client_options options = {.loop = node->loop,
                                          .token = token,
                                          .name = config->name,
                                          .version = MICROCLOUD_VERSION,
                                          .role = config->witness ? "witness" : "auto",
                                          .address = address,
                                          .port = (uint16_t)config->peer_port,
                                          .level = STATE_COMMAND_LEVEL};
    struct entering entering = {node, error, -EINTR};

    log_info("joining", "cluster=%s", token->cluster);
    struct join_client *client = join_client_new(&options, on_done, &entering);
    loop_run(node->loop);
    join_client_free(client);
    if (entering.r == -EINTR) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INTR, "--join: ended by a signal");
    }
    return entering.r == 0 ? 0 : 1;
}

/* A second start with the same words must not be a fault: it is in a unit file, perhaps. */
static int look_again(struct node *node, const struct token *token, GError **error)
{
    struct node_identity identity;

    if (node_identity_look(&identity, node->config.data, error) < 0) {
        return 1;
    }
    bool is_same = g_strcmp0(identity.cluster, token->cluster) == 0;
    if (!is_same) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_EXIST,
                    "--join: data directory '%s' belongs to node '%s' of cluster %s already: give "
                    "an empty one with --data DIR, or start without --join",
                    node->config.data, identity.name, identity.cluster);
    }
    node_identity_deinit(&identity);
    return is_same ? 0 : 1;
}

/* ---- from a backup ---- */

#define RESTORED "restored" /* as cli/backup.c writes it */

/* A voter that does not know any more what it has promised may make the others lose what they have
 * acknowledged. Alone, by a rescue or because it always was, it may go on. */
int cluster_check_restored(const struct node *node, GError **error)
{
    g_autofree char *mark = g_build_filename(node->config.data, RESTORED, NULL);
    g_autoptr(GHashTable) others = cluster_peers_load(node->config.data);

    if (node->config.rescue || access(mark, F_OK) != 0 || g_hash_table_size(others) == 0) {
        return 0;
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                "data directory '%s' was restored from a backup of a cluster: when all other nodes "
                "are gone, start it once with --rescue; when they live, empty it and join anew "
                "with --join TOKEN",
                node->config.data);
    return 1;
}

void cluster_forget_restored(const struct node *node)
{
    g_autofree char *mark = g_build_filename(node->config.data, RESTORED, NULL);

    unlink(mark);
}

/* ---- by a token ---- */

int cluster_enter(struct node *node, GError **error)
{
    g_autofree char *path = g_build_filename(node->config.data, "node.json", NULL);
    struct token token;
    struct stat status;

    if (token_parse(node->config.join, &token, error) < 0) {
        g_prefix_error(error, "--join: ");
        return 1;
    }
    int r = lstat(path, &status) == 0 ? look_again(node, &token, error) : ask(node, &token, error);
    token_deinit(&token);
    return r;
}
