/* Every function of libparley by name, for the tests: reads commands, one on each line, words
 * separated by tabs, prints
 * "= RESULT NUMBER SENTENCE" for each, and events as lines of KEY=VALUE fields. Sees nothing of
 * parley but the installed header. With a second session (word "other") in the same program. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <parley.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct parley *p;
static char *word[8];

static uint64_t number(int i)
{
    return word[i] ? strtoull(word[i], NULL, 10) : 0;
}

static int wait_ms(int i)
{
    return word[i] ? atoi(word[i]) : -1;
}

static void show(const struct parley_event *e)
{
    printf("type=%d\tstate=%d\trequest=%" PRIu64 "\troom=%s\tseq=%" PRIu64 "\ttime=%" PRIu64
           "\tfrom=%s\ttext=%s\tto=%s\treason=%s\ttransport=%s\trooms=%s\tcode=%d\town=%d\taction=%"
           "d\treplay=%d"
           "\tcount=%" PRIu64 "\tuid=%" PRId64 "\tname=%s\tlen=%zu"
           "\tbot=%d\ttarget=%" PRIu64 "\ton=%d\tperson=%s\tread=%" PRIu64
           "\tkind=%d\tidle=%" PRIu64 "\n",
           e->type, e->state, e->request, e->room, e->seq, e->time, e->from, e->text, e->to,
           e->reason, e->transport, e->rooms, e->code, e->own, e->action, e->replay, e->count,
           e->uid, e->name, e->text_len, e->bot, e->target, e->on, e->person, e->read, e->kind,
           e->idle_ns);
}

static int decide(const char *c, uint64_t *request)
{
    if (!strcmp(c, "invite"))
        return parley_invite(p, word[1], word[2], (int)number(3), request);
    if (!strcmp(c, "kick"))
        return parley_kick(p, word[1], word[2], word[3], request);
    if (!strcmp(c, "ban"))
        return parley_ban(p, word[1], word[2], (int)number(3), word[4], request);
    if (!strcmp(c, "op"))
        return parley_op(p, word[1], word[2], (int)number(3), request);
    if (!strcmp(c, "mode"))
        return parley_set_mode(p, word[1], word[2], word[3], request);
    if (!strcmp(c, "settings"))
        return parley_settings(p, word[1], request);
    if (!strcmp(c, "whois"))
        return parley_whois(p, word[1], request);
    if (!strcmp(c, "away"))
        return parley_set_away(p, word[1], request);
    if (!strcmp(c, "mark"))
        return parley_mark_read(p, word[1], number(2), request);
    fprintf(stderr, "probe: no command %s\n", c);
    exit(2);
}

static int ask(const char *c, uint64_t *request)
{
    int flags = word[3] ? atoi(word[3]) : 0;
    if (!strcmp(c, "join"))
        return parley_join(p, word[1], (enum parley_from)number(2), number(3), (int)number(4),
                           request);
    if (!strcmp(c, "leave"))
        return parley_leave(p, word[1], request);
    if (!strcmp(c, "post"))
        return parley_post(p, word[1], word[2], flags, request);
    if (!strcmp(c, "edit"))
        return parley_edit(p, word[1], number(2), word[3], request);
    if (!strcmp(c, "delete"))
        return parley_delete(p, word[1], number(2), request);
    if (!strcmp(c, "topic"))
        return parley_set_topic(p, word[1], word[2] ? word[2] : "", request);
    if (!strcmp(c, "nick"))
        return parley_set_nick(p, word[1], request);
    if (!strcmp(c, "who"))
        return parley_who(p, word[1], request);
    if (!strcmp(c, "rooms"))
        return parley_rooms(p, request);
    if (!strcmp(c, "history"))
        return parley_history(p, word[1], number(2), (uint32_t)number(3), request);
    if (!strcmp(c, "search"))
        return parley_search(p, word[1], word[2], (enum parley_from)number(3), number(4), number(5),
                             request);
    return decide(c, request);
}

static int run(const char *c, uint64_t *request)
{
    const struct parley_event *e;
    int r = 0;
    if (!strcmp(c, "set"))
        return parley_set(p, word[1], word[2]);
    if (!strcmp(c, "connect"))
        return parley_connect(p, wait_ms(1));
    if (!strcmp(c, "wait"))
        return parley_wait(p, number(1), wait_ms(2));
    if (!strcmp(c, "flush"))
        return parley_flush(p, wait_ms(1));
    if (!strcmp(c, "bye"))
        return parley_bye(p, wait_ms(1));
    if (!strcmp(c, "switch"))
        return parley_switch(p, word[1]);
    if (!strcmp(c, "next")) {
        if ((r = parley_next(p, &e, wait_ms(1))) == 1)
            show(e);
        return r;
    }
    if (!strcmp(c,
                "until")) { /* events up to one of that type, and of that request if one is given */
        while ((r = parley_next(p, &e, 20000)) == 1) {
            show(e);
            if (e->type == (int)number(1) && (!word[2] || e->request == number(2)))
                return 1;
        }
        return r;
    }
    if (!strcmp(c, "state")) {
        printf("nick=%s\tserver=%s\ttransport=%s\tstate=%d\texit=%d\tunacked=%zu\talready=%"
               "u\tversion=%s\tfds=%d\n",
               parley_nick(p), parley_server(p), parley_transport(p), parley_state(p),
               parley_exit_code(p), parley_unacked(p, NULL), parley_already(p), parley_version(),
               parley_timeout(p));
        return 0;
    }
    if (!strcmp(c, "many")) { /* posts, as fast as they are taken */
        for (uint64_t i = 0; i < number(2) && r == 0; i++) {
            char text[40];
            snprintf(text, sizeof text, "%" PRIu64, i);
            r = parley_post(p, word[1], text, 0, request);
            if (i % 64 == 0)
                parley_flush(p, 0); /* they leave */
        }
        return r;
    }
    return ask(c, request);
}

int main(void)
{
    char line[80000];
    struct parley *all[2] = {parley_new(), parley_new()};
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        uint64_t request = 0;
        int n = 0;
        line[strcspn(line, "\n")] = '\0';
        memset(word, 0, sizeof word);
        for (char *at = line; at && n < 7; n++)
            word[n] = strsep(&at, "\t");
        p = all[!strcmp(word[0], "other")];
        if (p == all[1])
            memmove(word, word + 1, sizeof word - sizeof *word);
        int r = run(word[0], &request);
        printf("= %d %" PRIu64 " %s\n", r, request, parley_error(p));
    }
    parley_free(all[0]);
    parley_free(all[1]);
    return 0;
}
