/* See http_client.h. One easy transfer of libcurl a request.
 *
 * libcurl is loaded with the first request and not linked: it brings some thirty libraries and 4 MB
 * of resident memory with it, and the daemon, which is the same program, never needs it. */
#include "net/http_client.h"
#include "base/cleanup.h"
#include "net/event_stream.h"
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 10000L

struct curl {
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_easy_init) *init;
    __typeof__(curl_easy_setopt) *set;
    __typeof__(curl_easy_perform) *perform;
    __typeof__(curl_easy_getinfo) *get;
    __typeof__(curl_easy_cleanup) *cleanup;
    __typeof__(curl_easy_strerror) *strerror;
    __typeof__(curl_slist_append) *list_append;
    __typeof__(curl_slist_free_all) *list_free;
};

/* One request under way. */
struct transfer {
    struct curl curl;
    CURL *easy;
    const struct http_request *request;
    GString *body;
    struct event_stream events;
    struct curl_slist *headers;
    char reason[CURL_ERROR_SIZE];
    int stopped; /* why the body was not taken: -ECANCELED (the caller had enough), -EMSGSIZE */
};

static int load(struct curl *curl, GError **error)
{
    const struct {
        const char *name;
        void **at;
    } symbols[] = {
        {"curl_global_init", (void **)&curl->global_init},
        {"curl_easy_init", (void **)&curl->init},
        {"curl_easy_setopt", (void **)&curl->set},
        {"curl_easy_perform", (void **)&curl->perform},
        {"curl_easy_getinfo", (void **)&curl->get},
        {"curl_easy_cleanup", (void **)&curl->cleanup},
        {"curl_easy_strerror", (void **)&curl->strerror},
        {"curl_slist_append", (void **)&curl->list_append},
        {"curl_slist_free_all", (void **)&curl->list_free},
    };
    void *library =
        dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL); /* stays until the program ends */

    for (unsigned i = 0; library && i < G_N_ELEMENTS(symbols); i++) {
        *symbols[i].at = dlsym(library, symbols[i].name);
        if (!*symbols[i].at) {
            library = NULL;
        }
    }
    if (!library || curl->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                    "libcurl cannot be loaded (%s): install libcurl4", dlerror());
        return -ENOENT;
    }
    return 0;
}

static int take_piece(struct transfer *transfer, struct bytes piece)
{
    const struct http_request *request = transfer->request;
    long status = 0;

    transfer->curl.get(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    bool is_success = status >= 200 && status < 300;
    if (is_success && request->on_event) {
        return event_stream_feed(&transfer->events, piece, request->on_event, request->owner);
    }
    if (is_success && request->on_body) {
        return request->on_body(request->owner, piece) ? 0 : -ECANCELED;
    }
    if (piece.length > HTTP_RESPONSE_BYTES_MAX - transfer->body->len) {
        return -EMSGSIZE;
    }
    g_string_append_len(transfer->body, (const char *)piece.at, (gssize)piece.length);
    return 0;
}

static size_t on_piece(char *bytes, size_t size, size_t count, void *owner)
{
    struct transfer *transfer = owner;

    transfer->stopped = take_piece(transfer, (struct bytes){(uint8_t *)bytes, size * count});
    return transfer->stopped < 0 ? 0 : size * count;
}

static void add_header(struct transfer *transfer, const char *name, const char *value)
{
    g_autofree char *header = g_strdup_printf("%s: %s", name, value);

    transfer->headers = transfer->curl.list_append(transfer->headers, header);
}

static void set_body(struct transfer *transfer)
{
    const struct http_request *request = transfer->request;
    const struct curl *curl = &transfer->curl;

    if (request->body.at) {
        curl->set(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.length);
        curl->set(transfer->easy, CURLOPT_POSTFIELDS, request->body.at);
        add_header(transfer, "Content-Type",
                   request->content_type ? request->content_type : "application/json");
        add_header(transfer, "Expect", ""); /* no waiting for 100 Continue */
    }
    if (request->method) {
        curl->set(transfer->easy, CURLOPT_CUSTOMREQUEST, request->method);
        curl->set(transfer->easy, CURLOPT_NOBODY, (long)(strcmp(request->method, "HEAD") == 0));
    }
}

static void set_connection(struct transfer *transfer)
{
    const struct http_request *request = transfer->request;
    const struct curl *curl = &transfer->curl;
    bool is_unix = g_str_has_prefix(request->base_url, "unix:");
    size_t length = strlen(request->base_url);

    while (!is_unix && length > 0 && request->base_url[length - 1] == '/') {
        length--;
    }
    g_autofree char *base =
        is_unix ? g_strdup("http://localhost") : g_strndup(request->base_url, length);
    g_autofree char *url = g_strconcat(base, request->path, NULL);
    curl->set(transfer->easy, CURLOPT_URL, url);
    if (is_unix) {
        curl->set(transfer->easy, CURLOPT_UNIX_SOCKET_PATH, request->base_url + strlen("unix:"));
        curl->set(transfer->easy, CURLOPT_PROXY, "");
    }
    curl->set(transfer->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl->set(transfer->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl->set(transfer->easy, CURLOPT_TIMEOUT_MS,
              (long)MIN(request->timeout_ms, (uint64_t)G_MAXINT));
    if (request->ca_file) {
        curl->set(transfer->easy, CURLOPT_CAINFO, request->ca_file);
    }
    if (request->insecure) {
        curl->set(transfer->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl->set(transfer->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_up(struct transfer *transfer)
{
    const struct curl *curl = &transfer->curl;

    set_connection(transfer);
    set_body(transfer);
    if (transfer->request->token) {
        g_autofree char *credentials = g_strconcat("Bearer ", transfer->request->token, NULL);
        add_header(transfer, "Authorization", credentials);
    }
    curl->set(transfer->easy, CURLOPT_NOSIGNAL, 1L);
    curl->set(transfer->easy, CURLOPT_USERAGENT, "microcloud/" MICROCLOUD_VERSION);
    curl->set(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
    curl->set(transfer->easy, CURLOPT_WRITEFUNCTION, on_piece);
    curl->set(transfer->easy, CURLOPT_WRITEDATA, transfer);
    curl->set(transfer->easy, CURLOPT_ERRORBUFFER, transfer->reason);
}

static int fail(const struct transfer *transfer, CURLcode code, GError **error)
{
    const char *reason = transfer->reason[0] ? transfer->reason : transfer->curl.strerror(code);
    bool is_unreachable = code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST;
    bool is_tls = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;

    long system_error = 0;

    transfer->curl.get(transfer->easy, CURLINFO_OS_ERRNO, &system_error);
    if (transfer->stopped == -EMSGSIZE) {
        reason = "the answer is too long";
    } else if (is_unreachable && system_error != 0) {
        reason = g_strerror((int)system_error);
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "node at %s: %s%s",
                transfer->request->base_url, reason,
                is_unreachable ? ": is it running there?"
                : is_tls       ? ": give its CA with --ca"
                               : "");
    return is_unreachable ? -ECONNREFUSED : code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EPROTO;
}

static void answer(struct transfer *transfer, struct http_response *response)
{
    const char *content_type = NULL;
    long status = 0;

    transfer->curl.get(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    transfer->curl.get(transfer->easy, CURLINFO_CONTENT_TYPE, &content_type);
    response->status = (unsigned)status;
    response->content_type = g_strdup(content_type);
    response->body = TAKE(transfer->body);
}

static bool is_base_url(const char *url)
{
    return g_str_has_prefix(url, "unix:") || g_str_has_prefix(url, "http://") ||
           g_str_has_prefix(url, "https://");
}

int http_request(const struct http_request *request, struct http_response *response, GError **error)
{
    struct transfer transfer = {.request = request};

    if (!is_base_url(request->base_url)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "node '%s': must be unix:PATH, http://HOST:PORT or https://HOST:PORT",
                    request->base_url);
        return -EINVAL;
    }
    int r = load(&transfer.curl, error);
    if (r < 0) {
        return r;
    }
    transfer.easy = transfer.curl.init();
    transfer.body = g_string_new(NULL);
    event_stream_init(&transfer.events, HTTP_EVENT_BYTES_MAX);
    set_up(&transfer);
    CURLcode code = transfer.curl.perform(transfer.easy);
    if (code == CURLE_OK || transfer.stopped == -ECANCELED) {
        answer(&transfer, response);
    } else {
        r = fail(&transfer, code, error);
    }
    transfer.curl.cleanup(transfer.easy);
    transfer.curl.list_free(transfer.headers);
    event_stream_deinit(&transfer.events);
    if (transfer.body) {
        g_string_free(transfer.body, true);
    }
    return r;
}

void http_response_clear(struct http_response *response)
{
    g_clear_pointer(&response->content_type, g_free);
    if (response->body) {
        g_string_free(TAKE(response->body), true);
    }
}
