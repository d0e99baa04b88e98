/* A session in a loop of one's own, beside another descriptor: lines of standard input are said in
 * a room, and what others say is printed. Ends with the input: ownloop ROOM
 *
 * Build: cc ownloop.c $(pkg-config --cflags --libs parley) */
#include <parley.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int joined;

static void show(const struct parley_event *e)
{
    if (e->type == PARLEY_JOINED)
        joined = 1;
    else if (e->type == PARLEY_MESSAGE && !e->own)
        printf("%s: %s\n", e->from, e->text);
    else if ((e->type == PARLEY_REFUSED || e->type == PARLEY_STATE) && *e->text)
        fprintf(stderr, "ownloop: %s\n", e->text);
    fflush(stdout);
}

/* Say what has been read: 0 at its end. A line that comes in pieces is said in pieces; a real
 * program collects them. */
static int say(struct parley *p, const char *room)
{
    char text[4096];
    ssize_t n = read(STDIN_FILENO, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (parley_post(p, room, line, 0, NULL) < 0)
            fprintf(stderr, "ownloop: %s\n", parley_error(p));
    return 1;
}

int main(int argc, char **argv)
{
    struct parley *p = parley_new();
    const struct parley_event *e;
    int more = 1, r = 0;
    if (!p || argc != 2) {
        fprintf(stderr, "usage: ownloop ROOM\n");
        return 2;
    }
    parley_connect(p, 0); /* begins; that it failed would be an event */
    parley_join(p, argv[1], PARLEY_NOW, 0, 0, NULL);
    while (more || parley_unacked(p, NULL) > 0) {
        struct pollfd fds[PARLEY_POLLFDS + 1];
        int n = parley_pollfds(p, fds);
        fds[n] = (struct pollfd){.fd = joined && more ? STDIN_FILENO : -1, .events = POLLIN};
        if (poll(fds, (nfds_t)n + 1, parley_timeout(p)) < 0)
            break;
        if (fds[n].revents)
            more = say(p, argv[1]);
        while ((r = parley_next(p, &e, 0)) == 1)
            show(e);
        if (r < 0)
            break; /* closed */
    }
    if (r == 0)
        r = parley_bye(p, 1000);
    int code = r == 0 ? 0 : parley_exit_code(p);
    parley_free(p);
    return code;
}
