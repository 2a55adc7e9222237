/* Header, little endian: "MCSNAP", version (16 bit), length of the content, its XXH64, XXH64 of the
 * 24 bytes before. The last tells a damaged header from the file of a newer version. */
#include "consensus/snapshot_file.h"

#include "consensus/checksum.h"
#include "consensus/consensus.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC       "MCSNAP"
#define MAGIC_BYTES 6
#define CHUNK_BYTES (256 * 1024)
/* libraft's: format, CRC, configuration index, configuration length. */
#define META_HEADER_BYTES 32
#define META_FORMAT       1

struct header {
    uint64_t length;
    uint64_t checksum;
};

static uint64_t read_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

static uint64_t checksum_of(const void *base, size_t length)
{
    struct checksum checksum;
    checksum_init(&checksum);
    checksum_add(&checksum, base, length);
    return checksum_value(&checksum);
}

void snapshot_header_write(uint8_t header[SNAPSHOT_HEADER_BYTES], uint64_t length,
                           uint64_t checksum)
{
    uint16_t version = htole16(SNAPSHOT_VERSION);
    uint64_t words[2] = {htole64(length), htole64(checksum)};

    memcpy(header, MAGIC, MAGIC_BYTES);
    memcpy(header + MAGIC_BYTES, &version, sizeof version);
    memcpy(header + 8, words, sizeof words);
    words[0] = htole64(checksum_of(header, 24));
    memcpy(header + 24, words, 8);
}

static int damaged(GError **error, const char *what)
{
    g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_DAMAGED,
                "damaged: %s: restore a backup, or empty the data directory and join anew", what);
    return -EBADMSG;
}

static int header_read(struct bytes file, struct header *header, GError **error)
{
    uint16_t version;

    if (file.length < SNAPSHOT_HEADER_BYTES) {
        return damaged(error, "the snapshot is cut off");
    }
    if (memcmp(file.at, MAGIC, MAGIC_BYTES) != 0 ||
        read_u64(file.at + 24) != checksum_of(file.at, 24)) {
        return damaged(error, "the head of the snapshot does not match its checksum");
    }
    memcpy(&version, file.at + MAGIC_BYTES, sizeof version);
    version = le16toh(version);
    if (version != SNAPSHOT_VERSION) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_NEWER,
                    "snapshot of format %u, written by a newer version of microcloud; this version "
                    "reads %d: start the newer one",
                    version, SNAPSHOT_VERSION);
        return -EPROTONOSUPPORT;
    }
    *header = (struct header){read_u64(file.at + 8), read_u64(file.at + 16)};
    return 0;
}

static int content_check(const struct header *header, uint64_t length, uint64_t checksum,
                         GError **error)
{
    if (header->length != length) {
        return damaged(error, "the snapshot is shorter or longer than its head says");
    }
    return header->checksum == checksum
               ? 0
               : damaged(error, "the snapshot does not match its checksum");
}

int snapshot_verify(struct bytes file, struct bytes *content, GError **error)
{
    struct header header;
    int r = header_read(file, &header, error);
    if (r < 0) {
        return r;
    }
    struct bytes rest = {file.at + SNAPSHOT_HEADER_BYTES, file.length - SNAPSHOT_HEADER_BYTES};
    r = content_check(&header, rest.length, checksum_of(rest.at, rest.length), error);
    if (r == 0) {
        *content = rest;
    }
    return r;
}

static int fail_errno(GError **error, const char *path)
{
    int r = -errno;
    g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_ACCESS, "cannot read %s: %s", path,
                g_strerror(-r));
    return r;
}

static int fd_verify(int fd, uint8_t *chunk, uint64_t *bytes, GError **error)
{
    struct header header = {0};
    struct checksum checksum;
    uint64_t total = 0;
    ssize_t length;

    checksum_init(&checksum);
    while ((length = read(fd, chunk, CHUNK_BYTES)) > 0) {
        uint8_t *at = chunk;
        if (total == 0) {
            int r = header_read((struct bytes){chunk, (size_t)length}, &header, error);
            if (r < 0) {
                return r;
            }
            at += SNAPSHOT_HEADER_BYTES;
        }
        checksum_add(&checksum, at, (size_t)(chunk + length - at));
        total += (uint64_t)length;
    }
    if (length < 0) {
        return fail_errno(error, "the snapshot");
    }
    if (total == 0) {
        return damaged(error, "the snapshot is empty");
    }
    *bytes = total;
    return content_check(&header, total - SNAPSHOT_HEADER_BYTES, checksum_value(&checksum), error);
}

int snapshot_file_verify(const char *path, uint64_t *bytes, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(error, path);
    }
    g_autofree uint8_t *chunk = g_malloc(CHUNK_BYTES);
    int r = fd_verify(fd, chunk, bytes, error);
    close(fd);
    return r;
}

int snapshot_meta_verify(const char *path, GError **error)
{
    g_autofree char *content = NULL;
    size_t length;
    struct crc32 crc;
    GError *cause = NULL;

    if (!g_file_get_contents(path, &content, &length, &cause)) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_ACCESS, "%s", cause->message);
        g_error_free(cause);
        return -EIO;
    }
    const uint8_t *at = (const uint8_t *)content;
    if (length < META_HEADER_BYTES) {
        return damaged(error, "the description of the snapshot is cut off");
    }
    uint64_t format = read_u64(at);
    if (format > META_FORMAT && format < 256) {
        g_set_error(error, CONSENSUS_ERROR, CONSENSUS_ERROR_NEWER,
                    "written in format %" PRIu64
                    " by a newer version of microcloud: start that one",
                    format);
        return -EPROTONOSUPPORT;
    }
    crc32_init(&crc);
    uint64_t expected = crc32_compute(&crc, (struct bytes){at + 16, length - 16});
    if (format != META_FORMAT || read_u64(at + 24) != length - META_HEADER_BYTES ||
        read_u64(at + 8) != expected) {
        return damaged(error, "the description of the snapshot does not match its checksum");
    }
    return 0;
}
