/* lanes: one connection's messages stay in order (csrc/lane.c, csrc/queue.c, and the end of csrc/outbox.c).
 *
 * A sender appends three messages to a lane. Two workers lease its next message, send an answer to the
 * connection through an outbox, and finish; a worker may give its lease back once instead, and the first one
 * may be killed with the lease in hand before its outbox is committed, or after: then a reaper puts the
 * message back to the head, or finishes for it. Answers must come out in the order of the messages, once each.
 *
 * A section is one atomic step here: what breaks inside a section is undo.pml's.
 *
 * Mutations, each of which spin must find: EARLY_RELEASE (the lane goes on before the outbox is flushed),
 * REQUEUE_TAIL (what comes back goes to the tail), NO_RUNNING (a leased lane stays on the run list),
 * REAP_RELEASES_FIRST (the reaper lets the lane go on before it puts the message back).
 */
#define MESSAGES 3
mtype = { IDLE, READY, RUNNING };
mtype lane = IDLE;
chan waiting = [MESSAGES] of { byte };       /* of the lane, head first */
bit answered[MESSAGES + 1];
byte last = 0, given_back = 0;
byte lease[2];                               /* what a worker has in hand */
bit committed[2], flushed[2], dead = 0, reaped = 0;

inline schedule() { if :: len(waiting) -> lane = READY :: else -> lane = IDLE fi }

inline prepend(m) {                          /* to the head: take the others out and in again */
    count = len(waiting);
    waiting!m;
#ifndef REQUEUE_TAIL
    do :: count > 0 -> waiting?other; waiting!other; count-- :: else -> break od
#endif
}

inline flush(who) {                          /* the answer arrives at the connection's front */
    atomic {
        if
        :: !flushed[who] ->
            assert(!answered[lease[who]]);
            assert(lease[who] == last + 1);
            answered[lease[who]] = 1; last = lease[who]; flushed[who] = 1
        :: else -> skip
        fi
    }
}

active proctype sender() {
    byte m = 1;
    do
    :: m <= MESSAGES -> atomic { waiting!m; if :: lane == IDLE -> lane = READY :: else -> skip fi; m++ }
    :: else -> break
    od
}

inline worker(me) {
    do
    :: atomic {
           lane == READY && len(waiting) && last < MESSAGES ->
           waiting?lease[me]; committed[me] = 0; flushed[me] = 0;
#ifndef NO_RUNNING
           lane = RUNNING
#else
           schedule()
#endif
       };
       if
       :: atomic { given_back == 0 -> given_back = 1; prepend(lease[me]); lease[me] = 0; schedule() };
          goto next
       :: skip
       fi;
       if :: me == 0 -> atomic { dead = 1; goto gone } :: skip fi;
       committed[me] = 1;
       if :: me == 0 -> atomic { dead = 1; goto gone } :: skip fi;
#ifdef EARLY_RELEASE
       atomic { schedule() };
#endif
       flush(me);
       if :: me == 0 -> atomic { dead = 1; goto gone } :: skip fi;
       atomic {
           lease[me] = 0;
#ifndef EARLY_RELEASE
           schedule()
#endif
       };
next:  skip
    :: atomic { last == MESSAGES -> break }
    od
}

active proctype first() { byte count, other; worker(0); gone: skip }
active proctype second() { byte count, other; worker(1); gone: skip }

active proctype reaper() {
    byte count, other;
    if
    :: dead ->
        if
        :: lease[0] == 0 -> skip
        :: lease[0] && committed[0] -> flush(0); atomic { lease[0] = 0; schedule() }
        :: lease[0] && !committed[0] ->
#ifdef REAP_RELEASES_FIRST
            atomic { schedule() };
            atomic { prepend(lease[0]); lease[0] = 0; lane = READY }
#else
            atomic { prepend(lease[0]); lease[0] = 0; schedule() }
#endif
        fi
    :: last == MESSAGES
    fi
}
