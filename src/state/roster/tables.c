/* Nodes, tokens and the certificate authority: sorted arrays, as there are few of them. */
#include "state/roster/tables.h"
#include "state/tables.h"
#include <string.h>

#define ENTRY_BYTES 128

static const char *const role_names[] = {"auto", "voter", "spare", "witness"};
G_STATIC_ASSERT(G_N_ELEMENTS(role_names) == NODE_ROLE_COUNT);

const char *node_role_to_string(enum node_role role)
{
    g_assert((unsigned)role < NODE_ROLE_COUNT);
    return role_names[role];
}

bool node_role_from_string(const char *text, enum node_role *role)
{
    for (unsigned i = 0; i < NODE_ROLE_COUNT; i++) {
        if (strcmp(text, role_names[i]) == 0) {
            *role = (enum node_role)i;
            return true;
        }
    }
    return false;
}

static void free_node(void *memory)
{
    struct cluster_node *node = memory;
    for (uint32_t i = 0; i < node->label_count; i++) {
        g_free(node->labels[i].key);
        g_free(node->labels[i].value);
    }
    g_free(node->labels);
    g_free(node->name);
    g_free(node->address);
    g_free(node->version);
    g_free(node->certificate);
    g_free(node);
}

static void free_ca(struct cluster_ca *ca)
{
    g_free(ca->certificate);
    g_free(ca->previous_certificate);
    g_free((void *)ca->key.at);
}

void roster_init(struct roster *roster)
{
    *roster =
        (struct roster){.nodes = g_ptr_array_new_with_free_func(free_node),
                        .tokens = g_ptr_array_new_with_free_func(g_free),
                        .vips = g_ptr_array_new_with_free_func(roster_free_vip),
                        .ca = {.certificate = g_strdup(""), .previous_certificate = g_strdup("")}};
}

void roster_deinit(struct roster *roster)
{
    g_ptr_array_unref(roster->nodes);
    g_ptr_array_unref(roster->tokens);
    g_ptr_array_unref(roster->vips);
    free_ca(&roster->ca);
}

static uint64_t node_bytes(const struct cluster_node *node)
{
    uint64_t bytes = ENTRY_BYTES + strlen(node->name) + strlen(node->address) +
                     strlen(node->version) + strlen(node->certificate);
    for (uint32_t i = 0; i < node->label_count; i++) {
        bytes += strlen(node->labels[i].key) + strlen(node->labels[i].value);
    }
    return bytes;
}

void roster_count_bytes(struct roster *roster)
{
    roster->bytes = (uint64_t)(roster->tokens->len + roster->vips->len) * ENTRY_BYTES +
                    strlen(roster->ca.certificate) + strlen(roster->ca.previous_certificate) +
                    roster->ca.key.length;
    for (uint32_t i = 0; i < roster->nodes->len; i++) {
        roster->bytes += node_bytes(roster->nodes->pdata[i]);
    }
}

/* ---- nodes ---- */

/* Both kinds of entries begin with their id. */
static uint32_t place_of(const GPtrArray *entries, uint64_t id)
{
    uint32_t at = 0;
    while (at < entries->len && *(const uint64_t *)entries->pdata[at] < id) {
        at++;
    }
    return at;
}

G_STATIC_ASSERT(offsetof(struct cluster_node, id) == 0);
G_STATIC_ASSERT(offsetof(struct join_token, id) == 0);

static void *find_entry(const GPtrArray *entries, uint64_t id)
{
    uint32_t at = place_of(entries, id);
    return at < entries->len && *(const uint64_t *)entries->pdata[at] == id ? entries->pdata[at]
                                                                            : NULL;
}

static bool remove_entry(GPtrArray *entries, uint64_t id)
{
    void *entry = find_entry(entries, id);
    return entry && g_ptr_array_remove(entries, entry);
}

struct cluster_node *roster_find_node(const struct roster *roster, uint64_t node_id)
{
    return find_entry(roster->nodes, node_id);
}

bool roster_has_connection(const struct roster *roster, uint64_t connection_number)
{
    bool has = false;

    for (uint32_t i = 0; i < roster->nodes->len && !has; i++) {
        const struct cluster_node *node = roster->nodes->pdata[i];
        has = state_is_connection_of(node->id, connection_number);
    }
    return has;
}

struct cluster_node *roster_find_name(const struct roster *roster, const char *name)
{
    for (uint32_t i = 0; i < roster->nodes->len; i++) {
        struct cluster_node *node = roster->nodes->pdata[i];
        if (strcmp(node->name, name) == 0) {
            return node;
        }
    }
    return NULL;
}

void roster_add_node(struct roster *roster, struct cluster_node *node)
{
    g_assert(!roster_find_node(roster, node->id));
    g_ptr_array_insert(roster->nodes, (int)place_of(roster->nodes, node->id), node);
}

bool roster_remove_node(struct roster *roster, uint64_t node_id)
{
    return remove_entry(roster->nodes, node_id);
}

const struct cluster_node *roster_find_oldest(const struct roster *roster)
{
    const struct cluster_node *oldest = NULL;
    for (uint32_t i = 0; i < roster->nodes->len; i++) {
        const struct cluster_node *node = roster->nodes->pdata[i];
        oldest = !oldest || node->command_level < oldest->command_level ? node : oldest;
    }
    return oldest;
}

uint32_t roster_command_level(const struct roster *roster)
{
    const struct cluster_node *oldest = roster_find_oldest(roster);
    return oldest ? oldest->command_level : 0;
}

void roster_set_text(char **text, const char *value)
{
    char *copy = g_strdup(value);
    g_free(*text);
    *text = copy;
}

void roster_set_label(struct cluster_node *node, const char *key, const char *value)
{
    uint32_t at = 0;
    while (at < node->label_count && strcmp(node->labels[at].key, key) < 0) {
        at++;
    }
    bool is_there = at < node->label_count && strcmp(node->labels[at].key, key) == 0;
    if (is_there && value) {
        roster_set_text(&node->labels[at].value, value);
    } else if (is_there) {
        g_free(node->labels[at].key);
        g_free(node->labels[at].value);
        node->label_count--;
        memmove(&node->labels[at], &node->labels[at + 1],
                (node->label_count - at) * sizeof *node->labels);
    } else if (value) {
        node->labels = g_renew(struct node_label, node->labels, node->label_count + 1);
        memmove(&node->labels[at + 1], &node->labels[at],
                (node->label_count - at) * sizeof *node->labels);
        node->labels[at] = (struct node_label){g_strdup(key), g_strdup(value)};
        node->label_count++;
    }
}

static bool is_word(const char *text, size_t most, const char *others)
{
    size_t length = strlen(text);
    if (length == 0 || length > most || !g_ascii_isalnum(text[0])) {
        return false;
    }
    for (const char *at = text; *at; at++) {
        if (!g_ascii_isalnum(*at) && !strchr(others, *at)) {
            return false;
        }
    }
    return true;
}

static bool is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || strlen(text) > NODE_ADDRESS_BYTES_MAX) {
        return false;
    }
    uint64_t port = 0;
    if (!g_ascii_string_to_unsigned(colon + 1, 10, 1, UINT16_MAX, &port, NULL)) {
        return false;
    }
    for (const char *at = text; *at; at++) {
        if (!g_ascii_isgraph(*at)) {
            return false;
        }
    }
    return true;
}

char *roster_node_problem(const struct cluster_node *node)
{
    if (node->id == 0 || (node->id & 0xfff) == 0) {
        return g_strdup("node: its id is not possible");
    }
    if (!is_word(node->name, NODE_NAME_BYTES_MAX, "._-")) {
        return g_strdup_printf("node: a name has 1..%d letters, digits, '.', '_' or '-' and begins "
                               "with a letter or digit",
                               NODE_NAME_BYTES_MAX);
    }
    if (!is_address(node->address)) {
        return g_strdup_printf("node '%s': its address must be HOST:PORT", node->name);
    }
    if ((unsigned)node->role >= NODE_ROLE_COUNT) {
        return g_strdup_printf("node '%s': role must be auto, voter, spare or witness", node->name);
    }
    if (!is_word(node->version, NODE_VERSION_BYTES_MAX, "._-+~") || node->command_level == 0) {
        return g_strdup_printf("node '%s': its version is not valid", node->name);
    }
    if (*node->certificate && !is_word(node->certificate, NODE_CERTIFICATE_BYTES_MAX, ":")) {
        return g_strdup_printf("node '%s': its certificate's fingerprint is not valid", node->name);
    }
    return NULL;
}

char *roster_label_problem(const char *key, const char *value)
{
    if (!is_word(key, NODE_LABEL_KEY_BYTES_MAX, "._-/")) {
        return g_strdup_printf("label: a key has 1..%d letters, digits, '.', '_', '-' or '/' and "
                               "begins with a letter or digit",
                               NODE_LABEL_KEY_BYTES_MAX);
    }
    if (strlen(value) > NODE_LABEL_VALUE_BYTES_MAX || !g_utf8_validate(value, -1, NULL)) {
        return g_strdup_printf("label '%s': a value is UTF-8 of at most %d bytes", key,
                               NODE_LABEL_VALUE_BYTES_MAX);
    }
    return NULL;
}

/* ---- tokens ---- */

struct join_token *roster_find_token(const struct roster *roster, uint64_t token_id)
{
    return find_entry(roster->tokens, token_id);
}

void roster_put_token(struct roster *roster, const struct join_token *token)
{
    roster_remove_token(roster, token->id);
    struct join_token *copy = g_new(struct join_token, 1);
    *copy = *token;
    g_ptr_array_insert(roster->tokens, (int)place_of(roster->tokens, token->id), copy);
}

bool roster_remove_token(struct roster *roster, uint64_t token_id)
{
    return remove_entry(roster->tokens, token_id);
}

void roster_forget_tokens(struct roster *roster, uint64_t now_unix_ms)
{
    for (uint32_t i = roster->tokens->len; i > 0; i--) {
        const struct join_token *token = roster->tokens->pdata[i - 1];
        if (token->expires_unix_ms < now_unix_ms &&
            now_unix_ms - token->expires_unix_ms > TOKEN_FORGET_MS) {
            g_ptr_array_remove_index(roster->tokens, i - 1);
        }
    }
}

/* ---- certificate authority ---- */

char *roster_ca_problem(const struct cluster_ca *ca)
{
    if (strlen(ca->certificate) + strlen(ca->previous_certificate) + ca->key.length >
        CA_BYTES_MAX) {
        return g_strdup_printf("certificate authority: it has more than %d bytes", CA_BYTES_MAX);
    }
    if (!*ca->certificate || ca->key.length == 0) {
        return g_strdup("certificate authority: the certificate or the key is missing");
    }
    return NULL;
}

void roster_set_ca(struct roster *roster, const struct cluster_ca *ca)
{
    struct cluster_ca old = roster->ca;
    roster->ca = (struct cluster_ca){
        .certificate = g_strdup(ca->certificate),
        .previous_certificate = g_strdup(ca->previous_certificate),
        .key = {g_memdup2(ca->key.at, ca->key.length), ca->key.length},
        .generation = ca->generation,
    };
    free_ca(&old);
}

/* ---- reading from outside ---- */

uint32_t state_node_count(const struct state *state)
{
    return state->tables.roster.nodes->len;
}

const struct cluster_node *state_node_at(const struct state *state, uint32_t at)
{
    g_assert(at < state_node_count(state));
    return state->tables.roster.nodes->pdata[at];
}

const struct cluster_node *state_find_node(const struct state *state, uint64_t node_id)
{
    return roster_find_node(&state->tables.roster, node_id);
}

const struct cluster_node *state_find_node_by_name(const struct state *state, const char *name)
{
    return roster_find_name(&state->tables.roster, name);
}

const char *cluster_node_label(const struct cluster_node *node, const char *key)
{
    for (uint32_t i = 0; i < node->label_count; i++) {
        if (strcmp(node->labels[i].key, key) == 0) {
            return node->labels[i].value;
        }
    }
    return NULL;
}

bool state_node_was_here(const struct state *state, uint64_t node_id)
{
    return tables_has_origin(&state->tables, node_id);
}

uint32_t state_command_level(const struct state *state)
{
    uint32_t level = roster_command_level(&state->tables.roster);
    return level == 0 ? STATE_COMMAND_LEVEL : MIN(level, STATE_COMMAND_LEVEL);
}

uint32_t state_token_count(const struct state *state)
{
    return state->tables.roster.tokens->len;
}

const struct join_token *state_token_at(const struct state *state, uint32_t at)
{
    g_assert(at < state_token_count(state));
    return state->tables.roster.tokens->pdata[at];
}

const struct join_token *state_find_token(const struct state *state, uint64_t token_id)
{
    return roster_find_token(&state->tables.roster, token_id);
}

uint32_t state_vip_count(const struct state *state)
{
    return state->tables.roster.vips->len;
}

const struct virtual_address *state_vip_at(const struct state *state, uint32_t at)
{
    g_assert(at < state_vip_count(state));
    return state->tables.roster.vips->pdata[at];
}

const struct cluster_ca *state_ca(const struct state *state)
{
    return &state->tables.roster.ca;
}

uint64_t state_time_unix_ms(const struct state *state)
{
    return state->tables.time_unix_ms;
}
