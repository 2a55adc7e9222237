/* A metadata file is four little-endian words: format 1, version, term, vote. Odd versions are in
 * metadata1, even ones in metadata2, so that one of the two is always whole. libraft forgets a
 * short one silently; when that was the newer one, the node could vote twice in a term, so it is
 * refused. */
#include "consensus/metadata.h"

#include "consensus/consensus.h"
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define METADATA_BYTES  32
#define METADATA_FORMAT 1

#define REJOIN                                                                                     \
    "this node's vote is lost: restore a backup, or empty the data directory and join anew"

static int metadata_load(const char *directory, const struct file_name *file,
                         struct metadata *metadata, bool *is_short, GError **error)
{
    g_autofree char *path = g_build_filename(directory, file->name, NULL);
    g_autofree char *content = NULL;
    size_t length;
    uint64_t words[4];
    GError *cause = NULL;

    if (!g_file_get_contents(path, &content, &length, &cause)) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_ACCESS, "%s", cause->message);
        g_error_free(cause);
        return -EIO;
    }
    *is_short = length < METADATA_BYTES;
    if (*is_short) {
        return 0;
    }
    memcpy(words, content, sizeof words);
    uint64_t format = le64toh(words[0]);
    if (format > METADATA_FORMAT && format < 256 && length >= METADATA_BYTES) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_NEWER,
                    "%s: written in format %" PRIu64
                    " by a newer version of microcloud: start that one",
                    file->name, format);
        return -EPROTONOSUPPORT;
    }
    *metadata = (struct metadata){le64toh(words[1]), le64toh(words[2]), le64toh(words[3])};
    bool has_parity = (metadata->version % 2 == 1) == (file->a == 1);
    if (format != METADATA_FORMAT || length != METADATA_BYTES || metadata->version == 0 ||
        !has_parity) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_DAMAGED, "%s: damaged: " REJOIN,
                    file->name);
        return -EBADMSG;
    }
    return 0;
}

/* `newer` follows directly on `older`; terms never go back, and never jump by what only a changed
 * bit explains. */
static bool is_successor(const struct metadata *newer, const struct metadata *older)
{
    return newer->version == older->version + 1 && newer->term >= older->term &&
           newer->term - older->term <= UINT32_MAX;
}

int metadata_check(const char *directory, const struct file_list *list, struct metadata *metadata,
                   GError **error)
{
    struct metadata found[2] = {0};
    bool is_short = false;

    for (uint32_t i = 0; i < file_list_count(list, FILE_METADATA); i++) {
        const struct file_name *file = file_list_find(list, FILE_METADATA, i);
        int r = metadata_load(directory, file, &found[file->a - 1], &is_short, error);
        if (r < 0) {
            return r;
        }
        if (is_short) {
            found[file->a - 1].version = 0;
        }
    }
    const struct metadata *newer = found[0].version > found[1].version ? &found[0] : &found[1];
    const struct metadata *older = newer == &found[0] ? &found[1] : &found[0];
    /* After the first few versions both exist; one that is gone may have been the newer. */
    bool is_other_missing = older->version == 0 && newer->version > 1;
    if (is_other_missing || (older->version != 0 && !is_successor(newer, older))) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_DAMAGED,
                    "metadata1 and metadata2 do not belong together: " REJOIN);
        return -EBADMSG;
    }
    *metadata = *newer;
    return 0;
}
