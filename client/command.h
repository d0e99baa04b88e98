/* The commands, each in the file of its name (query.c has four; bench/, bot/, lab/, race/). They
 * run to their end and return the exit code of ux.md; the table is in main.c. */
#pragma once

#include "client/options.h"

int bench_run(const struct options *o);
int bot_run(const struct options *o);
int doctor_run(const struct options *o);
int export_run(const struct options *o);
int file_run(const struct options *o);
int guest_run(const struct options *o);
int history_run(const struct options *o);
int lab_run(const struct options *o);
int ping_run(const struct options *o);
int race_run(const struct options *o);
int rooms_run(const struct options *o);
int search_run(const struct options *o);
int send_run(const struct options *o);
int tail_run(const struct options *o);
int trace_run(const struct options *o);
int top_run(const struct options *o);
int transports_run(const struct options *o);
int who_run(const struct options *o);
