/* See settings.h. */
#include "client/settings.h"

#include "base/clock.h"
#include "client/when.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define AT(field) offsetof(struct options, field)

/* clang-format off */
const struct setting settings[] = {
    {"transport", 't', KIND_TRANSPORTS, TAKES_ALL, AT(transport_text), "LIST",
     "fifo posixmq sysvmq shm mmap unix tcp, or pipe mq socket auto; best first, with commas"},
    {"server", 's', KIND_SERVER, TAKES_ALL, AT(server), "ADDRESS", "unix:PATH, tls:HOST:PORT or tcp:HOST:PORT"},
    {"account", 0, KIND_TEXT, TAKES_ALL, AT(account), "NAME",
     "tls: who to log in as. The secret comes from $PARLEY_TOKEN, from\n"
     "~/.config/parley/credentials, or is asked for"},
    {"tls-fingerprint", 0, KIND_TEXT, TAKES_ALL, AT(tls_fingerprint), "SHA256:…",
     "tls: the certificate that the server has to show"},
    {"tls-ca", 0, KIND_FILE, TAKES_ALL, AT(tls_ca), "FILE",
     "tls: a CA has to vouch for the server: one of FILE, or of\nthis machine's (the word: system)"},
    {"nick", 'n', KIND_TEXT, TAKES_ALL, AT(nick), "NICK", "who to be; default $USER"},
    {"wait", 0, KIND_WAIT, TAKES_ALL, AT(wait), "MODE", "block, adaptive or spin"},
    {"json", 0, KIND_FLAG, TAKES_ALL, AT(json), NULL, "one JSON object on each line"},
    {"color", 0, KIND_COLOR, TAKES_ALL, AT(color), "WHEN", "auto, always or never"},
    {"quiet", 'q', KIND_FLAG, TAKES_ALL, AT(quiet), NULL, "errors only; no arrivals, no notices"},
    {"verbose", 'v', KIND_FLAG, TAKES_ALL, AT(verbose), NULL, "say more on stderr"},
    {"plain", 0, KIND_FLAG, TAKES_CHAT, AT(plain), NULL,
     "line after line, for screen readers and logs: nothing is drawn anew"},
    {"theme", 0, KIND_THEME, TAKES_CHAT, AT(theme), "THEME",
     "default, dark, light or mono, and changes: dark,mention=bold red"},
    {"last", 0, KIND_NUMBER, TAKES_READ | TAKES_BOT, AT(last), "N", "begin N records before the end"},
    {"after", 0, KIND_NUMBER, TAKES_READ | TAKES_BOT, AT(after), "SEQ", "begin after sequence number SEQ"},
    {"since", 0, KIND_WHEN, TAKES_READ | TAKES_BOT, AT(since), "TIME",
     "begin then: 10m, 2h, 1d ago, 15:04, today, yesterday, 2026-01-02, '2026-01-02 15:04'"},
    {"before", 0, KIND_NUMBER, TAKES_PAST, AT(before), "SEQ", "end before sequence number SEQ"},
    {"until", 0, KIND_WHEN, TAKES_PAST, AT(until), "TIME", "end then"},
    {"context", 'x', KIND_NUMBER, TAKES_PAST, AT(context), "N", "also N lines before and after what is found"},
    {"most", 0, KIND_NUMBER, TAKES_PAST, AT(most), "N", "only the last N messages that are found"},
    {"exit-at-end", 'e', KIND_FLAG, TAKES_READ, AT(exit_at_end), NULL, "end where the present begins"},
    {"from", 0, KIND_TEXT, TAKES_FILTER, AT(from), "NICK", "only messages of that person"},
    {"match", 0, KIND_TEXT, TAKES_FILTER, AT(match), "TEXT", "only messages with TEXT in them, in either case"},
    {"count", 'C', KIND_NUMBER, TAKES_COUNT, AT(count), "N", "end after N messages (bench, race: posts)"},
    {"timeout", 'W', KIND_SECONDS, TAKES_TIMEOUT, AT(timeout), "SECONDS", "give up then, exit 124"},
    {"id", 0, KIND_TEXT, TAKES_SEND, AT(id), "NAME",
     "name of this input, at most 64 bytes. Interrupted, run it again\n"
     "within an hour with the same input and NAME: each line is said\n"
     "exactly once. Every other input needs a NAME of its own.\n"
     "Over TLS it needs an account"},
    {"notify", 0, KIND_TEXT, TAKES_CHAT, AT(notify), "CMD",
     "run CMD when you are mentioned or written to; see parley(1)"},
    {"subscribers", 'S', KIND_NUMBER, TAKES_BENCH, AT(subscribers), "N", "sessions that receive"},
    {"size", 0, KIND_NUMBER, TAKES_BENCH | TAKES_RACE, AT(size), "BYTES", "text of each post; raw: a message"},
    {"window", 0, KIND_NUMBER, TAKES_BENCH | TAKES_RACE, AT(window), "N", "fanout, race: posts on the way at once"},
    {"rate", 0, KIND_NUMBER, TAKES_BENCH | TAKES_BOT, AT(rate), "N",
     "latency: posts each second; bot: answers each second (5)"},
    {"rounds", 0, KIND_NUMBER, TAKES_BENCH, AT(rounds), "N", "latency: posts measured"},
    {"load", 0, KIND_NUMBER, TAKES_BENCH, AT(load), "N", "latency: posts each second in the background"},
    {"processes", 0, KIND_NUMBER, TAKES_BENCH, AT(processes), "N", "latency: 2: the sender is a process of its own"},
    {"mixed", 0, KIND_FLAG, TAKES_BENCH, AT(mixed), NULL, "fanout: the transports of -t side by side in one room"},
    {"batch", 0, KIND_NUMBER, TAKES_BENCH, AT(batch), "N", "raw stream: messages in a system call"},
    {"repeat", 0, KIND_NUMBER, TAKES_BENCH, AT(repeat), "N", "runs of each case"},
    {"place", 0, KIND_PLACE, TAKES_BENCH, AT(place), "WHERE", "server: hub, workers or auto"},
    {"workers", 0, KIND_NUMBER, TAKES_BENCH, AT(workers), "N", "server: worker processes"},
    {"server-wait", 0, KIND_WAIT, TAKES_BENCH, AT(server_wait), "MODE", "server: as --wait, its default"},
    {"sync", 0, KIND_SYNC, TAKES_BENCH, AT(sync), "WHEN", "server: none, interval or always"},
    {"pin", 0, KIND_PIN, TAKES_BENCH, AT(pin), "HOW", "processes to CPUs: same, apart or none"},
    {"svg", 0, KIND_FILE, TAKES_BENCH, AT(svg), "FILE", "also draw a chart (needs gnuplot)"},
    {"vs", 0, KIND_FILE, TAKES_BENCH, AT(vs), "FILE", "compare saved --json output with another's"},
    {"prefix", 0, KIND_TEXT, TAKES_BOT, AT(prefix), "TEXT", "only messages that begin with TEXT"},
    {"mention", 0, KIND_FLAG, TAKES_BOT, AT(mention), NULL, "only messages that name the bot; with --prefix: either"},
    {"burst", 0, KIND_NUMBER, TAKES_BOT, AT(burst), "N", "so many answers may come at once (10)"},
    {"jobs", 0, KIND_NUMBER, TAKES_BOT, AT(jobs), "N", "runs at the same time (4); answers stay in order"},
    {"run-time", 0, KIND_SECONDS, TAKES_BOT, AT(run_time), "SECONDS", "a run that takes longer is ended (30)"},
    {"position", 0, KIND_FILE, TAKES_BOT, AT(position), "FILE",
     "keep there how far it has come, and go on there"},
    {"ignore", 0, KIND_TEXT, TAKES_GUEST | TAKES_BOT, AT(ignore), "PATTERNS", "nicks not to answer: guest-*,bot"},
    {"private", 0, KIND_FLAG, TAKES_RACE, AT(private), NULL, "race on a server of its own"},
    {"hold", 0, KIND_FLAG, TAKES_LAB, AT(hold), NULL,
     "wait for Enter wherever there is something to look at"},
    {"delay", 'd', KIND_SECONDS, TAKES_TOP, AT(delay), "SECONDS", "between two looks (1)"},
    {"once", 0, KIND_FLAG, TAKES_TOP, AT(once), NULL, "print one look and end"},
    {"page", 0, KIND_FILE, TAKES_TOP, AT(page), "FILE", "the statistics page, if it is not found"},
    {"output", 'o', KIND_FILE, TAKES_FILE, AT(output), "FILE", "save as FILE, or in that directory; nothing is overwritten"},
    {"help", 'h', KIND_FLAG, TAKES_NOTHING, 0, NULL, "this text; after a command, more about it"},
    {"version", 0, KIND_FLAG, TAKES_NOTHING, 0, NULL, "the version, and what it was built with"},
};
/* clang-format on */
const size_t setting_count = sizeof settings / sizeof *settings;

/* --- values -------------------------------------------------------------------------------- */

static int parse_number(const char *v, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(v, &end, 10);
    if (*v < '0' || *v > '9' || *end || errno || n == OPTION_UNSET)
        return -EINVAL;
    *out = n;
    return 0;
}

static int parse_flag(const char *v, int *out)
{
    static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false",
                                                                                "off", "0"};
    for (int i = 0; i < 4; i++) {
        if (!v || strcmp(v, yes[i]) == 0)
            return *out = 1, 0;
        if (strcmp(v, no[i]) == 0)
            return *out = 0, 0;
    }
    return -EINVAL;
}

static int choose(const char *v, const char *const *words, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(v, words[i]) == 0)
            return i;
    return -EINVAL;
}

const char *setting_expected(const struct setting *d)
{
    switch (d->kind) {
    case KIND_FLAG:
        return "yes or no";
    case KIND_NUMBER:
        return "a number";
    case KIND_WHEN:
        return "a time such as 30s, 10m, 2h, 1d ago, 15:04, today, yesterday or 2026-01-02";
    case KIND_SECONDS:
        return "a time such as 5, 0.5, 30s, 10m, 2h, 1d";
    case KIND_COLOR:
        return "auto, always or never";
    case KIND_WAIT:
        return "block, adaptive or spin";
    case KIND_THEME:
        return "a theme (default, dark, light, mono) and changes to it: dark,mention=bold red";
    case KIND_TRANSPORTS:
        return "names with commas: fifo posixmq sysvmq shm mmap unix tcp pipe mq socket auto";
    case KIND_SERVER:
        return "unix:PATH or tcp:HOST:PORT";
    default:
        return "text";
    }
}

static const char *const colors[] = {"auto", "always", "never"};
static const char *const waits[] = {"block", "adaptive", "spin"};

int setting_set(struct options *o, const struct setting *d, const char *v)
{
    void *to = (char *)o + d->at;
    int i = 0;
    switch (d->kind) {
    case KIND_FLAG:
        return parse_flag(v, to);
    case KIND_NUMBER:
        return parse_number(v, to);
    case KIND_WHEN:
        return when_parse(v, wall_ns(), to);
    case KIND_SECONDS:
        return when_span(v, to);
    case KIND_COLOR:
        if ((i = choose(v, colors, 3)) >= 0)
            o->color = (enum color_mode)i;
        return i < 0 ? i : 0;
    case KIND_WAIT:
        if ((i = choose(v, waits, 3)) >= 0)
            memcpy(to, &i, sizeof i);
        if (i >= 0 && d->at == AT(wait))
            o->wait_given = 1;
        return i < 0 ? i : 0;
    default:
        memcpy(to, &v, sizeof v);
        return 0;
    }
}

const char *setting_values(const struct setting *d)
{
    static const char *const values[] = {
        [KIND_COLOR] = "auto always never",
        [KIND_WAIT] = "block adaptive spin",
        [KIND_TRANSPORTS] = ",fifo posixmq sysvmq shm mmap unix tcp pipe mq socket auto",
        [KIND_SERVER] = "unix: tls: tcp:",
        [KIND_FILE] = OPT_FILE,
        [KIND_PLACE] = "auto hub workers",
        [KIND_SYNC] = "none interval always",
        [KIND_THEME] = "default dark light mono",
        [KIND_PIN] = "same apart none",
    };
    return d->kind < sizeof values / sizeof *values ? values[d->kind] : NULL;
}

int setting_in_config(const struct setting *d)
{
    return !(d->takes & (TAKES_NOTHING | TAKES_SEND | TAKES_FILTER | TAKES_FILE | TAKES_PAST));
}

const struct setting *setting_find(const char *name)
{
    for (size_t i = 0; i < setting_count; i++)
        if (strcmp(settings[i].name, name) == 0 && setting_in_config(&settings[i]))
            return &settings[i];
    return NULL;
}

int setting_of_chat(const struct setting *d)
{
    return setting_in_config(d) && d->takes & (TAKES_ALL | TAKES_CHAT) &&
           strcmp(d->name, "json") != 0;
}

const char *setting_text(const struct options *o, const struct setting *d, char *out, size_t cap)
{
    const void *at = (const char *)o + d->at;
    const char *text = NULL;
    uint64_t number;
    int i;
    switch (d->kind) {
    case KIND_FLAG:
    case KIND_COLOR:
    case KIND_WAIT:
        memcpy(&i, at, sizeof i);
        text = d->kind == KIND_FLAG    ? (i ? "yes" : "no")
               : d->kind == KIND_COLOR ? colors[i]
               : i < 0                 ? ""
                                       : waits[i];
        break;
    case KIND_NUMBER:
    case KIND_SECONDS:
        memcpy(&number, at, sizeof number);
        if (number != OPTION_UNSET)
            snprintf(out, cap, "%llu", (unsigned long long)number);
        else
            *out = '\0';
        return out;
    default:
        memcpy(&text, at, sizeof text);
    }
    snprintf(out, cap, "%s", text ? text : "");
    return out;
}
