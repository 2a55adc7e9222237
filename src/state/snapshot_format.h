/* The form of a snapshot, shared by snapshot.c (writes) and restore.c (reads).
 *
 *   "mcstate\n" | version (32 bits) | level (32 bits) | bytes in all (64 bits) | body
 *
 * The level is the highest of all commands that have been applied: a program below it does not read
 * on. What comes with a new level stands in the body only from that level on, so that nodes of
 * neighbouring versions write the same bytes and read each other's until the new commands are used.
 *
 * The body is numbers (varint), byte strings (length, bytes) and lists (count, items):
 *
 *   applied index, newest time                                              (time: from version 2)
 *   origins   node id, epoch, sequence                                      in order of node ids
 *   settings  key, value                                                    in order of keys
 *   users     name, role, password record                                   in order of names
 *   next rule id; rules: id, subject, action, filter, allow                 in order of ids
 *   cluster   packed message Members (commands.proto)                       (from version 2)
 *   retained  message                                                       in order of topics
 *   wills     client id, message, due, connection, delay, expiry            in order of client ids
 *   sessions  client id, user name, created, expires, connection, last opening (from level 3),
 *             dropped, expiry, receive maximum, version,
 *             subscriptions: filter, options, id                      in order of subscribing
 *             received packet ids                                           ascending
 *             first delivery's number; deliveries: flags, [subscription ids, message]    in order
 * of client ids
 *
 * A message is n > 0, "the n-th message of this snapshot", or 0 followed by a new one: flags,
 * expires, topic, properties, payload bytes, then these three together. */
#pragma once

#define SNAPSHOT_MAGIC        "mcstate\n"
#define SNAPSHOT_MAGIC_BYTES  8
#define SNAPSHOT_HEADER_BYTES 24

/* Message and delivery flags: QoS, retain. */
#define SNAPSHOT_QOS_MASK 0x03
#define SNAPSHOT_RETAIN   0x04
/* Deliveries: enum delivery_state. Only WAITING is followed by subscription ids and a message; only
 * it has the flags above. */
#define SNAPSHOT_STATE_SHIFT 4
/* Subscription options: QoS as above. */
#define SNAPSHOT_NO_LOCAL              0x04
#define SNAPSHOT_RETAIN_AS_PUBLISHED   0x08
#define SNAPSHOT_RETAIN_HANDLING_SHIFT 4
