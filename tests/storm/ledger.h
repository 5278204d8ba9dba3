/* ledger.h: what the storm knows of each message, outside of the segment: shared memory of its own, written
 * before and after each call by the process that makes it. Nothing of the core can damage it, and a kill
 * between two notes leaves the one message that it is about uncertain, no other. */
#ifndef STORM_LEDGER_H
#define STORM_LEDGER_H
#include <stdatomic.h>
#include <stdint.h>

enum { NOTES = 1 << 20, LANES = 1 << 16, LIVES = 1 << 20, SEATS = 14, LANES_FOR_CONNECTIONS = LANES - 8192 };

/* Where it was seen. At most once each; CHILDREN only if its consumer's outbox was committed. */
enum sight {
    SEEN_DIRECT = 1,  /* received as it was sent */
    SEEN_OUT = 2,     /* the sends of its consumer: an ordinary channel, */
    SEEN_SINGLE = 4,  /* a '?' channel, */
    SEEN_REPLY = 8,   /* a '!' queue that nobody owns, */
    SEEN_FRONT = 16,  /* a front's */
    SEEN_DEAD = 32,   /* as a dead letter */
    SEEN_NOTICE = 64, /* as word for its front that a worker died with it */
    SEEN_MEMBER = 128 /* << 0..3: by the members of a group */
};
#define CHILDREN (SEEN_OUT | SEEN_SINGLE | SEEN_REPLY | SEEN_FRONT)

enum sent { NOT_SENT, SENDING, SENT, REFUSED };
enum committed { NOT_COMMITTED, COMMITTING, COMMITTED };
enum kind { DIRECT, WORKED, GROUPED };

struct note { /* one message */
    _Atomic uint8_t sent, committed, kind, leased;
    _Atomic uint32_t seen;
};

struct lane { /* one sender's sequence: of a connection, or of a stream with one reader */
    _Atomic uint32_t holder, last;
};

struct life {               /* one process */
    _Atomic uint8_t doomed; /* from before it is killed or stopped */
};

struct seat { /* one place for a process; the process writes, the director reads when it is dead */
    _Atomic int32_t fuse; /* the director's: points until it gives itself fuse_signal; 0: never */
    _Atomic int32_t fuse_signal;
    _Atomic uint32_t calling;  /* messages that the receive under way may take */
    _Atomic uint32_t attached; /* between attach and detach */
};

enum phase { STORM, DRAIN, END };

struct ledger {
    _Atomic int phase;
    _Atomic uint32_t notes, lanes, lives;
    _Atomic uint64_t progress;                 /* everything that anybody finished */
    _Atomic uint64_t received, front_received; /* noted after a receive */
    struct seat seats[SEATS];
    struct note note[NOTES];
    struct lane lane[LANES];
    struct life life[LIVES];
    _Atomic int violations;
    char violation[400];
};
#endif
