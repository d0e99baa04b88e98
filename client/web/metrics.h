/* /metrics, in Prometheus' text format 0.0.4. */
#pragma once

#include "client/web/web.h"

/* The whole text, from malloc, with its length; NULL: no memory. */
char *metrics_text(struct web *w, size_t *n);
