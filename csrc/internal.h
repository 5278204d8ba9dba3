/* internal.h: what the files of the core share: a process's view of the segment, atomics and the undo log, bounds, and
 * the functions that cross files, by the file they stand in.
 *
 * An index that is out of bounds poisons the segment and reads as 0, which is nobody.
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

#include "layout.h"

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
    struct history *histories;
    struct presence *presences;
    struct chunk *chunks;
    uint32_t *lane_buckets, *virtual_buckets, *connection_buckets, *session_buckets, *group_buckets,
        *member_buckets, *history_buckets, *presence_buckets, *attendance_buckets;
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
        __atomic_store_n(&(field), _value, __ATOMIC_RELEASE);                                                \
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
AT(presence, s->sizes.presences)
AT(chunk, s->sizes.chunks)
AT(channel, 3u * CHANNELS)
AT(slot, (uint32_t)SLOTS)
AT(waiter, (uint32_t)WAITERS)

static inline struct history *history_at(struct shmc *s, uint32_t index) {
    if (__builtin_expect(index >= s->sizes.histories, 0)) {
        poison(s);
        index = 0;
    }
    return &s->histories[index];
}
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

/* Is there a slot of this reference, or is its process gone and reaped? */
static inline int is_somebody(struct shmc *s, uint32_t owner) {
    struct slot *slot = slot_at(s, slot_of(owner));
    return HINT(slot->state) == SLOT_LIVE && (slot_of(owner) | HINT(slot->generation) << 8) == owner;
}
/* Does what this owner has fall to whoever reaps `dead`? What nobody has does too: somebody reaped it, and died in
 * a section that was undone after others had passed it by. His own death brings the next reaper. */
static inline int falls_to(struct shmc *s, uint32_t owner, uint32_t dead) {
    return owner == dead || (owner && !is_somebody(s, owner));
}
/* In whose hands is it? Read without its lock, so in this order: the owner was written before the state. */
static inline int in_hands_of(const struct descriptor *d, uint32_t state, uint32_t owner) {
    return __atomic_load_n(&d->state, __ATOMIC_ACQUIRE) == state && HINT(d->owner) == owner;
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
int slot_is_live(struct shmc *s, uint32_t slot); /* its process */
uint64_t process_start_time(int32_t pid);

/* --- pool.c --- */
int pool_allocate(struct shmc *s, uint64_t length, uint32_t *out);
int pool_share(struct shmc *s, uint32_t from, uint32_t *out);
void pool_release(struct shmc *s, uint32_t descriptor);
void pool_release_all(struct shmc *s, const uint32_t *descriptors, uint32_t count);
uint64_t pool_footprint(struct shmc *s, const struct descriptor *d);
void pool_foresee(struct shmc *s, uint32_t descriptor);
void pool_release_if(struct shmc *s, uint64_t reference, uint32_t owner);
void pool_write(struct shmc *s, uint32_t descriptor, uint64_t offset, const void *bytes, uint64_t length);
void pool_read(struct shmc *s, const struct descriptor *d, uint64_t offset, void *bytes, uint64_t length);
uint32_t pool_block(struct shmc *s, uint64_t bytes, uint32_t *cell); /* POOL held */
uint32_t pool_unblock(struct shmc *s, uint32_t cell);                /* POOL held */
void pool_count(struct shmc *s, int64_t bytes);                      /* POOL held */
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
void queue_hold(struct shmc *s, uint32_t index);
void queue_finish_lease(struct shmc *s, uint32_t index, struct kicks *kicks);
void delayed_due(struct shmc *s, uint64_t now, struct kicks *kicks);
uint64_t delayed_next(struct shmc *s);
uint32_t sweep_expired(struct shmc *s, uint32_t domain, uint32_t channel, uint64_t now, uint32_t *out,
                       uint32_t limit, struct kicks *kicks);

/* --- outbox.c --- */
int outbox_forward(struct shmc *s, uint64_t outbox, uint32_t owner, char *blocked, uint32_t *blocked_length);
void outbox_discard(struct shmc *s, uint64_t outbox, uint32_t owner);
int outbox_is_committed(struct shmc *s, uint64_t outbox);          /* POOL held */
uint64_t outbox_item(struct shmc *s, uint64_t outbox, uint32_t k); /* 0: there is none */
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
void group_purge(struct shmc *s);
void group_member_drop(struct shmc *s, uint32_t member); /* GROUP held */

/* --- presence.c: under GROUP, but for the last --- */
uint32_t presence_find(struct shmc *s, uint64_t group_hash, const char *user, uint32_t length);
int presence_has_room(struct shmc *s);
void presence_enter(struct shmc *s, uint32_t member, uint64_t group_hash, const char *group,
                    uint32_t group_length, const char *user, uint32_t length);
void presence_exit(struct shmc *s, uint32_t member);
void presence_flush(struct shmc *s);

/* --- history.c --- */
struct spent { /* descriptors to be freed after the section */
    uint32_t count;
    uint32_t descriptors[32];
};
uint32_t history_find(struct shmc *s, const char *name, uint32_t length); /* REPLY held */
int history_ensure(struct shmc *s, const char *name, uint32_t length);
int history_settle(struct shmc *s, uint64_t outbox, uint32_t index, int wait, struct kicks *kicks,
                   struct spent *spent); /* REPLY held */
void history_flush(struct shmc *s);

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
