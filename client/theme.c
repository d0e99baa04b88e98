/* See theme.h. */
#include "client/theme.h"

#include "proto/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const part_names[THEME_PARTS] = {
    "time", "place",  "own", "mention", "caller", "event",
    "rule", "prompt", "bar", "here",    "news",   "ping",
};

/* Each is the one above it, changed. The nicks of the first can be read on black and on white;
 * yellow and the two extremes cannot. */
static const struct {
    const char *name, *parts;
} themes[] = {
    {"default",
     "time=faint,place=faint,own=bold,mention=bold,caller=reverse bold,event=faint,rule=faint,"
     "prompt=bold,bar=faint,here=bold,news=cyan,ping=reverse bold,"
     "nicks=red green blue magenta cyan bright-red bright-green bright-blue bright-magenta "
     "bright-cyan"},
    {"dark", "time=244,place=110,event=245,rule=240,bar=245 on-236,here=bold white on-236,"
             "news=117 on-236,ping=bold 16 on-215,mention=bold 229,prompt=bold 117,"
             "nicks=203 209 215 221 185 149 114 79 80 75 111 147 177 212 168 181"},
    {"light",
     "time=243,place=25,event=242,rule=250,bar=240 on-254,here=bold 16 on-254,news=25 on-254,"
     "ping=bold white on-160,mention=bold 124,prompt=bold 25,"
     "nicks=124 130 94 58 28 22 29 30 24 25 19 55 91 127 125 88"},
    {"mono",
     "time=faint,place=faint,own=bold,mention=bold,caller=reverse bold,event=faint,rule=faint,"
     "prompt=bold,bar=plain,here=reverse,news=bold,ping=bold underline,nicks=plain"},
};
#define THEMES (sizeof themes / sizeof *themes)

static int choose(struct str word, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (str_eq(word, str_of(names[i])))
            return i;
    return -1;
}

/* The parameter of a colour, of the background with `on`. 0 or -EINVAL. */
static int color(struct str word, int on, char *out, size_t cap)
{
    static const char *const names[] = {"black",   "red",  "green", "yellow", "blue",
                                        "magenta", "cyan", "white", "",       "default"};
    char number[8], *end;
    unsigned long n;
    int bright = word.n > 7 && memcmp(word.p, "bright-", 7) == 0;
    if (bright)
        word = (struct str){word.p + 7, word.n - 7};
    int i = choose(word, names, bright ? 8 : 10);
    if (i >= 0 && word.n) {
        snprintf(out, cap, "%d", (bright ? 90 : 30) + (on ? 10 : 0) + i);
        return 0;
    }
    snprintf(number, sizeof number, "%.*s", (int)(word.n < 7 ? word.n : 7), word.p);
    n = strtoul(number, &end, 10);
    if (bright || *number < '0' || *number > '9' || *end || n > 255)
        return -EINVAL;
    snprintf(out, cap, "%d;5;%u", on ? 48 : 38, (unsigned)n % 256);
    return 0;
}

static int attribute(struct str word, char *out, size_t cap)
{
    static const char *const names[] = {"plain",     "bold", "faint", "italic",
                                        "underline", "",     "",      "reverse"};
    if (word.n > 3 && memcmp(word.p, "on-", 3) == 0)
        return color((struct str){word.p + 3, word.n - 3}, 1, out, cap);
    int i = choose(word, names, 8);
    if (i < 0)
        return color(word, 0, out, cap);
    snprintf(out, cap, "%d", i);
    return 0;
}

static struct str next_word(struct str *s, const char *ends)
{
    while (s->n && (strchr(" +", *s->p) || strchr(ends, *s->p))) {
        s->p++;
        s->n--;
    }
    size_t n = 0;
    while (n < s->n && !strchr(" +", s->p[n]) && !strchr(ends, s->p[n]))
        n++;
    struct str word = {s->p, n};
    s->p += n;
    s->n -= n;
    return word;
}

static int bad(char *why, size_t cap, const char *what, struct str word)
{
    snprintf(why, cap, "%s \"%.*s\"", what, (int)word.n, word.p);
    return -EINVAL;
}

static int set_nicks(struct theme *t, struct str words, char *why, size_t cap)
{
    t->nick_count = 0;
    for (struct str word; (word = next_word(&words, "")).n;) {
        if (str_eq(word, str_of("plain")))
            continue;
        if (t->nick_count == THEME_NICKS)
            return bad(why, cap, "too many colours for nicks at", word);
        if (color(word, 0, t->nicks[t->nick_count], sizeof *t->nicks) < 0)
            return bad(why, cap, "there is no colour", word);
        t->nick_count++;
    }
    return 0;
}

static int set_part(struct theme *t, struct str name, struct str words, char *why, size_t cap)
{
    int part = choose(name, part_names, THEME_PARTS);
    char list[32] = "", one[16];
    if (str_eq(name, str_of("nicks")))
        return set_nicks(t, words, why, cap);
    if (part < 0)
        return bad(why, cap, "there is no part of a theme called", name);
    for (struct str word; (word = next_word(&words, "")).n;) {
        size_t at = strlen(list);
        if (attribute(word, one, sizeof one) < 0)
            return bad(why, cap, "there is no colour", word);
        if (strcmp(one, "0") == 0) /* plain: nothing at all */
            continue;
        if (at + strlen(one) + 5 > sizeof list)
            return bad(why, cap, "too many words at", word);
        snprintf(list + at, sizeof list - at, "%s%s", at ? ";" : "", one);
    }
    if (*list)
        snprintf(t->sgr[part], sizeof t->sgr[part], "\033[%.28sm", list);
    else
        t->sgr[part][0] = '\0';
    return 0;
}

static int set_parts(struct theme *t, struct str text, char *why, size_t cap)
{
    while (text.n) {
        const char *comma = memchr(text.p, ',', text.n);
        size_t n = comma ? (size_t)(comma - text.p) : text.n;
        struct str words = {text.p, n};
        struct str name = next_word(&words, "=");
        while (words.n && *words.p == ' ')
            words = (struct str){words.p + 1, words.n - 1};
        if (words.n && *words.p == '=')
            words = (struct str){words.p + 1, words.n - 1};
        if (name.n && set_part(t, name, words, why, cap) < 0)
            return -EINVAL;
        n += comma != NULL;
        text = (struct str){text.p + n, text.n - n};
    }
    return 0;
}

int theme_parse(struct theme *t, const char *text, char *why, size_t cap)
{
    struct theme made = {0};
    struct str rest = str_of(text ? text : "");
    const char *base = NULL;
    struct str before = rest, name = next_word(&rest, ",=");
    for (size_t i = 0; i < THEMES && !base; i++)
        if (str_eq(name, str_of(themes[i].name)))
            base = themes[i].parts;
    if (!base && name.n && !(rest.n && *rest.p == '='))
        return bad(why, cap, "themes are " THEME_NAMES "; there is none called", name);
    if (!base)
        rest = before;
    if (set_parts(&made, str_of(themes[0].parts), why, cap) < 0 ||
        (base && set_parts(&made, str_of(base), why, cap) < 0) ||
        set_parts(&made, rest, why, cap) < 0)
        return -EINVAL;
    *t = made;
    return 0;
}

const struct theme *theme_default(void)
{
    static struct theme t;
    char why[80];
    if (!t.nick_count)
        theme_parse(&t, NULL, why, sizeof why);
    return &t;
}

const char *theme_nick(const struct theme *t, struct str nick)
{
    char key[NICK_MAX * 4];
    ssize_t n = text_key(nick, key, sizeof key);
    const char *p = n > 0 ? key : nick.p;
    size_t len = n > 0 ? (size_t)n : nick.n;
    uint32_t h = 2166136261u; /* FNV-1a: the same on every machine and in every year */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)p[i]) * 16777619u;
    return t->nick_count ? t->nicks[(h ^ h >> 16) % (uint32_t)t->nick_count] : "";
}
