/* See paste.h. */
#include "client/paste.h"

#include <stdlib.h>

#define ESC '\033'

static const char begin_mark[] = "\033[200~";
static const char end_mark[] = "\033[201~";
#define MARK_LEN (sizeof end_mark - 1)

enum match { NO, PARTLY, WHOLE };

static enum match match_mark(const struct paste *p, const char *mark)
{
    if (p->held_n > MARK_LEN || memcmp(p->held, mark, p->held_n) != 0)
        return NO;
    return p->held_n == MARK_LEN ? WHOLE : PARTLY;
}

/* ESC [ row ; column R */
static enum match match_report(const struct paste *p, int *column)
{
    int fields = 0;
    long value = 0;
    if (!p->want_reports || (p->held_n > 1 && p->held[1] != '['))
        return NO;
    for (size_t i = 2; i < p->held_n; i++) {
        char c = p->held[i];
        if (c >= '0' && c <= '9' && value < 100000) {
            value = value * 10 + (c - '0');
        } else if (c == ';' && fields == 0 && value > 0) {
            fields = 1;
            value = 0;
        } else if (c == 'R' && fields == 1 && value > 0) {
            *column = (int)value;
            return WHOLE;
        } else {
            return NO;
        }
    }
    return p->held_n < sizeof p->held ? PARTLY : NO;
}

static void give_held(struct paste *p, const struct paste_sink *sink)
{
    size_t n = p->held_n;
    p->held_n = 0;
    if (n)
        sink->typed(sink->ctx, p->held, n);
}

/* One more byte of what began with ESC. */
static void hold(struct paste *p, char c, uint64_t now, const struct paste_sink *sink)
{
    int column = 0;
    p->held[p->held_n++] = c;
    p->last = now;
    enum match begin = match_mark(p, begin_mark), end = match_mark(p, end_mark);
    enum match report = match_report(p, &column);
    if (begin == WHOLE) {
        p->held_n = 0;
        p->inside = 1;
        p->cut = 0;
        p->end_seen = 0;
        p->began = now;
    } else if (end == WHOLE) {
        p->held_n = 0; /* of a paste that timed out: means nothing to anybody */
    } else if (report == WHOLE) {
        p->held_n = 0;
        p->want_reports--;
        sink->report(sink->ctx, column);
    } else if (begin == NO && end == NO && report == NO) {
        /* Not for us. The byte that told may itself begin a mark. */
        int again = c == ESC && p->held_n > 1;
        p->held_n -= (size_t)again;
        give_held(p, sink);
        if (again)
            hold(p, c, now, sink);
    }
}

static void finish(struct paste *p, const struct paste_sink *sink)
{
    struct buf block = p->block;
    p->block = (struct buf){0};
    p->inside = 0;
    if (block.len)
        sink->pasted(sink->ctx, (char *)block.data + block.start, block.len, p->cut);
    buf_free(&block);
}

static void keep(struct paste *p, const char *bytes, size_t n)
{
    size_t left = PASTE_MAX - p->block.len;
    if (n > left)
        p->cut = 1;
    if (n > left)
        n = left;
    if (n && buf_append(&p->block, bytes, n) < 0)
        p->cut = 1;
}

/* Bytes of a paste; returns how many were taken, up to the end mark. */
static size_t inside(struct paste *p, const char *bytes, size_t n, const struct paste_sink *sink)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == end_mark[p->end_seen]) {
            if (++p->end_seen == MARK_LEN) {
                finish(p, sink);
                return i + 1;
            }
            continue;
        }
        keep(p, end_mark, p->end_seen);
        p->end_seen = bytes[i] == ESC;
        if (!p->end_seen)
            keep(p, bytes + i, 1);
    }
    return n;
}

void paste_feed(struct paste *p, const char *bytes, size_t n, uint64_t now,
                const struct paste_sink *sink)
{
    while (n) {
        size_t took = 1;
        if (p->inside) {
            p->last = now;
            took = inside(p, bytes, n, sink);
        } else if (p->held_n || *bytes == ESC) {
            hold(p, *bytes, now, sink);
        } else {
            const char *esc = memchr(bytes, ESC, n);
            took = esc ? (size_t)(esc - bytes) : n;
            sink->typed(sink->ctx, bytes, took);
        }
        bytes += took;
        n -= took;
    }
}

uint64_t paste_deadline(const struct paste *p)
{
    if (p->inside) {
        uint64_t idle = p->last + PASTE_IDLE_NS, total = p->began + PASTE_TOTAL_NS;
        return idle < total ? idle : total;
    }
    return p->held_n ? p->last + PASTE_KEY_NS : UINT64_MAX;
}

void paste_expire(struct paste *p, uint64_t now, const struct paste_sink *sink)
{
    if (now < paste_deadline(p))
        return;
    if (p->inside) {
        keep(p, end_mark, p->end_seen);
        finish(p, sink);
    } else {
        give_held(p, sink);
    }
}

void paste_free(struct paste *p)
{
    buf_free(&p->block);
    *p = (struct paste){0};
}

size_t paste_clean(char *p, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c == '\r') {
            p[out++] = '\n';
            if (i + 1 < n && p[i + 1] == '\n')
                i++;
        } else if (c == 0xc2 && i + 1 < n && (unsigned char)p[i + 1] >= 0x80 &&
                   (unsigned char)p[i + 1] < 0xa0) {
            i++; /* C1 in UTF-8 */
        } else if ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t') {
            p[out++] = p[i];
        }
    }
    while (out && p[out - 1] == '\n')
        out--;
    return out;
}

static int is_blank(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != ' ' && s.p[i] != '\t')
            return 0;
    return 1;
}

int paste_next_line(struct str *rest, struct str *line)
{
    while (rest->n) {
        const char *nl = memchr(rest->p, '\n', rest->n);
        size_t n = nl ? (size_t)(nl - rest->p) : rest->n;
        *line = (struct str){rest->p, n};
        rest->p += nl ? n + 1 : n;
        rest->n -= nl ? n + 1 : n;
        if (!is_blank(*line))
            return 1;
    }
    return 0;
}

size_t paste_count_lines(struct str text)
{
    struct str line;
    size_t count = 0;
    while (paste_next_line(&text, &line))
        count++;
    return count;
}
