/* The files of a node that belongs to a cluster: its certificate and key, the authorities it
 * trusts, the key with which secrets of the state are sealed, and where the others were last. Each
 * is replaced as a whole; what is secret is its owner's alone. */
#include "base/cleanup.h"
#include "node/cluster.h"
#include "text/value.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static int save(const char *data, const char *name, const void *content, size_t length, int mode,
                GError **error)
{
    g_autofree char *path = g_build_filename(data, name, NULL);
    GFileSetContentsFlags flags = G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE;

    return g_file_set_contents_full(path, content, (gssize)length, flags, mode, error) ? 0 : -EIO;
}

/* The certificate last: with it the set is whole. */
int cluster_files_save(const char *data, const struct cluster_files *files, GError **error)
{
    int r = save(data, "tls/cluster.key", files->cluster_key, CA_KEY_BYTES, 0600, error);

    r = r < 0 ? r : save(data, "tls/ca.pem", files->ca_pem, strlen(files->ca_pem), 0644, error);
    r = r < 0 ? r : save(data, "tls/node.key", files->key_pem, strlen(files->key_pem), 0600, error);
    return r < 0 ? r
                 : save(data, "tls/node.pem", files->chain_pem, strlen(files->chain_pem), 0644,
                        error);
}

bool cluster_files_exist(const char *data)
{
    g_autofree char *path = g_build_filename(data, "tls", "node.pem", NULL);

    return access(path, F_OK) == 0;
}

int cluster_key_load(const char *data, uint8_t key[CA_KEY_BYTES], GError **error)
{
    g_autofree char *path = g_build_filename(data, "tls", "cluster.key", NULL);
    g_autofree char *content = NULL;
    gsize length;

    if (!g_file_get_contents(path, &content, &length, error)) {
        return -EIO;
    }
    if (length != CA_KEY_BYTES) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "'%s' is damaged: put it back from a backup, or join anew", path);
        return -EINVAL;
    }
    memcpy(key, content, CA_KEY_BYTES);
    explicit_bzero(content, length);
    return 0;
}

GHashTable *cluster_peers_load(const char *data)
{
    GHashTable *addresses = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    g_autofree char *path = g_build_filename(data, "peers.json", NULL);
    g_autofree char *content = NULL;
    gsize length;

    if (!g_file_get_contents(path, &content, &length, NULL)) {
        return addresses;
    }
    _cleanup_(text_freep) struct text_value *file = text_parse_json(content, length, NULL);
    for (size_t i = 0; i < text_count(file); i++) {
        uint64_t id = ca_node_id(text_key_at(file, i));
        const char *address = text_string(text_at(file, i), NULL);
        if (id != 0 && address) {
            g_hash_table_insert(addresses, g_memdup2(&id, sizeof id), g_strdup(address));
        }
    }
    return addresses;
}

int cluster_peers_save(const char *data, GHashTable *addresses, GError **error)
{
    _cleanup_(text_freep) struct text_value *file = text_new_object();
    GHashTableIter iterator;
    gpointer id, address;

    g_hash_table_iter_init(&iterator, addresses);
    while (g_hash_table_iter_next(&iterator, &id, &address)) {
        char text[17];
        ca_format_node_id(*(uint64_t *)id, text);
        text_set_string(file, text, address);
    }
    g_autofree char *content = text_to_json(file, true);
    return save(data, "peers.json", content, strlen(content), 0600, error);
}
