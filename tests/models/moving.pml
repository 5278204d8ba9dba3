/* moving: word of a dead worker's lease reaches the front that waits for it, once (csrc/reap.c).
 *
 * A worker leases a message and dies. Whoever reaps it makes the message a notice that is MOVING, in the
 * message's own domain, and completes it in the front's: queued, or counted as gone when the front is dead.
 * Two reap at once; the first may be killed at any step, and the second then reaps that one too. The front may
 * die at any time; whoever reaps it marks its queue DEAD and settles what is in it. A section is one atomic
 * step here. In the end the lease is settled once: the notice was taken by the front, or counted as gone.
 *
 * Mutations, each of which spin must find: SLOT_FIRST (a slot is freed before its leases), NO_SCAN (who reaps
 * completes only the notices it made), UNCHECKED (completed without looking whether it is still MOVING),
 * NO_TOMBSTONE (a dead front's queue is settled, but not marked).
 */
mtype = { LEASED, MOVING, QUEUED, SETTLED };
mtype message = LEASED;
byte owner = 1;                          /* slot of the lease */
bit slot[4];                             /* 1 the worker's, 2 and 3 the reapers'; 0 the front's */
bit dead[4];
byte queued = 0, gone_count = 0, taken = 0;
bit tombstone = 0;

inline die() { if :: me == 2 -> atomic { dead[2] = 1; goto gone } :: skip fi }

inline complete() {
    atomic {
        if
#ifdef UNCHECKED
        :: message != LEASED ->
#else
        :: message == MOVING ->
#endif
            if
            :: tombstone -> gone_count++; message = SETTLED
            :: else -> queued++; message = QUEUED
            fi
        :: else -> skip
        fi
    }
}

inline settle_front() {
#ifndef NO_TOMBSTONE
    tombstone = 1; die();
#endif
    atomic { if :: queued > 0 -> queued--; gone_count++; message = SETTLED :: else -> skip fi };
    die();
    slot[0] = 0;
    die()
}

inline reap(who) {
#ifdef SLOT_FIRST
    slot[who] = 0; die();
#endif
#ifndef NO_SCAN
    if :: message == MOVING -> complete(); die() :: else -> skip fi;
#endif
    if
    :: message == LEASED && owner == who ->
        made = 0;
        atomic { if :: message == LEASED -> message = MOVING; made = 1 :: else -> skip fi };
        die();
        if :: made -> complete(); die() :: else -> skip fi
    :: else -> skip
    fi;
    slot[who] = 0;
    die()
}

proctype reaper(byte me) {
    bit made;
    do
    :: slot[1] && dead[1] -> reap(1)
    :: slot[0] && dead[0] -> settle_front()
    :: me == 3 && slot[2] && dead[2] -> reap(2)
    :: !slot[1] && !slot[0] && (me == 2 || !slot[2]) -> break
    od;
    if :: me == 2 -> dead[2] = 1 :: else -> skip fi;      /* ends like everybody: its slot is reaped as well */
gone: skip
}

proctype front() {
    do
    :: atomic { queued > 0 && !dead[0] -> queued--; taken++; message = SETTLED }
    :: atomic { dead[0] = 1; break }                       /* killed, or stopped at the end */
    od
}

init {
    atomic { slot[0] = 1; slot[1] = 1; slot[2] = 1; slot[3] = 1; dead[1] = 1 };
    atomic { run front(); run reaper(2); run reaper(3) };
    (_nr_pr == 1);
    assert(message == SETTLED && queued == 0 && taken + gone_count == 1)
}
