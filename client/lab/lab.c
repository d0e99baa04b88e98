/* parley lab [NAME]: the list, or one demonstration. */
#include "client/lab/lab.h"

#include "base/log.h"
#include "client/command.h"
#include "client/suggest.h"
#include "client/tool.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct lab_def *const lab_defs[] = {
    &lab_atomic_pipe,
    &lab_fan_out,
    &lab_full_queue,
    &lab_kill_client,
    &lab_kill_worker,
    &lab_leftovers,
    &lab_mmap_coherence,
    &lab_mtype,
    &lab_priority,
    &lab_slow_reader,
    &lab_switch,
    &lab_truncate,
    NULL,
};

const char *lab_name(size_t i, const char **line)
{
    if (lab_defs[i])
        *line = lab_defs[i]->line;
    return lab_defs[i] ? lab_defs[i]->name : NULL;
}

static int list(const struct options *o)
{
    if (!o->json)
        printf("Demonstrations, each a real run that checks what it says: parley lab NAME\n\n");
    for (const struct lab_def *const *d = lab_defs; *d; d++) {
        if (!o->json) {
            printf("  %-15s %s\n", (*d)->name, (*d)->line);
            continue;
        }
        json_t *j = json_begin("lab");
        json_put(j, "lab", str_of((*d)->name));
        json_put(j, "line", str_of((*d)->line));
        json_line(stdout, j);
    }
    if (!o->json)
        printf("\n--hold waits for Enter wherever there is something to look at.\n");
    return fflush(stdout) == 0 ? 0 : 1;
}

/* Once it is cleaned up, so that an error of that counts too. */
static int verdict(struct lab *l)
{
    int ok = l->wrong == 0 && !l->cannot;
    size_t checks = json_array_size(l->checks);
    if (lab_signal) {
        json_decref(l->checks);
        json_decref(l->facts);
        return 128 + lab_signal;
    }
    if (l->o->json) {
        json_t *j = json_begin("lab");
        json_put(j, "lab", str_of(l->def->name));
        json_object_set_new(j, "ok", json_boolean(ok));
        json_object_set_new(j, "checks", l->checks);
        json_object_set_new(j, "facts", l->facts);
        if (l->cannot)
            json_put(j, "error", str_of(l->error));
        json_line(stdout, j);
    } else {
        if (l->wrong)
            printf("\n  %d of %zu observations are NOT as expected.\n", l->wrong, checks);
        else if (ok)
            printf("\n  All as expected. The code: client/lab/%s\n", l->def->source);
        json_decref(l->checks);
        json_decref(l->facts);
    }
    return tool_output(!ferror(stdout) && !ok);
}

int lab_run(const struct options *o)
{
    if (o->argc == 0)
        return list(o);
    for (const struct lab_def *const *d = lab_defs; *d; d++) {
        if (strcmp(o->argv[0], (*d)->name) != 0)
            continue;
        struct lab l = {.def = *d, .o = o, .checks = json_array(), .facts = json_object()};
        lab_catch_signals();
        if (!o->json)
            printf("%s: %s\n", (*d)->name, (*d)->line);
        fflush(stdout);
        if ((*d)->run(&l) < 0 && !l.cannot && !lab_stopped())
            lab_cannot(&l, "it ended early", 0);
        lab_cleanup(&l);
        return verdict(&l);
    }
    log_error("there is no lab \"%s\"; parley lab lists them", o->argv[0]);
    return EXIT_USAGE;
}
