/* undo: the undo log of one lock's domain (csrc/lock.c, SET in csrc/internal.h).
 *
 * Sections of three stores, a b a, are entered twice by each of three processes. Two may be killed at any step,
 * also while they replay another's log; the third lives. A dead holder leaves the lock, and whoever
 * comes next replays the log backwards. One word written twice shows that the order of the replay matters.
 * At the end of each section, and after the last, both words count the committed sections.
 *
 * Mutations, each of which spin must find: COUNT_FIRST (the log's count is raised before the entry is
 * written), STORE_FIRST (the word is stored before it is logged), FORWARD (replayed from the first entry on),
 * FORGET (the log is given up before it is replayed).
 */
#define SECTIONS 2
byte word[2];      /* what is protected; each section adds 1 to both, to word 0 in two halves of 1 and -1 + 1 */
byte where[3];     /* the log: which word, */
byte old[3];       /* and what it was */
byte count = 0;
byte holder = 0;   /* 0 free, else pid + 1 */
bit dead[3];
byte committed = 0;

inline die() { if :: _pid < 2 -> atomic { dead[_pid] = 1; goto gone } :: skip fi }

inline enter() {
    atomic { (holder == 0 || dead[holder - 1]) -> holder = _pid + 1 };
    die();
#ifdef FORGET
    n = count; count = 0; die();
#endif
#ifdef FORWARD
    n = 0;
    do :: n < count -> word[where[n]] = old[n]; n++; die() :: else -> break od;
    count = 0; die();
#else
#ifndef FORGET
    n = count;
#endif
    do
    :: n > 0 -> n--; word[where[n]] = old[n]; die();
#ifndef FORGET
       count = n; die()
#endif
    :: else -> break
    od;
#endif
    assert(word[0] == committed && word[1] == committed)
}

inline set(index, value) {
#ifdef STORE_FIRST
    v = word[index]; word[index] = value; die(); where[count] = index; old[count] = v; die(); count++; die()
#else
#ifdef COUNT_FIRST
    count++; die(); where[count - 1] = index; old[count - 1] = word[index]; die(); word[index] = value; die()
#else
    where[count] = index; old[count] = word[index]; die(); count++; die(); word[index] = value; die()
#endif
#endif
}

active [3] proctype process() {
    byte n = 0, v = 0, section = 0;
    do
    :: section < SECTIONS ->
        enter();
        set(0, word[0] + 7);
        set(1, word[1] + 1);
        set(0, word[0] - 6);
        atomic { count = 0; committed++ };   /* the commit is one store */
        die();
        holder = 0;
        die();
        section++
    :: else -> break
    od;
    if
    :: _pid == 2 -> enter(); holder = 0      /* whoever looks last finds everything whole */
    :: else -> skip
    fi;
gone: skip
}
