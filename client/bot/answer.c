/* What a bot's command printed becomes messages, and not too many of them at once. See bot.h. */
#include "client/bot/bot.h"

#include "base/clock.h"
#include "proto/text.h"

#include <stdlib.h>
#include <string.h>

void rate_init(struct rate *r, uint64_t per_second, uint64_t burst)
{
    r->one = NS_PER_SEC / per_second;
    r->most = r->tokens = r->one * burst;
    r->refilled = mono_ns();
}

uint64_t rate_wait(struct rate *r)
{
    uint64_t now = mono_ns();
    r->tokens += now - r->refilled;
    r->refilled = now;
    if (r->tokens > r->most)
        r->tokens = r->most;
    return r->tokens < r->one ? r->one - r->tokens : 0;
}

int rate_take(struct rate *r)
{
    if (rate_wait(r) > 0)
        return 0;
    r->tokens -= r->one;
    return 1;
}

/* Everything is made fit to be said once, when the output is complete: ends of lines, and what is
 * no text. */
void answer_clean(struct job *j)
{
    struct str all = {(const char *)buf_head(&j->output), j->output.len};
    if (!all.p)
        return;
    while (all.n && (all.p[all.n - 1] == '\n' || all.p[all.n - 1] == '\r'))
        all.n--;
    size_t cap = 6 * all.n + 1, n = 0;
    char *text = malloc(cap);
    for (size_t i = 0; text && i < all.n; i++) /* lines of other systems */
        if (all.p[i] != '\r' || i + 1 >= all.n || all.p[i + 1] != '\n')
            text[n++] = all.p[i];
    if (text && text_check(TEXT_BODY, (struct str){text, n}, NULL) != TEXT_OK) {
        char *safe = malloc(6 * n + 1);
        size_t m = safe ? text_escape((struct str){text, n}, 1, safe, 6 * n) : 0;
        free(text);
        text = safe;
        n = m;
    }
    buf_consume(&j->output, j->output.len);
    if (text)
        (void)buf_append(&j->output, text, n);
    free(text);
}

size_t answer_piece(const char *p, size_t n)
{
    if (n <= PARLEY_TEXT_MAX)
        return n;
    const char *nl = memrchr(p, '\n', PARLEY_TEXT_MAX);
    if (nl && nl > p)
        return (size_t)(nl - p);
    n = PARLEY_TEXT_MAX;
    while (((unsigned char)p[n] & 0xc0u) == 0x80u)
        n--;
    return n;
}
