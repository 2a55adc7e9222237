/* The cluster's tables by way of the log: who may join, what may be changed, what is refused with
 * which words, what a snapshot keeps. */
#include "state/fixture.h"
#include "state/level.h"
#include "state/propose_cluster.h"

#define HOUR_MS (3600u * 1000)

static int setup(void **out)
{
    struct fixture *fixture = g_new(struct fixture, 1);
    fixture_init(fixture);
    *out = fixture;
    return 0;
}

static int teardown(void **in)
{
    fixture_deinit(*in);
    g_free(*in);
    return 0;
}

static struct state_node_join joining(uint64_t node_id, const char *name, uint64_t token_id)
{
    return (struct state_node_join){.node_id = node_id,
                                    .name = name,
                                    .address = "10.0.0.1:7474",
                                    .version = "0.2.0",
                                    .certificate = "ab:cd",
                                    .token_id = token_id,
                                    .command_level = STATE_COMMAND_LEVEL};
}

/* What was wrong, or NULL; valid until the next command. */
static const char *propose_join(struct fixture *fixture, const struct state_node_join *join)
{
    return run(fixture, state_propose_node_join(fixture->state, join, &fixture->completion))
        ->message;
}

static const char *join(struct fixture *fixture, uint64_t node_id, const char *name,
                        uint64_t token_id)
{
    struct state_node_join wanted = joining(node_id, name, token_id);
    return propose_join(fixture, &wanted);
}

static const char *put_token(struct fixture *fixture, uint64_t token_id, enum node_role role)
{
    struct join_token token = {.id = token_id,
                               .role = role,
                               .secret_sha256 = {1, 2, 3},
                               .expires_unix_ms = fixture->now_unix_ms + HOUR_MS};
    return run(fixture, state_propose_token_put(fixture->state, &token, &fixture->completion))
        ->message;
}

static const char *update(struct fixture *fixture, const struct state_node_update *wanted)
{
    return run(fixture, state_propose_node_update(fixture->state, wanted, &fixture->completion))
        ->message;
}

static const char *label(struct fixture *fixture, uint64_t node_id, const char *key,
                         const char *value)
{
    return run(fixture,
               state_propose_node_label(fixture->state, node_id, key, value, &fixture->completion))
        ->message;
}

static const char *remove_node(struct fixture *fixture, uint64_t node_id, bool is_forced)
{
    return run(fixture,
               state_propose_node_remove(fixture->state, node_id, is_forced, &fixture->completion))
        ->message;
}

static const char *set_vip(struct fixture *fixture, const char *address, const char *interface)
{
    return run(fixture,
               state_propose_vip_set(fixture->state, address, interface, &fixture->completion))
        ->message;
}

static void assert_has(const char *text, const char *part)
{
    assert_non_null(text);
    if (!strstr(text, part)) {
        fail_msg("expected '%s' in '%s'", part, text);
    }
}

/* Two nodes: the founder and one that joined. */
static void found(struct fixture *fixture)
{
    assert_null(join(fixture, NODE_ID, "hall", 0));
    assert_null(put_token(fixture, 70, NODE_ROLE_AUTO));
    assert_null(join(fixture, 0x1005, "attic", 70));
}

/* ---- joining ---- */

static void the_founder_needs_no_token_and_all_others_need_one(void **in)
{
    struct fixture *fixture = *in;
    assert_null(join(fixture, NODE_ID, "hall", 0));
    assert_has(join(fixture, 5, "attic", 0), "a token is needed");
    assert_has(join(fixture, 5, "attic", 71), "does not know the token");
    assert_null(put_token(fixture, 71, NODE_ROLE_AUTO));
    assert_null(join(fixture, 5, "attic", 71));
    assert_int_equal(state_node_count(fixture->state), 2);
    const struct cluster_node *node = state_find_node(fixture->state, 5);
    assert_string_equal(node->name, "attic");
    assert_string_equal(node->address, "10.0.0.1:7474");
    assert_int_equal(node->joined_unix_ms, fixture->now_unix_ms);
    assert_ptr_equal(state_find_node_by_name(fixture->state, "attic"), node);
    assert_int_equal(state_find_token(fixture->state, 71)->used_by, 5);
    assert_string_equal(fixture->events->str, "nodes;nodes;");
}

static void a_token_lets_one_node_in_and_ends(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    assert_has(join(fixture, 6, "cellar", 70), "was used by node attic");
    assert_null(put_token(fixture, 71, NODE_ROLE_AUTO));
    fixture->now_unix_ms += HOUR_MS + 5000;
    assert_has(join(fixture, 6, "cellar", 71), "ended 5 s ago");
    assert_int_equal(state_node_count(fixture->state), 2);
    assert_int_equal(state_find_token(fixture->state, 71)->used_by, 0);
}

static void who_joins_twice_with_the_same_words_is_in_once(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    assert_null(join(fixture, 0x1005, "attic", 70));
    assert_int_equal(state_node_count(fixture->state), 2);
}

static void names_ids_and_their_lowest_bits_are_taken_once(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    put_token(fixture, 71, NODE_ROLE_AUTO);
    assert_has(join(fixture, 6, "attic", 71), "there is a node 'attic' already");
    assert_has(join(fixture, 0x2005, "cellar", 71), "too near to that of node 'attic'");
    assert_has(join(fixture, 0x3000, "cellar", 71), "its id is not possible");
    assert_has(join(fixture, 6, "-", 71), "a name has 1..63 letters");
    struct state_node_join wanted = joining(6, "cellar", 71);
    wanted.address = "nowhere";
    assert_has(propose_join(fixture, &wanted), "must be HOST:PORT");
    wanted.address = "[fd00::1]:7474";
    assert_null(propose_join(fixture, &wanted));
}

static void an_identity_that_was_removed_never_comes_back(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    assert_null(remove_node(fixture, NODE_ID, false));
    assert_null(state_find_node(fixture->state, NODE_ID));
    assert_true(state_node_was_here(fixture->state, NODE_ID));
    put_token(fixture, 71, NODE_ROLE_AUTO);
    assert_has(join(fixture, NODE_ID, "hall", 71), "an identity is never used twice");
}

static void a_program_too_old_or_too_new_does_not_join(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    put_token(fixture, 71, NODE_ROLE_AUTO);
    struct state_node_join wanted = joining(6, "cellar", 71);
    wanted.command_level = STATE_COMMAND_LEVEL - 1;
    wanted.version = "0.1.0";
    assert_has(propose_join(fixture, &wanted), "microcloud 0.1.0 is too old");
    wanted.command_level = STATE_COMMAND_LEVEL + 2;
    assert_has(propose_join(fixture, &wanted), "is too new for this cluster, whose node '");
    wanted.command_level = STATE_COMMAND_LEVEL + 1;
    assert_null(propose_join(fixture, &wanted));
    assert_int_equal(state_command_level(fixture->state), STATE_COMMAND_LEVEL);
}

static void the_tokens_role_counts_before_the_wish_of_the_node(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    put_token(fixture, 71, NODE_ROLE_SPARE);
    put_token(fixture, 72, NODE_ROLE_AUTO);
    struct state_node_join wanted = joining(6, "cellar", 71);
    wanted.role = NODE_ROLE_VOTER;
    assert_null(propose_join(fixture, &wanted));
    assert_int_equal(state_find_node(fixture->state, 6)->role, NODE_ROLE_SPARE);
    wanted = joining(7, "router", 72);
    wanted.role = NODE_ROLE_WITNESS;
    assert_null(propose_join(fixture, &wanted));
    assert_int_equal(state_find_node(fixture->state, 7)->role, NODE_ROLE_WITNESS);
}

static void nodes_and_tokens_have_a_limit_and_old_tokens_are_forgotten(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    for (uint64_t id = 100; state_node_count(fixture->state) < NODES_MAX; id++) {
        g_autofree char *name = g_strdup_printf("n%u", (unsigned)id);
        assert_null(put_token(fixture, id, NODE_ROLE_AUTO));
        assert_null(join(fixture, id, name, id));
    }
    for (uint64_t id = 1000; state_token_count(fixture->state) < TOKENS_MAX; id++) {
        assert_null(put_token(fixture, id, NODE_ROLE_AUTO));
    }
    assert_has(join(fixture, 99, "last", 1000), "as many nodes as allowed (100)");
    assert_has(put_token(fixture, 5000, NODE_ROLE_AUTO), "as many as allowed (256");
    fixture->now_unix_ms += HOUR_MS + (uint64_t)7 * 24 * HOUR_MS + 1;
    assert_null(put_token(fixture, 5000, NODE_ROLE_AUTO));
    assert_int_equal(state_token_count(fixture->state), 1);
}

static void a_command_waits_until_every_node_can_apply_it(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    struct state_node_update older = {
        .node_id = NODE_ID, .fields = NODE_FIELD_VERSION, .version = "0.1.0", .command_level = 1};
    assert_null(update(fixture, &older));
    assert_int_equal(state_command_level(fixture->state), 1);
    assert_int_equal(state_propose_vip_set(fixture->state, "10.0.0.9/24", "", NULL), -ENOTSUP);
    set(fixture, "mqtt.sessions_max", "9"); /* what is older goes on */
    assert_int_equal(state_settings(fixture->state)->sessions_max, 9);
}

/* ---- changes ---- */

static void a_node_changes_field_by_field(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    struct state_node_update wanted = {.node_id = 0x1005,
                                       .fields = NODE_FIELDS,
                                       .name = "roof",
                                       .address = "roof.lan:7474",
                                       .version = "0.3.0",
                                       .certificate = "ef",
                                       .role = NODE_ROLE_VOTER,
                                       .command_level = STATE_COMMAND_LEVEL,
                                       .is_drained = true};
    assert_null(update(fixture, &wanted));
    const struct cluster_node *node = state_find_node(fixture->state, 0x1005);
    assert_string_equal(node->name, "roof");
    assert_string_equal(node->version, "0.3.0");
    assert_string_equal(node->certificate, "ef");
    assert_int_equal(node->role, NODE_ROLE_VOTER);
    assert_true(node->is_drained);
    wanted.fields = NODE_FIELD_DRAINED;
    wanted.is_drained = false;
    assert_null(update(fixture, &wanted));
    assert_false(node->is_drained);
    assert_string_equal(node->address, "roof.lan:7474");
    wanted.fields = NODE_FIELD_NAME;
    wanted.name = "hall";
    assert_has(update(fixture, &wanted), "there is a node 'hall' already");
    wanted.node_id = 99;
    assert_has(update(fixture, &wanted), "there is none of this id");
}

static void labels_are_kept_in_order_and_have_a_limit(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    assert_null(label(fixture, NODE_ID, "zone", "cellar"));
    assert_null(label(fixture, NODE_ID, "disk", "ssd"));
    assert_null(label(fixture, NODE_ID, "zone", "attic"));
    const struct cluster_node *node = state_find_node(fixture->state, NODE_ID);
    assert_int_equal(node->label_count, 2);
    assert_string_equal(node->labels[0].key, "disk");
    assert_string_equal(cluster_node_label(node, "zone"), "attic");
    assert_null(label(fixture, NODE_ID, "disk", NULL));
    assert_null(cluster_node_label(node, "disk"));
    assert_has(label(fixture, NODE_ID, "disk", NULL), "it has no label 'disk'");
    assert_has(label(fixture, NODE_ID, "=", "x"), "a key has 1..63 letters");
    g_autofree char *longer = g_strnfill(129, 'x');
    assert_has(label(fixture, NODE_ID, "zone", longer), "a value is UTF-8 of at most 128 bytes");
    assert_has(label(fixture, 99, "zone", "x"), "there is none of this id");
    for (int i = 0; i < NODE_LABELS_MAX - 1; i++) {
        g_autofree char *key = g_strdup_printf("k%d", i);
        assert_null(label(fixture, NODE_ID, key, "v"));
    }
    assert_has(label(fixture, NODE_ID, "more", "v"), "as many labels as allowed (64)");
}

static void open_on(struct fixture *fixture, const char *client_id, uint64_t connection_number)
{
    struct state_will will = {.topic = text("gone"), .payload = text(client_id)};
    struct state_open open = {.client_id = text(client_id),
                              .is_persistent = true,
                              .expiry_s = 600,
                              .version = 5,
                              .connection_number = connection_number,
                              .will = &will};
    run(fixture, state_propose_open(fixture->state, &open, &fixture->completion));
}

static void the_connections_of_a_dead_node_break_and_those_of_others_stay(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    open_on(fixture, "here", state_connection_number(NODE_ID, EPOCH, 1));
    open_on(fixture, "earlier", state_connection_number(NODE_ID, EPOCH - 1, 9));
    open_on(fixture, "after", state_connection_number(NODE_ID, EPOCH + 1, 1));
    open_on(fixture, "there", state_connection_number(0x1005, 1, 1));
    fixture_clear_events(fixture);
    run(fixture, state_propose_node_down(fixture->state, NODE_ID, &fixture->completion));
    assert_string_equal(fixture->events->str, "publish gone by earlier;publish gone by here;");
    assert_int_equal(session_of(fixture, "here")->connection_number, 0);
    assert_int_equal(session_of(fixture, "here")->expires_unix_ms, fixture->now_unix_ms + 600000);
    assert_int_not_equal(session_of(fixture, "after")->connection_number, 0);
    assert_int_not_equal(session_of(fixture, "there")->connection_number, 0);
    assert_non_null(state_find_node(fixture->state, NODE_ID));
}

static void the_connections_of_a_removed_node_break(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    open_on(fixture, "here", state_connection_number(NODE_ID, EPOCH, 1));
    assert_null(remove_node(fixture, NODE_ID, false));
    assert_int_equal(session_of(fixture, "here")->connection_number, 0);
    open_on(fixture, "late", state_connection_number(NODE_ID, EPOCH, 2));
    assert_null(session_of(fixture, "late")); /* nobody would ever close it */
    assert_has(remove_node(fixture, NODE_ID, false), "there is none of this id");
}

/* Its log must end in the same state as ours. */
static void an_older_program_opens_what_a_removed_node_had_let_in(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    struct state_node_update older = {.node_id = NODE_ID,
                                      .fields = NODE_FIELD_VERSION,
                                      .version = "0.1.0",
                                      .command_level = LEVEL_OTHERS - 1};
    assert_null(remove_node(fixture, 0x1005, false));
    assert_null(update(fixture, &older));
    open_on(fixture, "late", state_connection_number(0x1005, 1, 1));
    assert_non_null(session_of(fixture, "late"));
    older.command_level = LEVEL_OTHERS;
    assert_null(update(fixture, &older));
    open_on(fixture, "later", state_connection_number(0x1005, 1, 2));
    assert_null(session_of(fixture, "later"));
}

/* Each could be spared when it was asked for. */
static void of_two_that_are_removed_at_once_one_stays(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    put_token(fixture, 71, NODE_ROLE_AUTO);
    assert_null(join(fixture, 6, "cellar", 71));
    assert_int_equal(state_propose_node_remove(fixture->state, 6, false, NULL), 0);
    assert_has(remove_node(fixture, 0x1005, false),
               "node 'attic': another one came or was removed meanwhile");
    assert_null(state_find_node(fixture->state, 6));
    assert_non_null(state_find_node(fixture->state, 0x1005));
    assert_null(remove_node(fixture, 0x1005, false));
}

static void a_removal_during_which_another_joins_is_refused(void **in)
{
    struct fixture *fixture = *in;
    struct state_node_join wanted = joining(6, "cellar", 71);
    found(fixture);
    put_token(fixture, 71, NODE_ROLE_AUTO);
    assert_int_equal(state_propose_node_join(fixture->state, &wanted, NULL), 0);
    assert_has(remove_node(fixture, 0x1005, false), "meanwhile");
    assert_int_equal(state_node_count(fixture->state), 3);
}

/* A node that is forced on alone removes all others at once. */
static void what_is_forced_is_not_refused(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    put_token(fixture, 71, NODE_ROLE_AUTO);
    assert_null(join(fixture, 6, "cellar", 71));
    assert_int_equal(state_propose_node_remove(fixture->state, 6, true, NULL), 0);
    assert_null(remove_node(fixture, 0x1005, true));
    assert_int_equal(state_node_count(fixture->state), 1);
}

/* Older programs could not read who else was there. */
static void the_others_are_not_named_to_older_nodes(void **in)
{
    struct fixture *fixture = *in;
    struct state_node_update older = {.node_id = NODE_ID,
                                      .fields = NODE_FIELD_VERSION,
                                      .version = "0.1.0",
                                      .command_level = STATE_COMMAND_LEVEL - 1};
    found(fixture);
    assert_null(update(fixture, &older));
    assert_null(remove_node(fixture, 0x1005, false));
    assert_int_equal(fixture->result.error, 0);
    assert_null(state_find_node(fixture->state, 0x1005));
}

/* ---- virtual addresses, authority ---- */

static void a_virtual_address_has_one_form(void **in)
{
    struct fixture *fixture = *in;
    assert_null(set_vip(fixture, "FD00:0:0::50/64", "eth0"));
    assert_null(set_vip(fixture, "192.168.1.60/24", ""));
    assert_null(set_vip(fixture, "192.168.1.50/24", ""));
    assert_null(set_vip(fixture, "fd00::50/48", "eth1"));
    assert_int_equal(state_vip_count(fixture->state), 3);
    assert_string_equal(state_vip_at(fixture->state, 0)->address, "192.168.1.50");
    assert_string_equal(state_vip_at(fixture->state, 1)->address, "192.168.1.60");
    const struct virtual_address *last = state_vip_at(fixture->state, 2);
    assert_string_equal(last->address, "fd00::50");
    assert_string_equal(last->interface, "eth1");
    assert_int_equal(last->prefix, 48);
    assert_true(last->is_ipv6);
    assert_string_equal(fixture->events->str, "vips;vips;vips;vips;");
    assert_null(run(fixture,
                    state_propose_vip_remove(fixture->state, "fd00:0::50/64", &fixture->completion))
                    ->message);
    assert_null(
        run(fixture, state_propose_vip_remove(fixture->state, "192.168.1.50", &fixture->completion))
            ->message);
    assert_has(
        run(fixture, state_propose_vip_remove(fixture->state, "192.168.1.50", &fixture->completion))
            ->message,
        "there is none of this address");
    assert_int_equal(state_vip_count(fixture->state), 1);
}

static void a_virtual_address_that_no_host_can_have_is_refused(void **in)
{
    static const char *const cases[][3] = {
        {"192.168.1.50", "", "must be ADDRESS/PREFIX"},
        {"192.168.1.500/24", "", "must be ADDRESS/PREFIX"},
        {"hall/24", "", "must be ADDRESS/PREFIX"},
        {"192.168.1.50/33", "", "the prefix must be 1..32"},
        {"192.168.1.50/0", "", "the prefix must be 1..32"},
        {"192.168.1.50/24x", "", "the prefix must be 1..32"},
        {"fd00::50/129", "", "the prefix must be 1..128"},
        {"127.0.0.1/8", "", "no host can have this address"},
        {"224.0.0.1/4", "", "no host can have this address"},
        {"255.255.255.255/32", "", "no host can have this address"},
        {"0.0.0.0/1", "", "no host can have this address"},
        {"::1/128", "", "no host can have this address"},
        {"::/64", "", "no host can have this address"},
        {"ff02::1/16", "", "no host can have this address"},
        {"192.168.1.50/24", "an interface", "the interface's name"},
        {"192.168.1.50/24", "../eth0", "the interface's name"},
        {"192.168.1.50/24", "sixteen-letters-", "the interface's name"},
    };
    struct fixture *fixture = *in;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        assert_has(set_vip(fixture, cases[i][0], cases[i][1]), cases[i][2]);
    }
    for (int i = 0; i < VIPS_MAX; i++) {
        g_autofree char *address = g_strdup_printf("10.1.1.%d/24", i + 1);
        assert_null(set_vip(fixture, address, ""));
    }
    assert_has(set_vip(fixture, "10.1.1.99/24", ""), "as many as allowed (16)");
    assert_null(set_vip(fixture, "10.1.1.1/16", "eth0"));
}

static void the_authority_changes_only_from_the_one_that_was_seen(void **in)
{
    struct fixture *fixture = *in;
    struct state *state = fixture->state;
    struct cluster_ca ca = {.certificate = (char *)"CERT", .key = text("KEY")};
    assert_int_equal(state_ca(state)->generation, 0);
    assert_null(run(fixture, state_propose_ca(state, &ca, &fixture->completion))->message);
    assert_int_equal(state_ca(state)->generation, 1);
    assert_has(run(fixture, state_propose_ca(state, &ca, &fixture->completion))->message,
               "was changed meanwhile");
    ca.generation = 1;
    ca.previous_certificate = (char *)"OLD";
    assert_null(run(fixture, state_propose_ca(state, &ca, &fixture->completion))->message);
    assert_string_equal(state_ca(state)->previous_certificate, "OLD");
    assert_string_equal(fixture->events->str, "ca;ca;");
    g_autofree char *large = g_strnfill(70000, 'x');
    ca = (struct cluster_ca){.certificate = large, .key = text("KEY"), .generation = 2};
    assert_has(run(fixture, state_propose_ca(state, &ca, &fixture->completion))->message,
               "more than 65536 bytes");
    ca = (struct cluster_ca){.certificate = (char *)"", .key = text("KEY"), .generation = 2};
    assert_has(run(fixture, state_propose_ca(state, &ca, &fixture->completion))->message,
               "the certificate or the key is missing");
}

/* ---- time, snapshots ---- */

static void time_never_goes_back(void **in)
{
    struct fixture *fixture = *in;
    open_session(fixture, "x", 1);
    fixture->now_unix_ms -= HOUR_MS;
    close_session(fixture, "x", 1, true);
    assert_int_equal(session_of(fixture, "x")->expires_unix_ms,
                     START_UNIX_MS + session_of(fixture, "x")->expiry_s * 1000ull);
    assert_int_equal(state_time_unix_ms(fixture->state), START_UNIX_MS);
    fixture->now_unix_ms += 2 * HOUR_MS;
    set(fixture, "mqtt.sessions_max", "9");
    assert_int_equal(state_time_unix_ms(fixture->state), START_UNIX_MS + HOUR_MS);
}

static void a_snapshot_keeps_it_all(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    label(fixture, NODE_ID, "zone", "cellar");
    put_token(fixture, 71, NODE_ROLE_WITNESS);
    set_vip(fixture, "192.168.1.50/24", "eth0");
    struct cluster_ca ca = {.certificate = (char *)"CERT", .key = text("KEY")};
    run(fixture, state_propose_ca(fixture->state, &ca, &fixture->completion));
    g_autoptr(GBytes) snapshot = snapshot_of(fixture->state);
    size_t length = 0;
    const uint8_t *at = g_bytes_get_data(snapshot, &length);
    struct state *state = empty_state();
    assert_int_equal(state_restore(state, (struct bytes){at, length}, NULL), 0);
    assert_string_equal(cluster_node_label(state_find_node(state, NODE_ID), "zone"), "cellar");
    assert_int_equal(state_find_token(state, 70)->used_by, 0x1005);
    assert_memory_equal(state_find_token(state, 71)->secret_sha256, "\1\2\3", 3);
    assert_string_equal(state_vip_at(state, 0)->interface, "eth0");
    assert_int_equal(state_ca(state)->generation, 1);
    assert_int_equal(state_time_unix_ms(state), state_time_unix_ms(fixture->state));
    assert_int_equal(state_bytes(state), state_bytes(fixture->state));
    g_autofree char *here = state_digest(fixture->state), *there = state_digest(state);
    assert_string_equal(here, there);
    state_free(state);
}

static void the_state_being_full_stops_it_from_growing(void **in)
{
    struct fixture *fixture = *in;
    found(fixture);
    set(fixture, "state.bytes_max", "1048576");
    g_autofree char *payload = g_strnfill(100, 'p');
    for (int i = 0; publish(fixture, "a", payload, 1, true)->reason == 0; i++) {
        g_autofree char *topic = g_strdup_printf("a/%d", i);
        if (publish(fixture, topic, payload, 1, true)->reason != 0) {
            break;
        }
    }
    assert_has(put_token(fixture, 71, NODE_ROLE_AUTO), "full");
    assert_has(set_vip(fixture, "10.0.0.9/24", ""), "full");
    assert_has(label(fixture, NODE_ID, "zone", "x"), "full");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_founder_needs_no_token_and_all_others_need_one),
        TEST(a_token_lets_one_node_in_and_ends),
        TEST(who_joins_twice_with_the_same_words_is_in_once),
        TEST(names_ids_and_their_lowest_bits_are_taken_once),
        TEST(an_identity_that_was_removed_never_comes_back),
        TEST(a_program_too_old_or_too_new_does_not_join),
        TEST(the_tokens_role_counts_before_the_wish_of_the_node),
        TEST(nodes_and_tokens_have_a_limit_and_old_tokens_are_forgotten),
        TEST(a_command_waits_until_every_node_can_apply_it),
        TEST(a_node_changes_field_by_field),
        TEST(labels_are_kept_in_order_and_have_a_limit),
        TEST(the_connections_of_a_dead_node_break_and_those_of_others_stay),
        TEST(the_connections_of_a_removed_node_break),
        TEST(an_older_program_opens_what_a_removed_node_had_let_in),
        TEST(of_two_that_are_removed_at_once_one_stays),
        TEST(a_removal_during_which_another_joins_is_refused),
        TEST(what_is_forced_is_not_refused),
        TEST(the_others_are_not_named_to_older_nodes),
        TEST(a_virtual_address_has_one_form),
        TEST(a_virtual_address_that_no_host_can_have_is_refused),
        TEST(the_authority_changes_only_from_the_one_that_was_seen),
        TEST(time_never_goes_back),
        TEST(a_snapshot_keeps_it_all),
        TEST(the_state_being_full_stops_it_from_growing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
