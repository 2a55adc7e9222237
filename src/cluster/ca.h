/* The cluster's own certificate authority: founding it, requests, certificates of nodes, renewal,
 * rotation. All is PEM text in memory; where it is kept is its owner's business. Not pure: it draws
 * random numbers. The caller frees every text (g_free).
 *
 * A node's certificate has its id in the CN, 16 hex digits, and is good for both sides of a
 * connection. A chain is the node's certificate followed by that of the CA that signed it, while a
 * rotation lasts with what ties that one to the previous one in between. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define CA_FINGERPRINT_BYTES 32 /* SHA-256 of a certificate's DER */
#define CA_SERIAL_CHARS      32 /* hex */
#define CA_KEY_BYTES         32 /* of the cluster key */

#define CA_YEARS         20
#define CA_NODE_DAYS     365
#define CA_BACKDATE_DAYS 1  /* clocks of a home may differ */
#define CA_ROTATION_DAYS 30 /* for nodes that are away meanwhile */

struct ca;

/* A new CA for this cluster, for twenty years. */
int ca_found(const char *cluster_id, char **certificate_pem, char **key_pem, GError **error);
/* NULL with an error when the texts are none or do not belong together. `previous_pem` is what
 * ca_previous made, while a rotation lasts, else NULL or empty. */
struct ca *ca_new(const char *certificate_pem, const char *key_pem, const char *previous_pem,
                  GError **error);
void ca_free(struct ca *ca); /* takes NULL */

/* A key of a node's own and the request to sign it. */
int ca_request(char **key_pem, char **request_pem, GError **error);
/* Signs it for this node, from a day before `now_unix_ms` on; what the request asks for but its key
 * is ignored. -EINVAL: not a request, not signed by its own key, not P-256. */
int ca_sign(const struct ca *ca, const char *request_pem, uint64_t node_id, uint64_t now_unix_ms,
            char **chain_pem, GError **error);

struct ca_certificate {
    uint64_t node_id;                 /* 0: of a CA, or none of ours */
    char serial[CA_SERIAL_CHARS + 1]; /* hex */
    uint64_t from_unix_ms, until_unix_ms;
    uint8_t fingerprint[CA_FINGERPRINT_BYTES];
};

/* The first certificate of a text. */
int ca_look(const char *pem, struct ca_certificate *out, GError **error);
/* Two thirds of its life are over, or it is not yet valid: time to get another. */
bool ca_is_due(const struct ca_certificate *certificate, uint64_t now_unix_ms);
/* The node's id in a CN; 0 when it is none. */
uint64_t ca_node_id(const char *common_name);
/* 17 bytes with the NUL. */
void ca_format_node_id(uint64_t node_id, char text[17]);

/* ---- rotation ---- */

/* What is kept of the previous CA while a rotation lasts: its certificate, and behind it the new
 * CA's key certified by it, so that a node which was away and trusts nothing but the previous one
 * still believes the others. */
int ca_previous(const struct ca *previous, const struct ca *fresh, char **pem, GError **error);
/* What nodes trust: one CA, or both while a rotation lasts. `previous_pem` may be NULL or empty. */
char *ca_bundle(const char *certificate_pem, const char *previous_pem);
/* What stands behind a node's own certificate in its chain. */
char *ca_chain_rest(const char *certificate_pem, const char *previous_pem);
/* Whether the previous CA need not be trusted any longer, though not every node has changed over:
 * so many days after the new one was made. */
bool ca_rotation_is_over(const struct ca_certificate *ca, uint64_t now_unix_ms);

/* The CA's key as it lies in the replicated state: AES-256-GCM with the cluster key. */
GBytes *ca_seal(const uint8_t cluster_key[CA_KEY_BYTES], const char *key_pem);
/* NULL with an error when the key is another or the bytes were changed. */
char *ca_unseal(const uint8_t cluster_key[CA_KEY_BYTES], GBytes *sealed, GError **error);
