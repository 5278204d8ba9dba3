/* shmchan.h: a channel layer in shared memory. This header is the manual of csrc/.
 *
 * One segment holds channels, the order of each connection (lanes), groups, leases, outboxes and statistics
 * of one instance. Any process of the same user attaches to it; any of them may be killed at any instruction.
 *
 * Three ideas carry it:
 *   1. Short critical sections that can be undone. The shared words belong to five domains (pool, work, single,
 *      reply, group), each under one robust mutex with an undo log. Every store logs the old value first;
 *      leaving commits. Whoever meets a dead holder plays the log backwards. Nobody ever holds two locks.
 *   2. Everything on its way has an owner word: a descriptor is FREE, HELD by a slot, QUEUED in a channel, LEASED
 *      by a slot, RESERVED by a connection or MOVING between domains. What a dead slot owned is found by walking
 *      the owner words (reap.c).
 *   3. An outbox makes the sends of one consumer all or nothing: prepared as HELD descriptors, committed by one
 *      store, then rolled forward by its owner or, after its death, by anybody (outbox.c).
 *
 * Caveats
 *   fork:    an attachment is inert in a child of fork(): calls return SHMC_E_FORKED. The child attaches for itself.
 *   threads: every function may be called by several threads at once on one attachment; a struct passed in
 *            belongs to the call.
 *   kill:    SIGKILL anywhere is safe. What the process had in hand meets its crash policy when somebody reaps.
 *   SIGSTOP: inside a section it delays others for a second; then a waiter of the same user kills it, counted in
 *            `kills`.
 *   trust:   peers of one uid are trusted, their bytes are not: each index read from the segment is checked; what
 *            does not fit poisons the segment, and every call of everybody returns SHMC_E_CORRUPT from then on.
 *
 * Status: 0 is done, positive is ordinary, negative is a fault. C never prints and never aborts.
 * Times: deadlines are CLOCK_MONOTONIC in ns; timeouts are ns, 0 polls, UINT64_MAX waits.
 */
#ifndef SHMCHAN_H
#define SHMCHAN_H
#include <stddef.h>
#include <stdint.h>

/* cdef begin */
enum shmc_status {
    SHMC_OK = 0,
    SHMC_EMPTY = 1,       /* nothing there, or not within the timeout */
    SHMC_FULL = 2,        /* the channel has no room */
    SHMC_TOO_LARGE = 3,   /* longer than a message may be */
    SHMC_INTERRUPTED = 4, /* a signal came: let its handler run, then call again */
    SHMC_GONE = 5,        /* the receiver or the record is no longer there; counted */
    SHMC_NO_MEMORY = 6,   /* the pool or a table has no room now */
    SHMC_BIG = 7,         /* longer than the caller's buffer: shmc_read it, then shmc_free it */
    SHMC_PARKED = 8,      /* committed, but a target is full: shmc_outbox_push it later */
    SHMC_E_CORRUPT = -1,  /* the segment is damaged; somebody must build a new one */
    SHMC_E_SYSTEM = -2,   /* a system call failed: errno */
    SHMC_E_VERSION = -3,  /* a segment of another layout */
    SHMC_E_CLOSED = -4,   /* detached */
    SHMC_E_FORKED = -5,   /* inherited by fork: attach in the child */
    SHMC_E_ARGUMENT = -6, /* the caller broke the contract */
    SHMC_E_SLOTS = -7     /* as many processes are attached as can be */
};

enum shmc_domain { SHMC_POOL = 0, SHMC_WORK = 1, SHMC_SINGLE = 2, SHMC_REPLY = 3, SHMC_GROUP = 4 };

enum shmc_policy {
    SHMC_POLICY_DROP = 0,
    SHMC_POLICY_NOTIFY = 1,
    SHMC_POLICY_REDELIVER = 2,
    SHMC_POLICY_DEAD_LETTER = 3,
    SHMC_POLICY_NOT_BEGUN = 4 /* until shmc_set_policy: nobody has run it yet, so it is put back */
};

/* What came: an ordinary message; one for the group members of a front; word that a worker died with the
 * message of that sender in hand; a message nobody could serve. */
enum shmc_kind { SHMC_KIND_PLAIN = 0, SHMC_KIND_GROUP = 1, SHMC_KIND_NOTICE = 2, SHMC_KIND_DEAD = 3 };

/* Why messages were not delivered. */
enum shmc_cause {
    SHMC_CAUSE_FULL = 0,
    SHMC_CAUSE_EXPIRED = 1,
    SHMC_CAUSE_TOO_LARGE = 2,
    SHMC_CAUSE_GONE = 3,
    SHMC_CAUSE_CRASH = 4,
    SHMC_CAUSE_FLUSH = 5,
    SHMC_CAUSE_MEMORY = 6,
    SHMC_CAUSE_BAD = 7, /* nobody could make sense of it (shmc_reject) */
    SHMC_CAUSES = 8
};

typedef struct shmc shmc;                   /* one attachment of one process */
typedef struct shmc_interest shmc_interest; /* the channels that a receiver asks for */

typedef struct {
    uint64_t memory;           /* bytes of the whole segment */
    uint64_t max_message_size; /* bytes of one encoded message */
    uint64_t expiry_ns;        /* life of a queued message */
    uint64_t group_expiry_ns;  /* life of a membership */
    uint32_t capacity;         /* messages of an ordinary channel */
    uint32_t blob_length;      /* bytes of blob */
    uint8_t blob[4000];        /* the layer's own options, opaque here */
} shmc_options;

/* Where a message goes: a name, resolved once. Fill it by shmc_target_init; the rest is the core's cache. */
typedef struct {
    char name[104];
    uint32_t name_length;
    uint32_t queue_length; /* of the part that names the queue: all of it, or up to and with the '!' */
    uint32_t domain;
    uint32_t capacity; /* of the channel, or of the virtual channel behind a '!' */
    uint32_t total;    /* of the whole queue behind a '!' */
    uint32_t channel, generation;
    uint64_t hash;
    uint64_t virtual_hash; /* 0: not behind a '!' */
} shmc_target;

/* One message received. Offsets are into the caller's buffer: first the address, then the payload. */
typedef struct {
    uint64_t
        brief; /* of a plain message without an address, at offset 0: length | entry << 40; else UINT64_MAX */
    uint64_t reference;
    uint64_t offset;
    uint64_t length;         /* bytes of the payload */
    uint64_t sequence;       /* of a group message: members that joined later do not get it */
    uint64_t number;         /* of its enqueue: grows with each message of a domain; one put back keeps it */
    uint64_t queued_ns;      /* when it was queued; where messages expire, as of a clock tick before */
    uint32_t address_length; /* reply channel of what was sent, name behind the '!', or group */
    uint32_t kind;
    uint32_t entry; /* which of the interest's channels, from 0 */
    uint32_t attempts;
    uint32_t code; /* of a notice: 502, 500 or 1011 */
    uint32_t origin_length;
    char origin[104]; /* of a dead letter: the channel where it was */
} shmc_message;

typedef struct {
    char name[104];
    uint32_t name_length;
    uint32_t domain;
    uint64_t pending;
    uint64_t sent;
    uint64_t delivered;
    uint64_t redelivered;
    uint64_t refused;    /* how often a sender found it full, was told, and kept the message */
    uint64_t dropped[8]; /* by enum shmc_cause */
    double sent_per_second, full_per_second;
    double max_age; /* s */
} shmc_channel_statistics;

typedef struct {
    uint64_t memory_total, memory_used;
    uint64_t pending, sent, delivered, redelivered, refused;
    uint64_t dropped[8];
    double sent_per_second, full_per_second, max_age;
    uint64_t groups, members, connections, sessions, leased, outboxes, processes;
    uint64_t deaths; /* processes that were reaped */
    uint64_t undone; /* sections of dead processes that were undone */
    uint64_t kills;  /* processes killed because they stopped inside a section */
    uint64_t dead_letters;
} shmc_statistics;

typedef struct {
    uint32_t slot, generation;
    int32_t pid;
    int32_t alive;
    uint32_t leased, held, outboxes;
} shmc_process;

/* A message that some process leases. */
typedef struct {
    uint32_t slot, attempts, policy;
    int32_t pid;
    uint64_t length; /* bytes of its payload */
    double age;      /* s since it was queued */
    uint32_t channel_length, address_length;
    char channel[104], address[104];
} shmc_lease_info;

/* Something that a group has to be told: that a user is there, or no longer. */
typedef struct {
    uint64_t reference;
    uint64_t joined_ns; /* CLOCK_REALTIME */
    uint32_t present;
    uint32_t group_length, user_length;
    char group[104], user[104];
} shmc_presence;

/* --- the segment --- */

/* Make a segment at `path` (which must not exist) and attach to it. The caller makes its name known by
 * renaming it. Returns: SHMC_OK, *out to be detached; SHMC_NO_MEMORY: options->memory is below
 * shmc_memory_minimum(); SHMC_E_SYSTEM. */
int shmc_create(const char *path, const shmc_options *options, shmc **out);
/* Attach to the segment at `path`. *version is the layout version found there, also on SHMC_E_VERSION. */
int shmc_attach(const char *path, uint64_t *version, shmc **out);
/* Look at a left-over segment without changing it: a private copy, on which every call works, but nobody else
 * sees what it does and nothing is reaped. Meant for a segment that no live process is attached to. */
int shmc_examine(const char *path, uint64_t *version, shmc **out);
/* The segment's file has another path now: bells stand beside it. */
int shmc_moved(shmc *s, const char *path);
/* Settle what this process owns (a lease in hand is a death) and leave. *alone: nobody else is attached.
 * Frees s. */
int shmc_detach(shmc *s, int *alone);
/* How many processes are attached to the segment at `path`, this one's own attachments included. Negative: a
 * fault. */
int shmc_count_live(const char *path);
uint64_t shmc_memory_minimum(const shmc_options *options);
uint64_t shmc_layout_version(void);
void shmc_get_options(shmc *s, shmc_options *out);

/* --- sending --- */

/* Resolve a name. domain: SHMC_WORK, SHMC_SINGLE ('?') or SHMC_REPLY ('!'). Names were validated by the
 * caller; at most 100 bytes, else SHMC_E_ARGUMENT. */
int shmc_target_init(shmc *s, shmc_target *target, const char *name, uint32_t length, uint32_t domain,
                     uint32_t capacity, uint32_t total);
uint64_t shmc_hash(shmc *s, const char *bytes, uint64_t length);
/* Put one message at the tail. key: the lane it joins, 0 for none. address: at most 100 bytes that travel
 * beside the payload: the reply channel. order: 0, or noted in the connection `key` for the disconnect that
 * the reaper may have to send. Returns: SHMC_OK; SHMC_FULL, SHMC_TOO_LARGE, SHMC_NO_MEMORY (all counted,
 * nothing written); SHMC_GONE (receiver dead, counted). Death: before the section that queues it, nothing was
 * sent; after it, all of it. */
int shmc_send(shmc *s, shmc_target *target, const void *payload, uint64_t length, uint64_t key,
              const char *address, uint32_t address_length, uint32_t order);
/* shmc_send without a key and an address. */
int shmc_put(shmc *s, shmc_target *target, const void *payload, uint64_t length);
/* Count messages to this target that were dropped outside of the core. */
int shmc_count_drop(shmc *s, shmc_target *target, uint32_t cause, uint64_t count);

/* --- receiving --- */

/* The channels of a receiver, in order; targets as from shmc_target_init. NULL when out of memory. Belongs to
 * one thread. */
shmc_interest *shmc_interest_new(shmc *s, shmc_target *targets, uint32_t count);
void shmc_interest_free(shmc_interest *interest);
/* Take up to `limit` messages, oldest first of each channel, channels in turn, and acknowledge them: they are
 * HELD while they are copied, then freed. *count: how many. Returns: SHMC_OK; SHMC_EMPTY after timeout_ns;
 * SHMC_INTERRUPTED; SHMC_BIG: those with a reference did not fit the buffer and are still HELD: shmc_read and
 * shmc_free each. Death: what was taken and not returned is dropped and counted as a crash. */
int shmc_receive(shmc *s, shmc_interest *interest, uint64_t timeout_ns, uint32_t limit, void *buffer,
                 uint64_t capacity, shmc_message *out, uint32_t *count);
/* shmc_receive of one message into the interest's own buffer (shmc_interest_buffer). Returns what `brief` of
 * shmc_message says, if that is all there is to say; -2: nothing came in timeout_ns; else -1, and
 * shmc_interest_last has the status and the message. */
int64_t shmc_take(shmc *s, shmc_interest *interest, uint64_t timeout_ns);
char *shmc_interest_buffer(shmc_interest *interest, uint64_t *capacity);
int shmc_interest_last(shmc_interest *interest, shmc_message *out);
/* Take one message and keep it known as in this process's hands: LEASED, until committed, acknowledged or
 * requeued. Its lane rests meanwhile. Returns as shmc_receive; on SHMC_BIG it is leased all the same. Death:
 * the lease's policy is applied by the reaper; as long as none was set, the message is put back. */
int shmc_lease(shmc *s, shmc_interest *interest, uint64_t timeout_ns, void *buffer, uint64_t capacity,
               shmc_message *out);
/* shmc_lease of up to `limit` messages (64 at most) that are there now, oldest first of each channel, without
 * waiting. Returns as shmc_receive: on SHMC_BIG, those whose offset is UINT64_MAX did not fit; they are leased
 * all the same: shmc_read each. */
int shmc_lease_all(shmc *s, shmc_interest *interest, uint32_t limit, void *buffer, uint64_t capacity,
                   shmc_message *out, uint32_t *count);
/* The bytes (address, then payload) of a message that this process holds or leases. */
int shmc_read(shmc *s, uint64_t reference, void *buffer, uint64_t capacity);
int shmc_free(shmc *s, uint64_t reference);
int shmc_set_policy(shmc *s, uint64_t lease, uint32_t policy);
int shmc_acknowledge(shmc *s, uint64_t lease);
/* shmc_acknowledge of several, in few sections. Those that are no longer this process's are passed over. */
int shmc_acknowledge_all(shmc *s, const uint64_t *leases, uint32_t count);
/* Acknowledge a message that nobody can serve: it counts as dropped (SHMC_CAUSE_BAD), not as delivered. */
int shmc_reject(shmc *s, uint64_t lease);
/* Give a lease back: to the head of its lane, unkeyed to the tail, not before delay_ns have passed. */
int shmc_requeue(shmc *s, uint64_t lease, uint64_t delay_ns);
/* Say what this process serves (shmc_is_listened), replacing what it said before. */
int shmc_listen(shmc *s, shmc_interest *interest);
int shmc_is_listened(shmc *s, shmc_target *target);
/* Wake every waiting thread of this process. */
int shmc_interrupt(shmc *s);

/* --- bells: waiting in an event loop --- */

/* Make the FIFO at `path` ring for this waiter. *waiter for shmc_bell_*. */
int shmc_bell_new(shmc *s, uint32_t *waiter, int *fd);
/* Ask to be rung when one of these channels has something. SHMC_OK: armed. SHMC_EMPTY never; SHMC_FULL:
 * something is there now. */
int shmc_bell_arm(shmc *s, uint32_t waiter, shmc_interest *interest);
int shmc_bell_free(shmc *s, uint32_t waiter);

/* --- outboxes --- */

/* Begin the sends of one consumer; lease: the message they answer, or 0. SHMC_NO_MEMORY: come again. */
int shmc_outbox_open(shmc *s, uint64_t lease, uint64_t *out);
/* Prepare one send. Returns SHMC_OK; SHMC_NO_MEMORY: drop the outbox or try again; SHMC_TOO_LARGE. Owner
 * only. */
int shmc_outbox_add(shmc *s, uint64_t outbox, shmc_target *target, const void *payload, uint64_t length,
                    uint64_t key, const char *address, uint32_t address_length);
/* Prepare a send to each member of a group: one record per front that has members, one message per ordinary
 * member. */
int shmc_outbox_add_group(shmc *s, uint64_t outbox, const char *group, uint32_t group_length,
                          const void *payload, uint64_t length);
/* shmc_outbox_add_group of a message that the group's history keeps, with the `keep` - 1 before it. The last eight
 * bytes of the payload become its offset, big-endian, in the step that keeps it: before anybody can receive it.
 * SHMC_TOO_LARGE beyond SHMC_HISTORY_MAX. Death: kept and sent, or neither. */
#define SHMC_HISTORY_MAX 65000 /* bytes: one block, copied under a lock */
int shmc_outbox_add_kept(shmc *s, uint64_t outbox, const char *group, uint32_t group_length,
                         const void *payload, uint64_t length, uint32_t keep);
/* Send all of it. Returns SHMC_OK: sent, the lease is acknowledged; SHMC_PARKED: it stays owed, push it;
 * SHMC_GONE: the lease is no longer this process's (nothing was sent). Targets that stay full until
 * give_up_ns from now are given up and counted. */
int shmc_outbox_commit(shmc *s, uint64_t outbox, uint64_t give_up_ns);
/* Go on with a parked outbox. SHMC_OK: settled; SHMC_PARKED: still owed. *blocked: name of the target that is
 * full. */
int shmc_outbox_push(shmc *s, uint64_t outbox, char *blocked, uint32_t *blocked_length);
int shmc_outbox_drop(shmc *s, uint64_t outbox);

/* --- groups --- */

int shmc_group_add(shmc *s, const char *group, uint32_t group_length, const char *channel,
                   uint32_t channel_length, uint32_t capacity, uint32_t total);
int shmc_group_discard(shmc *s, const char *group, uint32_t group_length, const char *channel,
                       uint32_t channel_length);
/* shmc_group_add of a channel whose user this is (1 to 100 bytes, opaque). The user is present in the group while
 * one such membership is left; renewing one with another user replaces that. SHMC_NO_MEMORY: nothing changed. */
int shmc_group_enter(shmc *s, const char *group, uint32_t group_length, const char *channel,
                     uint32_t channel_length, uint32_t capacity, uint32_t total, const char *user,
                     uint32_t user_length);
/* This channel is gone: it leaves all groups in which it has a user. */
int shmc_presence_leave(shmc *s, const char *channel, uint32_t channel_length);
/* Whether some group has to be told something: a hint. */
int shmc_presence_owed(shmc *s);
/* Take on to tell one group one thing; SHMC_EMPTY: nothing is owed, or others are at it. Then send it, and say so
 * by shmc_presence_told. Death between the two: the next one says again what is then. */
int shmc_presence_take(shmc *s, shmc_presence *out);
int shmc_presence_told(shmc *s, const shmc_presence *what);
/* Who is present: u64 joined_ns, u8 length and the user each, packed; from *cursor on, at first 0, which is 0 again
 * after the last. capacity: 4096 at least. */
int shmc_presence_list(shmc *s, const char *group, uint32_t group_length, uint32_t *cursor, void *buffer,
                       uint64_t capacity, uint64_t *used);
/* Names of the members: u8 length and bytes each, packed. prefix: only those (and only what follows it), or
 * length 0 for all. Members that joined after `sequence` are left out. *needed: bytes that it takes; SHMC_BIG
 * if that is over capacity. */
int shmc_group_members(shmc *s, const char *group, uint32_t group_length, const char *prefix,
                       uint32_t prefix_length, uint64_t sequence, void *buffer, uint64_t capacity,
                       uint64_t *needed, uint32_t *count);

/* What a group's history has: offsets *first to *last, none if *first is *last + 1. Copies those from `after` + 1
 * (or *first) on, oldest first, as many as fit: u32 length and bytes each, *used bytes in all. capacity: over
 * SHMC_HISTORY_MAX + 4, so that one always fits. */
int shmc_history_read(shmc *s, const char *group, uint32_t group_length, uint64_t after, void *buffer,
                      uint64_t capacity, uint64_t *used, uint64_t *first, uint64_t *last);

/* --- fronts --- */

/* Take the queue (a '!' target) as this process's own: group sends come as one record, room comes back by
 * shmc_credit only, and when this process dies what is in it is counted as gone and its members leave their
 * groups. */
int shmc_front_own(shmc *s, shmc_target *queue);
/* A group's message is about to be written to these members (packed as by shmc_group_members) of an owned
 * queue: count it against each one's capacity. admitted[k]: 0 if member k has no room; that is counted as a
 * drop. */
int shmc_group_admit(shmc *s, shmc_target *queue, const void *members, uint64_t length, uint32_t capacity,
                     uint8_t *admitted);
/* Give the queue up, as if this process had died for it alone. */
int shmc_front_leave(shmc *s, shmc_target *queue);
int shmc_credit(shmc *s, shmc_target *target, uint32_t count);
/* Send `connect` and reserve the disconnect of this connection, in one step. Payloads as in shmc_send.
 * code_offset and order_offset: where in `goodbye` stand the big-endian u16 code and u32 order. key: lane of
 * the connection. */
int shmc_connection_open(shmc *s, shmc_target *connect, shmc_target *disconnect, uint64_t key,
                         const char *address, uint32_t address_length, const void *hello,
                         uint64_t hello_length, const void *goodbye, uint64_t goodbye_length,
                         uint32_t code_offset, uint32_t order_offset);
/* Whether a message of this lane is queued or leased: before a connection is accepted that is its connect. */
int shmc_lane_busy(shmc *s, uint64_t key);
/* Send the reserved disconnect. SHMC_GONE: not there (it was sent before). */
int shmc_connection_close(shmc *s, uint64_t key, uint32_t code, uint32_t order);

/* --- sessions: what workers remember of a connection --- */

#define SHMC_SESSION_MAX 65000 /* bytes: one block, copied under a lock */
/* Keep this payload for `key` (as from shmc_hash of a reply channel, not 0), in place of what was kept
 * before, for life_ns. It goes earlier when a lease of the websocket.disconnect with this reply channel is
 * settled. Returns: SHMC_OK; SHMC_TOO_LARGE; SHMC_NO_MEMORY: what was kept before stays. Death: all or
 * nothing of it. */
int shmc_session_save(shmc *s, uint64_t key, const void *payload, uint64_t length, uint64_t life_ns);
/* What is kept for `key`; *length is its length also on SHMC_BIG, when it is longer than capacity.
 * SHMC_EMPTY: nothing. */
int shmc_session_load(shmc *s, uint64_t key, void *buffer, uint64_t capacity, uint64_t *length);
/* Keep nothing for `key` any more. SHMC_GONE: nothing was kept. */
int shmc_session_drop(shmc *s, uint64_t key);

/* --- delay: handing over what is due, exactly once (delay.c) --- */

/* Random, of this segment: another one (after the machine, or everybody, has ended) has another. */
uint64_t shmc_epoch(shmc *s);
/* shmc_send, unless message `bit` (0 to 63) of `batch` (not 0, never used before) was sent already; it is noted
 * in the same step that queues it. Returns as shmc_send, but counts no message that is too large. SHMC_OK and
 * SHMC_GONE: noted; else not, try again. One process at a time does this. Death: the message is queued and
 * noted, or neither. */
int shmc_delay_put(shmc *s, shmc_target *target, const void *payload, uint64_t length, uint64_t key,
                   const char *address, uint32_t address_length, uint64_t batch, uint32_t bit);
/* *mask: bit n is set if message n of this batch was noted. 0 for a batch that this segment does not know. */
int shmc_delay_mask(shmc *s, uint64_t batch, uint64_t *mask);
/* A timer as a descriptor to poll: readable when it is due. wall: it follows CLOCK_REALTIME, and is readable,
 * too, when somebody sets that clock; else CLOCK_BOOTTIME, which counts suspended time. SHMC_E_SYSTEM. */
int shmc_timer_new(int wall, int *fd);
/* Let it be due at this time of its clock (ns; 0: never). SHMC_INTERRUPTED: it is set, but the clock was set
 * by somebody since the last look: look at it again. */
int shmc_timer_set(int fd, int wall, uint64_t due_ns);

/* --- care --- */

/* Find dead processes and settle what they owned. Returns how many, or a fault. Any process, any time. */
int shmc_reap(shmc *s);
int shmc_flush(shmc *s);
int shmc_statistics_read(shmc *s, shmc_statistics *out);
/* Statistics of one channel; SHMC_EMPTY (zeros) if it is not known. */
int shmc_channel_read(shmc *s, shmc_target *target, shmc_channel_statistics *out);
/* The channels known, up to `limit` from the cursor on; *cursor goes on. *count 0: that was all. */
int shmc_channels(shmc *s, uint32_t *cursor, uint32_t limit, shmc_channel_statistics *out, uint32_t *count);
int shmc_processes(shmc *s, uint32_t limit, shmc_process *out, uint32_t *count);
/* What is leased, and by whom. */
int shmc_leases(shmc *s, uint32_t limit, shmc_lease_info *out, uint32_t *count);
/* Look at every table, list and counter under all rules of internal.h. Nobody may be in the middle of a
 * section for long. Returns SHMC_OK, or SHMC_E_CORRUPT with a line of what is wrong in text. */
int shmc_check(shmc *s, char *text, uint64_t capacity);
/* cdef end */
#endif
