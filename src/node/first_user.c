/* See first_user.h. The file is written before the user exists: should the node die in between, the
 * next start takes the password from it. */
#include "node/first_user.h"
#include "access/access.h"
#include "base/cleanup.h"
#include "node/node.h"
#include "state/access_rules.h"
#include "state/propose.h"
#include <openssl/rand.h>
#include <string.h>

#define PASSWORD_BYTES 15 /* twenty characters of base64 */

struct first_user {
    struct node *node;
    void (*fn)(void *owner, const char *error);
};

static void on_put(void *owner, uint64_t token, const struct state_result *result)
{
    struct first_user *first = owner;

    first->fn(first->node, result->error != 0
                               ? "the first user could not be kept: is the disk full?"
                               : result->message);
    g_free(first);
}

static void on_user(void *owner, const struct user *user)
{
    *(bool *)owner = true;
}

static char *make_password(void)
{
    uint8_t random[PASSWORD_BYTES];

    if (RAND_bytes(random, sizeof random) != 1) {
        return NULL;
    }
    return g_strdelimit(g_base64_encode(random, sizeof random), "+/", 'x');
}

static char *read_or_make(const char *path, GError **error)
{
    char *password = NULL;
    GFileSetContentsFlags flags = G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE;

    if (g_file_get_contents(path, &password, NULL, NULL) && g_strstrip(password)[0] != '\0') {
        return password;
    }
    g_free(password);
    password = make_password();
    g_autofree char *line = g_strconcat(password, "\n", NULL);
    if (!g_file_set_contents_full(path, line, -1, flags, 0600, error)) {
        g_clear_pointer(&password, g_free);
    }
    return password;
}

void first_user_ensure(struct node *node, void (*fn)(void *owner, const char *error))
{
    g_autofree char *path = g_build_filename(node->config.data, "admin-password", NULL);
    g_autoptr(GError) error = NULL;
    bool has_user = false;

    state_for_each_user(node->state, on_user, &has_user);
    if (has_user) {
        fn(node, NULL);
        return;
    }
    g_autofree char *password = read_or_make(path, &error);
    if (!password) {
        fn(node, error ? error->message : path);
        return;
    }
    g_autofree char *record = password_record_new(password);
    struct first_user *first = g_new0(struct first_user, 1);
    first->node = node;
    first->fn = fn;
    struct state_completion completion = {on_put, first, 0};
    if (state_propose_user_put(node->state, "admin", "admin", record, &completion) < 0) {
        g_free(first);
        fn(node, "the first user could not be kept: is the disk full?");
    }
}
