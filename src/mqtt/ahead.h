/* A look ahead in the input of a publisher, so that a table of filters that is larger than the
 * processor's caches costs no wait for memory with each message. */
#pragma once

#include "mqtt/broker.h"

/* Prepares for the next PUBLISH packets of `input`; worth it when route_cache_is_large. Returns how
 * many of its bytes need no other look, 0 when it does not begin with a whole PUBLISH. */
size_t ahead_look(const struct broker *broker, struct bytes input);
