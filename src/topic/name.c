/* Rules of topic names and filters. Every function walks its text once, level by level, and keeps
 * no state; what is not well formed is simply not valid, and matches nothing unexpected. */
#include "topic/name.h"

#define SHARE_PREFIX       "$share/"
#define SHARE_PREFIX_BYTES (sizeof SHARE_PREFIX - 1)

/* Takes the next level off `rest`; false when there is none left. `rest->at` is NULL after the last
 * one. */
static bool next_level(struct bytes *rest, struct bytes *level)
{
    if (!rest->at) {
        return false;
    }
    const uint8_t *slash = rest->length > 0 ? memchr(rest->at, '/', rest->length) : NULL;
    if (slash) {
        size_t length = (size_t)(slash - rest->at);
        *level = (struct bytes){rest->at, length};
        *rest = (struct bytes){slash + 1, rest->length - length - 1};
    } else {
        *level = *rest;
        *rest = (struct bytes){NULL, 0};
    }
    return true;
}

static bool is_level(struct bytes level, char character)
{
    return level.length == 1 && level.at[0] == character;
}

static bool begins_with_dollar(struct bytes text)
{
    return text.length > 0 && text.at[0] == '$';
}

static bool has_any(struct bytes text, char a, char b)
{
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] == a || text.at[i] == b) {
            return true;
        }
    }
    return false;
}

bool topic_name_is_valid(struct bytes name, unsigned levels_max)
{
    unsigned levels = 1;

    if (name.length == 0 || name.length > TOPIC_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.length; i++) {
        if (name.at[i] == '+' || name.at[i] == '#') {
            return false;
        }
        levels += name.at[i] == '/';
    }
    return levels <= levels_max && utf8_is_valid(name);
}

static bool levels_are_valid(struct bytes rest, unsigned levels_max)
{
    struct bytes level;
    unsigned levels = 0;

    while (next_level(&rest, &level)) {
        if (++levels > levels_max) {
            return false;
        }
        if (level.length > 1 && has_any(level, '+', '#')) {
            return false;
        }
        if (is_level(level, '#') && rest.at) {
            return false;
        }
    }
    return true;
}

/* `filter` begins with "$share/". */
static bool shared_is_valid(struct bytes filter, unsigned levels_max)
{
    struct bytes share, rest = {filter.at + SHARE_PREFIX_BYTES, filter.length - SHARE_PREFIX_BYTES};

    if (!next_level(&rest, &share) || share.length == 0 || has_any(share, '+', '#')) {
        return false;
    }
    return rest.length > 0 && levels_are_valid(rest, levels_max);
}

static bool is_shared(struct bytes filter)
{
    return filter.length >= SHARE_PREFIX_BYTES &&
           memcmp(filter.at, SHARE_PREFIX, SHARE_PREFIX_BYTES) == 0;
}

bool topic_filter_is_valid(struct bytes filter, unsigned levels_max)
{
    if (filter.length == 0 || filter.length > TOPIC_BYTES_MAX || !utf8_is_valid(filter)) {
        return false;
    }
    return is_shared(filter) ? shared_is_valid(filter, levels_max)
                             : levels_are_valid(filter, levels_max);
}

bool topic_filter_has_wildcard(struct bytes filter)
{
    return has_any(filter, '+', '#');
}

bool topic_filter_split_shared(struct bytes filter, struct bytes *share, struct bytes *rest)
{
    if (!is_shared(filter)) {
        return false;
    }
    struct bytes name, left = {filter.at + SHARE_PREFIX_BYTES, filter.length - SHARE_PREFIX_BYTES};
    if (!next_level(&left, &name) || !left.at) {
        return false;
    }
    *share = name;
    *rest = left;
    return true;
}

static bool begins_with_wildcard(struct bytes filter)
{
    return filter.length > 0 && (filter.at[0] == '+' || filter.at[0] == '#');
}

bool topic_filter_matches(struct bytes filter, struct bytes name)
{
    struct bytes wanted, level;

    if (filter.length == 0 || name.length == 0 ||
        (begins_with_wildcard(filter) && begins_with_dollar(name))) {
        return false;
    }
    while (next_level(&filter, &wanted)) {
        if (is_level(wanted, '#')) {
            return true; /* the parent level too: `a/#` matches `a` */
        }
        if (!next_level(&name, &level)) {
            return false;
        }
        if (!is_level(wanted, '+') && !bytes_equal(wanted, level)) {
            return false;
        }
        if (!name.at && filter.at) { /* the name ends here: only a '#' may follow */
            return is_level(filter, '#');
        }
    }
    return !name.at;
}

/* `#` as a whole filter stands for at least one level, so it is covered by `+/#` as well. */
static bool covers_everything(struct bytes outer)
{
    return is_level(outer, '#') || bytes_equal(outer, bytes_from_string("+/#"));
}

bool topic_filter_covers(struct bytes outer, struct bytes inner)
{
    struct bytes wanted, level;

    if (outer.length == 0 || inner.length == 0 ||
        (begins_with_wildcard(outer) && begins_with_dollar(inner))) {
        return false;
    }
    if (is_level(inner, '#')) {
        return covers_everything(outer);
    }
    while (next_level(&outer, &wanted)) {
        if (is_level(wanted, '#')) {
            return true;
        }
        if (!next_level(&inner, &level) || is_level(level, '#')) {
            return false;
        }
        if (!is_level(wanted, '+') && !bytes_equal(wanted, level)) {
            return false;
        }
        if (!inner.at && outer.at) {
            return is_level(outer, '#');
        }
    }
    return !inner.at;
}
