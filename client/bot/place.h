/* How far a bot has come in each room, in a file: so that it goes on there when it is started
 * again. The file is written aside, synced and renamed; a broken one is an error, never a silent
 * new beginning. Rooms are kept by the names they were given by. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct places {
    const char *path; /* NULL: nothing is kept */
    struct place_of {
        char room[96];
        uint64_t seq;
    } * list;
    size_t count;
    int changed;
};

/* 0, or an exit code with the error printed. A file that is not there is an empty one. */
int places_load(struct places *p, const char *path);
/* 0: nothing is known of it. */
uint64_t places_of(const struct places *p, const char *room);
void places_reached(struct places *p, const char *room, uint64_t seq);
/* The server gives the numbers after `seq` again. */
void places_rewound(struct places *p, const char *room, uint64_t seq);
/* Write it, if something has changed. */
void places_save(struct places *p);
void places_free(struct places *p);
