/* The limits in force and how near they are, for the statistics page. */
#pragma once

struct hub;

/* Write the rows of STATS_LIMIT. Costs a few system calls. */
void statlimits_write(struct hub *h);
