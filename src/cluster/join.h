/* Joining: a new node asks one that is there, over ALPN `join`, for a place in the cluster. One
 * message each way, JSON behind its length in four bytes (big endian).
 *
 * The new node trusts the CA with the token's fingerprint and nothing else, sends the token's id
 * and secret, its name, its request for a certificate, version, clock and address. The other checks
 * cluster and clock, then by `check` of its owner token, version and name, then calls the address
 * back: there the new node shows a certificate whose fingerprint it sent, so it is really there.
 * Only then is the certificate made and the node proposed, by `propose` of the owner; when that is
 * applied the answer has everything that a node needs. Until then nothing is written anywhere. */
#pragma once

#include "cluster/ca.h"
#include "cluster/token.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct join_client;
struct join_server;
struct loop;
struct stream;

#define JOIN_PROTOCOL        1
#define JOIN_BYTES_MAX       (1024u * 1024)
#define JOIN_NAME_CHARS      64
#define JOIN_CLOCK_MS_MAX    30000 /* clocks may differ by this much */
#define JOIN_TIMEOUT_MS      30000 /* all of it */
#define JOIN_CALLBACK_MS     3000
#define JOIN_UNDER_WAY_MAX   16
#define JOIN_TURNED_AWAY_MAX 16 /* beside them: heard to the end and told to come again */

/* Stand in "code" of an answer. */
enum join_error {
    JOIN_ERROR_FAILED,
    JOIN_ERROR_UNREACHABLE, /* no address of the token answers */
    JOIN_ERROR_FINGERPRINT, /* who answers is not of the token's cluster */
    JOIN_ERROR_CLUSTER,     /* the token is of another cluster */
    JOIN_ERROR_TOKEN,       /* unknown, or its secret is wrong */
    JOIN_ERROR_TOKEN_OLD,
    JOIN_ERROR_TOKEN_USED,
    JOIN_ERROR_NAME, /* taken, or none */
    JOIN_ERROR_VERSION_OLD,
    JOIN_ERROR_VERSION_NEW,
    JOIN_ERROR_CLOCK,
    JOIN_ERROR_ADDRESS, /* cannot be reached back */
    JOIN_ERROR_LISTEN,  /* the own port cannot be opened */
    JOIN_ERROR_QUORUM,  /* the cluster takes no changes now */
    JOIN_ERROR_BUSY,
};
#define JOIN_ERROR (join_error_quark())
GQuark join_error_quark(void);
const char *join_error_code(enum join_error code);

/* What the new node says of itself. Strings are borrowed for the call. */
struct join_request {
    int64_t protocol;
    uint64_t token_id;
    uint8_t secret[TOKEN_SECRET_BYTES];
    const char *cluster, *name, *address, *version, *role; /* address: where it can be
 reached; NULL = where we see it */
    uint32_t level;                                        /* of commands that it can apply */
    uint64_t unix_ms;
    const char *request_pem;
    uint16_t port;                             /* of the address, when it knows no host */
    uint8_t fingerprint[CA_FINGERPRINT_BYTES]; /* of the certificate with which it can be called */
};

/* What it gets. Server: borrowed. Client: owned by the client until it is freed. */
struct join_node {
    uint64_t id;
    const char *name, *address;
};
struct join_answer {
    uint64_t node_id;
    const char *cluster, *address;  /* address: the one that was called back */
    const char *role;               /* what it is from now on; NULL = an older node let it in */
    const char *chain_pem, *ca_pem; /* ca: the bundle to trust */
    const char *key_pem;            /* client only: the node's own key */
    uint8_t cluster_key[CA_KEY_BYTES];
    const struct join_node *nodes;
    size_t node_count;
};

/* ---- the node that is asked ---- */

/* One join that is under way. The owner answers each `propose` exactly once, with join_accept or
 * join_refuse, at once or later. */
struct joining;

struct join_server_events {
    /* Looks, changes nothing: 0, or an error of domain JOIN_ERROR (token, version, name). */
    int (*check)(void *owner, const struct join_request *request, GError **error);
    /* Proposes the node. All that `request`, `node_id` and `certificate` point to is valid until
     * the answer. */
    void (*propose)(void *owner, struct joining *joining, const struct join_request *request,
                    uint64_t node_id, const struct ca_certificate *certificate);
    /* May a new node have this id? */
    bool (*is_free)(void *owner, uint64_t node_id);
    /* The node was accepted, and is gone without its answer: take it out again. */
    void (*undo)(void *owner, uint64_t node_id);
    /* The CA to sign with (valid during the call); NULL with an error. */
    struct ca *(*ca)(void *owner, GError **error);
};

struct join_server_options {
    struct loop *loop;
    const char *cluster, *version; /* copied */
    const struct join_server_events *events;
    void *owner;
};

struct join_server *join_server_new(const struct join_server_options *options);
/* Joins under way end; their `propose` need not be answered any more. */
void join_server_free(struct join_server *server);
/* From the peer listener; takes the stream. */
void join_server_accept(struct join_server *server, struct stream *stream);
/* `answer` without node_id, cluster, address and chain, which are known; everything is copied. */
void join_accept(struct joining *joining, const struct join_answer *answer);
void join_refuse(struct joining *joining, enum join_error code, const char *message);

/* ---- the node that joins ---- */

struct join_client_options {
    struct loop *loop;
    const struct token *token;         /* copied */
    const char *name, *version, *role; /* role: "auto", "voter", "spare", "witness" */
    const char *address; /* "host:port"; NULL = where the other side sees us, `port` */
    const char *bind;    /* NULL = every address */
    uint16_t port;       /* of the peer port, which must be free: it is opened to be
                            called back, and closed before on_done */
    uint32_t level;
    uint64_t unix_ms; /* 0 = the clock's; tests */
};

/* `on_done` comes once: with an answer, valid until join_client_free, or with an error (domain
 * JOIN_ERROR) that says what was wrong and what to do. */
struct join_client *join_client_new(const struct join_client_options *options,
                                    void (*on_done)(void *owner, const struct join_answer *answer,
                                                    const GError *error),
                                    void *owner);
void join_client_free(struct join_client *client);
