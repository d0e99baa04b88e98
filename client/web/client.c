/* An open page: a WebSocket that carries JSON both ways.
 *
 * To the page go frames that are arrays of messages: first what is for this page only, then what
 * its cursors have not seen of its room, of events and of traces, then the newest state. From the
 * page come single messages (inbox.c). */
#include "client/web/state.h"
#include "client/web/web.h"

#include "base/version.h"

#include <stdlib.h>
#include <utlist.h>

static struct web *web_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

/* --- what a page is told -------------------------------------------------------------------- */

void client_reply(struct client *c, json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text || c->replies.len > WEB_REPLIES_BYTES ||
        buf_append(&c->replies, text, strlen(text)) < 0 || buf_append(&c->replies, ",", 1) < 0)
        c->drop = 1;
    free(text);
    web_news(c->web);
}

void client_refuse(struct client *c, const char *what, struct str text)
{
    json_t *o = json_begin("refused");
    json_put(o, "what", str_of(what));
    json_put(o, "text", text);
    client_reply(c, o);
}

/* A journal that is gone (no room), or one with nothing new, counts as empty. */
static uint64_t waiting(const struct journal *j, uint64_t at)
{
    return j && j->next > at ? j->next - at : 0;
}

static int has_news(const struct client *c)
{
    const struct web *w = c->web;
    return c->replies.len > 0 || waiting(c->room ? &c->room->lines : NULL, c->at_line) ||
           waiting(&w->events, c->at_event) || waiting(&w->traces, c->at_trace) ||
           c->seen_state != state_number(w);
}

static int put(struct buf *b, struct str text)
{
    return buf_append(b, text.p, text.n) == 0 && buf_append(b, ",", 1) == 0;
}

static int put_missed(struct buf *b, const char *what, uint64_t n)
{
    char text[96];
    int len = snprintf(text, sizeof text, "{\"type\":\"missed\",\"what\":\"%s\",\"count\":%llu}",
                       what, (unsigned long long)n);
    return put(b, (struct str){text, (size_t)len});
}

/* Append what the cursor has not seen, as far as the frame reaches. 0: no memory. */
static int put_journal(struct buf *b, const struct journal *j, uint64_t *at, const char *what)
{
    int ok = 1;
    if (*at < j->first) {
        ok = put_missed(b, what, j->first - *at);
        *at = j->first;
    }
    while (ok && *at < j->next && b->len < WEB_FRAME_BYTES)
        ok = put(b, journal_get(j, (*at)++));
    return ok;
}

/* Everything due into one frame, behind LWS_PRE free bytes. 0: no memory. */
static int compose(struct client *c, struct buf *b)
{
    static const char zeros[LWS_PRE];
    struct web *w = c->web;
    if (buf_append(b, zeros, sizeof zeros) < 0 || buf_append(b, "[", 1) < 0)
        return 0;
    if (c->replies.len && buf_append(b, buf_head(&c->replies), c->replies.len) < 0)
        return 0;
    buf_consume(&c->replies, c->replies.len);
    if ((c->room && !put_journal(b, &c->room->lines, &c->at_line, "lines")) ||
        !put_journal(b, &w->events, &c->at_event, "events") ||
        !put_journal(b, &w->traces, &c->at_trace, "traces"))
        return 0;
    if (c->seen_state != state_number(w) && !put(b, state_text(w)))
        return 0;
    c->seen_state = state_number(w);
    return 1;
}

static int on_writable(struct client *c)
{
    struct buf b = {0};
    c->took = mono_ns();
    if (c->drop || !c->web)
        return -1;
    if (!has_news(c))
        return 0;
    int r = -1;
    if (compose(c, &b)) {
        b.data[b.start + b.len - 1] = ']'; /* in place of the last comma */
        size_t n = b.len - LWS_PRE;
        r = lws_write(c->wsi, b.data + b.start + LWS_PRE, n, LWS_WRITE_TEXT) < (int)n ? -1 : 0;
    }
    buf_free(&b);
    if (r == 0 && has_news(c))
        lws_callback_on_writable(c->wsi);
    return r;
}

void clients_flush(struct web *w)
{
    struct client *c;
    DL_FOREACH(w->clients, c)
    {
        if (c->drop)
            lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
        else if (has_news(c))
            lws_callback_on_writable(c->wsi);
    }
}

/* Pages that take nothing although something waits. */
void clients_tick(struct web *w, uint64_t now)
{
    struct client *c;
    DL_FOREACH(w->clients, c)
    {
        if (!has_news(c) && !lws_send_pipe_choked(c->wsi))
            c->took = now;
        else if (now > c->took + WEB_STALLED_NS && !c->drop) {
            c->drop = 1;
            w->count_dropped++;
        }
    }
    clients_flush(w);
}

/* --- its life ------------------------------------------------------------------------------- */

static void greet(struct client *c)
{
    json_t *o = json_begin("hello");
    json_put(o, "server", str_of(session_server(c->web->reader)));
    json_put(o, "version", str_of(PARLEY_VERSION));
    json_object_set_new(o, "connected",
                        json_boolean(session_state(c->web->reader) == SESSION_OPEN));
    json_put_int(o, "text_max", WEB_POST_BYTES);
    json_put_int(o, "nick_max", NICK_MAX);
    client_reply(c, o);
    if (c->web->room_list && !put(&c->replies, str_of(c->web->room_list)))
        c->drop = 1;
}

static int opened(struct lws *wsi, struct client *c)
{
    struct web *w = web_of(wsi);
    *c = (struct client){.web = w, .wsi = wsi, .took = mono_ns()};
    c->at_event = w->events.first;
    c->at_trace = w->traces.next;
    listen_is_page(w, wsi);
    DL_APPEND(w->clients, c);
    w->client_count++;
    greet(c);
    trace_watch(w, 0);
    return 0;
}

static void closed(struct client *c)
{
    struct web *w = c->web;
    if (!w)
        return; /* it never opened */
    DL_DELETE(w->clients, c);
    w->client_count--;
    trace_watch(w, 0);
    poster_leave(c->poster);
    feed_close(c->room);
    buf_free(&c->in);
    buf_free(&c->replies);
    c->web = NULL;
}

static int on_receive(struct client *c, const void *p, size_t n)
{
    if (lws_frame_is_binary(c->wsi) || c->in.len + n > WEB_MESSAGE_BYTES ||
        buf_append(&c->in, p, n) < 0) {
        lws_close_reason(c->wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, NULL, 0);
        return -1;
    }
    if (!lws_is_final_fragment(c->wsi) || lws_remaining_packet_payload(c->wsi) > 0)
        return 0;
    int r = bucket_take(&c->messages, WEB_MESSAGES_RATE, WEB_MESSAGES_BURST)
                ? inbox_message(c, buf_head(&c->in), c->in.len)
                : -1;
    buf_consume(&c->in, c->in.len);
    if (r < 0) {
        c->web->count_dropped++;
        lws_close_reason(c->wsi, LWS_CLOSE_STATUS_POLICY_VIOLATION, NULL, 0);
    }
    return r < 0 ? -1 : 0;
}

int client_callback(struct lws *wsi, enum lws_callback_reasons why, void *user, void *in,
                    size_t len)
{
    struct client *c = user;
    switch ((int)why) {
    case LWS_CALLBACK_ESTABLISHED:
        return opened(wsi, c);
    case LWS_CALLBACK_RECEIVE:
        return on_receive(c, in, len);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return on_writable(c);
    case LWS_CALLBACK_CLOSED:
        closed(c);
        return 0;
    default:
        return 0;
    }
}
