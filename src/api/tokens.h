/* Bearer tokens of logged-in people: random, kept only as hashes, each for twelve hours, forgotten
 * when the node stops. */
#pragma once

#include "access/access.h"

struct api_tokens;

#define API_TOKEN_SECONDS (12 * 3600)
#define API_TOKENS_MAX    4096 /* logins at once */

struct api_tokens *api_tokens_new(void);
void api_tokens_free(struct api_tokens *tokens);
/* Caller frees. */
char *api_tokens_add(struct api_tokens *tokens, const struct identity *identity, uint64_t now_ms);
/* The user name of a token that is valid (borrowed), or NULL. The role is looked up anew each time:
 * it may have changed. */
const char *api_tokens_find(struct api_tokens *tokens, const char *token, uint64_t now_ms);
void api_tokens_remove(struct api_tokens *tokens, const char *token);
/* All of a user: its password was changed, or it was removed. */
void api_tokens_remove_user(struct api_tokens *tokens, const char *username);
