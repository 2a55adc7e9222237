/* From a publication to its subscribers: the live ones at once, those in the replicated state as
 * far as the log does not do it. */
#pragma once

#include "mqtt/publication.h"
#include "state/propose.h"

struct broker;
struct routes;

/* The member of each share group that gets this message (MQTT 5, 4.8.2): chosen once, before it is
 * known whether the log is needed. */
struct share_choices {
    struct subscription **members; /* owned; NULL when there is no group */
    uint32_t count;
    struct remote_choice *remote; /* owned; groups whose member another node chooses; NULL = none */
    uint32_t remote_count;
};
struct remote_choice {
    unsigned slot; /* of the peer */
    char *filter;  /* owned, `$share/NAME/FILTER` */
};
static inline void share_choices_clear(struct share_choices *choices)
{
    g_clear_pointer(&choices->members, g_free);
    for (uint32_t i = 0; i < choices->remote_count; i++) {
        g_free(choices->remote[i].filter);
    }
    g_clear_pointer(&choices->remote, g_free);
    choices->remote_count = 0;
}
/* `choices` is empty before. */
void deliver_choose_shares(struct broker *broker, const struct routes *routes, uint8_t qos,
                           struct share_choices *choices);
/* Has the topic any, here or on another node? */
bool deliver_has_shares(struct broker *broker, const struct routes *routes);
/* For a message of another node, which left the choice to this one: among those connected here.
 * `shares` as in remote/record.h. */
void deliver_choose_named(struct broker *broker, struct bytes shares, uint8_t qos,
                          struct share_choices *choices);
/* Those of them that the log serves, and which node serves the others, for the command: caller
 * frees with deliver_free_targets. NULL and 0 when there are none. */
struct state_share_target *
deliver_share_targets(struct broker *broker, const struct share_choices *choices, uint32_t *count);
void deliver_free_targets(struct state_share_target *targets, uint32_t count);
/* Is there a subscriber for whom this message must be kept in the log? */
bool deliver_needs_log(struct broker *broker, const struct publication *publication,
                       const struct routes *routes, const struct share_choices *choices);

/* To everybody that does not get it by way of the log: live sessions, and connected persistent ones
 * whose QoS comes to 0. Counts into publication->matched and notes a congested subscriber. */
void deliver_now(struct broker *broker, struct publication *publication,
                 const struct routes *routes, const struct share_choices *choices);
/* A committed publication: the same; of share groups those that no persistent member and no other
 * node serves (`targets`). */
void deliver_committed(struct broker *broker, struct publication *publication,
                       const struct state_share_target *targets, uint32_t target_count);
