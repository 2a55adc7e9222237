/* One socket of the load generator, and the epoll set it lives in. Input is read in pieces of 256
 * KiB into one buffer for all; output is gathered and written once a turn. Not for servers: a peer
 * that misbehaves ends the run. */
#pragma once

#include <glib.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct load_engine;

struct load_connection {
    struct load_engine *engine;
    void *owner; /* of on_packet */
    int fd;
    unsigned index;
    bool connected;      /* CONNACK has come */
    bool waits_for_room; /* EPOLLOUT is asked for */
    bool dirty;          /* in engine's list of what to flush */
    uint16_t next_id;
    uint32_t rest_bytes, rest_capacity;
    uint8_t *rest; /* the beginning of a packet whose end has not come */
    uint8_t *out;
    size_t out_start, out_end, out_capacity;
};

struct load_engine {
    int epoll_fd;
    struct sockaddr_storage address;
    socklen_t address_length;
    uint8_t *input;
    uint64_t now_ns; /* of the last read */
    /* A whole packet but CONNACK, which the engine takes itself. */
    void (*on_packet)(struct load_connection *connection, uint8_t head, const uint8_t *body,
                      uint32_t length);
    GPtrArray *dirty;
    unsigned connected;
    GError *failure; /* the first one; the run ends with it */
};

/* Where connections from now on go to. */
int load_engine_aim(struct load_engine *engine, const char *host, uint16_t port, GError **error);
int load_engine_init(struct load_engine *engine, const char *host, uint16_t port, GError **error);
void load_engine_deinit(struct load_engine *engine);
/* Waits at most `timeout_ns` (0: not at all), handles what is ready, flushes. Returns 0, or -1 with
 * `failure` set. */
int load_engine_turn(struct load_engine *engine, uint64_t timeout_ns);

/* Starts to connect and sends `hello` (a CONNECT). 0 or -1 with `failure` set. */
int load_connection_open(struct load_connection *connection, struct load_engine *engine,
                         unsigned index, const GByteArray *hello);
void load_connection_close(struct load_connection *connection);
/* Room for `length` bytes at the end of the output; the caller fills them. */
uint8_t *load_connection_reserve(struct load_connection *connection, size_t length);
void load_connection_write(struct load_connection *connection, const void *bytes, size_t length);
static inline bool load_connection_is_idle(const struct load_connection *connection)
{
    return connection->out_start == connection->out_end;
}
uint16_t load_connection_next_id(struct load_connection *connection);
