/* What a lab says: as text for people, wrapped to the terminal, or collected for --json. */
#include "client/lab/lab.h"

#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_PLAIN 80  /* where nobody says how wide it is */
#define WIDTH_MOST  100 /* longer lines are hard to read */
#define WIDTH_LEAST 40
#define TEXT_CAP    2048

static int width(void)
{
    struct winsize w;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col == 0)
        return WIDTH_PLAIN;
    return w.ws_col < WIDTH_LEAST ? WIDTH_LEAST : w.ws_col > WIDTH_MOST ? WIDTH_MOST : w.ws_col;
}

static int columns(const char *s, size_t n)
{
    int c = 0;
    for (size_t i = 0; i < n; i++)
        c += ((unsigned char)s[i] & 0xc0) != 0x80;
    return c;
}

/* `text` behind `label`, its further lines below its first. */
static void wrapped(const char *label, const char *text)
{
    int left = columns(label, strlen(label)), at = left, most = width() - 1;
    fputs(label, stdout);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " \n");
        int w = columns(p, n);
        if (at > left && at + 1 + w > most) {
            printf("\n%*s", left, "");
            at = left;
        } else if (at > left) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)n, p);
        at += w;
        p += n + (p[n] != '\0');
    }
    putchar('\n');
    fflush(stdout);
}

static void color(const struct lab *l, const char *sgr)
{
    if (options_color(l->o, STDOUT_FILENO))
        printf("\033[%sm", sgr);
}

#define FORMAT(out, fmt)                         \
    do {                                         \
        va_list ap_;                             \
        va_start(ap_, fmt);                      \
        vsnprintf((out), sizeof(out), fmt, ap_); \
        va_end(ap_);                             \
    } while (0)

void lab_say(struct lab *l, const char *fmt, ...)
{
    char text[TEXT_CAP];
    FORMAT(text, fmt);
    if (l->o->json)
        return;
    putchar('\n');
    wrapped("  ", text);
}

void lab_step(struct lab *l, const char *fmt, ...)
{
    char text[TEXT_CAP];
    FORMAT(text, fmt);
    if (l->o->json)
        return;
    putchar('\n');
    wrapped("  now       ", text);
}

static void collect(struct lab *l, const char *key, json_t *agree, const char *expected,
                    const char *observed)
{
    json_t *c = json_object();
    json_put(c, "key", str_of(key));
    json_object_set_new(c, "ok", agree);
    json_put(c, "expected", str_of(expected));
    json_put(c, "observed", str_of(observed));
    json_array_append_new(l->checks, c);
}

void lab_check(struct lab *l, const char *key, int agree, const char *expected, const char *fmt,
               ...)
{
    char text[TEXT_CAP];
    FORMAT(text, fmt);
    l->wrong += !agree;
    collect(l, key, json_boolean(agree), expected, text);
    if (l->o->json)
        return;
    wrapped("  expected  ", expected);
    color(l, agree ? "32" : "1;31");
    wrapped(agree ? "  observed  " : "  OBSERVED  ", text);
    if (!agree)
        wrapped("            ", "this is NOT what was expected");
    color(l, "0");
    fflush(stdout);
}

void lab_unchecked(struct lab *l, const char *key, const char *expected, const char *fmt, ...)
{
    char text[TEXT_CAP];
    FORMAT(text, fmt);
    collect(l, key, json_null(), expected, text);
    if (l->o->json)
        return;
    wrapped("  expected  ", expected);
    wrapped("  not seen  ", text);
}

void lab_fact(struct lab *l, const char *key, uint64_t value)
{
    json_put_int(l->facts, key, value);
}

static void wait_for_enter(void)
{
    char c = 0;
    while (!lab_stopped() && c != '\n' && read(STDIN_FILENO, &c, 1) == 1)
        ;
}

void lab_look(struct lab *l, const char *fmt, ...)
{
    char text[TEXT_CAP];
    FORMAT(text, fmt);
    if (l->o->json)
        return;
    wrapped(l->o->hold ? "  look at   " : "  (--hold)  ", text);
    if (!l->o->hold)
        return;
    wrapped("            ", "(Enter goes on)");
    wait_for_enter();
}

int lab_cannot(struct lab *l, const char *what, int err)
{
    if (l->cannot || lab_stopped())
        return -1;
    l->cannot = 1;
    if (err)
        snprintf(l->error, sizeof l->error, "%s: %s", what, errno_name(err));
    else
        snprintf(l->error, sizeof l->error, "%s", what);
    log_error("lab %s could not go on: %s", l->def->name, l->error);
    return -1;
}
