/* The chat's state, shared by its parts:
 *
 *   chat.c        beginning, states of the session, prompt, end
 *   chat_rooms.c  the rooms one is in
 *   chat_say.c    what goes out
 *   chat_view.c   the screen: moving between rooms, scrolling back, the bar
 *   incoming.c    records: what each one shows
 *   answers.c     requests that wait for their answer
 *   chat_past.c   /history and /search
 *   commands.c    lines that were entered
 *   verbs.c       what each /command does
 *   complete.c    Tab
 *
 * One struct chat, one thread, driven by the loop. */
#pragma once

#include "client/chat.h"
#include "client/complete.h"
#include "client/lib/session.h"
#include "client/loop.h"
#include "client/names.h"
#include "client/notify.h"
#include "client/render.h"
#include "client/table.h"
#include "client/term.h"
#include "client/unread.h"
#include "client/waterfall.h"
#include "proto/filename.h"

/* Buffers for render_safe: a byte may become six. */
#define SAFE_NICK (NICK_MAX * 6 + 1)
#define SAFE_TEXT (TOPIC_MAX * 6 + 1)
#define SAFE_FILE (FILE_NAME_MAX * 6 + 1)

#define HOME_ROOM "#lobby"
/* Shown on joining. Arrivals and the like are not shown but are in the log too: ask for more. */
#define BACKLOG_LINES   20
#define BACKLOG_RECORDS 200

struct backlog_line {
    uint64_t time, seq;
    struct buf text;
};

enum past_verb { PAST_HISTORY, PAST_SEARCH, PAST_VERBS };

struct chat_room {
    uint32_t room;                 /* number in records */
    char name[ROOM_NAME_MAX + 1];  /* "#lobby", "@alice,bob" */
    char shown[ROOM_NAME_MAX + 1]; /* "#lobby", "@bob" */
    uint64_t seen;                 /* last sequence number that came: for counting */
    uint64_t dropped;              /* records below were dropped by the server unread */
    uint64_t live;                 /* records below were said before we came */
    uint64_t oldest;               /* that we have shown, 0: none; where /history goes on */
    struct backlog_line backlog[BACKLOG_LINES]; /* ring: the last ones before `live` */
    size_t backlog_n;                           /* ever put in */
    /* a replay is under way: these are history, whatever their number */
    uint64_t replay_from, replay_to;
    uint32_t replay;                     /* request, 0: none */
    struct past_query *past[PAST_VERBS]; /* asked for last; NULL: nothing yet */
    struct unread unread;                /* messages that nobody has read in any terminal of ours */
    uint64_t own_seq; /* the last thing we said here, 0: nothing that could be changed */
    char *own_text;
    uint64_t last_said, told_read; /* newest message; the mark that the server has */
    /* with a screen */
    struct scroll scroll;
    struct scroll older; /* a page of it that is arriving */
    uint64_t top;        /* the lowest record looked at for `scroll`, 0: none */
    int beginning;       /* there is none before */
    int wants_up;        /* when the page has come, show it */
    char *draft;         /* while another room is the current one; NULL: empty */
    int draft_point;
};

enum ask {
    ASK_NONE,
    ASK_JOIN, /* text: the room */
    ASK_TELL, /* JOIN of a room of two; text: what to say there then */
    ASK_PART,
    ASK_NICK,
    ASK_TOPIC,
    ASK_NAMES, /* text: the room as shown */
    ASK_WHO,
    ASK_WHOIS, /* text: the nick */
    ASK_LIST,
    ASK_TRANSPORTS,
    ASK_HISTORY,  /* /history and /search: page */
    ASK_OLDER,    /* a page to scroll back to */
    ASK_SWITCHED, /* a PING by the new transport; text: name of the old one */
    ASK_STATS,    /* WHO: what the server says of us */
    ASK_AWAY,
    ASK_MODES,  /* lines_wanted: an enum rule_kind, or 0 for all */
    ASK_DECIDE, /* /kick and the like; text: a nick that is released */
    ASK_LEARN,  /* nobody asked: names for completion */
};

struct pending {
    enum ask ask;     /* ASK_NONE: free */
    uint32_t counter; /* 0: it has a page and has not been sent, because another is under way */
    uint32_t room;
    uint32_t lines_wanted;  /* ASK_MODES */
    struct past_page *page; /* ASK_HISTORY, ASK_OLDER: owned; else NULL */
    uint64_t order;         /* in which they were asked */
    char *text;
    char *say; /* ASK_JOIN: there, then; NULL: nothing */
    struct table table;
    struct buf lines;
    size_t found;
};
/* More requests than a person has open at once; a script waits for each answer. */
#define PENDING_MAX 32

struct chat {
    struct options options; /* /set changes them */
    const struct options *o;
    char *changed[OPTIONS_MAX]; /* what /set gave them */
    uv_loop_t loop;
    struct term *term;
    struct session *session;
    struct loop_session *driver;
    uv_timer_t tick, telling;
    struct render render;
    struct theme theme;
    struct scroll nowhere; /* what is shown while there is no room */

    struct chat_room rooms[CURSORS_MAX];
    int room_count;
    uint32_t current; /* 0: none */
    const char *home; /* the room to begin with */
    struct pending pending[PENDING_MAX];
    uint64_t asked; /* requests, ever */
    struct names nicks, known_rooms, ignored;
    struct notify *notify; /* NULL: nobody is to be told */
    char *away;            /* what we said on leaving; NULL: we are here */

    /* moving to another transport */
    int switching;
    char from[16];
    uint64_t lost, doubled;               /* ever, counted from the numbers of records shown */
    uint64_t lost_before, doubled_before; /* when the move began */

    struct waterfall trace; /* arriving: a TRACE and so far some of its HOPs */
    int tracing;            /* traces that have yet to come */
    uint64_t trace_by;      /* mono_ns: then they will not come any more */

    size_t unacked_shown; /* in the prompt */
    int greeted;          /* has been open once */
    int home_asked;       /* the answer to the first JOIN has not come yet */
    int joined;           /* has been in a room once */
    int offline;          /* the loss has been told */
    int input_ended;      /* no more lines will come: leave when all is answered */
    int refused;          /* a line was not taken by the server */
    int leaving;
    uint64_t leave_by; /* mono_ns */
    int done;
    int exit_code, signo;

    struct chat_files *files; /* NULL: /file has not been used */
    struct buf begun;         /* lines that were ended with a backslash */
    char *held; /* a command read from a pipe or file, until what was said before is acknowledged */
    char *paste; /* waits for the answer to "Send 7 lines?" */
    size_t paste_n;
    uint32_t paste_room;
    struct completion completion;
};

/* --- chat.c */
/* One line of parley's own: "-- …" on the screen, "parley: …" on standard error. The text must be
 * safe (render_safe). */
void chat_note(struct chat *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void chat_show(struct chat *c, struct buf *text); /* and empty the buffer */
void chat_prompt(struct chat *c);
int chat_color(const struct options *o); /* as term_open takes it */
void chat_leave(struct chat *c, struct str reason);
void chat_stop(struct chat *c, int code); /* at once */

/* --- chat_say.c */
/* Say something in a room; `flags` as session_post. Failure is told. */
void chat_say(struct chat *c, uint32_t room, uint8_t flags, struct str text);
/* What became of a post of `bytes` of text; failure is told. */
void chat_sent(struct chat *c, int result, size_t bytes);
/* Put "/edit" and what we said last into the line that is typed, or show it
 * where nothing can be. */
void chat_draft_edit(struct chat *c, const struct chat_room *r);
/* Take input from a pipe or file only while nothing is on its way: commands work in their order. */
void chat_pace(struct chat *c);
void chat_on_paste(void *ctx, const char *text, size_t n, int cut);

/* --- chat_rooms.c */
struct chat_room *chat_room(struct chat *c, uint32_t room);        /* NULL: none */
struct chat_room *chat_find_room(struct chat *c, struct str name); /* by either name */
struct chat_room *chat_add_room(struct chat *c, uint32_t room, struct str name);
/* Make it the first in the bar, also if conversations that waited came before it.
 * Where it is now. */
struct chat_room *chat_first_room(struct chat *c, struct chat_room *r);
void chat_drop_room(struct chat *c, struct chat_room *r);
struct chat_room *chat_here(struct chat *c); /* the current one; NULL and told: there is none */

/* --- chat_view.c */
void chat_go(struct chat *c, struct chat_room *r); /* make it the current one */
/* ...that was asked for before what is now being typed; the line goes along. */
void chat_go_typing(struct chat *c, struct chat_room *r);
void chat_go_number(struct chat *c, int number); /* counted from 1, as in the bar */
/* What is put before a line about this room where several share the output; empty with a screen. */
struct str chat_place(const struct chat *c, const struct chat_room *room);
/* Show the line (or empty: nothing) that a record of this room makes; empties the buffer. */
void chat_show_record(struct chat *c, struct chat_room *room, uint64_t seq, uint64_t time,
                      struct buf *line);
/* The time of a record whose line can be drawn anew; 0: it is not kept, or there is no screen. */
uint64_t chat_shown_at(struct chat *c, struct chat_room *room, uint64_t seq);
/* Another line (empty: none) for such a record. Empties the buffer. */
void chat_rewrite(struct chat *c, struct chat_room *room, uint64_t seq, struct buf *line);
/* A record of a page of older lines (empties `line`), and the end of the page: it begins at `from`;
 * 0: it has not come whole. */
void chat_on_older(struct chat_room *room, const struct record *r, struct buf *line);
void chat_older_done(struct chat *c, struct chat_room *room, uint64_t from);
/* Hooks of the terminal (term.h). */
struct scroll *chat_scroll(void *ctx);
void chat_view(void *ctx, struct page_view *v, int columns);
void chat_on_key(void *ctx, int key);

/* --- chat_unread.c: room->unread says how many messages wait there. What is on the screen is read
 * by and by (chat_unread_turn); whoever shows a room that was hidden has to do nothing but make it
 * the current one. */
void chat_unread_open(struct chat *c);
void chat_unread_close(struct chat *c);
void chat_unread_turn(struct chat *c); /* once a turn of the loop */
void chat_unread_last(struct chat *c); /* before leaving */
/* Message `seq` came, of now or of the time before we came; `unread`: it counts as such. */
void chat_unread_said(struct chat_room *room, uint64_t seq, int unread, int mention);
/* The person has seen all of the room. */
void chat_unread_read(struct chat *c, struct chat_room *room);
/* Nobody looks at the screen, and the next message in this room will be the first unread one. */
int chat_unread_unseen(struct chat *c, const struct chat_room *room);
void chat_on_marked(struct chat *c, const struct record *r);

/* --- chat_people.c: being away, being spoken to */
void chat_on_status(struct chat *c, const struct record *r);
void chat_back(struct chat *c);       /* we say something: if we were away, we are not any more */
void chat_away_again(struct chat *c); /* a server that was started anew has to be told */
void chat_notify_open(struct chat *c);
/* Somebody said this to us, live: the bell, and --notify. */
void chat_called(struct chat *c, const struct chat_room *room, const struct record *r,
                 const struct body_message *b);

/* --- chat_changes.c: EDITED and DELETED */
/* What we said, or it was changed: noted for /edit. */
void chat_own(struct chat_room *room, const struct record *r);
/* It is about a line that waits to be shown, which is different now: 1. Else 0. */
int chat_amend_backlog(struct chat *c, struct chat_room *room, const struct record *r);
/* The line that a change makes where what it changes cannot be drawn anew. */
void chat_show_change(struct chat *c, struct chat_room *room, const struct record *r,
                      struct buf *out);

/* --- incoming.c */
/* The line that a record of the past makes; `edited`: it is a message as it reads now. */
void chat_show_past(struct chat *c, struct chat_room *room, const struct record *r, int edited,
                    struct buf *out);
void chat_on_record(void *ctx, const struct record *r);

/* --- answers.c */
/* Note what an answer to `counter` will mean; text is copied, NULL is fine. `result` of the request
 * itself: a failure is told here, and nothing is noted. NULL then. */
struct pending *chat_expect(struct chat *c, int result, enum ask ask, uint32_t counter,
                            uint32_t room, struct str text);
struct pending *chat_pending(struct chat *c, uint32_t counter);
void chat_forget(struct pending *p);
void chat_retitled(struct chat *c, uint32_t room); /* our /topic came true */
/* The session was lost: nothing pending will be answered. */
void chat_forget_all(struct chat *c);
int chat_waits(const struct chat *c); /* something a person asked for is unanswered */
void chat_on_item(struct chat *c, const struct record *r); /* MEMBER, ROOM, TRANSPORT */
void chat_on_done(struct chat *c, const struct record *r);
void chat_on_pong(struct chat *c, const struct record *r);
void chat_on_error(struct chat *c, const struct record *r);
/* ASK_HISTORY or ASK_OLDER for a page, which is taken: sent when what was asked before about this
 * room has been answered. */
void chat_ask_page(struct chat *c, enum ask ask, uint32_t room, struct past_page *page);
void chat_on_trace(struct chat *c, const struct record *r); /* TRACE, HOP */

/* --- chat_past.c: for answers.c, chat_view.c and incoming.c */
/* A page to scroll back to: `count` records that end before `before`. NULL: no memory. */
struct past_page *chat_past_older(uint64_t before, uint64_t count);
/* Where a page of that kind begins, when it is complete. */
uint64_t chat_past_begins(const struct pending *p);
/* Ask for p->page, the request being p->counter: 0; 1: there is nothing to ask, which was told; or
 * a negative errno. */
int chat_past_ask(struct chat *c, struct chat_room *room, struct pending *p);
void chat_past_range(struct pending *p, const struct record *r); /* REPLAY */
void chat_past_record(struct chat_room *room, struct pending *p, const struct record *r);
/* DONE: 1, the page is complete, and shown but for older lines; 0: another request, p->counter, is
 * under way; or an errno. */
int chat_past_done(struct chat *c, struct chat_room *room, struct pending *p);
void chat_past_free(struct past_page *p);
void chat_past_forget(struct chat *c, struct chat_room *room); /* one leaves it */

/* --- chat_file.c */
void chat_file(struct chat *c, struct str arg);                /* /file */
int chat_files_record(struct chat *c, const struct record *r); /* 1: an answer to it */
void chat_files_open(struct chat *c);                          /* the session is open again */
int chat_files_busy(const struct chat *c);
const char *chat_files_state(const struct chat *c); /* for the prompt; "": none is under way */
void chat_files_close(struct chat *c);              /* before the loop's last turn … */
void chat_files_free(struct chat *c);               /* … and after it */

/* --- stats.c: /stats; `me`: what the server says of us, NULL: nothing */
void chat_stats(struct chat *c, const struct body_member *me);

/* --- commands.c */
void chat_on_line(void *ctx, struct str text);
void chat_run_held(struct chat *c);
