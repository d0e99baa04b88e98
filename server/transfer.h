/* The transfer process: moves, checks and syncs the contents of one file, and ends.
 *
 * parleyd, executed again as `parleyd --transfer KIND SIZE OFFSET SYNC HUB`. Blocking calls from
 * top to bottom, since nobody else waits for it; PR_SET_PDEATHSIG ends it with the hub. It reads
 * what a stranger sends, so it opens nothing, has only the descriptors below, and gives up all
 * other system calls. Makes no kernel objects. */
#pragma once

#include "proto/types.h"

enum transfer_kind {
    TRANSFER_RECEIVE, /* bytes come by the socket */
    TRANSFER_VERIFY,  /* the client writes the file itself, and says when it has ended */
    TRANSFER_SEND,    /* bytes go out by the socket */
};

/* Its descriptors. RECEIVE: data read-write; otherwise read-only. INFO, DIR: not for SEND. */
#define TRANSFER_FD_SOCK   3
#define TRANSFER_FD_REPORT 4
#define TRANSFER_FD_DATA   5
#define TRANSFER_FD_INFO   6
#define TRANSFER_FD_DIR    7

/* What it writes into the pipe before it ends; one that was killed writes nothing. */
struct transfer_report {
    int32_t error; /* 0, a negative errno, or one of these: */
    uint32_t reserved;
    uint8_t hash[FILE_HASH]; /* error 0 */
};
#define TRANSFER_CUT      1 /* the peer went away, or was silent too long: can be resumed */
#define TRANSFER_WRONG    2 /* size or checksum are not as announced */
#define TRANSFER_WRITERS  3 /* somebody still has it open for writing */
#define TRANSFER_OCCUPIED 4 /* an earlier process has not ended yet */

int transfer_main(int argc, char **argv);
