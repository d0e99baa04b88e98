/* See when.h. Pure but for the time zone. */
#include "client/when.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int when_span(const char *text, uint64_t *ns)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"", 1},     {"ms", 1e-3}, {"s", 1},     {"m", 60},
                 {"h", 3600}, {"d", 86400}, {"w", 604800}};
    if ((*text < '0' || *text > '9') && *text != '.')
        return -EINVAL;
    char *end;
    double n = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        n *= units[i].seconds * 1e9;
        if (!(n >= 0 && n < 9e18)) /* 285 years, and what fits */
            return -EINVAL;
        *ns = (uint64_t)n;
        return 0;
    }
    return -EINVAL;
}

/* The rest of a date behind what strptime took: "" or "Z". */
static int seconds_of(struct tm *tm, const char *rest, time_t *out)
{
    tm->tm_isdst = -1;
    if (*rest == '\0')
        *out = mktime(tm);
    else if (strcmp(rest, "Z") == 0)
        *out = timegm(tm);
    else
        return -EINVAL;
    return *out < 0 ? -EINVAL : 0;
}

static int parse_date(const char *text, const struct tm *today, time_t *out)
{
    static const char *const forms[] = {
        "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M",
        "%Y-%m-%d",          "%H:%M:%S",          "%H:%M"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        if (forms[i][1] == 'H') { /* a time of today */
            tm.tm_year = today->tm_year;
            tm.tm_mon = today->tm_mon;
            tm.tm_mday = today->tm_mday;
        }
        const char *rest = strptime(text, forms[i], &tm);
        if (rest && seconds_of(&tm, rest, out) == 0)
            return 0;
    }
    return -EINVAL;
}

int when_parse(const char *text, uint64_t now, uint64_t *age)
{
    time_t at = (time_t)(now / NS_PER_SEC), then;
    struct tm today;
    localtime_r(&at, &today);
    int day = strcmp(text, "today") == 0 ? 0 : strcmp(text, "yesterday") == 0 ? 1 : -1;
    if (day >= 0) {
        struct tm tm = {.tm_year = today.tm_year,
                        .tm_mon = today.tm_mon,
                        .tm_mday = today.tm_mday - day,
                        .tm_isdst = -1};
        then = mktime(&tm);
    } else if (when_span(text, age) == 0) {
        return 0;
    } else if (parse_date(text, &today, &then) < 0) {
        return -EINVAL;
    }
    uint64_t seconds = (uint64_t)then; /* of a far year, more ns than there are numbers */
    *age = seconds < now / NS_PER_SEC + 1 && seconds * NS_PER_SEC < now ? now - seconds * NS_PER_SEC
                                                                        : 0;
    return 0;
}

const char *when_date(uint64_t ns, char *out, size_t cap)
{
    time_t at = (time_t)(ns / NS_PER_SEC);
    struct tm tm = {0};
    localtime_r(&at, &tm);
    strftime(out, cap, "%Y-%m-%d %H:%M", &tm);
    return out;
}

const char *when_since(uint64_t ns, char *out, size_t cap)
{
    unsigned long long s = ns / NS_PER_SEC;
    if (s < 60)
        snprintf(out, cap, "%llu s", s);
    else if (s < 3600)
        snprintf(out, cap, "%llu min", s / 60);
    else
        snprintf(out, cap, "%llu h %llu min", s / 3600, s / 60 % 60);
    return out;
}
