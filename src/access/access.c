/* Logins: who may come in, and as what.
 *
 *   attempt -> known at once (in-process, certificate, anonymous) -> identity
 *           -> user name and password -> [waits after failures from its address] -> worker pool
 * (PBKDF2) -> identity or refusal
 *
 * A password that was right a moment ago is known by its keyed hash, so that a house that
 * reconnects at once costs one PBKDF2 a user and not one a device. The cache is dropped whenever a
 * user changes. */
#include "access/access.h"
#include "access/access_private.h"
#include "access/password.h"
#include "access/throttle.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "loop/loop.h"
#include "loop/work.h"
#include "state/access_rules.h"
#include "state/settings.h"
#include "state/state.h"
#include <errno.h>
#include <glib.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define KNOWN_MAX         1024
#define DIGEST_TEXT_BYTES (2 * SHA256_BYTES + 1)

struct access {
    struct loop *loop;   /* borrowed */
    struct state *state; /* borrowed */
    struct throttle *throttle;
    struct list tickets; /* of access_ticket.link */
    GHashTable *known;   /* keyed hashes of name and password that were right */
    uint64_t known_generation;
    uint8_t secret[SHA256_BYTES];
};

struct access_ticket {
    struct list link;
    struct access *access;
    void (*fn)(void *owner, enum access_outcome outcome,
               struct identity *identity); /* NULL once cancelled */
    void *owner;
    struct timer *timer;
    char *username, *address, *record; /* username: NULL when it only waits */
    uint8_t *password;
    size_t password_bytes;
    bool is_right;
};

struct state *access_state(const struct access *access)
{
    return access->state;
}

struct access *access_new(struct loop *loop, struct state *state)
{
    struct access *access = g_new0(struct access, 1);

    access->loop = loop;
    access->state = state;
    list_init(&access->tickets);
    access->throttle = throttle_new();
    access->known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (RAND_bytes(access->secret, sizeof access->secret) != 1) {
        log_error("no randomness from the system", "error=\"RAND_bytes failed\"");
        abort();
    }
    return access;
}

void identity_clear(struct identity *identity)
{
    g_clear_pointer(&identity->username, g_free);
    identity->role = ROLE_NONE;
}

void access_fake_salt(const struct access *access, const char *username, uint8_t salt[SHA256_BYTES])
{
    unsigned length = SHA256_BYTES;

    HMAC(EVP_sha256(), access->secret, sizeof access->secret, (const uint8_t *)username,
         strlen(username), salt, &length);
}

bool access_is_user(const struct access *access, const char *username)
{
    return username && state_find_user(access->state, username);
}

bool access_identity_of(struct access *access, const char *username, struct identity *identity)
{
    const struct user *user = state_find_user(access->state, username);

    if (!user) {
        return false;
    }
    *identity = (struct identity){g_strdup(username), role_from_string(user->role)};
    return true;
}

/* ---- what needs no password ---- */

static void identify_certificate(struct access *access, const char *common_name,
                                 struct identity *identity)
{
    if (!access_identity_of(access, common_name, identity)) {
        *identity = (struct identity){g_strdup(common_name), ROLE_DEVICE};
    }
}

int access_check_quick(struct access *access, const struct access_attempt *attempt,
                       struct identity *identity)
{
    const struct settings *settings = state_settings(access->state);

    if (attempt->is_trusted) {
        *identity = (struct identity){
            g_strndup((const char *)attempt->username.at, attempt->username.length), ROLE_ADMIN};
        return 1;
    }
    if (attempt->certificate_cn && settings->certificate_as_username) {
        identify_certificate(access, attempt->certificate_cn, identity);
        return 1;
    }
    if (attempt->has_username) {
        return -EAGAIN;
    }
    bool is_let_in = settings->anonymous == ANONYMOUS_ON ||
                     (settings->anonymous == ANONYMOUS_LOOPBACK && attempt->is_loopback);
    if (is_let_in) {
        *identity = (struct identity){NULL, ROLE_DEVICE};
    }
    return is_let_in;
}

/* ---- passwords ---- */

static void known_key(const struct access_ticket *ticket, char text[DIGEST_TEXT_BYTES])
{
    uint8_t digest[SHA256_BYTES];
    unsigned length = sizeof digest;
    GByteArray *both = g_byte_array_new();

    g_byte_array_append(both, (const uint8_t *)ticket->username,
                        (unsigned)strlen(ticket->username) + 1);
    g_byte_array_append(both, ticket->password, (unsigned)ticket->password_bytes);
    HMAC(EVP_sha256(), ticket->access->secret, SHA256_BYTES, both->data, both->len, digest,
         &length);
    OPENSSL_cleanse(both->data, both->len);
    g_byte_array_unref(both);
    for (unsigned i = 0; i < sizeof digest; i++) {
        g_snprintf(text + 2 * i, 3, "%02x", digest[i]);
    }
}

static bool is_known(struct access_ticket *ticket)
{
    struct access *access = ticket->access;
    char key[DIGEST_TEXT_BYTES];
    uint64_t generation = state_access_generation(access->state);

    if (access->known_generation != generation) {
        g_hash_table_remove_all(access->known);
        access->known_generation = generation;
    }
    known_key(ticket, key);
    return g_hash_table_contains(access->known, key);
}

static void remember(struct access_ticket *ticket)
{
    char key[DIGEST_TEXT_BYTES];

    if (g_hash_table_size(ticket->access->known) >= KNOWN_MAX) {
        g_hash_table_remove_all(ticket->access->known);
    }
    known_key(ticket, key);
    g_hash_table_add(ticket->access->known, g_strdup(key));
}

static void ticket_free(struct access_ticket *ticket)
{
    if (ticket->password) {
        OPENSSL_cleanse(ticket->password, ticket->password_bytes);
    }
    list_remove(&ticket->link);
    timer_free(ticket->timer);
    g_free(ticket->username);
    g_free(ticket->address);
    g_free(ticket->record);
    g_free(ticket->password);
    g_free(ticket);
}

void access_note_login(struct access *access, const char *address, bool was_right)
{
    if (was_right) {
        throttle_succeeded(access->throttle, address);
    } else {
        throttle_failed(access->throttle, address, clock_now_ms());
        log_warning("login failed", "address=%s", address);
    }
}

static void answer(struct access_ticket *ticket)
{
    struct access *access = ticket->access;
    struct identity identity = {0};
    enum access_outcome outcome = ACCESS_BAD_PASSWORD;

    /* The user may have gone while the password was checked. */
    bool is_granted = ticket->is_right && access_identity_of(access, ticket->username, &identity);
    access_note_login(access, ticket->address, is_granted);
    if (is_granted) {
        outcome = ACCESS_GRANTED;
        remember(ticket);
    }
    if (ticket->fn) {
        ticket->fn(ticket->owner, outcome, &identity);
    }
    identity_clear(&identity);
    ticket_free(ticket);
}

static void verify(void *owner)
{
    struct access_ticket *ticket = owner;

    ticket->is_right =
        password_verify(ticket->record, (struct bytes){ticket->password, ticket->password_bytes});
}

static void on_verified(void *owner)
{
    answer(owner);
}

/* An unknown user costs as much time as a known one. */
static const char unknown_record[] =
    "$7$50000$AAAAAAAAAAAAAAAAAAAAAA==$"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

static void on_turn(void *owner)
{
    struct access_ticket *ticket = owner;

    if (!ticket->fn) {
        ticket_free(ticket);
        return;
    }
    if (!ticket->username) {
        struct identity identity = {0};
        ticket->fn(ticket->owner, ACCESS_GRANTED, &identity);
        ticket_free(ticket);
        return;
    }
    if (is_known(ticket)) {
        ticket->is_right = true;
        answer(ticket);
        return;
    }
    const struct user *user = state_find_user(ticket->access->state, ticket->username);
    ticket->record = g_strdup(user && password_record_is_valid(user->password) ? user->password
                                                                               : unknown_record);
    work_submit(ticket->access->loop, verify, on_verified, ticket);
}

struct access_ticket *
access_check_login(struct access *access, const struct access_attempt *attempt,
                   void (*fn)(void *owner, enum access_outcome outcome, struct identity *identity),
                   void *owner)
{
    struct access_ticket *ticket = g_new0(struct access_ticket, 1);
    const char *address = attempt->address ? attempt->address : "local";

    ticket->access = access;
    list_append(&access->tickets, &ticket->link);
    ticket->fn = fn;
    ticket->owner = owner;
    ticket->username = g_strndup((const char *)attempt->username.at, attempt->username.length);
    ticket->address = g_strdup(address);
    ticket->password_bytes = attempt->password.length;
    ticket->password = g_malloc0(attempt->password.length + 1);
    if (attempt->password.length > 0) {
        memcpy(ticket->password, attempt->password.at, attempt->password.length);
    }
    ticket->timer = timer_new(access->loop, on_turn, ticket);
    timer_start(ticket->timer,
                throttle_delay_ms(access->throttle, address, clock_now_ms(),
                                  state_settings(access->state)->login_delay_ms_max));
    return ticket;
}

struct access_ticket *access_wait(struct access *access, const char *address,
                                  void (*fn)(void *owner, enum access_outcome outcome,
                                             struct identity *identity),
                                  void *owner)
{
    uint64_t delay_ms = throttle_delay_ms(access->throttle, address, clock_now_ms(),
                                          state_settings(access->state)->login_delay_ms_max);

    if (delay_ms == 0) {
        return NULL;
    }
    struct access_ticket *ticket = g_new0(struct access_ticket, 1);
    ticket->access = access;
    list_append(&access->tickets, &ticket->link);
    ticket->fn = fn;
    ticket->owner = owner;
    ticket->address = g_strdup(address);
    ticket->timer = timer_new(access->loop, on_turn, ticket);
    timer_start(ticket->timer, delay_ms);
    return ticket;
}

void access_cancel(struct access_ticket *ticket)
{
    ticket->fn = NULL; /* it frees itself when its turn comes */
}

/* Whoever still waits is refused. */
void access_free(struct access *access)
{
    while (!list_is_empty(&access->tickets)) {
        struct access_ticket *ticket = list_entry(access->tickets.next, struct access_ticket, link);
        struct identity identity = {0};
        if (ticket->fn) {
            ticket->fn(ticket->owner, ACCESS_DENIED, &identity);
        }
        ticket_free(ticket);
    }
    throttle_free(access->throttle);
    g_hash_table_unref(access->known);
    OPENSSL_cleanse(access->secret, sizeof access->secret);
    g_free(access);
}
