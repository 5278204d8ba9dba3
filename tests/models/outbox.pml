/* outbox: the sends of one consumer, all or nothing, each once, in order (csrc/outbox.c).
 *
 * A worker commits an outbox of three items, in domains 0, 1 and 0, and rolls it forward; it is killed at any
 * step. Two others find it dead, replay the logs of both domains, and roll it forward as well: both at once,
 * the first of them killed at any step. The second lives: when it is through, each item was queued exactly
 * once, each after the one before it, and the lease was acknowledged once.
 *
 * A section logs two words: the item's place in the queue and its state. Its commit is one step. The store that
 * commits the outbox is logged as well, so it may be undone until its section is left.
 *
 * Mutations, each of which spin must find: DIRTY (an item counts as settled when an unlocked read says so),
 * CURSOR (a shared cursor instead of the items' own states), NO_REPLAY (forward before the logs are replayed),
 * ACKNOWLEDGE_UNCHECKED (the lease is finished without looking whether it still is one).
 */
#define ITEMS 3
#define DOMAIN(k) ((k) == 1)
byte holder[2];                      /* of each domain's lock: 0 free, else pid + 1 */
bit dead[3];
bit state[ITEMS];                    /* 0 HELD, 1 QUEUED */
byte times[ITEMS];                   /* how often it stands in its queue */
bit stands[ITEMS];                   /* committed */
byte log_count[2], log_item[2], log_cursor[2];
byte cursor = 0, acknowledged = 0;
bit outbox = 0, leased = 1;          /* OPEN, COMMITTED: a word of domain 0 */
bit log_outbox = 0;

inline die() { if :: _pid < 2 -> atomic { dead[_pid] = 1; goto gone } :: skip fi }

inline enter(d) {
    atomic { (holder[d] == 0 || dead[holder[d] - 1]) -> holder[d] = _pid + 1 };
    if :: d == 0 && log_outbox -> atomic { outbox = 0; log_outbox = 0 } :: else -> skip fi;
    if :: log_count[d] >= 2 -> atomic { state[log_item[d]] = 0; log_count[d] = 1 } :: else -> skip fi;
    if
    :: log_count[d] >= 1 -> atomic { times[log_item[d]]--; cursor = log_cursor[d]; log_count[d] = 0 }
    :: else -> skip
    fi
}
inline leave(d) { atomic { log_count[d] = 0; holder[d] = 0 } }

#ifdef CURSOR
#define OPEN_ITEM (cursor == k)
#else
#define OPEN_ITEM (state[k] == 0)
#endif

inline forward() {
    k = 0;
    do
    :: k < ITEMS ->
#ifdef CURSOR
        k = cursor;
        if :: k >= ITEMS -> break :: else -> skip fi;
#endif
#ifdef DIRTY
        if :: state[k] == 1 -> k++; goto next :: else -> skip fi;
#endif
        enter(DOMAIN(k)); die();
        if
        :: OPEN_ITEM ->
            atomic {
                log_item[DOMAIN(k)] = k; log_cursor[DOMAIN(k)] = cursor; times[k]++; log_count[DOMAIN(k)] = 1;
#ifdef CURSOR
                cursor = k + 1
#endif
            };
            die();
            atomic { state[k] = 1; log_count[DOMAIN(k)] = 2 };
            die();
            atomic {
                log_count[DOMAIN(k)] = 0;
                assert(outbox && times[k] == 1);
                assert(k == 0 || stands[k - 1]);
                stands[k] = 1
            };
            die()
        :: else -> skip
        fi;
        leave(DOMAIN(k)); die();
#ifndef CURSOR
        k++;
#endif
next:   skip
    :: else -> break
    od
}

inline finish() {
    enter(0); die();
#ifdef ACKNOWLEDGE_UNCHECKED
    atomic { leased = 0; acknowledged++ };
#else
    atomic { if :: leased -> leased = 0; acknowledged++ :: else -> skip fi };
#endif
    leave(0); die()
}

active proctype worker() {
    byte k = 0;
    enter(0); die();
    log_outbox = 1; die();
    outbox = 1; die();
    log_outbox = 0; die();
    leave(0); die();
    forward();
    finish();
    dead[0] = 1;
gone: skip
}

active [2] proctype reaper() {
    byte k = 0;
    dead[0] == 1;
#ifndef NO_REPLAY
    enter(0); die(); leave(0); die(); enter(1); die(); leave(1); die();
#endif
    if
    :: outbox -> forward(); finish()
    :: else -> skip
    fi;
    if
    :: _pid == 2 && outbox -> assert(times[0] == 1 && times[1] == 1 && times[2] == 1 && acknowledged == 1)
    :: _pid == 2 && !outbox -> assert(times[0] == 0 && times[1] == 0 && times[2] == 0 && acknowledged == 0)
    :: _pid < 2 -> skip
    fi;
gone: skip
}
