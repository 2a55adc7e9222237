/* Shared by the files of access/. */
#pragma once

#include "access/password.h"

struct access;
struct state;

struct state *access_state(const struct access *access);
/* A salt for a user that does not exist: always the same for a name, unpredictable from outside. */
void access_fake_salt(const struct access *access, const char *username,
                      uint8_t salt[SHA256_BYTES]);
