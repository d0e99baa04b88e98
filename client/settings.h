/* Every option of parley once: name, letter, type, which commands take it, help; and how a value
 * of each type is read. The command line (options.c), the configuration files (config.c) and /set
 * use this table. */
#pragma once

#include "client/options.h"

#include <stddef.h>

/* Those after KIND_TEXT are texts too; what they may be is offered by shells, and checked by
 * whoever uses them. */
enum setting_kind {
    KIND_FLAG,
    KIND_NUMBER,
    KIND_SECONDS,
    KIND_WHEN, /* a point in time: how long ago that is */
    KIND_COLOR,
    KIND_WAIT,
    KIND_TEXT,
    KIND_TRANSPORTS,
    KIND_SERVER,
    KIND_FILE,
    KIND_PLACE,
    KIND_SYNC,
    KIND_PIN,
    KIND_THEME,
};

struct setting {
    const char *name;
    char letter; /* 0: none */
    enum setting_kind kind;
    unsigned takes;
    size_t at; /* offset in struct options */
    const char *meta, *help;
};

extern const struct setting settings[];
extern const size_t setting_count;

/* Of that name, and fit for a configuration file; NULL: none. */
const struct setting *setting_find(const char *name);
int setting_in_config(const struct setting *d);
/* Give it a value, which is borrowed; NULL: a flag without one. 0, or -EINVAL: not of its type. */
int setting_set(struct options *o, const struct setting *d, const char *value);
/* The value it has, as it could be given; "" if it has none. */
const char *setting_text(const struct options *o, const struct setting *d, char *out, size_t cap);
/* Is it one of the chat's? */
int setting_of_chat(const struct setting *d);
/* What a value may be, for people: "yes or no". */
const char *setting_expected(const struct setting *d);
/* The same for Tab, see base/optrow.h; NULL: anything. */
const char *setting_values(const struct setting *d);

/* Write it into the user's configuration file, whose other lines stay as they are. `path`: which
 * file that is. 0, or a negative errno with a sentence in `why`. */
int config_save(const char *name, const char *value, char *path, size_t cap, char *why,
                size_t why_cap);
