/* What a person or a terminal can feed the chat: keys and pastes cut anywhere, blocks cleaned and
 * split into lines, the words of /commands, names of transports. The first byte chooses where the
 * bytes are cut. */
#include "tests/fuzz/fuzz.h"

#include "client/commands.h"
#include "client/paste.h"
#include "transport/transport.h"

#include <strings.h>

static size_t typed, pasted;

static void on_typed(void *ctx, const char *p, size_t n)
{
    (void)ctx;
    free(exact_copy((struct str){p, n}));
    typed += n;
}

static void look_at_block(const char *p, size_t n)
{
    char *copy = exact_copy((struct str){p, n});
    size_t len = paste_clean(copy, n), lines = 0;
    MUST(len <= n);
    struct str rest = {copy, len}, line;
    size_t told = paste_count_lines(rest);
    while (paste_next_line(&rest, &line)) {
        MUST(line.n > 0 && !memchr(line.p, '\n', line.n) && !memchr(line.p, 27, line.n));
        lines++;
    }
    MUST(lines == told);
    free(copy);
}

static void on_pasted(void *ctx, char *p, size_t n, int cut)
{
    (void)ctx;
    MUST(cut || n <= PASTE_MAX);
    pasted += n;
    look_at_block(p, n);
}

static void on_report(void *ctx, int column)
{
    (void)ctx;
    MUST(column >= 0);
}

static void feed(const uint8_t *data, size_t size, size_t step)
{
    static const struct paste_sink sink = {
        .typed = on_typed, .pasted = on_pasted, .report = on_report};
    struct paste p = {.want_reports = (int)(step % 4)};
    uint64_t now = 1;
    typed = pasted = 0;
    for (size_t at = 0; at < size; at += step) {
        char *piece =
            exact_copy((struct str){(const char *)data + at, step < size - at ? step : size - at});
        paste_feed(&p, piece, step < size - at ? step : size - at, now, &sink);
        free(piece);
        now += NS_PER_MS;
    }
    paste_expire(&p, now + PASTE_TOTAL_NS + PASTE_KEY_NS, &sink);
    paste_expire(&p, now + 2 * PASTE_TOTAL_NS, &sink);
    MUST(typed + pasted <= size);
    paste_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    feed(data + 1, size - 1, 1 + data[0] % 40);
    look_at_block((const char *)data + 1, size - 1);

    char *copy = exact_copy((struct str){(const char *)data + 1, size - 1});
    struct str rest = {copy, size - 1}, bad;
    uint8_t ids[TRANSPORT_COUNT];
    for (int remote = 0; remote < 2; remote++) {
        int n = transport_list(rest, remote, ids, &bad);
        MUST(n < 0 || (n >= 1 && n <= TRANSPORT_COUNT));
    }
    for (int i = 0; i < 20 && rest.n; i++) {
        size_t matches = 0;
        struct str before = rest, word = verb_word(&rest);
        MUST(word.n + rest.n <= before.n);
        const struct verb *v = verb_find(word, &matches);
        MUST(!v || (word.n <= strlen(v->name) && strncasecmp(v->name, word.p, word.n) == 0));
        (void)verb_nearest(word);
    }
    free(copy);
    return 0;
}
