/* The files of the page, part of the program. */
#pragma once

#include "base/bytes.h"

struct page_file {
    const char *path; /* "/style.css" */
    const char *type;
    const char *start, *end;
};

/* NULL: there is no such file. */
const struct page_file *page_find(struct str path);
