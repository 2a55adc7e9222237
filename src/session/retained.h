/* The retained messages: one for each topic name (MQTT 5, 3.3.1.3). Pure. */
#pragma once

#include "session/message.h"

struct retained;

struct retained *retained_new(void);
void retained_free(struct retained *retained);
/* Takes its own reference; a message without payload removes. Returns -ENOBUFS, and changes
 * nothing, when `messages_max` or `bytes_max` would be passed. */
int retained_set(struct retained *retained, struct message *message);
void retained_set_limits(struct retained *retained, uint32_t messages_max, uint64_t bytes_max);
struct message *retained_find(const struct retained *retained, struct bytes topic); /* borrowed */
uint32_t retained_count(const struct retained *retained);
uint64_t retained_bytes(const struct retained *retained);
/* Each message that the filter matches, until `fn` returns false. */
void retained_scan(const struct retained *retained, struct bytes filter,
                   bool (*fn)(void *owner, struct message *message), void *owner);
/* In order of topics' bytes. */
void retained_for_each(const struct retained *retained,
                       void (*fn)(void *owner, struct message *message), void *owner);
/* The earliest expiry, 0 when none; and removal of those that have expired. */
uint64_t retained_next_expiry(const struct retained *retained);
void retained_expire(struct retained *retained, uint64_t now_unix_ms);
