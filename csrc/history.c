/* history.c: the last messages of a group, for those who were away. Everything is under REPLY.
 *
 * A group's message that is to be kept is an item of its outbox, before those for the members: a descriptor
 * that shares their payload. The step that settles it gives it the next offset, writes that into the last
 * eight bytes of the payload, puts it at the end of the history and queues the fronts' records: so no front
 * gets a message that is not in the history, and each front gets them in the order of their offsets. Until that
 * step nobody else has the payload, so it may be written, and written again by whoever takes over from the
 * dead.
 *
 * Offsets of a history have no holes; it forgets at its beginning only. They grow also across its end: a new
 * history goes on where any before it stopped, so an offset means one message within a segment (its epoch).
 */
#include "internal.h"

enum { EVICT = 8, BE64 = 8, LOG_ROOM = 120 };

static uint32_t *bucket_of(struct shmc *s, uint64_t hash) {
    return &s->history_buckets[hash & (s->sizes.history_buckets - 1)];
}

uint32_t history_find(struct shmc *s, const char *name, uint32_t length) {
    uint64_t hash = hash_bytes(s->seed, name, length);
    uint32_t steps = 0;
    for (uint32_t i = *bucket_of(s, hash); i; i = history_at(s, i)->hash_next) {
        if (endless(s, &steps, s->sizes.histories))
            return 0;
        struct history *h = history_at(s, i);
        if (h->hash == hash && h->name_length == length && !memcmp(h->name, name, length))
            return i;
    }
    return 0;
}

/* --- by the last message, oldest first --- */

static void age_link(struct shmc *s, uint32_t index) {
    struct counters *k = s->counters;
    SET(s, SHMC_REPLY, history_at(s, index)->age_next, 0);
    SET(s, SHMC_REPLY, history_at(s, index)->age_prev, k->history_tail);
    if (k->history_tail)
        SET(s, SHMC_REPLY, history_at(s, k->history_tail)->age_next, index);
    else
        SET(s, SHMC_REPLY, k->history_head, index);
    SET(s, SHMC_REPLY, k->history_tail, index);
}

static void age_unlink(struct shmc *s, uint32_t index) {
    struct counters *k = s->counters;
    struct history *h = history_at(s, index);
    if (!h->age_prev != (k->history_head == index)) {
        poison(s); /* who ends them from the head on would never come to an end */
        return;
    }
    if (h->age_prev)
        SET(s, SHMC_REPLY, history_at(s, h->age_prev)->age_next, h->age_next);
    else
        SET(s, SHMC_REPLY, k->history_head, h->age_next);
    if (h->age_next)
        SET(s, SHMC_REPLY, history_at(s, h->age_next)->age_prev, h->age_prev);
    else
        SET(s, SHMC_REPLY, k->history_tail, h->age_prev);
}

/* --- making and ending --- */

static uint32_t make(struct shmc *s, const char *name, uint32_t length) {
    struct counters *k = s->counters;
    uint32_t index = k->history_free;
    if (index)
        SET(s, SHMC_REPLY, k->history_free, history_at(s, index)->hash_next);
    else if (k->history_top < s->sizes.histories) {
        index = k->history_top;
        SET(s, SHMC_REPLY, k->history_top, index + 1);
    } else
        return 0;
    struct history *h = history_at(s, index);
    uint64_t hash = hash_bytes(s->seed, name, length);
    uint32_t *bucket = bucket_of(s, hash);
    memcpy(h->name, name, length); /* nobody finds it yet */
    SET(s, SHMC_REPLY, h->name_length, length);
    SET(s, SHMC_REPLY, h->hash, hash);
    SET(s, SHMC_REPLY, h->used, 1);
    SET(s, SHMC_REPLY, h->offset, k->history_base);
    SET(s, SHMC_REPLY, h->bytes, 0);
    SET(s, SHMC_REPLY, h->count, 0);
    SET(s, SHMC_REPLY, h->head, 0);
    SET(s, SHMC_REPLY, h->tail, 0);
    SET(s, SHMC_REPLY, h->hash_next, *bucket);
    SET(s, SHMC_REPLY, *bucket, index);
    age_link(s, index);
    return index;
}

/* An empty one. */
static void drop(struct shmc *s, uint32_t index) {
    struct counters *k = s->counters;
    struct history *h = history_at(s, index);
    uint32_t *bucket = bucket_of(s, h->hash), at = *bucket, steps = 0;
    if (at == index)
        SET(s, SHMC_REPLY, *bucket, h->hash_next);
    else {
        while (at && history_at(s, at)->hash_next != index && !endless(s, &steps, s->sizes.histories))
            at = history_at(s, at)->hash_next;
        if (at)
            SET(s, SHMC_REPLY, history_at(s, at)->hash_next, h->hash_next);
    }
    age_unlink(s, index);
    if (h->offset > k->history_base)
        SET(s, SHMC_REPLY, k->history_base, h->offset);
    SET(s, SHMC_REPLY, h->used, 0);
    SET(s, SHMC_REPLY, h->hash_next, k->history_free);
    SET(s, SHMC_REPLY, k->history_free, index);
}

static uint64_t weight(const struct descriptor *d) {
    return d->length + sizeof *d;
}

/* The oldest message of a history is this process's then, HELD, to be freed after the section. */
static uint32_t evict(struct shmc *s, uint32_t index) {
    struct counters *k = s->counters;
    struct history *h = history_at(s, index);
    uint32_t message = h->head;
    struct descriptor *d = descriptor_at(s, message);
    if (!message || d->state != RESERVED || h->bytes < weight(d)) {
        poison(s);
        return 0;
    }
    SET(s, SHMC_REPLY, h->head, d->run_next);
    if (d->run_next)
        SET(s, SHMC_REPLY, descriptor_at(s, d->run_next)->run_prev, 0);
    else
        SET(s, SHMC_REPLY, h->tail, 0);
    SET(s, SHMC_REPLY, h->count, h->count - 1);
    SET(s, SHMC_REPLY, h->bytes, h->bytes - weight(d));
    SET(s, SHMC_REPLY, k->history_messages, k->history_messages - 1);
    SET(s, SHMC_REPLY, k->history_bytes, k->history_bytes - weight(d));
    SET(s, SHMC_REPLY, d->owner, s->slot_reference);
    SET(s, SHMC_REPLY, d->state, HELD);
    commit(s, SHMC_REPLY);
    return message;
}

/* Room for one more in this history (a sixteenth of the memory), and in all (a quarter). Each one that goes is
 * a step of its own. */
static void make_room(struct shmc *s, uint32_t index, uint64_t bytes, uint32_t limit, struct spent *spent) {
    struct counters *k = s->counters;
    struct history *h = history_at(s, index);
    uint32_t n = 0;
    for (; n < EVICT && h->count && (h->count >= limit || h->bytes + bytes > s->bytes / 16); n++)
        spent->descriptors[spent->count++] = evict(s, index);
    for (; n < EVICT &&
           (k->history_bytes + bytes > s->bytes / 4 || k->history_messages >= s->sizes.descriptors / 4);
         n++) {
        uint32_t oldest = k->history_head;
        if (history_at(s, oldest)->count)
            spent->descriptors[spent->count++] = evict(s, oldest);
        else if (oldest != index) {
            drop(s, oldest);
            commit(s, SHMC_REPLY);
        } else
            break;
        if (HINT(s->header->poisoned))
            break;
    }
}

static void free_spent(struct shmc *s, struct spent *spent) {
    for (uint32_t n = 0; n < spent->count; n++)
        pool_release(s, spent->descriptors[n]);
    spent->count = 0;
}

/* See that there is an entry for this group, in place of the one that was silent for longest if need be. */
int history_ensure(struct shmc *s, const char *name, uint32_t length) {
    for (uint32_t round = 0, oldest = 1; oldest && round < s->sizes.descriptors; round++) {
        struct spent spent = {0};
        lock(s, SHMC_REPLY);
        uint32_t index = history_find(s, name, length);
        if (!index && !(index = make(s, name, length))) {
            oldest = s->counters->history_head;
            for (int n = 0; n < EVICT && history_at(s, oldest)->count; n++)
                spent.descriptors[spent.count++] = evict(s, oldest);
            if (oldest && !history_at(s, oldest)->count)
                drop(s, oldest);
        }
        unlock(s, SHMC_REPLY);
        free_spent(s, &spent);
        if (HINT(s->header->poisoned))
            return SHMC_E_CORRUPT;
        if (index)
            return SHMC_OK;
    }
    return SHMC_NO_MEMORY;
}

/* --- the step --- */

static uint32_t item_descriptor(struct shmc *s, uint64_t ref, uint32_t k) {
    uint64_t item = outbox_item(s, ref, k);
    uint32_t index = reference_index(item);
    struct descriptor *d = descriptor_at(s, index);
    return index && HINT(d->generation) == reference_generation(item) && HINT(d->state) == HELD &&
                   HINT(d->outbox) == ref
               ? index
               : 0;
}

/* The channel of a front's record, if it is there; 0 if not. */
static struct channel *record_channel(struct shmc *s, const struct descriptor *d) {
    struct channel *c = channel_at(s, HINT(d->channel));
    return HINT(d->kind) == SHMC_KIND_GROUP && HINT(d->domain) == SHMC_REPLY && d->channel && c->used &&
                   c->generation == d->channel_generation && !(c->flags & DEAD)
               ? c
               : NULL;
}

/* Settle a message that is to be kept, with the records that follow it. Returns 0: a front's queue is full and
 * `wait` says that it may become empty; else 1. */
int history_settle(struct shmc *s, uint64_t ref, uint32_t index, int wait, struct kicks *kicks,
                   struct spent *spent) {
    struct descriptor *d = descriptor_at(s, index);
    struct counters *k = s->counters;
    uint32_t first = (uint32_t)d->place + 1, limit = d->capacity, written = 0;
    uint64_t many = d->total;
    if (many >= s->sizes.descriptors) { /* each is one */
        poison(s);
        many = 0;
    }
    for (uint64_t n = 0; wait && n < many; n++) {
        uint32_t record = item_descriptor(s, ref, first + (uint32_t)n);
        struct channel *c = record ? record_channel(s, descriptor_at(s, record)) : NULL;
        if (record && HINT(descriptor_at(s, record)->kind) != SHMC_KIND_GROUP)
            break;
        if (c && c->count >= descriptor_at(s, record)->capacity)
            return 0;
    }
    char name[NAME_MAX_BYTES];
    uint32_t length =
        d->address_length <= NAME_MAX_BYTES && d->address_length + BE64 <= d->length ? d->address_length : 0;
    pool_read(s, d, 0, name, length);
    uint32_t h = length ? history_find(s, name, length) : 0;
    if (!h && length)
        h = make(s, name, length);
    commit(s, SHMC_REPLY);
    if (!h) { /* its place went to others since it was prepared: the members get it, without an offset */
        SET(s, SHMC_REPLY, d->owner, s->slot_reference);
        SET(s, SHMC_REPLY, d->outbox, 0);
        commit(s, SHMC_REPLY);
        spent->descriptors[spent->count++] = index;
        return 1;
    }
    make_room(s, h, weight(d), limit, spent);
    struct history *at = history_at(s, h);
    uint64_t offset = at->offset + 1;
    unsigned char bytes[BE64];
    for (int n = 0; n < BE64; n++)
        bytes[n] = (unsigned char)(offset >> (56 - 8 * n));
    pool_write(s, index, d->length - BE64, bytes, BE64);
    for (uint64_t n = 0; n < many; n++) {
        uint32_t item = item_descriptor(s, ref, first + (uint32_t)n);
        struct descriptor *e = descriptor_at(s, item);
        if (!item || e->payload == d->payload || e->payload == written || e->length < BE64)
            continue;
        pool_write(s, item, e->length - BE64, bytes, BE64);
        written = e->payload;
    }
    POINT();
    SET(s, SHMC_REPLY, at->offset, offset);
    SET(s, SHMC_REPLY, at->bytes, at->bytes + weight(d));
    SET(s, SHMC_REPLY, at->count, at->count + 1);
    SET(s, SHMC_REPLY, k->history_messages, k->history_messages + 1);
    SET(s, SHMC_REPLY, k->history_bytes, k->history_bytes + weight(d));
    SET(s, SHMC_REPLY, d->run_next, 0);
    SET(s, SHMC_REPLY, d->run_prev, at->tail);
    if (at->tail)
        SET(s, SHMC_REPLY, descriptor_at(s, at->tail)->run_next, index);
    else
        SET(s, SHMC_REPLY, at->head, index);
    SET(s, SHMC_REPLY, at->tail, index);
    SET(s, SHMC_REPLY, d->state, RESERVED);
    SET(s, SHMC_REPLY, d->owner, 0);
    SET(s, SHMC_REPLY, d->outbox, 0);
    if (k->history_tail != h) {
        age_unlink(s, h);
        age_link(s, h);
    }
    for (uint64_t n = 0; n < many && s->domains[SHMC_REPLY].log_n < LOG_SIZE - LOG_ROOM; n++) {
        uint32_t record = item_descriptor(s, ref, first + (uint32_t)n);
        if (record && record_channel(s, descriptor_at(s, record)))
            queue_enqueue(s, record, kicks, 0); /* one that is full is given up, in its turn */
    }
    commit(s, SHMC_REPLY);
    return 1;
}

/* --- reading --- */

int shmc_history_read(shmc *s, const char *group, uint32_t length, uint64_t after, void *buffer,
                      uint64_t capacity, uint64_t *used, uint64_t *first, uint64_t *last) {
    REQUIRE(s);
    *used = 0;
    if (length > NAME_MAX_BYTES)
        return SHMC_E_ARGUMENT;
    char *out = buffer;
    uint32_t steps = 0;
    lock(s, SHMC_REPLY);
    uint32_t index = history_find(s, group, length);
    struct history *h = history_at(s, index);
    *last = index ? h->offset : s->counters->history_base;
    *first = index ? *last + 1 - h->count : *last + 1;
    uint32_t at = index && after < *last ? h->tail : 0;
    for (uint64_t offset = *last; at && offset > *first && offset > after + 1; offset--) {
        if (endless(s, &steps, s->sizes.descriptors))
            break;
        at = descriptor_at(s, at)->run_prev;
    }
    for (uint32_t n = 0; at && n < 64; n++, at = descriptor_at(s, at)->run_next) {
        struct descriptor *d = descriptor_at(s, at);
        uint64_t bytes = d->length - d->address_length;
        if (d->state != RESERVED || d->address_length > d->length || bytes > SHMC_HISTORY_MAX) {
            poison(s);
            break;
        }
        uint32_t size = (uint32_t)bytes;
        if (*used + sizeof size + bytes > capacity)
            break;
        memcpy(out + *used, &size, sizeof size);
        pool_read(s, d, d->address_length, out + *used + sizeof size, bytes);
        *used += sizeof size + bytes;
    }
    unlock(s, SHMC_REPLY);
    return RESULT(s, SHMC_OK);
}

void history_flush(struct shmc *s) {
    uint32_t rounds = 0;
    while (!endless(s, &rounds, s->sizes.descriptors + s->sizes.histories)) {
        struct spent spent = {0};
        lock(s, SHMC_REPLY);
        uint32_t oldest = s->counters->history_head;
        for (int n = 0; n < EVICT && oldest && history_at(s, oldest)->count; n++)
            spent.descriptors[spent.count++] = evict(s, oldest);
        if (oldest && !history_at(s, oldest)->count)
            drop(s, oldest);
        unlock(s, SHMC_REPLY);
        free_spent(s, &spent);
        if (!oldest || HINT(s->header->poisoned))
            return;
    }
}
