/* Who is there, which rooms there are, and what was said about something: look [ROOM TEXT]
 *
 * Build: cc look.c $(pkg-config --cflags --libs parley) */
#include <inttypes.h>
#include <parley.h>
#include <stdio.h>

/* Show all that belongs to an answer. */
static int show(struct parley *p, uint64_t request)
{
    const struct parley_event *e;
    while (parley_next(p, &e, 10000) == 1) {
        if (e->request != request)
            continue; /* what else happens */
        if (e->type == PARLEY_MEMBER)
            printf("%s by %s in %s\n", e->from, e->transport, e->rooms);
        else if (e->type == PARLEY_ROOM)
            printf("%s: %" PRIu64 " people, %" PRIu64 " records. %s\n", e->room, e->count,
                   e->seq - 1, e->text);
        else if (e->type == PARLEY_MESSAGE)
            printf("%" PRIu64 " %s: %s\n", e->seq, e->from, e->text);
        else if (e->type == PARLEY_DONE)
            return 0;
        else if (e->type == PARLEY_REFUSED)
            return -1;
    }
    return -1;
}

int main(int argc, char **argv)
{
    uint64_t request;
    struct parley *p = parley_new();
    if (!p || (argc != 1 && argc != 3)) {
        fprintf(stderr, "usage: look [ROOM TEXT]\n");
        return 2;
    }
    int r = parley_connect(p, 10000);
    if (r == 0 && argc == 1) {
        if ((r = parley_who(p, NULL, &request)) == 0 && (r = show(p, request)) == 0 &&
            (r = parley_rooms(p, &request)) == 0)
            r = show(p, request);
    } else if (r == 0) {
        if ((r = parley_join(p, argv[1], PARLEY_NOW, 0, PARLEY_QUIET, &request)) == 0 &&
            (r = parley_wait(p, request, 10000)) == 0 &&
            (r = parley_search(p, argv[1], argv[2], PARLEY_NOW, 0, 0, &request)) == 0)
            r = show(p, request);
    }
    if (r < 0)
        fprintf(stderr, "look: %s\n", parley_error(p));
    int code = r == 0 ? 0 : parley_exit_code(p) ? parley_exit_code(p) : 1;
    parley_free(p);
    return code;
}
