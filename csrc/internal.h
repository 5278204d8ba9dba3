/* internal.h: the layout of the segment, and the few words that all files of the core share.
 *
 * Whose word is it? Each field names the lock under which it changes. `owner` fields of descriptors and
 * outboxes change hands: the state says which lock may touch the record now.
 *
 *   descriptor   FREE      on the pool's free list                                     POOL
 *                HELD      private to `owner` (being filled, read or freed)             its owner; reaper
 * under POOL QUEUED    in a channel, perhaps in a lane                              its domain LEASED    in
 * the hands of `owner`                                      its domain (always WORK, SINGLE or REPLY)
 *                RESERVED  the disconnect of a connection, or what a session keeps      WORK
 *                MOVING    on its way to another domain; anybody completes it           its target domain
 *   lane         IDLE (not in use), READY (on the run list of its head's channel), RUNNING (its lease is
 * out), RESTING (its head waits for its time on the delayed list)                                WORK outbox
 * FREE, OPEN, COMMITTED                                                 POOL; OPEN -> COMMITTED: domain of
 * item 0
 *
 * Index 0 of every table is nobody: lists end with it, and an index that is out of bounds poisons the segment
 * and reads as 0.
 */
#ifndef SHMCHAN_INTERNAL_H
#define SHMCHAN_INTERNAL_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shmchan.h"

enum {
    LAYOUT_VERSION = 1,
    DOMAINS = 5,
    SLOTS = 256,
    WAITERS = 512,
    CHANNELS = 4096, /* of each of WORK, SINGLE, REPLY */
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
#define SECOND_NS 1000000000ull
#define WAIT_SLICE_NS 200000000ull
#define MAGIC 0x6e61686363686d73ull
#define LANE_BIT 0x80000000u
#define ANY_KEY 1ull

enum descriptor_state { FREE = 0, HELD, QUEUED, LEASED, RESERVED, MOVING };
enum lane_state { LANE_IDLE = 0, LANE_READY, LANE_RUNNING, LANE_RESTING };
enum outbox_state { OUTBOX_FREE = 0, OUTBOX_OPEN, OUTBOX_COMMITTED };
enum slot_state { SLOT_FREE = 0, SLOT_LIVE };
enum channel_flag { OWNED = 1, DEAD = 2, PINNED = 4 };

/* --- the shared structures --- */

struct log_entry {
    uint64_t where; /* offset of the word in the segment; bit 0: it has 8 bytes */
    uint64_t old;
};

struct domain {
    pthread_mutex_t mutex;
    uint32_t log_n, unused;
    struct log_entry log[LOG_SIZE];
    /* the rest is for channel domains */
    uint32_t channel_free, channel_top;
    uint32_t idle_head;
    uint32_t cursor;
    uint32_t delayed_head, delayed_tail; /* WORK: what waits for its time, soonest first */
    uint32_t hand;                       /* where the search for an entry to use again goes on */
    uint32_t spare;
    uint64_t number; /* of the last message queued */
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
    uint64_t spare[2];
};

struct block { /* POOL; stands before each payload */
    uint32_t references;
    uint32_t next; /* cell of the next chunk of a long payload, or free list */
    uint32_t cells;
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
    uint32_t cursor_hint;
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
    uint32_t name_length;
    char name[NAME_MAX_BYTES];
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

struct counters { /* whose tables: free lists and tops; each under its domain */
    uint32_t lane_free, lane_top, lane_buckets_mask, connection_free, connection_top; /* WORK */
    uint32_t virtual_free, virtual_top;                                               /* REPLY */
    uint32_t group_free, group_top, branch_free, branch_top, member_free, member_top; /* GROUP */
    uint32_t member_age_head, member_age_tail, groups, members;                       /* GROUP */
    uint32_t connections, sessions;                                                   /* WORK */
    uint32_t session_free, session_top, session_hand, spare;                          /* WORK */
    uint64_t sequence;                                                                /* GROUP */
    uint64_t dead_letters;                                                            /* WORK */
    uint64_t group_dropped;                                                           /* GROUP */
};

struct sizes { /* how many entries each table has; follows from the memory alone */
    uint32_t descriptors, virtuals, connections, sessions, groups, branches, members, chunks;
    uint32_t lane_buckets, virtual_buckets, connection_buckets, session_buckets, group_buckets,
        member_buckets;
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

/* --- the process's side --- */

struct shmc {
    char *base;
    uint64_t bytes;
    int fd;
    uint32_t slot, slot_reference;
    int32_t pid;
    int detached, same_namespace;
    uint32_t *cookie; /* wiped in a child */
    char *folder;     /* of the segment's file; bells stand beside it */
    struct header *header;
    struct domain *domains;
    struct pool *pool;
    struct counters *counters;
    struct slot *slots;
    struct waiter *waiters;
    struct idle *idles;
    struct channel *channels;
    struct outbox *outboxes;
    struct descriptor *descriptors;
    struct lane *lanes;
    struct virtual *virtuals;
    struct connection *connections;
    struct session *sessions;
    struct group *groups;
    struct branch *branches;
    struct member *members;
    struct chunk *chunks;
    uint32_t *lane_buckets, *virtual_buckets, *connection_buckets, *session_buckets, *group_buckets,
        *member_buckets;
    char *cells;
    struct sizes sizes;
    uint64_t expiry_ns, group_expiry_ns, max_message_size, seed;
    int spin;              /* polls worth trying before parking */
    uint64_t last_reap_ns; /* relaxed */
    struct shmc *next;     /* attachments of this process, for fork */
    int bell_fds[WAITERS];
    uint32_t bell_generations[WAITERS];
    pthread_mutex_t bell_mutex;
};

/* --- atomics and the log --- */

#define HINT(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define PUT(field, value)                                                                                    \
    do {                                                                                                     \
        __atomic_store_n(&(field), (__typeof__(field))(value), __ATOMIC_RELAXED);                            \
        POINT();                                                                                             \
    } while (0)
#define BARRIER() atomic_signal_fence(memory_order_seq_cst)

#ifdef SHMC_POINTS /* test builds: a place where a process may be killed */
void shmc_point(const char *file, int line);
#define POINT() shmc_point(__FILE__, __LINE__)
#else
#define POINT() ((void)0)
#endif

void log_overflow(struct shmc *s);

/* Change a shared word under a domain's lock, so that it can be undone. SIGKILL is no power loss: what one
 * thread stored before its death is seen by all, in order, so compiler fences suffice between the log and the
 * word. */
#ifdef SHMC_UNSAFE /* for bench/recovery.py alone: what would it cost less if nobody ever died? */
#define SET(s, dom, field, value)                                                                            \
    do {                                                                                                     \
        (void)(s), (void)(dom);                                                                              \
        __atomic_store_n(&(field), (__typeof__(field))(value), __ATOMIC_RELAXED);                            \
    } while (0)
#else
#define SET(s, dom, field, value)                                                                            \
    do {                                                                                                     \
        __typeof__(field) _value = (__typeof__(field))(value);                                               \
        struct domain *_domain = &(s)->domains[dom];                                                         \
        uint32_t _n = _domain->log_n;                                                                        \
        if (__builtin_expect(_n >= LOG_SIZE, 0)) {                                                           \
            log_overflow(s);                                                                                 \
            break;                                                                                           \
        }                                                                                                    \
        _domain->log[_n].where = (uint64_t)((char *)&(field) - (s)->base) | (sizeof(field) == 8);            \
        _domain->log[_n].old = (uint64_t)(field);                                                            \
        BARRIER();                                                                                           \
        POINT();                                                                                             \
        _domain->log_n = _n + 1;                                                                             \
        BARRIER();                                                                                           \
        POINT();                                                                                             \
        __atomic_store_n(&(field), _value, __ATOMIC_RELAXED);                                                \
        BARRIER();                                                                                           \
        POINT();                                                                                             \
    } while (0)
#endif

/* SET where the word often has that value already. */
#define KEEP(s, dom, field, value)                                                                           \
    do {                                                                                                     \
        if ((field) != (__typeof__(field))(value))                                                           \
            SET(s, dom, field, value);                                                                       \
    } while (0)

/* --- bounds --- */

void poison(struct shmc *s);

#define AT(table, limit)                                                                                     \
    static inline __attribute__((unused)) struct table *table##_at(struct shmc *s, uint32_t index) {         \
        if (__builtin_expect(index >= (limit), 0)) {                                                         \
            poison(s);                                                                                       \
            index = 0;                                                                                       \
        }                                                                                                    \
        return &s->table##s[index];                                                                          \
    }
AT(descriptor, s->sizes.descriptors)
AT(lane, s->sizes.descriptors)
AT(virtual, s->sizes.virtuals)
AT(connection, s->sizes.connections)
AT(session, s->sizes.sessions)
AT(group, s->sizes.groups)
AT(member, s->sizes.members)
AT(chunk, s->sizes.chunks)
AT(channel, 3u * CHANNELS)
AT(slot, (uint32_t)SLOTS)
AT(waiter, (uint32_t)WAITERS)

static inline struct branch *branch_at(struct shmc *s, uint32_t index) {
    if (__builtin_expect(index >= s->sizes.branches, 0)) {
        poison(s);
        index = 0;
    }
    return &s->branches[index];
}
static inline struct outbox *outbox_at(struct shmc *s, uint32_t index) {
    if (__builtin_expect(index >= OUTBOXES, 0)) {
        poison(s);
        index = 0;
    }
    return &s->outboxes[index];
}
static inline struct block *block_at(struct shmc *s, uint32_t cell) {
    if (__builtin_expect(cell >= (uint64_t)s->sizes.chunks * CELLS, 0)) {
        poison(s);
        cell = 0;
    }
    return (struct block *)(void *)(s->cells + (uint64_t)cell * CELL);
}
static inline struct idle *idle_at(struct shmc *s, uint32_t domain, uint32_t waiter) {
    return &s->idles[(domain - 1) * WAITERS + (waiter < WAITERS ? waiter : 0)];
}
static inline uint64_t reference(uint32_t index, uint32_t generation) {
    return (uint64_t)generation << 32 | index;
}
static inline uint32_t reference_index(uint64_t reference) {
    return (uint32_t)reference;
}
static inline uint32_t reference_generation(uint64_t reference) {
    return (uint32_t)(reference >> 32);
}
static inline uint32_t slot_of(uint32_t slot_reference) {
    return slot_reference & (SLOTS - 1);
}
static inline uint32_t channel_bit(uint32_t channel) {
    return channel & (CHANNELS - 1);
}
static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}
/* The same clock as of the last tick, some ms ago: a quarter of the price, and enough to tell what has
 * expired. */
static inline uint64_t tick_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}
static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}
/* Guard of a walk: a list that is longer than its table is damaged. */
static inline int endless(struct shmc *s, uint32_t *steps, uint32_t limit) {
    if (++*steps <= limit)
        return 0;
    poison(s);
    return 1;
}

/* --- lock.c --- */
int domain_init(struct domain *d);
void lock(struct shmc *s, uint32_t domain);
void unlock(struct shmc *s, uint32_t domain);
void commit(struct shmc *s, uint32_t domain);
void settle_logs(struct shmc *s);
int usable(struct shmc *s); /* SHMC_OK, or why no call may go on */
#define REQUIRE(s)                                                                                           \
    do {                                                                                                     \
        int _usable = usable(s);                                                                             \
        if (__builtin_expect(_usable != SHMC_OK, 0))                                                         \
            return _usable;                                                                                  \
    } while (0)
#define RESULT(s, status) (__builtin_expect(HINT((s)->header->poisoned) != 0, 0) ? SHMC_E_CORRUPT : (status))

/* --- segment.c --- */
uint64_t hash_bytes(uint64_t seed, const char *bytes, uint64_t length);
int slot_is_live(struct shmc *s, uint32_t slot);
uint64_t process_start_time(int32_t pid);

/* --- pool.c --- */
int pool_allocate(struct shmc *s, uint64_t length, uint32_t *out);
int pool_share(struct shmc *s, uint32_t from, uint32_t *out);
void pool_release(struct shmc *s, uint32_t descriptor);
void pool_release_all(struct shmc *s, const uint32_t *descriptors, uint32_t count);
uint64_t pool_footprint(struct shmc *s, const struct descriptor *d);
void pool_release_if(struct shmc *s, uint64_t reference, uint32_t owner);
void pool_write(struct shmc *s, uint32_t descriptor, uint64_t offset, const void *bytes, uint64_t length);
void pool_read(struct shmc *s, const struct descriptor *d, uint64_t offset, void *bytes, uint64_t length);
int pool_block(struct shmc *s, uint64_t bytes, uint32_t *cell); /* POOL held */
void pool_unblock(struct shmc *s, uint32_t cell);               /* POOL held */
void count_memory_drop(struct shmc *s);

/* --- wake.c --- */
struct kicks {
    uint32_t count;
    uint32_t waiters[8];
    uint32_t spent; /* a session's payload, to be freed after the section */
};
void wake_one(struct shmc *s, uint32_t domain, uint32_t channel, struct kicks *kicks);
void wake_all(struct shmc *s, uint32_t domain);
void kick(struct shmc *s, struct kicks *kicks);
void wake(struct shmc *s, uint32_t waiter);
void idle_insert(struct shmc *s, uint32_t domain, uint32_t waiter);
void idle_remove(struct shmc *s, uint32_t domain, uint32_t waiter);
int waiter_allocate(struct shmc *s, uint32_t *out);
void waiter_release(struct shmc *s, uint32_t waiter);
void bell_close_all(struct shmc *s);

/* --- channel.c: all under the channel's domain --- */
uint32_t channel_find(struct shmc *s, uint32_t domain, const char *name, uint32_t length, uint64_t hash);
uint32_t channel_make(struct shmc *s, uint32_t domain, const char *name, uint32_t length, uint64_t hash);
uint32_t target_channel(struct shmc *s, shmc_target *t);
void count_refusal(struct shmc *s, uint32_t domain, uint32_t channel);
void count_drop(struct shmc *s, uint32_t domain, uint32_t channel, uint32_t cause, uint64_t n);
enum { TAIL = 0, SORTED = 1 };
void run_push(struct shmc *s, uint32_t domain, uint32_t channel, uint32_t entry, int where);
void delay_push(struct shmc *s, uint32_t domain, uint32_t entry, uint64_t due_ns);
void delay_remove(struct shmc *s, uint32_t domain, uint32_t entry);
void run_remove(struct shmc *s, uint32_t domain, uint32_t channel, uint32_t entry);
void age_push(struct shmc *s, uint32_t domain, uint32_t index);
void age_remove(struct shmc *s, uint32_t domain, uint32_t index);

/* --- virtual.c: under REPLY --- */
uint32_t virtual_find(struct shmc *s, uint64_t hash, uint32_t channel);
uint32_t virtual_make(struct shmc *s, uint64_t hash, uint32_t channel);
void virtual_lower(struct shmc *s, uint32_t index, uint32_t count);
void virtual_sweep(struct shmc *s, uint32_t channel);

/* --- lane.c: all under WORK --- */
uint32_t lane_find(struct shmc *s, uint64_t key);
uint32_t lane_make(struct shmc *s, uint64_t key);
void lane_append(struct shmc *s, uint32_t lane, uint32_t index);
void lane_prepend(struct shmc *s, uint32_t lane, uint32_t index);
void lane_unlink(struct shmc *s, uint32_t lane, uint32_t index);
void lane_schedule(struct shmc *s, uint32_t lane, struct kicks *kicks);
void lane_finish(struct shmc *s, uint32_t lane, struct kicks *kicks);
void lane_stop(struct shmc *s, uint32_t lane); /* off the run list or the delayed list */

/* --- queue.c: a message's way through a channel; under its domain --- */
int queue_enqueue(struct shmc *s, uint32_t index, struct kicks *kicks, int exempt);
void queue_requeue(struct shmc *s, uint32_t index, uint64_t delay_ns, struct kicks *kicks, int where);
uint32_t queue_take(struct shmc *s, uint32_t domain, uint32_t channel, uint32_t state, uint32_t *expired,
                    uint32_t *expired_count, struct kicks *kicks);
void queue_unlink(struct shmc *s, uint32_t index, struct kicks *kicks);
void queue_end_lease(struct shmc *s, uint32_t index);
void queue_finish_lease(struct shmc *s, uint32_t index, struct kicks *kicks);
void delayed_due(struct shmc *s, uint64_t now, struct kicks *kicks);
uint64_t delayed_next(struct shmc *s);
uint32_t sweep_expired(struct shmc *s, uint32_t domain, uint32_t channel, uint64_t now, uint32_t *out,
                       uint32_t limit, struct kicks *kicks);

/* --- outbox.c --- */
int outbox_forward(struct shmc *s, uint64_t outbox, uint32_t owner, char *blocked, uint32_t *blocked_length);
void outbox_discard(struct shmc *s, uint64_t outbox, uint32_t owner);
int outbox_is_committed(struct shmc *s, uint64_t outbox); /* POOL held */
int prepare_descriptor(struct shmc *s, shmc_target *t, const void *payload, uint64_t length, uint64_t key,
                       const char *address, uint32_t address_length, uint32_t *out);

/* --- group.c --- */
struct branch_list { /* a copy: which prefixes a group has members behind */
    uint32_t count, capacity;
    struct {
        uint32_t prefix_length;
        char prefix[NAME_MAX_BYTES];
    } * branches;
};
struct member_list { /* a copy: the members behind one prefix */
    uint32_t count, capacity;
    shmc_target *targets;
};
typedef __typeof__(*((struct branch_list *)0)->branches) branch_name;
int group_branches(struct shmc *s, const char *group, uint32_t length, struct branch_list *out,
                   uint64_t *sequence);
int group_branch_members(struct shmc *s, const char *group, uint32_t length, const branch_name *branch,
                         struct member_list *out);
void group_free_branches(struct branch_list *list);
void group_free_members(struct member_list *list);
void group_sweep(struct shmc *s, const char *prefix, uint32_t prefix_length);
void group_flush(struct shmc *s);

/* --- connection.c --- */
void connection_note(struct shmc *s, uint64_t key, uint32_t order); /* WORK held */
int connection_is_open(struct shmc *s, uint64_t key);               /* WORK held */
void connection_sweep(struct shmc *s, uint32_t owner);

/* --- session.c --- */
uint32_t session_find(struct shmc *s, uint64_t key);                     /* WORK held */
void session_end(struct shmc *s, uint32_t message, struct kicks *kicks); /* WORK held */
void session_flush(struct shmc *s);

/* --- front.c --- */
void front_settle(struct shmc *s, uint32_t channel, uint32_t owner);

/* --- reap.c --- */
void reap_idle(struct shmc *s); /* now and then, by whoever waits */
void reap_slot(struct shmc *s, uint32_t slot, uint32_t owner);
void complete_moving(struct shmc *s, uint32_t index);
#endif
