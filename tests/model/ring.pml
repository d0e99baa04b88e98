/* The ring of common/transport/ring.h with its doorbells, in every order of events: one producer, one
 * consumer, memory that both have mapped, and the death of either at any moment.
 *
 * Memory is that of x86 (total store order): a store waits in its processor's buffer, and others see it
 * when it leaves, in order. A sequentially consistent store waits until the buffer is empty, which is
 * the "full fence" of ring.h; a relaxed one does not.
 *
 * Checked: no sleep with something to do (it would be an invalid end state: both sides wait for ever),
 * no read of bytes that are not published, none overwritten before it was read, nothing lost while both
 * live, and a survivor that learns of the other's death.
 *
 * Mutants (-D…), each of which the checker must catch: NO_FENCE_PRODUCER, NO_FENCE_CONSUMER (the store is
 * a relaxed one), NO_RECHECK_CONSUMER, NO_RECHECK_PRODUCER (sleep without looking again), EARLY_TAIL
 * (publish, then write the bytes). */

#define SIZE    4 /* bytes in the ring */
#define ENOUGH  2 /* what a sleeping producer waits for (a quarter of a real one; the harder case) */
#ifndef TOTAL
#define TOTAL   7 /* bytes to send: around the ring more than once, and not a whole number of laps */
#endif

/* Addresses of shared memory: the ring's bytes, then: */
#define TAIL   SIZE
#define HEAD   (SIZE + 1)
#define READER (SIZE + 2) /* reader_waiting */
#define WRITER (SIZE + 3) /* writer_waiting */
byte memory[SIZE + 4];

chan buffer_p = [8] of { byte, byte };
chan buffer_c = [8] of { byte, byte };

bool bell_c, bell_p; /* at least one byte in the socket */
bool gone_p, gone_c; /* end of file on the socket */
bool crashed_p, crashed_c;
byte consumed; /* for the properties only */

#define store_relaxed(buffer, where, value) buffer!where, value
#define fence(buffer)                       empty(buffer)

/* A processor's buffer empties by itself, also after its process died. */
active proctype drain_p()
{
    byte where, value;
end:
    do
    :: atomic { buffer_p?where, value -> memory[where] = value; where = 0; value = 0 }
    od
}

active proctype drain_c()
{
    byte where, value;
end:
    do
    :: atomic { buffer_c?where, value -> memory[where] = value; where = 0; value = 0 }
    od
}

/* take_flag: a plain look first, and an exchange only if it is up. */
inline take_flag(buffer, flag, bell)
{
    rung = memory[flag];
    if
    :: rung ->
        fence(buffer);
        atomic { rung = memory[flag]; memory[flag] = 0 };
        if
        :: rung -> bell = 1; rung = 0
        :: else
        fi
    :: else
    fi
}

active proctype producer()
{
    byte own, peer, n, i;
    bool waiting, rung;
    {
        do
        :: own == TOTAL -> break
        :: else ->
            if /* ring_push looks at the index only if what it knows does not do */
            :: own - peer == SIZE -> peer = memory[HEAD]; assert(own - peer <= SIZE)
            :: else
            fi;
            if
            :: own - peer < SIZE ->
                if
                :: waiting -> store_relaxed(buffer_p, WRITER, 0); waiting = 0
                :: else
                fi;
                if /* one byte, or all that fits */
                :: n = 1
                :: atomic {
                    n = SIZE - (own - peer);
                    if
                    :: n > TOTAL - own -> n = TOTAL - own
                    :: else
                    fi }
                fi;
                i = 0;
#ifdef EARLY_TAIL
                store_relaxed(buffer_p, TAIL, own + n);
                fence(buffer_p);
#endif
                do
                :: i < n -> store_relaxed(buffer_p, (own + i) % SIZE, own + i + 1); i++
                :: else -> break
                od;
                own = own + n;
                store_relaxed(buffer_p, TAIL, own);
#ifndef NO_FENCE_PRODUCER
                fence(buffer_p);
#endif
                take_flag(buffer_p, READER, bell_c)
            :: else -> /* full: ring_await_room */
                store_relaxed(buffer_p, WRITER, 1);
                fence(buffer_p);
                waiting = 1;
#ifndef NO_RECHECK_PRODUCER
                peer = memory[HEAD];
#endif
                if
                :: SIZE - (own - peer) >= ENOUGH ->
                    store_relaxed(buffer_p, WRITER, 0); waiting = 0
                :: else ->
                    if
                    :: bell_p -> bell_p = 0
                    :: gone_c -> goto done
                    fi
                fi
            fi
        od;
        /* Closing would wake the consumer too: only when the rules have woken it. */
        (consumed == TOTAL || gone_c)
    } unless { crashed_p };
done:
    gone_p = 1
}

active proctype consumer()
{
    byte own, peer, n, i;
    bool waiting, last, rung;
    {
        do
        :: own == TOTAL -> break
        :: else ->
            if
            :: peer == own -> peer = memory[TAIL]; assert(peer - own <= SIZE)
            :: else
            fi;
            if
            :: peer != own ->
                if
                :: waiting -> store_relaxed(buffer_c, READER, 0); waiting = 0
                :: else
                fi;
                if
                :: n = 1
                :: n = peer - own
                fi;
                i = 0;
                do /* each byte is the one that was written there for this place in the stream */
                :: i < n -> assert(memory[(own + i) % SIZE] == own + i + 1); i++
                :: else -> break
                od;
                own = own + n;
                store_relaxed(buffer_c, HEAD, own);
                fence(buffer_c);
                take_flag(buffer_c, WRITER, bell_p);
                consumed = own
            :: else -> /* empty: ring_await_data */
                if
                :: last -> break /* the peer is gone, and all it said has been read */
                :: else
                fi;
                store_relaxed(buffer_c, READER, 1);
#ifndef NO_FENCE_CONSUMER
                fence(buffer_c);
#endif
                waiting = 1;
#ifndef NO_RECHECK_CONSUMER
                peer = memory[TAIL];
#endif
                if
                :: peer != own -> store_relaxed(buffer_c, READER, 0); waiting = 0
                :: else ->
                    if
                    :: bell_c -> bell_c = 0
                    :: gone_p -> empty(buffer_p); last = 1
                    fi
                fi
            fi
        od;
        assert(own == TOTAL || crashed_p)
    } unless { crashed_c };
    gone_c = 1
}

#ifdef CRASHES
active proctype fate()
{
    if
    :: crashed_p = 1
    :: crashed_c = 1
    :: true
    fi
}
#endif
