/* See filename.h. */
#include "proto/filename.h"

#include <utf8proc.h>

#define EXTENSION_MAX 16u

size_t filename_stem(struct str s)
{
    for (size_t i = s.n; i > 1 && s.n - i < EXTENSION_MAX; i--)
        if (s.p[i - 1] == '.')
            return i < s.n ? i - 1 : s.n;
    return s.n;
}

static int may_stand(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC: /* control */
    case UTF8PROC_CATEGORY_CF: /* bidi, zero width */
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CN: /* not assigned */
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return 0;
    default:
        return c != '/' && c != '\\';
    }
}

static int may_begin(char c)
{
    return c != '.' && c != '-' && c != '~' && c != ' ';
}

/* What of `s` comes to stand from out[n] on, at most up to `cap`; returns the new length. */
static size_t put(struct str s, char *out, size_t n, size_t cap)
{
    while (s.n) {
        utf8proc_int32_t c;
        utf8proc_ssize_t len =
            utf8proc_iterate((const utf8proc_uint8_t *)s.p, (utf8proc_ssize_t)s.n, &c);
        int bad = len <= 0 || !may_stand(c);
        size_t takes = len <= 0 ? 1 : (size_t)len, gives = bad ? 1 : takes;
        if (n + gives > cap)
            break;
        if (bad)
            out[n] = '_';
        else
            memcpy(out + n, s.p, takes);
        n += gives;
        s.p += takes;
        s.n -= takes;
    }
    return n;
}

size_t filename_safe(struct str s, char out[FILE_NAME_MAX + 1])
{
    const char *slash = s.n ? memrchr(s.p, '/', s.n) : NULL;
    if (slash)
        s = (struct str){slash + 1, s.n - (size_t)(slash + 1 - s.p)};
    size_t stem = filename_stem(s);
    char ext[EXTENSION_MAX + 1];
    size_t ext_len = put((struct str){s.p + stem, s.n - stem}, ext, 0, EXTENSION_MAX);
    size_t n = put((struct str){s.p, stem}, out, 0, FILE_NAME_MAX - ext_len);
    memcpy(out + n, ext, ext_len);
    n += ext_len;
    for (size_t i = 0; i < n && !may_begin(out[i]); i++)
        out[i] = '_';
    for (size_t i = n; i > 0 && out[i - 1] == ' '; i--)
        out[i - 1] = '_';
    if (n == 0)
        n = put(str_of("file"), out, 0, FILE_NAME_MAX);
    out[n] = '\0';
    return n;
}

int filename_ok(struct str s)
{
    char out[FILE_NAME_MAX + 1];
    return s.n && s.n <= FILE_NAME_MAX && filename_safe(s, out) == s.n &&
           memcmp(out, s.p, s.n) == 0;
}
