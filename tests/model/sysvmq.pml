/* Doorbells of the System V queue (common/transport/sysvmq.c): the kernel's queue is atomic, so what is
 * checked is the two arguments of that file. A sender stays silent when an older message is still in the
 * queue after its push; a reader gives credit, a bell, each time it has taken half of the capacity.
 *
 * Checked: neither sleeps while there is something to do, whatever the sizes of messages (up to a quarter
 * of the capacity), however many make a push, and however full the reader's buffer is.
 *
 * Mutants, which the checker must catch: CREDIT=8 (a bell only after more than a sender that met a full
 * queue can count on), LOOK_BEFORE (the sender looks for older messages before its push instead of
 * after), COUNT_OWN (its own messages count as older ones). */

#define CAPACITY 8
#define LARGEST  2 /* a quarter */
#ifndef CREDIT
#define CREDIT   4 /* half */
#endif
#define TOTAL    9 /* messages */

chan queue = [CAPACITY] of { byte }; /* sizes */
byte used;                           /* bytes in it: msg_cbytes */
bool bell_r, bell_s;

active proctype sender()
{
    byte sent, size, done;
    bool older, blocked;
    do
    :: done == TOTAL -> break
    :: else ->
        sent = 0;
        blocked = 0;
#ifdef LOOK_BEFORE
        older = len(queue) > 0;
#endif
        do /* one push: some messages, until it has no more or the queue is full */
        :: blocked || done == TOTAL -> break
        :: sent > 0 && !blocked -> break
        :: !blocked && done < TOTAL ->
            if
            :: size == 0 ->
                if
                :: size = 1
                :: size = LARGEST
                fi
            :: else /* the one that did not fit is offered again */
            fi;
            atomic {
                if
                :: used + size <= CAPACITY ->
                    queue!size; used = used + size; sent++; done++; size = 0
                :: else -> blocked = 1
                fi
            }
        od;
        if
        :: sent > 0 ->
#if defined(COUNT_OWN)
            older = len(queue) > 0;
#elif !defined(LOOK_BEFORE)
            older = len(queue) > sent;
#endif
            if
            :: older
            :: else -> bell_r = 1
            fi
        :: else
        fi;
        if
        :: blocked -> bell_s; bell_s = 0 /* sleep */
        :: else
        fi
    od
}

active proctype reader()
{
    byte size, room, taken, got;
    do
    :: got == TOTAL -> break
    :: else ->
        if /* space in its buffer for this pull */
        :: room = 1
        :: room = 3
        fi;
        do
        :: room == 0 -> break /* took something: comes back by itself */
        :: else ->
            atomic {
                if
                :: nempty(queue) -> queue?size; used = used - size; got++; room--
                :: empty(queue) -> size = 0
                fi
            };
            if
            :: size == 0 -> break
            :: else ->
                taken = taken + size;
                if
                :: taken >= CREDIT -> taken = 0; bell_s = 1
                :: else
                fi
            fi
        od;
        if
        :: room > 0 && got < TOTAL -> bell_r; bell_r = 0 /* found it empty: sleep */
        :: else
        fi
    od
}
