/* DNS messages as multicast DNS has them (RFC 1035 4, RFC 6762): read and written, nothing sent.
 * Names are kept as text with dots; a dot or backslash inside a label is written `\.`, `\\`. Pure.
 */
#pragma once

#include "base/bytes.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define DNS_NAME_BYTES_MAX    255  /* RFC 1035 2.3.4 */
#define DNS_NAME_TEXT_BYTES   1024 /* room for it as text: every byte escaped */
#define DNS_MESSAGE_BYTES_MAX 9000 /* RFC 6762 17 */
#define DNS_RECORDS_MAX       128  /* of one message; what follows is not looked at */

enum dns_type { DNS_A = 1, DNS_PTR = 12, DNS_TXT = 16, DNS_AAAA = 28, DNS_SRV = 33, DNS_ANY = 255 };
#define DNS_CLASS_IN 1
#define DNS_CLASS_TOP_BIT                                                                          \
    0x8000 /* cache flush; in a question: answer me alone (RFC 6762 5.4, 10.2) */
#define DNS_FLAG_RESPONSE  0x8000
#define DNS_FLAG_AUTHORITY 0x0400

struct dns_record {
    char name[DNS_NAME_TEXT_BYTES];
    uint16_t type, class; /* without the top bit */
    bool is_question, has_top_bit;
    uint32_t ttl_s;
    struct bytes data; /* of the message; for PTR and SRV see dns_record_target */
    size_t data_at;    /* its place in the message */
};

struct dns_reader {
    struct bytes message;
    size_t at;
    uint16_t id, flags;
    uint32_t questions, records; /* that are left */
    uint32_t looked_at;
};

/* 0, or -EBADMSG when it is too short for a head. */
int dns_reader_init(struct dns_reader *reader, struct bytes message);
/* Questions first, then all records. 1 = there is one, 0 = the end, -EBADMSG. */
int dns_reader_next(struct dns_reader *reader, struct dns_record *record);
/* The name in a PTR or SRV record's data (SRV: its port too, else `port` is left alone). 0 or
 * -EBADMSG. */
int dns_record_target(struct bytes message, const struct dns_record *record,
                      char target[DNS_NAME_TEXT_BYTES], uint16_t *port);
/* The value of `key=` in a TXT record; caller frees, NULL when it is not there. */
char *dns_txt_get(struct bytes data, const char *key);
/* Names are compared without regard to case (ASCII). */
bool dns_name_equal(const char *a, const char *b);
/* A label as it stands in names: dots and backslashes escaped, cut to 63 bytes. Caller frees. */
char *dns_label_escape(const char *label);
char *dns_label_unescape(const char *label, size_t length);

/* ---- writing: a head with counts of zero, then questions, then answers ---- */
void dns_write_head(GByteArray *out, uint16_t id, uint16_t flags);
void dns_write_question(GByteArray *out, const char *name, uint16_t type, uint16_t class);
/* Counts it as an answer. */
void dns_write_record(GByteArray *out, const char *name, uint16_t type, uint16_t class,
                      uint32_t ttl_s, struct bytes data);
/* The data of PTR and SRV records; caller unrefs. */
GByteArray *dns_name_data(const char *name);
GByteArray *dns_srv_data(uint16_t port, const char *target);
void dns_txt_add(GByteArray *data, const char *key, const char *value);
