/* See disk.h. */
#include "disk.h"
#include "consensus/directory.h"
#include "net.h"
#include <assert.h>
#include <fcntl.h>
#include <raft/uv.h>
#include <stdlib.h>
#include <string.h>

enum write_kind { WRITE_ENTRIES, WRITE_TRUNCATION, WRITE_SNAPSHOT, READ_SNAPSHOT };

struct disk_write {
    enum write_kind kind;
    uint64_t due_ms;
    GPtrArray *entries; /* ENTRIES: struct saved_entry, owned until they are on disk */
    uint64_t index;     /* TRUNCATION: the first that goes */
    unsigned trailing;  /* SNAPSHOT: entries that stay behind it */
    const struct raft_snapshot *snapshot; /* SNAPSHOT: libraft's */
    struct raft_io_append *append;
    struct raft_io_snapshot_put *put;
    struct raft_io_snapshot_get *get;
};

static struct disk *disks[DISK_BOXES_MAX]; /* libraft knows its directory only */

/* ---- copies ---- */

static void saved_free(void *memory)
{
    struct saved_entry *saved = memory;

    g_bytes_unref(saved->content);
    g_free(saved);
}

static struct saved_entry *saved_new(const struct raft_entry *entry)
{
    struct saved_entry *saved = g_new(struct saved_entry, 1);

    *saved = (struct saved_entry){entry->term, (unsigned short)entry->type,
                                  g_bytes_new(entry->buf.base, entry->buf.len)};
    return saved;
}

static void configuration_copy(const struct raft_configuration *from, struct raft_configuration *to)
{
    raft_configuration_init(to);
    for (unsigned i = 0; i < from->n; i++) {
        const struct raft_server *server = &from->servers[i];
        int r = raft_configuration_add(to, server->id, server->address, server->role);
        assert(r == 0);
    }
}

/* As libraft wants them: all in one piece of memory. */
static struct raft_entry *entries_copy(const GPtrArray *saved, size_t *count)
{
    size_t total = 0;

    *count = saved->len;
    if (saved->len == 0) {
        return NULL;
    }
    for (guint i = 0; i < saved->len; i++) {
        total += g_bytes_get_size(((struct saved_entry *)saved->pdata[i])->content);
    }
    struct raft_entry *entries = raft_calloc(saved->len, sizeof *entries);
    uint8_t *at = raft_malloc(total), *batch = at;
    for (guint i = 0; i < saved->len; i++) {
        const struct saved_entry *from = saved->pdata[i];
        size_t length;
        const void *content = g_bytes_get_data(from->content, &length);
        entries[i] = (struct raft_entry){.term = from->term, .type = from->type, .batch = batch};
        entries[i].buf = (struct raft_buffer){at, length};
        memcpy(at, content, length);
        at += length;
    }
    return entries;
}

static struct raft_snapshot *snapshot_copy(const struct saved_snapshot *saved)
{
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof *snapshot);
    size_t length;
    const void *content = g_bytes_get_data(saved->content, &length);

    snapshot->index = saved->index;
    snapshot->term = saved->term;
    snapshot->configuration_index = saved->configuration_index;
    configuration_copy(&saved->configuration, &snapshot->configuration);
    snapshot->bufs = raft_calloc(1, sizeof *snapshot->bufs);
    snapshot->n_bufs = 1;
    snapshot->bufs[0] = (struct raft_buffer){raft_malloc(length), length};
    memcpy(snapshot->bufs[0].base, content, length);
    return snapshot;
}

/* ---- what is on disk ---- */

uint64_t disk_last_index(const struct disk *disk)
{
    return disk->entries->len > 0 ? disk->first_index + disk->entries->len - 1
                                  : disk->snapshot.index;
}

uint64_t disk_term_of(const struct disk *disk, uint64_t index)
{
    if (index < disk->first_index || index >= disk->first_index + disk->entries->len) {
        return 0;
    }
    return ((struct saved_entry *)disk->entries->pdata[index - disk->first_index])->term;
}

bool disk_has(const struct disk *disk, uint64_t index, uint64_t term)
{
    return disk->snapshot.index >= index || (term != 0 && disk_term_of(disk, index) == term);
}

/* ---- who votes ---- */

static uint32_t voter_bit(uint64_t id, int role)
{
    return role == RAFT_VOTER ? 1u << (id - 1) : 0;
}

/* As libraft writes it: a version, how many, then each: id, address, role. */
static uint32_t voters_in_entry(GBytes *content)
{
    size_t length, at = 1 + sizeof(uint64_t);
    const uint8_t *bytes = g_bytes_get_data(content, &length);
    uint32_t boxes = 0;
    uint64_t count, id;

    assert(length > at && bytes[0] == 1);
    memcpy(&count, bytes + 1, sizeof count);
    for (count = GUINT64_FROM_LE(count); count > 0; count--) {
        assert(at + sizeof id < length);
        memcpy(&id, bytes + at, sizeof id);
        at += sizeof id + strnlen((const char *)bytes + at + sizeof id, length - at - sizeof id);
        assert(at + 1 < length);
        boxes |= voter_bit(GUINT64_FROM_LE(id), bytes[at + 1]);
        at += 2;
    }
    return boxes;
}

static uint32_t voters_in(const struct raft_configuration *configuration)
{
    uint32_t boxes = 0;

    for (unsigned i = 0; i < configuration->n; i++) {
        boxes |= voter_bit(configuration->servers[i].id, configuration->servers[i].role);
    }
    return boxes;
}

static void note_voters(struct disk *disk, uint64_t index, uint32_t boxes)
{
    struct saved_voters saved = {index, boxes};

    g_array_append_val(disk->voters, saved);
}

static void forget_voters(struct disk *disk, uint64_t from)
{
    while (disk->voters->len > 0 &&
           g_array_index(disk->voters, struct saved_voters, disk->voters->len - 1).index >= from) {
        g_array_set_size(disk->voters, disk->voters->len - 1);
    }
}

/* ---- writing ---- */

static void write_entries(struct disk *disk, struct disk_write *write)
{
    uint64_t index = disk->first_index + disk->entries->len;

    for (guint i = 0; i < write->entries->len; i++) {
        const struct saved_entry *saved = write->entries->pdata[i];
        if (saved->type == RAFT_CHANGE) {
            note_voters(disk, index + i, voters_in_entry(saved->content));
        }
    }
    g_ptr_array_extend_and_steal(disk->entries, g_steal_pointer(&write->entries));
}

static void write_truncation(struct disk *disk, const struct disk_write *write)
{
    forget_voters(disk, write->index);
    if (write->index < disk->first_index) {
        g_ptr_array_set_size(disk->entries, 0);
        disk->first_index = write->index;
    } else if (write->index < disk->first_index + disk->entries->len) {
        g_ptr_array_set_size(disk->entries, (gint)(write->index - disk->first_index));
    }
}

static void write_snapshot(struct disk *disk, const struct disk_write *write)
{
    struct saved_snapshot *saved = &disk->snapshot;
    const struct raft_snapshot *from = write->snapshot;
    GByteArray *whole = g_byte_array_new();

    for (unsigned i = 0; i < from->n_bufs; i++) {
        g_byte_array_append(whole, from->bufs[i].base, (guint)from->bufs[i].len);
    }
    if (saved->content) {
        g_bytes_unref(saved->content);
        raft_configuration_close(&saved->configuration);
    }
    *saved = (struct saved_snapshot){.index = from->index,
                                     .term = from->term,
                                     .configuration_index = from->configuration_index,
                                     .content = g_byte_array_free_to_bytes(whole)};
    configuration_copy(&from->configuration, &saved->configuration);
    if (write->trailing == 0) { /* the leader's: what was here is not of its log */
        disk->installed++;
        forget_voters(disk, 0);
        note_voters(disk, from->configuration_index, voters_in(&from->configuration));
        g_ptr_array_set_size(disk->entries, 0);
        disk->first_index = from->index + 1;
        return;
    }
    uint64_t keep = from->index > write->trailing ? from->index - write->trailing + 1 : 1;
    if (keep > disk->first_index) {
        guint gone = (guint)MIN(keep - disk->first_index, disk->entries->len);
        g_ptr_array_remove_range(disk->entries, 0, gone);
        disk->first_index += gone;
    }
}

static void perform(struct disk *disk, struct disk_write *write)
{
    switch (write->kind) {
    case WRITE_ENTRIES:
        write_entries(disk, write);
        break;
    case WRITE_TRUNCATION:
        write_truncation(disk, write);
        break;
    case WRITE_SNAPSHOT:
        write_snapshot(disk, write);
        break;
    case READ_SNAPSHOT:
        break;
    }
}

static void write_free(struct disk_write *write)
{
    if (write->entries) {
        g_ptr_array_unref(write->entries);
    }
    g_free(write);
}

static void tell(struct disk *disk, struct disk_write *write, int status)
{
    if (write->kind == WRITE_ENTRIES) {
        write->append->cb(write->append, status);
    } else if (write->kind == WRITE_SNAPSHOT) {
        write->put->cb(write->put, status);
    } else if (write->kind == READ_SNAPSHOT) {
        write->get->cb(write->get, status == 0 ? snapshot_copy(&disk->snapshot) : NULL, status);
    }
    write_free(write);
}

/* ---- time ---- */

static void tell_sent(struct disk *disk, int status)
{
    struct raft_io_send *request;

    while ((request = g_queue_pop_head(&disk->sent)) != NULL) {
        request->cb(request, status);
    }
}

/* What raft_uv does before and after each turn of libuv's: requests that are through are told. They
 * stand in a ring of libraft's, {next, previous}. */
static void tell_requests(struct raft *raft)
{
    void **ring = raft->legacy.requests;

    while (ring[0] != ring) {
        void **link = ring[0];
        struct raft_apply *request =
            (struct raft_apply *)(void *)((char *)link - offsetof(struct raft_apply, queue));
        ring[0] = link[0];
        ((void **)link[0])[1] = ring;
        if (request->type == RAFT_COMMAND) {
            request->cb(request, request->status, request->result);
        } else if (request->type == RAFT_BARRIER) {
            ((struct raft_barrier *)(void *)request)->cb((void *)request, request->status);
        } else if (request->type == RAFT_CHANGE) {
            ((struct raft_change *)(void *)request)->cb((void *)request, request->status);
        } else {
            ((struct raft_transfer *)(void *)request)->cb((void *)request);
        }
    }
}

void disk_turn(struct disk *disk, uint64_t now_ms)
{
    struct disk_write *write;

    tell_requests(disk->io->data);
    tell_sent(disk, 0);
    while (disk->io && (write = g_queue_peek_head(&disk->writes)) != NULL &&
           write->due_ms <= now_ms) {
        g_queue_pop_head(&disk->writes);
        perform(disk, write);
        tell(disk, write, 0);
    }
    if (disk->io) {
        tell_requests(disk->io->data);
    }
}

uint64_t disk_next_ms(const struct disk *disk)
{
    const struct disk_write *write = g_queue_peek_head((GQueue *)&disk->writes);

    return disk->sent.length > 0 ? 0 : write ? write->due_ms : UINT64_MAX;
}

void disk_crash(struct disk *disk)
{
    int written = g_rand_int_range(disk->random, 0, 4);

    for (GList *link = disk->writes.head; link && written > 0; link = link->next, written--) {
        perform(disk, link->data);
    }
    disk->is_lost = true;
}

static struct disk_write *write_new(struct disk *disk, enum write_kind kind)
{
    struct disk_write *write = g_new0(struct disk_write, 1);
    const struct disk_write *last = g_queue_peek_tail(&disk->writes);
    uint64_t due_ms = net_now_ms(disk->net);

    if (kind != WRITE_TRUNCATION) {
        due_ms += (uint64_t)g_rand_int_range(disk->random, 0, (gint32)disk->write_ms_max + 1);
    }
    write->kind = kind;
    write->due_ms = last ? MAX(due_ms, last->due_ms) : due_ms;
    g_queue_push_tail(&disk->writes, write);
    return write;
}

/* ---- libraft's interface ---- */

static struct disk *disk_of(const struct raft_io *io)
{
    return io->impl;
}

static int on_init(struct raft_io *io, raft_id id, const char *address)
{
    return 0;
}

static void on_close(struct raft_io *io, raft_io_close_cb closed)
{
    struct disk *disk = disk_of(io);
    struct disk_write *write;

    tell_sent(disk, RAFT_CANCELED);
    while ((write = g_queue_pop_head(&disk->writes)) != NULL) {
        if (!disk->is_lost && write->kind != READ_SNAPSHOT) {
            perform(disk, write);
        }
        tell(disk, write, write->kind == READ_SNAPSHOT ? 0 : RAFT_CANCELED);
    }
    tell_sent(disk, RAFT_CANCELED);
    disk->io = NULL;
    closed(io);
}

static int on_load(struct raft_io *io, raft_term *term, raft_id *vote,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *count)
{
    const struct disk *disk = disk_of(io);

    *term = disk->term;
    *vote = disk->vote;
    *snapshot = disk->snapshot.content ? snapshot_copy(&disk->snapshot) : NULL;
    *start_index = disk->first_index;
    *entries = entries_copy(disk->entries, count);
    return 0;
}

static int on_start(struct raft_io *io, unsigned milliseconds, raft_io_tick_cb tick,
                    raft_io_recv_cb receive)
{
    disk_of(io)->receive = receive;
    return 0;
}

static int on_bootstrap(struct raft_io *io, const struct raft_configuration *configuration)
{
    return RAFT_CANTBOOTSTRAP; /* disk_found has done it */
}

static int on_recover(struct raft_io *io, const struct raft_configuration *configuration)
{
    return RAFT_IOERR;
}

static int on_set_term(struct raft_io *io, raft_term term)
{
    struct disk *disk = disk_of(io);

    if (!disk->is_lost) {
        disk->term = term;
        disk->vote = 0;
    }
    return 0;
}

static int on_set_vote(struct raft_io *io, raft_id id)
{
    struct disk *disk = disk_of(io);

    if (!disk->is_lost) {
        disk->vote = id;
    }
    return 0;
}

static int on_append(struct raft_io *io, struct raft_io_append *request,
                     const struct raft_entry entries[], unsigned count, raft_io_append_cb done)
{
    struct disk_write *write = write_new(disk_of(io), WRITE_ENTRIES);

    request->cb = done;
    write->append = request;
    write->entries = g_ptr_array_new_with_free_func(saved_free);
    for (unsigned i = 0; i < count; i++) {
        g_ptr_array_add(write->entries, saved_new(&entries[i]));
    }
    return 0;
}

static int on_truncate(struct raft_io *io, raft_index index)
{
    write_new(disk_of(io), WRITE_TRUNCATION)->index = index;
    return 0;
}

static int on_snapshot_put(struct raft_io *io, unsigned trailing,
                           struct raft_io_snapshot_put *request,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb done)
{
    struct disk_write *write = write_new(disk_of(io), WRITE_SNAPSHOT);

    request->cb = done;
    write->put = request;
    write->trailing = trailing;
    write->snapshot = snapshot;
    return 0;
}

static int on_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *request,
                           raft_io_snapshot_get_cb done)
{
    struct disk_write *write = write_new(disk_of(io), READ_SNAPSHOT);

    request->cb = done;
    write->get = request;
    return 0;
}

static int on_send(struct raft_io *io, struct raft_io_send *request,
                   const struct raft_message *message, raft_io_send_cb done)
{
    struct disk *disk = disk_of(io);

    request->cb = done;
    if (!disk->is_lost) {
        net_post(disk->net, disk->box, message);
    }
    g_queue_push_tail(&disk->sent, request);
    return 0;
}

static raft_time on_time(struct raft_io *io)
{
    return net_clock_ms(disk_of(io)->net, disk_of(io)->box);
}

static int on_random(struct raft_io *io, int from, int to)
{
    return g_rand_int_range(disk_of(io)->random, from, to);
}

void disk_receive(struct disk *disk, struct raft_message *message)
{
    disk->receive(disk->io, message);
}

/* ---- instead of raft_uv ---- */

int raft_uv_init(struct raft_io *io, struct uv_loop_s *loop, const char *directory,
                 struct raft_uv_transport *transport)
{
    struct disk *disk = disks[atoi(directory + strlen("disk-"))];

    *io = (struct raft_io){.version = 2,
                           .capacity = UINT16_MAX,
                           .impl = disk,
                           .init = on_init,
                           .close = on_close,
                           .load = on_load,
                           .start = on_start,
                           .bootstrap = on_bootstrap,
                           .recover = on_recover,
                           .set_term = on_set_term,
                           .set_vote = on_set_vote,
                           .send = on_send,
                           .append = on_append,
                           .truncate = on_truncate,
                           .snapshot_put = on_snapshot_put,
                           .snapshot_get = on_snapshot_get,
                           .time = on_time,
                           .random = on_random};
    disk->io = io;
    disk->receive = NULL;
    disk->is_lost = false;
    return 0;
}

void raft_uv_close(struct raft_io *io)
{
}

void raft_uv_set_tracer(struct raft_io *io, struct raft_tracer *tracer)
{
}

void raft_uv_set_auto_recovery(struct raft_io *io, bool flag)
{
}

void raft_uv_set_disk_retry(struct raft_io *io, unsigned milliseconds)
{
}

void raft_uv_set_connect_retry_delay(struct raft_io *io, unsigned milliseconds)
{
}

/* ---- instead of the directory ---- */

bool directory_has_room(const char *path)
{
    return true;
}

int directory_lock(const char *path, GError **error)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int directory_prepare(const char *path, uint64_t only_voter, enum directory_use use,
                      struct directory_report *report, GError **error)
{
    const struct disk *disk = disks[atoi(path + strlen("disk-"))];

    *report = (struct directory_report){.is_empty = disk_last_index(disk) == 0,
                                        .term = disk->term,
                                        .has_vote = true,
                                        .snapshot_index = disk->snapshot.index,
                                        .last_index = disk_last_index(disk)};
    return 0;
}

char *disk_directory(unsigned box)
{
    return g_strdup_printf("disk-%u", box);
}

/* ---- life ---- */

void disk_init(struct disk *disk, struct net *net, unsigned box, GRand *random)
{
    *disk = (struct disk){.net = net, .box = box, .random = random, .first_index = 1};
    disk->entries = g_ptr_array_new_with_free_func(saved_free);
    disk->voters = g_array_new(FALSE, FALSE, sizeof(struct saved_voters));
    g_queue_init(&disk->writes);
    g_queue_init(&disk->sent);
    disks[box] = disk;
}

void disk_found(struct disk *disk, unsigned voters, GBytes *snapshot)
{
    struct raft_configuration *configuration = &disk->snapshot.configuration;
    char address[16];

    raft_configuration_init(configuration);
    for (unsigned i = 1; i <= voters; i++) {
        g_snprintf(address, sizeof address, "box-%u", i);
        int r = raft_configuration_add(configuration, i, address, RAFT_VOTER);
        assert(r == 0);
    }
    note_voters(disk, 1, voters_in(configuration));
    disk->term = disk->snapshot.term = disk->snapshot.configuration_index = 1;
    disk->snapshot.index = DISK_FOUNDED;
    disk->first_index = DISK_FOUNDED + 1;
    disk->snapshot.content = g_bytes_ref(snapshot);
}

void disk_deinit(struct disk *disk)
{
    assert(!disk->io && disk->writes.length == 0 && disk->sent.length == 0);
    g_ptr_array_unref(disk->entries);
    g_array_unref(disk->voters);
    if (disk->snapshot.content) {
        g_bytes_unref(disk->snapshot.content);
        raft_configuration_close(&disk->snapshot.configuration);
    }
    disks[disk->box] = NULL;
}
