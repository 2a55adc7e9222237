/* Intrusive doubly linked list. The head is a `struct list` of its own; an empty head and an
 * unlinked member point to themselves, so removing twice is harmless. Members are borrowed, never
 * owned. */
#pragma once

#include "base/cleanup.h"
#include <stdbool.h>

struct list {
    struct list *previous;
    struct list *next;
};

static inline void list_init(struct list *list)
{
    list->previous = list->next = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

/* Links `member` before `position`: with the head as position that is at the end. */
static inline void list_add_before(struct list *position, struct list *member)
{
    member->previous = position->previous;
    member->next = position;
    position->previous->next = member;
    position->previous = member;
}

#define list_append(head, member) list_add_before((head), (member))

static inline void list_remove(struct list *member)
{
    member->previous->next = member->next;
    member->next->previous = member->previous;
    list_init(member);
}

#define list_entry(link, type, member) container_of(link, type, member)

#define list_for_each(link, head)                                                                  \
    for (struct list *link = (head)->next; link != (head); link = link->next)

/* The current member may be removed inside the loop; its successor may not. */
#define list_for_each_safe(link, head)                                                             \
    for (struct list *link = (head)->next, *link##_next = link->next; link != (head);              \
         link = link##_next, link##_next = link->next)
