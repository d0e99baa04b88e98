/* Files that people send each other: large data beside the rooms, not through them.
 *
 *      client ══ session ══ hub           FILE_PUT, FILE_GET: may I? ► a ticket
 *        ║                   │
 *        ╚═ a socket of its own ═══╗      FILE_OPEN {ticket}: the hub hands the socket over
 *                                  ║
 *                         ┌────────▼─────────┐      ┌──────────────────────┐
 *                         │ transfer process │─────►│ STATE/files/ID.data  │
 *                         └────────┬─────────┘      │ STATE/files/ID.info  │
 *                                  │ pipe: result   └──────────────────────┘
 *                                 hub ──► FILE record in the room
 *
 * The hub decides and keeps the table; contents never pass through it. A process for each transfer
 * (transfer.h) moves, checks and syncs them. A person of this host who fetches a file gets a
 * read-only descriptor of it instead, and the server's own user, sending, a write-only one: see
 * docs/adr/0014-files.md for who may have what, and why.
 *
 * A file is FILE_PART while it comes, FILE_WHOLE once its checksum is right and it is on disk, and
 * FILE_SAID once the room's log has a record of it. From FILE_WHOLE on nobody can write to it.
 *
 * Kernel objects: two files each in STATE/files, removed by files_forget, or a day after an upload
 * came to a stop. */
#pragma once

#include "proto/filename.h"
#include "server/hub.h"

/* Who a file is counted for: a user of this host, or a remote address. */
#define FILE_OWNER_MAX 64

enum file_state { FILE_PART, FILE_WHOLE, FILE_SAID };

struct file {
    struct id128 id;           /* its number, for ever */
    struct id128 room;         /* uuid */
    struct id128 key, attempt; /* as in FILE_PUT; attempt: of the last one */
    char owner[FILE_OWNER_MAX];
    char name[FILE_NAME_MAX + 1];
    uint64_t size;
    uint64_t began; /* ns since 1970 */
    enum file_state state;
    uint8_t hash[FILE_HASH]; /* FILE_WHOLE on */
    uint64_t seq, time;      /* FILE_SAID: of its record … */
    char from[NICK_MAX + 1]; /* … and who it says sent it */
    struct transfer *put;    /* its upload: granted or under way */
    UT_hash_handle hh;
};

/* One ticket, and then one process. */
struct transfer {
    struct hub *hub;
    struct file *file; /* NULL: forgotten meanwhile */
    struct id128 ticket;
    uint64_t until; /* mono: a ticket not used by then is void; 0: it was used */
    int put;
    int local; /* only this user may use the ticket; else whoever has it */
    uid_t uid;
    char owner[FILE_OWNER_MAX]; /* who it is counted for */
    struct asker {
        uint64_t producer; /* 0: nobody */
        uint32_t counter, room;
        struct id128 attempt;
    } asker, next; /* next: asked meanwhile, is answered when the process has ended */
    uv_process_t process;
    int report; /* reading end, -1: no process */
    struct transfer *prev, *next_transfer;
};

struct files {
    char dir[1100];
    int fd;     /* of dir */
    int leases; /* the file system tells whether a file is open for writing */
    struct file *all;
    uint64_t bytes; /* of all, as announced */
    struct transfer *transfers;
    size_t transfer_count;
    uint64_t swept; /* mono */
};

/* --- for the hub (files.c) ----------------------------------------------------------------- */

/* Read the table and remove what is of no use. After rooms_open. 0 or a negative errno, logged. */
int files_open(struct hub *h);
void files_tick(struct hub *h, uint64_t now);
void files_end(struct hub *h); /* kill the processes; uploads can go on later */
void files_close(struct hub *h);

/* The records of a room below number `below` are gone: so are the files they tell of. */
void files_forget(struct hub *h, struct id128 room, uint64_t below);

void handle_file_put(struct conn *c, const struct record *r);
void handle_file_get(struct conn *c, const struct record *r);
void handle_file_list(struct conn *c, const struct record *r);
/* The first record of a connection was FILE_OPEN. */
void files_accept(struct conn *c, const struct record *r);

/* --- between files.c, filerequests.c, filestore.c and filetransfer.c ------------------------- */

/* Put the file into its room's log, as sent by `s`. 0 or a negative errno. */
int file_say(struct hub *h, struct file *f, struct session *s);
/* Its contents are whole: say it, if whoever asked is still there; answer if that fails. */
void file_finish(struct hub *h, struct file *f, const struct asker *a);
/* Answer a FILE_PUT that may go on. */
void file_grant(struct hub *h, struct file *f, const struct asker *a);
/* Who a connection's files are counted for. */
void file_owner(const struct conn *c, char out[FILE_OWNER_MAX]);
/* ERROR to whoever asked, if there. */
void file_refuse(struct hub *h, const struct asker *a, enum reason why, const char *text);
struct conn *asker_conn(struct hub *h, const struct asker *a);
void file_drop(struct hub *h, struct file *f); /* from the table and the disk */

/* filestore.c: the disk. Results are 0 or a negative errno. */
int filestore_open(struct files *s);
int filestore_make(struct files *s, const struct file *f);  /* empty, and its info */
int filestore_renew(struct files *s, const struct file *f); /* FILE_PART: the info anew */
/* Add whole lines to the info. */
int filestore_note(struct files *s, const struct file *f, const char *line);
/* Open the data; flags as open(2). A descriptor or a negative errno. */
int filestore_data(struct files *s, const struct file *f, int flags);
int filestore_info(struct files *s, const struct file *f); /* likewise, to append */
void filestore_unlink(struct files *s, const struct file *f);
/* When its data was last written, ns since 1970; 0: not known. */
uint64_t filestore_touched(struct files *s, const struct file *f);
int filestore_has_room(struct files *s, uint64_t bytes);
/* What the disk still has to give for it: its process has allocated all of it at once. */
uint64_t filestore_missing(struct files *s, const struct file *f);
/* Read one info back: 0, or -EBADMSG. Public for tests: any bytes are legal input. */
int filestore_parse(const char *text, size_t n, struct file *f);

/* filetransfer.c: tickets and processes */
struct transfer *transfer_new(struct conn *c, const struct asker *a, struct file *f, int put);
void transfer_free(struct transfer *t); /* kills its process, if there is one */
/* End the process; whoever asks now is answered when it has. */
void transfer_replace(struct transfer *t, const struct asker *next);
int transfer_running(const struct transfer *t);
/* The socket of `c` is the one that the ticket was for. */
void transfer_begin(struct transfer *t, struct conn *c, uint64_t offset);
