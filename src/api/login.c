/* Logging in and out. */
#include "api/routes.h"
#include "api/tokens.h"
#include "base/cleanup.h"
#include "loop/loop.h"
#include "net/stream.h"

static void answer_with_token(struct api_request *request, const struct identity *identity,
                              const char *token)
{
    struct stream_peer peer;
    http_request_peer(request->exchange, &peer);
    struct text_value *value = text_new_object();
    text_set_string(value, "token", token);
    text_set_string(value, "user", identity->username);
    text_set_string(value, "role", role_to_string(identity->role));
    text_set_integer(value, "expires_s", API_TOKEN_SECONDS);
    g_autofree char *json = text_to_json(value, false);
    text_free(value);
    g_autofree char *headers =
        g_strdup_printf("Cache-Control: no-store\r\nSet-Cookie: microcloud=%s; Path=/; HttpOnly; "
                        "SameSite=Strict; Max-Age=%d%s\r\n",
                        token, API_TOKEN_SECONDS, peer.kind == STREAM_TLS ? "; Secure" : "");
    struct http_answer answer = {.status = 200,
                                 .content_type = "application/json",
                                 .body = bytes_from_string(json),
                                 .headers = headers};
    http_respond(request->exchange, &answer);
    api_request_free(request);
}

static void on_login(void *owner, enum access_outcome outcome, struct identity *identity)
{
    struct api_request *request = owner;

    if (outcome != ACCESS_GRANTED) {
        api_answer_error(request, 401, "login_failed", "user name or password is wrong");
        return;
    }
    if (identity->role < ROLE_VIEWER) {
        api_answer_error(request, 403, "not_allowed",
                         "user '%s' is a device: it may use MQTT, not the API", identity->username);
        return;
    }
    g_autofree char *token =
        api_tokens_add(request->api->tokens, identity, loop_now_ms(request->api->options.loop));
    if (!token) {
        api_answer_error(request, 503, "too_many_logins", "too many people are logged in");
        return;
    }
    answer_with_token(request, identity, token);
}

void login_post(struct api_request *request)
{
    _cleanup_(text_freep) struct text_value *body = api_body(request);
    const char *username = body ? api_body_string(request, body, "username") : NULL;
    const char *password = username ? api_body_string(request, body, "password") : NULL;
    struct stream_peer peer;

    if (!password) {
        return;
    }
    http_request_peer(request->exchange, &peer);
    struct access_attempt attempt = {
        .username = bytes_from_string(username),
        .password = bytes_from_string(password),
        .has_username = true,
        .has_password = true,
        .address = peer.address,
    };
    access_check_login(request->api->options.access, &attempt, on_login, request);
}

/* Who am I: the console asks this first. */
void login_get(struct api_request *request)
{
    struct text_value *value = text_new_object();

    text_set_string(value, "user", request->identity.username);
    text_set_string(value, "role", role_to_string(request->identity.role));
    api_answer(request, 200, value);
}

void logout_post(struct api_request *request)
{
    bool is_cookie;
    g_autofree char *token = api_request_token(request, &is_cookie);
    struct http_answer answer = {
        .status = 204,
        .headers = "Set-Cookie: microcloud=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0\r\n"};

    if (token) {
        api_tokens_remove(request->api->tokens, token);
    }
    http_respond(request->exchange, &answer);
    api_request_free(request);
}
