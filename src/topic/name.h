/* Topic names and topic filters: the rules of MQTT 5, 4.7 and 4.8.2. Pure. Text is cut into levels
 * at each '/'; an empty level (of "/a", "a//b", "a/") is a level like any other. */
#pragma once

#include "base/bytes.h"
#include "base/utf8.h" /* utf8_is_valid: 1.5.4 */
#include <stdbool.h>

#define TOPIC_BYTES_MAX 65535

/* Non-empty, valid UTF-8, no wildcard (4.7.1, 4.7.3), at most `levels_max` levels. */
bool topic_name_is_valid(struct bytes name, unsigned levels_max);
/* Wildcards only as whole levels, '#' only last (4.7.1); `$share/NAME/FILTER` has a non-empty share
 * name without wildcards and a non-empty filter (4.8.2), whose levels alone count. */
bool topic_filter_is_valid(struct bytes filter, unsigned levels_max);
bool topic_filter_has_wildcard(struct bytes filter);
/* Splits `$share/NAME/FILTER` of a valid filter; false when it is not shared (then outputs are
 * untouched). */
bool topic_filter_split_shared(struct bytes filter, struct bytes *share, struct bytes *rest);
/* For single comparisons (ACL, bridges, clients); filters beginning with a wildcard never match
 * `$...` names (4.7.2). The filter is the bare one: of a shared subscription what follows the share
 * name. */
bool topic_filter_matches(struct bytes filter, struct bytes name);
/* Every name that `inner` (a filter) matches is matched by `outer`: for access checks of
 * subscriptions. */
bool topic_filter_covers(struct bytes outer, struct bytes inner);
