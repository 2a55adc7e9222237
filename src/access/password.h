/* Inside of access/: what a password record holds. */
#pragma once

#include "base/bytes.h"
#include <stdbool.h>
#include <stdint.h>

#define SHA256_BYTES 32

struct scram_keys {
    uint8_t stored[SHA256_BYTES], server[SHA256_BYTES];
    uint8_t salt[64];
    size_t salt_bytes;
    unsigned iterations;
};

/* StoredKey and ServerKey of RFC 5802, 3. */
void scram_derive(struct bytes password, const uint8_t *salt, size_t salt_bytes,
                  unsigned iterations, struct scram_keys *keys);
/* False when the record has none (imported from mosquitto). */
bool password_record_scram(const char *record, struct scram_keys *keys);
/* Is it a record that password_verify understands? */
bool password_record_is_valid(const char *record);
