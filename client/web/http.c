/* HTTP: the files of the page, /metrics, /healthz; and the gate that a WebSocket has to pass.
 *
 * GET and HEAD only. Whatever is answered, it carries the headers of web.c: nothing may be framed,
 * kept, or fetched from elsewhere. */
#include "client/web/metrics.h"
#include "client/web/origin.h"
#include "client/web/page.h"
#include "client/web/web.h"

#include <stdlib.h>
#include <unistd.h>

#define CHUNK 8192

/* An answer on its way. Zeroed by libwebsockets for each connection. */
struct exchange {
    const char *body; /* what is left of it */
    size_t left;
    char *owned; /* to be freed with it */
};

static struct web *web_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

static void drop_body(struct exchange *x)
{
    free(x->owned);
    *x = (struct exchange){0};
}

/* Send status and headers; the body, if there is one, follows when the connection takes it. Returns
 * what the callback has to. */
static int answer(struct lws *wsi, struct exchange *x, unsigned status, const char *type, int head)
{
    unsigned char buf[LWS_PRE + 2048], *start = buf + LWS_PRE, *p = start;
    unsigned char *end = buf + sizeof buf - 1;
    size_t n = x->left;
    if (lws_add_http_common_headers(wsi, status, type, n, &p, end))
        return -1;
    if (status == 405 &&
        lws_add_http_header_by_name(
            wsi, (const unsigned char *)"allow:", (const unsigned char *)"GET, HEAD", 9, &p, end))
        return -1;
    if (lws_finalize_write_http_header(wsi, start, &p, end))
        return -1;
    if (head || n == 0) {
        drop_body(x);
        return lws_http_transaction_completed(wsi) ? -1 : 0;
    }
    lws_callback_on_writable(wsi);
    return 0;
}

/* `text` has static storage. */
static int answer_text(struct lws *wsi, struct exchange *x, unsigned status, const char *text,
                       int head)
{
    *x = (struct exchange){.body = text, .left = strlen(text)};
    return answer(wsi, x, status, "text/plain; charset=utf-8", head);
}

static int write_body(struct lws *wsi, struct exchange *x)
{
    unsigned char buf[LWS_PRE + CHUNK];
    if (!x || !x->body)
        return 0;
    size_t n = x->left < CHUNK ? x->left : CHUNK;
    memcpy(buf + LWS_PRE, x->body, n);
    x->body += n;
    x->left -= n;
    if (lws_write(wsi, buf + LWS_PRE, n, x->left ? LWS_WRITE_HTTP : LWS_WRITE_HTTP_FINAL) < 0)
        return -1;
    listen_moved(web_of(wsi), wsi);
    if (x->left) {
        lws_callback_on_writable(wsi);
        return 0;
    }
    drop_body(x);
    return lws_http_transaction_completed(wsi) ? -1 : 0;
}

static struct str header(struct lws *wsi, enum lws_token_indexes which, char *buf, int cap)
{
    int n = lws_hdr_copy(wsi, buf, cap, which);
    return (struct str){buf, n > 0 ? (size_t)n : 0};
}

/* 0, or the status and sentence to refuse with. */
static unsigned refused(struct web *w, struct lws *wsi, const char **why)
{
    char buf[256], machine[65] = "";
    gethostname(machine, sizeof machine - 1);
    w->count_requests++;
    if (!origin_host_ok(header(wsi, WSI_TOKEN_HOST, buf, sizeof buf), w->port, w->opt->remote,
                        machine)) {
        *why = "This server answers only to its own address. Open the one that parleyd printed.\n";
        return 421;
    }
    if (!bucket_take(&w->requests, WEB_REQUESTS_RATE, WEB_REQUESTS_BURST)) {
        *why = "Too many requests.\n";
        return 429;
    }
    return 0;
}

static int get(struct lws *wsi, struct exchange *x, struct str path)
{
    struct web *w = web_of(wsi);
    const char *why = "";
    int head = lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) > 0;
    unsigned status = refused(w, wsi, &why);
    if (status == 0 && !head && lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0) {
        status = 405;
        why = "Only GET and HEAD.\n";
    }
    if (status) {
        w->count_refused++;
        return answer_text(wsi, x, status, why, head);
    }
    const struct page_file *f = page_find(path);
    if (f) {
        *x = (struct exchange){.body = f->start, .left = (size_t)(f->end - f->start)};
        return answer(wsi, x, 200, f->type, head);
    }
    if (str_eq(path, str_of("/healthz")))
        return session_state(w->reader) == SESSION_OPEN
                   ? answer_text(wsi, x, 200, "ok\n", head)
                   : answer_text(wsi, x, 503, "no connection to the server\n", head);
    if (str_eq(path, str_of("/metrics"))) {
        *x = (struct exchange){0};
        x->owned = metrics_text(w, &x->left);
        x->body = x->owned;
        return x->owned ? answer(wsi, x, 200, "text/plain; version=0.0.4; charset=utf-8", head)
                        : -1;
    }
    return answer_text(wsi, x, 404, "There is /, /metrics and /healthz.\n", head);
}

/* 0: a WebSocket from our own page. Positive: refused, and answered. */
static int upgrade(struct lws *wsi, const char *to)
{
    struct web *w = web_of(wsi);
    char host[256], origin[300], path[32];
    const char *why = "";
    struct str h = header(wsi, WSI_TOKEN_HOST, host, sizeof host);
    struct str o = header(wsi, WSI_TOKEN_ORIGIN, origin, sizeof origin);
    struct str p = header(wsi, WSI_TOKEN_GET_URI, path, sizeof path);
    unsigned status = refused(w, wsi, &why);
    if (status == 0 && (strcmp(to, "websocket") != 0 || !str_eq(p, str_of("/live"))))
        status = 404;
    else if (status == 0 && !origin_same(o, h))
        status = 403;
    else if (status == 0 && w->client_count >= WEB_CLIENTS_MAX)
        status = 503;
    if (status == 0)
        return 0;
    w->count_refused++;
    return lws_return_http_status(wsi, status, NULL) ? -1 : 1;
}

int http_callback(struct lws *wsi, enum lws_callback_reasons why, void *user, void *in, size_t len)
{
    struct exchange *x = user;
    switch ((int)why) {
    case LWS_CALLBACK_HTTP:
        if (!x)
            return -1;
        drop_body(x);
        listen_moved(web_of(wsi), wsi);
        return get(wsi, x, (struct str){in, len});
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return write_body(wsi, x);
    case LWS_CALLBACK_HTTP_BODY: /* GET has none */
        return -1;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return upgrade(wsi, in);
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: /* a WebSocket that did not name its protocol */
        return -1;
    case LWS_CALLBACK_CLOSED_HTTP:
        if (x)
            drop_body(x);
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        listen_gone(web_of(wsi), wsi);
        return 0;
    default:
        return 0;
    }
}
