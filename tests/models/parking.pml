/* parking: how a receiver waits and is woken (csrc/receive.c: obtain; csrc/wake.c; csrc/reap.c: wake_all).
 *
 * Two receivers look for a message; who finds none lists itself as idle in the same section, sleeps on its
 * futex word, and looks again when woken. Two senders queue one message each, take one idle receiver off the
 * list in that section, and wake it after leaving; each may be killed after its section. Whoever reaps the
 * dead takes all off the list, and wakes every receiver there is: the one that the dead had taken off sleeps
 * on and is listed no more. The 200 ms slices of the core are left out: without them every message must
 * be taken all the same.
 *
 * Mutations, each of which spin must find: NO_SECOND_WAKE (the reaper wakes nobody), ONLY_LISTED (it wakes those on the list), REGISTER_LATE (listed in
 * a section of its own, after the one that found nothing), CLEAR_LATE (the futex word is cleared after
 * listing), WAKE_NOT_LISTED (taken off the list and woken, but its futex word is not set).
 */
#define RECEIVERS 2
byte queued = 0, taken = 0, sent = 0;
bit lock = 0;
bit idle[RECEIVERS], futex[RECEIVERS], asleep[RECEIVERS];

inline enter() { atomic { lock == 0 -> lock = 1 } }
inline leave() { lock = 0 }

active [RECEIVERS] proctype receiver() {
    byte me = _pid;
again:
    futex[me] = 0;
    enter();
    if
    :: queued > 0 -> queued--; taken++; idle[me] = 0; leave(); goto again
    :: else
#ifdef REGISTER_LATE
        -> leave(); enter();
#endif
        -> idle[me] = 1; leave()
    fi;
#ifdef CLEAR_LATE
    futex[me] = 0;
#endif
    atomic { if :: futex[me] == 0 -> asleep[me] = 1 :: else -> skip fi };   /* FUTEX_WAIT compares and sleeps */
end:
    asleep[me] == 0;                                                        /* to stay parked is no deadlock */
    enter(); idle[me] = 0; leave();
    goto again
}

inline wake(who) { asleep[who] = 0 }

active [2] proctype sender() {
    byte who = RECEIVERS, i = 0;
    enter();
    queued++; sent++;
    if
    :: idle[0] -> who = 0
    :: !idle[0] && idle[1] -> who = 1
    :: else -> skip
    fi;
    if
    :: who < RECEIVERS ->
        idle[who] = 0;
#ifndef WAKE_NOT_LISTED
        futex[who] = 1
#endif
    :: else -> skip
    fi;
    leave();
    if :: goto killed :: skip fi;
    if :: who < RECEIVERS -> wake(who) :: else -> skip fi;
    goto done;
killed:                                   /* from here on it is who reaps it */
#ifndef NO_SECOND_WAKE
    i = 0;
    do
    :: i < RECEIVERS ->
        enter();
        if :: idle[i] -> idle[i] = 0; futex[i] = 1; who = i :: else -> who = RECEIVERS fi;
        leave();
#ifdef ONLY_LISTED
        if :: who < RECEIVERS -> wake(i) :: else -> skip fi;
#else
        wake(i);
#endif
        i++
    :: else -> break
    od;
#endif
done: skip
}

active proctype monitor() {
end: do :: timeout -> assert(taken == sent && queued == 0); break od
}
