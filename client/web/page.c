/* See page.h. The assembler puts the files in as they are (.incbin, relative to the root of the
 * source, where make runs), so nothing has to be generated. */
#include "client/web/page.h"

#define FILES(X)                                                                              \
    X(index, "/", "text/html; charset=utf-8", "page/index.html")                              \
    X(style, "/style.css", "text/css; charset=utf-8", "page/style.css")                       \
    X(main, "/main.js", "text/javascript; charset=utf-8", "page/main.js")                     \
    X(uplot, "/uplot.js", "text/javascript; charset=utf-8", "vendor/uplot/uPlot.iife.min.js") \
    X(uplot_css, "/uplot.css", "text/css; charset=utf-8", "vendor/uplot/uPlot.min.css")

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
