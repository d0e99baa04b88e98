/* Traces in the fan-out: when a record that is being traced is pushed into one downlink, and what
 * that took. The hub orders it for single connections (ORDER_TRACE), right before the watermark
 * that lets the record go; the report goes back when its last byte is in the link. A cursor without
 * a probe pays one look at a pointer. */
#include "server/outlet.h"

#include "base/clock.h"
#include "base/io.h"

#include <stdlib.h>

struct probe {
    uint64_t end; /* position after the record */
    struct trace_push push;
    struct probe *next;
};

static void report(const struct outlet *o, uint32_t room, const struct probe *p)
{
    struct trace_report r = {.head = {.size = sizeof r,
                                      .type = REPORT_TRACE,
                                      .conn = o->conn,
                                      .room = room,
                                      .end = p->end},
                             .push = p->push};
    o->fan->report(o->fan->ctx, &r.head, &r.push);
}

void probe_add(struct outlet *o, const struct order * or)
{
    struct sub *s;
    struct probe now = {.end = or->end, .push.received = mono_ns()};
    now.push.order_calls = (uint16_t)(io_calls - o->fan->calls);
    DL_FOREACH2(o->subs, s, next_of)
    {
        if (s->view->room == or->room && s->end == UINT64_MAX)
            break;
    }
    if (!s || s->pos >= or->end) { /* somebody else's order brought the watermark first */
        report(o, or->room, &now);
        return;
    }
    struct probe *p = malloc(sizeof *p);
    if (!p)
        return; /* the hub does not wait for ever */
    *p = now;
    struct probe **at = &s->probe;
    while (*at && (*at)->end <= p->end)
        at = &(*at)->next;
    p->next = *at;
    *at = p;
}

ssize_t probe_push(struct sub *s, const struct slice *slice)
{
    struct link *l = &s->outlet->link;
    uint64_t began = mono_ns(), calls = io_calls, rung = l->bells, spared = l->muted;
    ssize_t took = outlet_push(s->outlet, slice, 0);
    uint64_t pushed = mono_ns();
    uint64_t at = s->pos + (took > 0 ? (uint64_t)took : 0);
    for (struct probe *p = s->probe; p && p->end <= s->pos + slice->len; p = s->probe) {
        if (!p->push.began)
            p->push.began = began;
        p->push.calls = (uint16_t)(p->push.calls + (io_calls - calls));
        if (at < p->end)
            break; /* the link is full, or broken */
        p->push.pushed = pushed;
        p->push.bytes = (uint32_t)took;
        p->push.bell = l->bells > rung ? BELL_RUNG : l->muted > spared ? BELL_SPARED : BELL_NOT;
        report(s->outlet, s->view->room, p);
        s->probe = p->next;
        free(p);
    }
    return took;
}

void probes_end(struct sub *s)
{
    while (s->probe) {
        struct probe *p = s->probe;
        p->push.began = 0;
        report(s->outlet, s->view->room, p);
        s->probe = p->next;
        free(p);
    }
}
