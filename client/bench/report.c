/* See report.h. */
#include "client/bench/report.h"

#include "client/bench/chart.h"
#include "client/json.h"
#include "client/tool.h"

int report_write(const struct report *r, const struct options *o)
{
    if (o->json)
        for (size_t i = 0; i < r->count; i++)
            json_line(stdout, report_json(&r->results[i], r->environment));
    else
        report_table(stdout, r);
    int code = tool_output(0);
    return code == 0 && o->svg ? chart_write(r, o->svg) : code;
}
