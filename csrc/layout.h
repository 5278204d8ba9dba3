/* layout.h: what lies in the segment.
 *
 * Whose word is it? Each structure names the lock under which it changes. `owner` fields of descriptors and outboxes
 * change hands: the state says which lock may touch the record now.
 *
 *   descriptor  FREE      on the pool's free list                                  POOL
 *               HELD      private to `owner`: being filled, read or freed          its owner; a reaper under POOL
 *               QUEUED    in a channel, perhaps in a lane                          its domain
 *               LEASED    in the hands of `owner`                                  its domain
 *               RESERVED  the disconnect of a connection, or a session's bytes     WORK
 *                         a message that a group's history keeps                  REPLY
 *               MOVING    on its way to another domain; anybody completes it       its target domain
 *   lane        IDLE      not in use                                               WORK
 *               READY     on the run list of its head's channel                    WORK
 *               RUNNING   one of its messages is leased by `owner`                 WORK
 *               RESTING   on the delayed list: its head waits for its time         WORK
 *   outbox      OPEN      being prepared by `owner`                                its owner; a reaper under POOL
 *               COMMITTED anybody rolls it forward once `owner` is dead            domain of item 0, then POOL
 *               FREE                                                               POOL
 *
 * A field that means nothing in a record's state is written without the log, before the state that gives it a meaning:
 * undoing the state undoes it. So is the owner of a descriptor, which counts while it is HELD or LEASED.
 *
 * Index 0 of every table is nobody: lists end with it. Offsets and indices, never pointers.
 */
#ifndef SHMCHAN_LAYOUT_H
#define SHMCHAN_LAYOUT_H
#include <pthread.h>

#include "shmchan.h"

#ifndef SHMC_CHANNELS /* a power of two, 64 at least; the fuzzer makes do with few, as it walks the table at each run */
#define SHMC_CHANNELS 4096
#endif

enum {
    LAYOUT_VERSION = 5,
    DOMAINS = 5,
    SLOTS = 256,
    WAITERS = 512,
    CHANNELS = SHMC_CHANNELS, /* of each of WORK, SINGLE, REPLY */
    READY_WORDS = CHANNELS / 64,
    BUCKETS = 4096, /* of each channel domain */
    OUTBOXES = 1024,
    INLINE_ITEMS = 6,
    ITEM_BLOCKS = 8,
    LOG_SIZE = 256,
    NAME_MAX_BYTES = 100,
    CELL = 256,       /* bytes of the smallest block */
    CHUNK = 64 << 10, /* bytes of a chunk */
    CELLS = CHUNK / CELL,
    CLASSES = 9, /* 256 B to 64 KiB */
    BLOCK_HEADER = 16,
    MAX_ATTEMPTS = 3,
    SWEEP = 8, /* expired messages that one sender clears away */
};
/* What processes use at the same time stands apart: cache lines are fetched in pairs. */
#define APART __attribute__((aligned(128)))
#define SECOND_NS 1000000000ull
#define WAIT_SLICE_NS 200000000ull
#define MAGIC 0x6e61686363686d73ull
#define LANE_BIT 0x80000000u
#define KIND_HISTORY 8u /* of a descriptor, beside enum shmc_kind: an outbox's item for a group's history */

enum descriptor_state { FREE = 0, HELD, QUEUED, LEASED, RESERVED, MOVING };
enum lane_state { LANE_IDLE = 0, LANE_READY, LANE_RUNNING, LANE_RESTING };
enum outbox_state { OUTBOX_FREE = 0, OUTBOX_OPEN, OUTBOX_COMMITTED };
enum slot_state { SLOT_FREE = 0, SLOT_LIVE };
/* LASTING: what is in it never expires. KEPT: what a dead process leased is put back, however often. */
enum channel_flag { OWNED = 1, DEAD = 2, PINNED = 4, LASTING = 8, KEPT = 16 };

struct log_entry {
    uint64_t where; /* offset of the word in the segment; bit 0: it has 8 bytes */
    uint64_t old;
};

struct domain {
    pthread_mutex_t mutex; /* read by those who wait for it, while its holder writes the log */
    APART uint32_t log_n;
    uint32_t unused;
    struct log_entry log[LOG_SIZE];
    /* the rest is for channel domains */
    uint32_t channel_free, channel_top;
    uint32_t idle_head;
    uint32_t cursor;
    uint32_t delayed_head, delayed_tail; /* WORK: what waits for its time, soonest first */
    uint32_t hand;                       /* where the search for an entry to use again goes on */
    uint32_t spare;
    uint64_t number;                  /* of the last message queued */
    uint64_t delay_batch, delay_mask; /* which of the delay process's batch were queued here (delay.c) */
    uint64_t folded_sent, folded_delivered, folded_redelivered, folded_refused,
        folded_dropped[SHMC_CAUSES]; /* of entries used again */
    uint64_t summary;                /* bit w: ready[w] is not 0 */
    uint64_t ready[READY_WORDS];
    uint32_t buckets[BUCKETS];
};

struct channel { /* its domain */
    uint32_t used, generation;
    uint64_t hash;
    uint32_t hash_next, free_next;
    uint32_t flags, owner; /* slot reference of the front that owns it */
    uint32_t total;        /* what an owned queue holds at most */
    uint32_t spare;
    uint32_t count; /* QUEUED here */
    uint32_t leased, virtuals;
    uint32_t run_head, run_tail;
    uint32_t age_head, age_tail; /* of the keyed; the others are in order of age on the run list */
    uint32_t name_length;
    uint64_t sent, delivered, redelivered;
    uint64_t refused; /* how often it was full when somebody came */
    uint64_t dropped[SHMC_CAUSES];
    uint64_t window_ns, window_sent, window_full; /* start of this second's window, and counters then */
    uint64_t rate_ns, rate_sent, rate_full;       /* the window before: its length and what came in it */
    char name[NAME_MAX_BYTES];
};

struct virtual { /* REPLY: how much a virtual channel behind a '!' has under way */
    uint64_t hash;
    uint32_t channel;
    uint32_t count;
    uint32_t next; /* in its bucket, or free */
    uint32_t spare;
};

struct lane { /* WORK */
    uint64_t key;
    uint32_t state, owner;
    uint32_t head, tail;
    uint32_t count;
    uint32_t hash_next; /* or free */
    uint32_t run_next, run_prev;
    uint32_t channel; /* on whose run list it stands, while READY */
    uint32_t spare;
};

struct descriptor {
    uint32_t state, generation, owner;
    uint32_t domain, channel;
    uint32_t lane, virtual_;
    uint32_t next, prev; /* lane; next: free list */
    uint32_t run_next, run_prev;
    uint32_t age_next, age_prev;
    uint32_t payload; /* cell of its first block */
    uint32_t kind, policy, attempts, code;
    uint32_t capacity, total;
    uint32_t address_length;
    uint32_t origin; /* a dead letter's channel before, in WORK */
    uint64_t length; /* of address and payload */
    uint64_t key, virtual_hash;
    uint64_t number; /* of its enqueue */
    uint64_t queued_ns;
    uint64_t deadline_ns; /* 0: does not expire */
    uint64_t not_before_ns;
    uint64_t sequence;
    uint64_t outbox; /* reference */
    uint32_t channel_generation, deaths;
    uint64_t place; /* which item of its outbox it is, if that is to be kept in a history */
    uint64_t spare;
} __attribute__((aligned(64)));

struct block { /* POOL; stands before each payload */
    uint32_t references;
    uint32_t next;      /* cell of the next chunk of a long payload */
    uint32_t free_next; /* free list of its chunk */
    uint32_t spare;
};

struct chunk {       /* POOL */
    uint32_t class_; /* 0: free; else class + 1 */
    uint32_t used;   /* blocks given out */
    uint32_t carved; /* blocks ever given out */
    uint32_t free_head;
    uint32_t next, prev; /* partly used chunks of the class; next: free chunks */
};

struct pool { /* POOL */
    uint32_t descriptor_free, descriptor_top;
    uint32_t chunk_free, chunk_top;
    uint32_t partial[CLASSES];
    uint32_t outbox_free, outbox_top;
    uint64_t used_bytes;
    uint32_t waiter_top;
    uint32_t spare;
    uint64_t deaths, kills, memory_dropped;
};

struct outbox {
    uint32_t state, generation, owner;
    uint32_t count;
    uint32_t next; /* free list */
    uint32_t spare;
    uint64_t lease; /* reference of the message it answers */
    uint64_t deadline_ns;
    uint64_t items[INLINE_ITEMS];
    uint32_t blocks[ITEM_BLOCKS]; /* cells with further references */
};

struct slot {
    uint32_t state, generation; /* POOL */
    int32_t pid;
    uint32_t spare;
    uint64_t start_time;
    uint64_t
        stashed; /* bytes of messages that are read, to be freed together; its own, added to atomically */
    uint64_t listening[READY_WORDS]; /* its own; read as a hint */
};

struct waiter {
    uint32_t futex;
    uint32_t owner; /* slot reference, POOL */
    uint32_t bell;  /* 1: rung through a FIFO */
    uint32_t generation;
};

struct idle { /* one for each channel domain and waiter: its domain; the bits are the waiter's while it is not
                 listed */
    uint32_t listed, next, prev, spare;
    uint64_t summary;
    uint64_t bits[READY_WORDS];
};

struct group { /* GROUP */
    uint64_t hash;
    uint32_t used, hash_next; /* or free */
    uint32_t branch_head;
    uint32_t count;
    uint32_t name_length;
    char name[NAME_MAX_BYTES];
};

struct branch { /* GROUP: the members of a group behind one '!' prefix, or all that have none */
    uint32_t group, next, prev; /* next: free list */
    uint32_t member_head, count;
    uint32_t prefix_length;
    char prefix[NAME_MAX_BYTES];
};

struct member {    /* GROUP */
    uint64_t hash; /* of group and name */
    uint64_t deadline_ns, join_sequence;
    uint32_t branch, next, prev; /* next: free list */
    uint32_t hash_next;
    uint32_t age_next, age_prev; /* by renewal */
    uint32_t capacity, total;
    uint32_t presence;     /* of the user it names, or 0 */
    uint32_t channel_next; /* of those that name one: the next whose channel is in this bucket */
    uint32_t spare;
    uint32_t name_length;
    char name[NAME_MAX_BYTES];
};

struct presence {  /* GROUP: a user in a group */
    uint64_t hash; /* of group and user */
    uint64_t group_hash;
    uint64_t joined_ns; /* CLOCK_REALTIME */
    uint32_t used, generation;
    uint32_t count; /* memberships */
    uint32_t told;  /* 1: the group believes that the user is there */
    uint32_t claim; /* slot reference of who is telling it */
    uint32_t listed, owed_next, owed_prev;
    uint32_t hash_next; /* or free */
    uint32_t group_length, user_length;
    uint32_t spare;
    char group[NAME_MAX_BYTES];
    char user[NAME_MAX_BYTES]; /* opaque */
};

struct connection { /* WORK */
    uint64_t key;
    uint32_t used, owner;
    uint32_t disconnect; /* RESERVED descriptor */
    uint32_t hash_next;  /* or free */
    uint32_t code_offset, order_offset;
    uint32_t order, spare;
};

struct session { /* WORK; key 0: free */
    uint64_t key, deadline_ns;
    uint32_t payload;   /* RESERVED descriptor */
    uint32_t hash_next; /* or free */
};

struct history { /* REPLY: the last messages of a group */
    uint64_t hash;
    uint64_t offset;             /* of its last message; of its first: offset + 1 - count */
    uint64_t bytes;              /* of the messages, with their descriptors */
    uint32_t count;              /* messages, RESERVED, by run_next and run_prev */
    uint32_t head, tail;         /* oldest, newest */
    uint32_t used, hash_next;    /* or free */
    uint32_t age_next, age_prev; /* by the last message */
    uint32_t name_length;
    char name[NAME_MAX_BYTES];
};

struct counters {  /* whose tables: free lists and tops; each under its domain, and apart from the others' */
    struct APART { /* WORK */
        uint32_t lane_free, lane_top, connection_free, connection_top;
        uint32_t connections, sessions;
        uint32_t session_free, session_top, session_hand, spare;
        uint64_t dead_letters;
    };
    struct APART { /* REPLY */
        uint32_t virtual_free, virtual_top;
        uint32_t history_free, history_top, history_head, history_tail;
        uint64_t history_messages, history_bytes;
        uint64_t history_base; /* the last offset of any history that ended */
    };
    struct APART { /* GROUP */
        uint32_t group_free, group_top, branch_free, branch_top, member_free, member_top;
        uint32_t member_age_head, member_age_tail, groups, members;
        uint32_t presence_free, presence_top, presences, owed_head, owed_tail, spare2;
        uint64_t sequence;
    };
};

struct sizes { /* how many entries each table has; follows from the memory alone */
    uint32_t descriptors, virtuals, connections, sessions, groups, branches, members, chunks, histories,
        presences;
    uint32_t lane_buckets, virtual_buckets, connection_buckets, session_buckets, group_buckets,
        member_buckets, history_buckets, presence_buckets, attendance_buckets;
};

struct header {
    uint64_t magic, version, layout_hash;
    uint64_t ready;
    uint64_t memory;
    uint64_t epoch, seed;
    uint64_t poisoned;
    uint64_t pid_namespace;
    uint64_t undone; /* relaxed counter */
    shmc_options options;
    struct sizes sizes;
};
#endif
