/* Keeps order in a room whose operator it is: who says WORD is warned, the next time put out, and
 * after that kept out: moderate ROOM WORD
 *
 * Build: cc moderate.c $(pkg-config --cflags --libs parley) */
#include <errno.h>
#include <parley.h>
#include <stdio.h>
#include <string.h>

#define OFFENDERS 1000 /* beyond that the oldest are forgotten */

static struct {
    char nick[PARLEY_NICK_MAX + 1];
    int times;
} offenders[OFFENDERS];

/* How often `nick` has done it, with this time. */
static int note(const char *nick)
{
    static unsigned next;
    for (unsigned i = 0; i < OFFENDERS; i++)
        if (strcmp(offenders[i].nick, nick) == 0)
            return ++offenders[i].times;
    snprintf(offenders[next].nick, sizeof offenders[next].nick, "%s", nick);
    offenders[next].times = 1;
    next = (next + 1) % OFFENDERS;
    return 1;
}

static int act(struct parley *p, const struct parley_event *e, const char *word)
{
    char text[PARLEY_NICK_MAX + 40];
    int times = note(e->from);
    if (times > 2)
        return parley_ban(p, e->room, e->from, 1, word, NULL);
    if (times == 2)
        return parley_kick(p, e->room, e->from, word, NULL);
    snprintf(text, sizeof text, "%s: not that word, please", e->from);
    return parley_post(p, e->room, text, PARLEY_IS_BOT, NULL);
}

static int watch(struct parley *p, const char *word)
{
    const struct parley_event *e;
    int r;
    while ((r = parley_next(p, &e, -1)) == 1 || r == -EINTR) {
        if (r == -EINTR)
            continue;
        if (e->type == PARLEY_MESSAGE && !e->own && !e->bot && strstr(e->text, word)) {
            if ((r = act(p, e, word)) < 0)
                break;
        } else if ((e->type == PARLEY_REFUSED && e->code != -ESRCH) || e->type == PARLEY_LEFT) {
            fprintf(stderr, "moderate: %s\n", e->text); /* -ESRCH: they have gone already */
            return e->code;
        }
    }
    fprintf(stderr, "moderate: %s\n", parley_error(p));
    return r;
}

int main(int argc, char **argv)
{
    struct parley *p = parley_new();
    if (!p || argc != 3) {
        fprintf(stderr, "usage: moderate ROOM WORD\n");
        return 2;
    }
    int r = parley_connect(p, 10000);
    if (r == 0)
        r = parley_join(p, argv[1], PARLEY_NOW, 0, 0, NULL);
    if (r < 0)
        fprintf(stderr, "moderate: %s\n", parley_error(p));
    else
        r = watch(p, argv[2]);
    int code = parley_exit_code(p);
    parley_free(p);
    return code ? code : r == -EACCES ? 77 : 1;
}
