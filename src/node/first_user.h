/* The first user, `admin`, with a password of its own in DIR/admin-password (0600): made when the
 * state has no user at all. */
#pragma once

struct node;

/* Calls `fn` once with NULL, or with what went wrong. */
void first_user_ensure(struct node *node, void (*fn)(void *owner, const char *error));
