/* Options of a program as a table, and what is made of it: getopt's arrays, the text of --help, the
 * lines from which the man pages and the example configuration are built (--table), and what a
 * shell offers on Tab (--complete).
 *
 * So an option is said once. Everything is written into a buffer; programs print. */
#pragma once

#include "base/buf.h"

#include <getopt.h>
#include <stddef.h>

struct opt_row {
    const char *name;
    int id;             /* what getopt_long returns */
    char letter;        /* 0: none */
    const char *meta;   /* "PATH"; NULL: it takes no value */
    const char *values; /* for Tab: see below; NULL: nothing to offer */
    const char *help;   /* lines separated by \n; NULL: not for people */
    int config;         /* also a key of the configuration file */
};

/* `values`: words with spaces between. With a comma before the first, a list of them is meant
 * ("shm,unix"). One word that begins with @ is a kind of thing: files and directories are left to
 * the shell, the others
 * (@room) are the program's to resolve. */
#define OPT_FILE "@file"
#define OPT_DIR  "@dir"

/* For getopt_long: `longs` takes count + 1 entries, `letters` 2 * count + 2 bytes. It begins with
 * ':'. */
void opt_getopt(const struct opt_row *rows, size_t count, struct option *longs, char *letters);

/* --help: one paragraph for each, beginning at column `width`. */
void opt_help(struct buf *out, const struct opt_row *rows, size_t count, size_t width);

/* --table: a line for each, fields separated by tabs:
 * option COMMAND NAME LETTER META VALUES yes|no HELP ("-" for what there is not; \n in HELP is a
 * space). */
void opt_table(struct buf *out, const char *command, const struct opt_row *rows, size_t count);

/* --- Tab ------------------------------------------------------------------------------------- */

/* A command line up to the cursor: whole words, and the beginning of one. */
struct opt_typed {
    char **words;
    int count;
    const char *last;
};

/* The value of an option on this line, or NULL. */
const char *opt_value(const struct opt_typed *t, const struct opt_row *rows, size_t count,
                      const char *name);

/* The words that are neither options nor their values; at most `cap` of them. Returns how many. */
size_t opt_operands(const struct opt_typed *t, const struct opt_row *rows, size_t count,
                    const char **out, size_t cap);

/* Offers for the last word, if it is an option or the value of one: 1. *values is set if the
 * program has to resolve it, with *typed. 0: an operand is being typed. */
int opt_offer(struct buf *out, const struct opt_typed *t, const struct opt_row *rows, size_t count,
              const char **values, const char **typed);

/* One line "PREFIX WORD \t HELP" if the word begins with `typed`. */
void opt_offer_word(struct buf *out, const char *prefix, const char *word, const char *typed,
                    const char *help);
/* Those of `values`. */
void opt_offer_values(struct buf *out, const char *prefix, const char *values, const char *typed);
