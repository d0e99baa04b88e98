/* A session on a libuv loop: the thinnest adapter there is.
 *
 * Once attached, the session is driven by the loop alone: a uv_poll for each of its descriptors,
 * one timer for its deadline, and a uv_prepare that looks before each wait whether the session has
 * something to do now (a post was queued, a budget ran out, a spinning mode). The owner's callbacks
 * (on_record, on_state, on_skip) therefore run from inside uv_run, never from inside a session_
 * request. An owner that redraws something once per burst can do that in a uv_prepare or uv_check
 * of its own.
 *
 *     session_new(&s, &options, &why);
 *     loop_attach(uv_default_loop(), s, &ls);
 *     session_connect(s);
 *     uv_run(uv_default_loop(), UV_RUN_DEFAULT);   // ends after loop_detach: nothing is left
 * active session_free(s);
 *
 * The handles keep the loop alive as long as the session is attached. */
#pragma once

#include "client/lib/session.h"

#include <uv.h>

struct loop_session;

/* Drive `s` (borrowed: keep it until loop_detach has returned and, if that was called from inside
 * one of its callbacks, until that callback has returned too) on `loop`. 0 or a negative errno,
 * with nothing left behind. Does not block. */
int loop_attach(uv_loop_t *loop, struct session *s, struct loop_session **out);

/* Stop driving, at once. Callable from the session's own callbacks; NULL is fine. `ls` is gone; its
 * memory is freed by the loop when the handles have closed, so let uv_run turn once more. Call it
 * after SESSION_CLOSED too: the adapter never detaches by itself. */
void loop_detach(struct loop_session *ls);
