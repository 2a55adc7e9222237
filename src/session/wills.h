/* The wills of connected clients, and of those that left and whose will delay still runs (MQTT
 * 5, 3.1.2.5, 3.1.3.2.2). Pure. */
#pragma once

#include "session/message.h"

struct wills;

struct will {
    struct message *message; /* expires_unix_ms holds no time yet: see expiry_s */
    uint64_t due_unix_ms;    /* 0 while connected */
    uint64_t connection_number;
    uint32_t delay_s;
    uint32_t expiry_s; /* message expiry interval, counted from publication; 0 = never */
};

struct wills *wills_new(void);
void wills_free(struct wills *wills);
/* Replaces; takes a reference of the message. */
void wills_set(struct wills *wills, struct bytes client_id, const struct will *will);
/* Borrowed, NULL when none. */
const struct will *wills_find(const struct wills *wills, struct bytes client_id);
void wills_set_due(struct wills *wills, struct bytes client_id, uint64_t due_unix_ms);
void wills_remove(struct wills *wills, struct bytes client_id);
uint32_t wills_count(const struct wills *wills);
uint64_t wills_next_due(const struct wills *wills);
/* Each will that is due by `now`, earliest first (ties by client id); it is removed after `fn`. */
void wills_expire(struct wills *wills, uint64_t now_unix_ms,
                  void (*fn)(void *owner, struct bytes client_id, const struct will *will),
                  void *owner);
/* In order of client ids' bytes. */
void wills_for_each(const struct wills *wills,
                    void (*fn)(void *owner, struct bytes client_id, const struct will *will),
                    void *owner);
