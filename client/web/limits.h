/* Every limit of the page's process, next to its reason. Whoever exceeds one is answered or
 * dropped; nobody else notices. */
#pragma once

#include "base/clock.h"

/* Connections at once: a browser uses up to six for the files of a page, then
 * one for its socket. */
#define WEB_CONNS_MAX 256
/* … of one address. A class may sit behind one address, so this is no small share. */
#define WEB_CONNS_PER_ADDRESS 128
/* Open pages. Each costs a few hundred bytes here, and one copy of what it is sent. */
#define WEB_CLIENTS_MAX 100
/* People who post from pages: each is a session of the server. */
#define WEB_POSTERS_MAX 64

/* Bytes of one request's line and headers. A browser sends about 1 KiB. */
#define WEB_HEADER_BYTES 8192
/* A request that has not arrived whole by then is dropped; an idle kept connection too. */
#define WEB_REQUEST_SECONDS   10
#define WEB_KEEPALIVE_SECONDS 10
/* A connection that is no page, and on which nothing moves for so long, is closed in any case. */
#define WEB_IDLE_NS (15 * NS_PER_SEC)
/* Requests a second by all together; a page is nine of them. Beyond, 429. */
#define WEB_REQUESTS_RATE  100
#define WEB_REQUESTS_BURST 400

/* One message from a page: a post and its frame of JSON, where every byte may be escaped. */
#define WEB_POST_BYTES    4000
#define WEB_MESSAGE_BYTES (6 * WEB_POST_BYTES + 256)
/* Messages a second from one page; one that sends more is closed. */
#define WEB_MESSAGES_RATE  20
#define WEB_MESSAGES_BURST 60
/* Posts a second from one page; what is beyond is refused with a word. A person never gets near. */
#define WEB_POSTS_RATE  2
#define WEB_POSTS_BURST 10
/* Wrong tokens a second by all together. The token has 59 random bits: at this rate it takes
 * 10^9 years to find. Right ones are refused as well while the budget is used up. */
#define WEB_TOKENS_RATE  5
#define WEB_TOKENS_BURST 20

/* One frame to a page is at most so much, unless a single message is longer. */
#define WEB_FRAME_BYTES (64u * 1024u)
/* New things are sent to pages this often at most: bursts travel together. */
#define WEB_FLUSH_MS 40
/* The picture of the server is taken so often while a page is open. */
#define WEB_STATE_MS 500
/* Sessions told one by one; a picture with more could not be read. */
#define WEB_STATE_SESSIONS 64
/* Messages traced a second while a page is open: more than an eye follows. */
#define WEB_TRACE_RATE 10
/* A page that takes nothing for so long while something waits for it is dropped. */
#define WEB_STALLED_NS (10 * NS_PER_SEC)
/* A page that is there answers pings of the protocol; checked so often. */
#define WEB_PING_SECONDS 30

/* Rooms read at once for all pages together, and what is kept of each for pages that come later. */
#define WEB_ROOMS_MAX  16
#define WEB_ROOM_LINES 200
#define WEB_ROOM_BYTES (512u * 1024u)
/* Sampled traces, and events (switches, crashes), kept likewise. */
#define WEB_TRACES      64
#define WEB_TRACE_BYTES (512u * 1024u)
#define WEB_EVENTS      100
#define WEB_EVENT_BYTES (64u * 1024u)
/* Answers to one page that it has not taken yet; it is dropped beyond. */
#define WEB_REPLIES_BYTES (64u * 1024u)
