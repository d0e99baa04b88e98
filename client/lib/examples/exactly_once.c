/* Says each line of a file exactly once, however often it is interrupted and run again (within an
 * hour): the input has a name, by which the server knows how many of its posts it has: exactly_once
 * ROOM FILE NAME
 *
 * Build: cc exactly_once.c $(pkg-config --cflags --libs parley) */
#include <parley.h>
#include <stdio.h>
#include <string.h>

#define WINDOW 1000 /* posts under way at once */

static int say_lines(struct parley *p, const char *room, FILE *f)
{
    static char line[PARLEY_TEXT_MAX + 2];
    uint32_t over = parley_already(p);
    const struct parley_event *e;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (!*line)
            continue; /* which lines are posts must depend on the input alone */
        if (over) {
            over--;
            continue;
        }
        int r = parley_post(p, room, line, 0, NULL);
        while (r == 0 && parley_unacked(p, NULL) >= WINDOW)
            r = parley_next(p, &e, -1) == 1 ? 0 : -1;
        if (r < 0)
            return r;
        while (parley_next(p, &e, 0) == 1)
            if (e->type == PARLEY_REFUSED)
                fprintf(stderr, "exactly_once: %s\n", e->text);
    }
    return parley_flush(p, -1);
}

int main(int argc, char **argv)
{
    uint64_t join;
    struct parley *p = parley_new();
    FILE *f = argc == 4 ? fopen(argv[2], "r") : NULL;
    if (!p || !f) {
        fprintf(stderr, "usage: exactly_once ROOM FILE NAME\n");
        return 2;
    }
    int r = parley_set(p, "input", argv[3]);
    if (r == 0)
        r = parley_connect(p, -1);
    if (r == 0)
        r = parley_join(p, argv[1], PARLEY_NOW, 0, PARLEY_QUIET, &join);
    if (r == 0)
        r = parley_wait(p, join, -1);
    if (r == 0)
        r = say_lines(p, argv[1], f);
    if (r == 0)
        r = parley_bye(p, 5000);
    if (r < 0)
        fprintf(stderr, "exactly_once: %s\n", parley_error(p));
    int code = r == 0 ? 0 : parley_exit_code(p) ? parley_exit_code(p) : 1;
    parley_free(p);
    fclose(f);
    return code;
}
