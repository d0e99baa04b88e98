/* See changes.h. */
#include "client/web/web.h"

#include <stdarg.h>
#include <stdio.h>

/* Looks at the server during which a switch may be under way: two connections for a moment, or,
 * while one is let go and the other not yet open, none. */
#define SWITCH_LOOKS 6

static void tell(struct web *w, const char *kind, uint64_t at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void tell(struct web *w, const char *kind, uint64_t at, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_t *o = json_begin("event");
    json_put(o, "kind", str_of(kind));
    json_put_int(o, "at", at);
    json_put(o, "text", str_of(text));
    feed_event(w, o);
}

static void look_at_workers(struct web *w, const struct snapshot *s)
{
    struct changes *c = &w->changes;
    for (size_t i = 0; i < STATS_HUB_TARGET; i++) {
        const struct stats_target *t = &s->targets[i];
        int alive = t->used && t->alive;
        int was = c->started && c->workers[i].alive;
        uint64_t pid = c->workers[i].pid;
        if (was && (!alive || t->pid != pid))
            tell(w, "crash", s->at, "worker %zu (pid %llu) died; its sessions resume", i,
                 (unsigned long long)pid);
        if (c->started && alive && pid && t->pid != pid)
            tell(w, "restart", s->at, "worker %zu was started again (pid %llu)", i,
                 (unsigned long long)t->pid);
        c->workers[i].alive = alive;
        if (alive) /* kept over its death, to be told from the next */
            c->workers[i].pid = t->pid;
    }
}

static size_t find(const struct changes *c, const char *nick)
{
    size_t i = 0;
    while (i < c->people_count && strcmp(c->people[i].nick, nick) != 0)
        i++;
    return i;
}

/* Everybody's transport as of now. Who switches has two connections for a moment: what they came
 * from is kept over that. Who has two for longer is two, and tells nothing. */
static void gather(const struct changes *old, struct changes *is, const struct snapshot *s)
{
    is->people_count = 0;
    for (size_t i = 0; i < s->session_count; i++) {
        const struct stats_session *one = &s->sessions[i].hub;
        size_t at = find(is, one->nick), was = find(old, one->nick);
        int here = one->state == 1 || one->state == 2; /* opening, open */
        if (!here || !one->nick[0] || at == CHANGES_SESSIONS)
            continue;
        struct person *p = &is->people[at];
        if (at == is->people_count) {
            *p = (struct person){.transport = (uint8_t)one->transport};
            snprintf(p->nick, sizeof p->nick, "%s", one->nick);
            is->people_count++;
        } else if (was < old->people_count && old->people[was].doubled < SWITCH_LOOKS) {
            p->transport = old->people[was].transport;
            p->doubled = (uint8_t)(old->people[was].doubled + 1);
        } else {
            p->transport = TRANSPORT_NONE;
            p->doubled = SWITCH_LOOKS;
        }
    }
    for (size_t i = 0; i < old->people_count && is->people_count < CHANGES_SESSIONS; i++) {
        const struct person *p = &old->people[i];
        if (p->gone < SWITCH_LOOKS && find(is, p->nick) == is->people_count) {
            is->people[is->people_count] = *p;
            is->people[is->people_count++].gone++;
        }
    }
}

static void look_at_people(struct web *w, const struct snapshot *s)
{
    struct changes *old = &w->changes, *is = &w->changes_next;
    gather(old, is, s);
    for (size_t i = 0; i < is->people_count; i++) {
        size_t k = find(old, is->people[i].nick);
        const struct transport *to = transport_by_id(is->people[i].transport);
        const struct transport *from =
            k < old->people_count ? transport_by_id(old->people[k].transport) : NULL;
        if (from && to && from != to)
            tell(w, "switch", s->at, "%s: %s → %s", is->people[i].nick, from->name, to->name);
    }
    memcpy(old->people, is->people, sizeof old->people);
    old->people_count = is->people_count;
}

void changes_look(struct web *w, const struct snapshot *s)
{
    if (w->changes.started != s->head.started) /* another start of the server: nothing to compare */
        w->changes = (struct changes){0};
    look_at_workers(w, s);
    look_at_people(w, s);
    w->changes.started = s->head.started;
}
