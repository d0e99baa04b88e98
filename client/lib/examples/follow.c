/* Prints what is said in a room, and goes on where it stopped: the number of the last message is
 * kept in a file. Started again, also after a crash of the machine, it prints what was said
 * meanwhile: follow ROOM FILE
 *
 * Build: cc follow.c $(pkg-config --cflags --libs parley) */
#include <inttypes.h>
#include <parley.h>
#include <stdio.h>
#include <string.h>

static uint64_t load(const char *path)
{
    uint64_t seq = 0;
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%" SCNu64, &seq) != 1)
        seq = 0;
    if (f)
        fclose(f);
    return seq;
}

/* Written aside and renamed, so that the file is whole whenever we are killed. */
static void save(const char *path, uint64_t seq)
{
    char aside[4096];
    snprintf(aside, sizeof aside, "%s.new", path);
    FILE *f = fopen(aside, "w");
    if (f && fprintf(f, "%" PRIu64 "\n", seq) > 0 && fclose(f) == 0)
        rename(aside, path);
}

int main(int argc, char **argv)
{
    const struct parley_event *e;
    struct parley *p = parley_new();
    if (!p || argc != 3) {
        fprintf(stderr, "usage: follow ROOM FILE\n");
        return 2;
    }
    if (parley_connect(p, 10000) == 0 &&
        parley_join(p, argv[1], PARLEY_AFTER, load(argv[2]), PARLEY_QUIET, NULL) == 0) {
        while (parley_next(p, &e, -1) == 1) {
            switch (e->type) {
            case PARLEY_MESSAGE: /* a terminal would need e->text escaped, see parley.h */
                printf("%" PRIu64 " %s: %s\n", e->seq, e->from, e->text);
                fflush(stdout);
                save(argv[2], e->seq);
                break;
            case PARLEY_REWOUND: /* the server lost what came after; the numbers come again */
                save(argv[2], e->seq);
                break;
            case PARLEY_STATE:
            case PARLEY_REFUSED:
            case PARLEY_GAP:
                if (*e->text)
                    fprintf(stderr, "follow: %s\n", e->text);
                break;
            }
            if (e->type == PARLEY_REFUSED)
                break;
        }
    }
    fprintf(stderr, "follow: %s\n", parley_error(p));
    int code = parley_exit_code(p);
    parley_free(p);
    return code ? code : 1;
}
