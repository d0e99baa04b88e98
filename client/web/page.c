/* See page.h. The assembler puts the files in as they are (.incbin, relative to the root of the
 * source, where make runs), so nothing has to be generated. */
#include "client/web/page.h"

/* clang-format off */
#define HTML "text/html; charset=utf-8"
#define CSS  "text/css; charset=utf-8"
#define JS   "text/javascript; charset=utf-8"
#define SVG  "image/svg+xml"
#define FILES(X)                                                 \
    X(index,     "/",           HTML, "page/index.html")         \
    X(style,     "/style.css",  CSS,  "page/style.css")          \
    X(icon,      "/icon.svg",   SVG,  "page/icon.svg")           \
    X(main,      "/main.js",    JS,   "page/main.js")            \
    X(util,      "/util.js",    JS,   "page/util.js")            \
    X(room,      "/room.js",    JS,   "page/room.js")            \
    X(picture,   "/picture.js", JS,   "page/picture.js")         \
    X(charts,    "/charts.js",  JS,   "page/charts.js")          \
    X(trace,     "/trace.js",   JS,   "page/trace.js")           \
    X(uplot,     "/uplot.js",   JS,   "vendor/uplot/uPlot.iife.min.js") \
    X(uplot_css, "/uplot.css",  CSS,  "vendor/uplot/uPlot.min.css")
/* clang-format on */

#define X(name, path, type, file)               \
    __asm__(".section .rodata\n"                \
            "page_" #name "_start:\n"           \
            ".incbin \"client/web/" file "\"\n" \
            "page_" #name "_end:\n"             \
            ".previous\n");                     \
    extern const char page_##name##_start[], page_##name##_end[];
FILES(X)
#undef X

static const struct page_file files[] = {
#define X(name, path, type, file) {path, type, page_##name##_start, page_##name##_end},
    FILES(X)
#undef X
};

const struct page_file *page_find(struct str path)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (str_eq(path, str_of(files[i].path)))
            return &files[i];
    return NULL;
}
