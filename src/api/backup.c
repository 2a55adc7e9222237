/* `GET /v1/backup`: the data directory as one archive, at one instant of the log; see
 * base/archive.h. */
#include "api/routes.h"
#include "base/archive.h"
#include "base/cleanup.h"

#define TRIES 10

void backup_get(struct api_request *request)
{
    static const char *const parts[] = {"node.json", "peers.json", "admin-password",
                                        "tls",       "raft",       NULL};
    g_autoptr(GError) error = NULL;
    GByteArray *archive = NULL;

    api_audit(request, "backup", NULL);
    /* The log's worker may rename a file meanwhile: then the archive is made anew. */
    for (unsigned i = 0; i < TRIES && !archive; i++) {
        g_clear_error(&error);
        archive = archive_pack(request->api->options.data, parts, &error);
    }
    if (!archive) {
        api_answer_error(request, 503, "backup_failed", "%s; try again", error->message);
        return;
    }
    api_answer_text(request, "application/octet-stream",
                    (struct bytes){archive->data, archive->len});
    g_byte_array_unref(archive);
}

void restore_post(struct api_request *request)
{
    api_answer_error(request, 409, "node_running",
                     "a running node is not overwritten: stop it, then `microcloud restore FILE "
                     "--data DIR` into an empty directory");
}
