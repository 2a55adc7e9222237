/* `$SYS/broker/...` under mosquitto's names, and `$SYS/cluster/...`. Values are made when somebody
 * looks: on subscribing (as retained messages), and each mqtt.sys_interval_s while somebody is
 * subscribed. With nobody there is no timer. */
#pragma once

#include "base/bytes.h"
#include <glib.h>

struct broker;
struct sys_topics;

struct sys_topics *sys_topics_new(struct broker *broker);
void sys_topics_free(struct sys_topics *sys);
/* Appends what the filter matches, as messages with a reference each. */
void sys_topics_collect(struct broker *broker, struct bytes filter, GPtrArray *messages);
/* Starts publishing when the filter is about $SYS. */
void sys_topics_on_subscribe(struct broker *broker, struct bytes filter);
