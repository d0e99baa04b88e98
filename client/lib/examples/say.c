/* Says its arguments in a room, and ends when the server has them: say ROOM TEXT...
 *
 * Build: cc say.c $(pkg-config --cflags --libs parley) */
#include <parley.h>
#include <stdio.h>

static int fail(struct parley *p)
{
    fprintf(stderr, "say: %s\n", parley_error(p));
    int code = parley_exit_code(p);
    parley_free(p);
    return code ? code : 1;
}

int main(int argc, char **argv)
{
    uint64_t join;
    struct parley *p = parley_new();
    if (!p || argc < 3) {
        fprintf(stderr, "usage: say ROOM TEXT...\n");
        return 2;
    }
    if (parley_connect(p, 10000) < 0 ||
        parley_join(p, argv[1], PARLEY_NOW, 0, PARLEY_QUIET, &join) < 0 ||
        parley_wait(p, join, 10000) < 0)
        return fail(p);
    for (int i = 2; i < argc; i++)
        if (parley_post(p, argv[1], argv[i], 0, NULL) < 0)
            return fail(p);
    if (parley_flush(p, 10000) < 0 || parley_bye(p, 1000) < 0)
        return fail(p);
    parley_free(p);
    return 0;
}
