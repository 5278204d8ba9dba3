/* outbox.c: the sends of one consumer, all or nothing.
 *
 *   OPEN       prepared bit by bit by its owner, as HELD descriptors that name it. Its death frees them.
 *   COMMITTED  by one store. From then on each item is queued once, by whoever comes: the owner, or after its
 *              death anybody, several at once. An item is settled when it is no longer that descriptor, HELD,
 *              naming this outbox; that is only ever concluded under the lock of the item's domain.
 *   FREE       after the lease was released and the last item settled.
 *
 * The lease's lane goes on only after the flush: otherwise the next message's replies could overtake these.
 */
#include "internal.h"

enum { FIRST_BLOCK_ITEMS = (2048 - BLOCK_HEADER) / 8, BLOCK_ITEMS = (CHUNK - BLOCK_HEADER) / 8, BATCH = 16 };

enum verdict { SETTLED, GIVEN_UP, BLOCKED };

/* --- its items --- */

/* Where item k stands; NULL if there is no block for it. */
static uint64_t *item_at(struct shmc *s, struct outbox *o, uint32_t k) {
    if (k < INLINE_ITEMS)
        return &o->items[k];
    k -= INLINE_ITEMS;
    uint32_t block = 0;
    if (k >= FIRST_BLOCK_ITEMS) {
        block = 1 + (k - FIRST_BLOCK_ITEMS) / BLOCK_ITEMS;
        k = (k - FIRST_BLOCK_ITEMS) % BLOCK_ITEMS;
    }
    uint32_t cell = block < ITEM_BLOCKS ? HINT(o->blocks[block]) : 0;
    uint64_t *item = cell ? (uint64_t *)(void *)((char *)block_at(s, cell) + BLOCK_HEADER) + k : NULL;
    if (item && (char *)(item + 1) > s->base + s->bytes) {
        poison(s); /* the block begins too near the end */
        return NULL;
    }
    return item;
}

static int make_room(struct shmc *s, struct outbox *o, uint32_t k) {
    if (item_at(s, o, k))
        return SHMC_OK;
    uint32_t block =
        k - INLINE_ITEMS < FIRST_BLOCK_ITEMS ? 0 : 1 + (k - INLINE_ITEMS - FIRST_BLOCK_ITEMS) / BLOCK_ITEMS;
    if (block >= ITEM_BLOCKS)
        return SHMC_NO_MEMORY;
    uint32_t cell = 0;
    lock(s, SHMC_POOL);
    uint32_t bytes = pool_block(s, (block ? (uint64_t)CHUNK : 2048) - BLOCK_HEADER, &cell);
    if (bytes) {
        SET(s, SHMC_POOL, o->blocks[block], cell);
        pool_count(s, bytes);
    }
    unlock(s, SHMC_POOL);
    if (bytes && !item_at(s, o, k)) {
        poison(s); /* the pool gave a block that is none */
        return SHMC_E_CORRUPT;
    }
    return bytes ? SHMC_OK : SHMC_NO_MEMORY;
}

/* --- records --- */

static struct outbox *named(struct shmc *s, uint64_t ref) {
    uint32_t index = reference_index(ref);
    if (!index || index >= OUTBOXES)
        return NULL;
    struct outbox *o = outbox_at(s, index);
    return HINT(o->generation) == reference_generation(ref) ? o : NULL;
}

uint64_t outbox_item(struct shmc *s, uint64_t ref, uint32_t k) {
    struct outbox *o = named(s, ref);
    uint64_t *item = o && k < HINT(o->count) ? item_at(s, o, k) : NULL;
    return item ? *item : 0;
}

static struct outbox *mine(struct shmc *s, uint64_t ref, uint32_t state) {
    struct outbox *o = named(s, ref);
    return o && HINT(o->owner) == s->slot_reference && HINT(o->state) == state ? o : NULL;
}

int outbox_is_committed(struct shmc *s, uint64_t ref) {
    struct outbox *o = named(s, ref);
    return o && o->state == OUTBOX_COMMITTED;
}

static int committed(struct shmc *s, uint64_t ref) {
    lock(s, SHMC_POOL);
    int r = outbox_is_committed(s, ref);
    unlock(s, SHMC_POOL);
    return r;
}

static void release_record(struct shmc *s, uint64_t ref, uint32_t state) {
    lock(s, SHMC_POOL);
    struct outbox *o = named(s, ref);
    if (o && o->state == state) {
        for (uint32_t k = 0; k < ITEM_BLOCKS; k++)
            if (o->blocks[k]) {
                uint32_t cell = o->blocks[k];
                SET(s, SHMC_POOL, o->blocks[k], 0);
                pool_count(s, -(int64_t)pool_unblock(s, cell));
            }
        SET(s, SHMC_POOL, o->generation, o->generation + 1);
        SET(s, SHMC_POOL, o->state, OUTBOX_FREE);
        SET(s, SHMC_POOL, o->owner, 0);
        SET(s, SHMC_POOL, o->next, s->pool->outbox_free);
        SET(s, SHMC_POOL, s->pool->outbox_free, reference_index(ref));
    }
    unlock(s, SHMC_POOL);
}

int shmc_outbox_open(shmc *s, uint64_t lease, uint64_t *out) {
    REQUIRE(s);
    struct pool *p = s->pool;
    lock(s, SHMC_POOL);
    uint32_t index = p->outbox_free;
    if (index)
        SET(s, SHMC_POOL, p->outbox_free, outbox_at(s, index)->next);
    else if (p->outbox_top < OUTBOXES) {
        index = p->outbox_top;
        SET(s, SHMC_POOL, p->outbox_top, index + 1);
    }
    if (index) {
        struct outbox *o = outbox_at(s, index);
        SET(s, SHMC_POOL, o->owner, s->slot_reference);
        SET(s, SHMC_POOL, o->count, 0);
        SET(s, SHMC_POOL, o->lease, lease);
        SET(s, SHMC_POOL, o->state, OUTBOX_OPEN);
        *out = reference(index, o->generation);
    }
    unlock(s, SHMC_POOL);
    return RESULT(s, index ? SHMC_OK : SHMC_NO_MEMORY);
}

/* Hang a HELD descriptor into an open outbox. On failure it is freed. */
static int hang(struct shmc *s, struct outbox *o, uint64_t ref, uint32_t index) {
    uint32_t k = o->count;
    int r = make_room(s, o, k);
    if (r != SHMC_OK) {
        pool_release(s, index);
        return r;
    }
    struct descriptor *d = descriptor_at(s, index);
    PUT(d->outbox, ref);
    PUT(*item_at(s, o, k), reference(index, d->generation));
    BARRIER();
    PUT(o->count, k + 1);
    return SHMC_OK;
}

static int resolve(struct shmc *s, shmc_target *t, uint32_t index) {
    lock(s, t->domain);
    uint32_t channel = target_channel(s, t);
    unlock(s, t->domain);
    if (!channel)
        return SHMC_NO_MEMORY;
    struct descriptor *d = descriptor_at(s, index);
    PUT(d->channel, channel);
    PUT(d->channel_generation, t->generation);
    return SHMC_OK;
}

int shmc_outbox_add(shmc *s, uint64_t ref, shmc_target *t, const void *payload, uint64_t length, uint64_t key,
                    const char *address, uint32_t address_length) {
    REQUIRE(s);
    struct outbox *o = mine(s, ref, OUTBOX_OPEN);
    if (!o)
        return SHMC_GONE;
    if (length > s->max_message_size) {
        shmc_count_drop(s, t, SHMC_CAUSE_TOO_LARGE, 1);
        return RESULT(s, SHMC_TOO_LARGE);
    }
    uint32_t index;
    int r = prepare_descriptor(s, t, payload, length, key, address, address_length, &index);
    if (r != SHMC_OK)
        return RESULT(s, r);
    r = resolve(s, t, index);
    if (r != SHMC_OK) {
        pool_release(s, index);
        return RESULT(s, r);
    }
    return RESULT(s, hang(s, o, ref, index));
}

/* --- group sends --- */

struct expansion {
    struct outbox *o;
    uint64_t ref;
    const char *group;
    uint32_t group_length;
    const void *payload;
    uint64_t length, sequence;
    uint32_t record; /* descriptor whose payload the fronts' records share */
    uint32_t plain;  /* descriptor whose payload the ordinary members share */
    uint64_t dropped;
};

static int add_record(struct shmc *s, struct expansion *e, shmc_target *queue, uint32_t total) {
    uint32_t index;
    int r;
    if (e->record)
        r = pool_share(s, e->record, &index);
    else {
        shmc_target plain = *queue;
        plain.virtual_hash = 0;
        r = prepare_descriptor(s, &plain, e->payload, e->length, 0, e->group, e->group_length, &index);
    }
    if (r != SHMC_OK)
        return r;
    struct descriptor *d = descriptor_at(s, index);
    PUT(d->domain, SHMC_REPLY);
    PUT(d->kind, SHMC_KIND_GROUP);
    PUT(d->sequence, e->sequence);
    PUT(d->capacity, total);
    PUT(d->channel, queue->channel);
    PUT(d->channel_generation, queue->generation);
    r = hang(s, e->o, e->ref, index);
    if (r == SHMC_OK)
        e->record = index;
    return r;
}

static int add_member(struct shmc *s, struct expansion *e, shmc_target *t) {
    if (t->domain == SHMC_REPLY && t->virtual_hash)
        return shmc_outbox_add(s, e->ref, t, e->payload, e->length, 0, NULL, 0);
    uint32_t index;
    int r = e->plain ? pool_share(s, e->plain, &index)
                     : prepare_descriptor(s, t, e->payload, e->length, 0, NULL, 0, &index);
    if (r != SHMC_OK)
        return r;
    struct descriptor *d = descriptor_at(s, index);
    PUT(d->domain, t->domain);
    PUT(d->capacity, t->capacity);
    PUT(d->total, t->total);
    r = resolve(s, t, index);
    if (r != SHMC_OK) {
        pool_release(s, index);
        return r;
    }
    r = hang(s, e->o, e->ref, index);
    if (r == SHMC_OK)
        e->plain = index;
    return r;
}

/* The queue of a branch's prefix, if a live front owns it: 1; 0: nobody owns it; -1: its owner is dead. */
static int owned_queue(struct shmc *s, const char *prefix, uint32_t length, shmc_target *queue,
                       uint32_t *total) {
    shmc_target_init(s, queue, prefix, length, SHMC_REPLY, 0, 0);
    lock(s, SHMC_REPLY);
    uint32_t channel = channel_find(s, SHMC_REPLY, prefix, length, queue->hash);
    struct channel *c = channel_at(s, channel);
    int r = !channel || !(c->flags & OWNED) ? 0 : c->flags & DEAD ? -1 : 1;
    queue->channel = channel;
    queue->generation = c->generation;
    *total = c->total;
    unlock(s, SHMC_REPLY);
    return r;
}

/* The item that puts the message into its group's history: before those of the members, whose fronts share its
 * payload. */
static int add_history(struct shmc *s, struct expansion *e, uint32_t keep) {
    shmc_target nowhere = {.domain = SHMC_REPLY, .capacity = keep};
    int r = history_ensure(s, e->group, e->group_length);
    uint32_t index;
    if (r == SHMC_OK)
        r = prepare_descriptor(s, &nowhere, e->payload, e->length, 0, e->group, e->group_length, &index);
    if (r != SHMC_OK)
        return r;
    struct descriptor *d = descriptor_at(s, index);
    PUT(d->kind, KIND_HISTORY);
    PUT(d->channel, 0);
    PUT(d->place, e->o->count);
    r = hang(s, e->o, e->ref, index);
    if (r == SHMC_OK)
        e->record = index;
    return r;
}

static int add_group(shmc *s, uint64_t ref, const char *group, uint32_t group_length, const void *payload,
                     uint64_t length, uint32_t keep) {
    REQUIRE(s);
    struct outbox *o = mine(s, ref, OUTBOX_OPEN);
    if (!o || group_length > NAME_MAX_BYTES)
        return o ? SHMC_E_ARGUMENT : SHMC_GONE;
    if (length > s->max_message_size)
        return SHMC_TOO_LARGE;
    struct expansion e = {.o = o,
                          .ref = ref,
                          .group = group,
                          .group_length = group_length,
                          .payload = payload,
                          .length = length};
    struct branch_list list = {0};
    int r = keep ? add_history(s, &e, keep) : SHMC_OK;
    uint32_t kept = e.record;
    if (r == SHMC_OK)
        r = group_branches(s, group, group_length, &list, &e.sequence);
    for (uint32_t b = 0; r == SHMC_OK && b < list.count; b++) {
        shmc_target queue;
        uint32_t total;
        int owned =
            list.branches[b].prefix_length
                ? owned_queue(s, list.branches[b].prefix, list.branches[b].prefix_length, &queue, &total)
                : 0;
        if (owned > 0)
            r = add_record(s, &e, &queue, total);
        else if (owned == 0) {
            struct member_list members = {0};
            r = group_branch_members(s, group, group_length, &list.branches[b], &members);
            for (uint32_t k = 0; r == SHMC_OK && k < members.count; k++)
                r = add_member(s, &e, &members.targets[k]);
            group_free_members(&members);
        }
    }
    group_free_branches(&list);
    if (kept)
        PUT(descriptor_at(s, kept)->total, o->count - 1 - descriptor_at(s, kept)->place);
    return RESULT(s, r);
}

int shmc_outbox_add_group(shmc *s, uint64_t ref, const char *group, uint32_t group_length,
                          const void *payload, uint64_t length) {
    return add_group(s, ref, group, group_length, payload, length, 0);
}

int shmc_outbox_add_kept(shmc *s, uint64_t ref, const char *group, uint32_t group_length, const void *payload,
                         uint64_t length, uint32_t keep) {
    if (!keep || length < 8 || !group_length)
        return SHMC_E_ARGUMENT;
    return length > SHMC_HISTORY_MAX ? SHMC_TOO_LARGE
                                     : add_group(s, ref, group, group_length, payload, length, keep);
}

/* --- settling --- */

/* One item, under its domain. On GIVEN_UP it is this process's, HELD, to be freed after leaving. */
static enum verdict settle(struct shmc *s, uint32_t domain, uint64_t ref, uint64_t item, uint64_t deadline_ns,
                           struct kicks *kicks, uint32_t *expired, uint32_t *expired_count,
                           struct spent *spent) {
    uint32_t index = reference_index(item);
    struct descriptor *d = descriptor_at(s, index);
    if (HINT(d->generation) != reference_generation(item) || HINT(d->state) != HELD || HINT(d->outbox) != ref)
        return SETTLED; /* it may be another's now, who works on it under other locks */
    if (d->kind == KIND_HISTORY)
        return history_settle(s, ref, index, now_ns() < deadline_ns, kicks, spent) ? SETTLED : BLOCKED;
    struct channel *c = channel_at(s, d->channel);
    int known = d->channel && c->used && c->generation == d->channel_generation;
    int r = known ? queue_enqueue(s, index, kicks, 0) : SHMC_GONE;
    if (r == SHMC_FULL && *expired_count == 0) {
        *expired_count = sweep_expired(s, domain, d->channel, now_ns(), expired, SWEEP, kicks);
        if (*expired_count)
            r = queue_enqueue(s, index, kicks, 0);
    }
    if (r == SHMC_OK)
        return SETTLED;
    if (r == SHMC_FULL && now_ns() < deadline_ns)
        return BLOCKED;
    if (known && r == SHMC_FULL)
        count_refusal(s, domain, d->channel);
    if (known)
        count_drop(s, domain, d->channel,
                   r == SHMC_FULL   ? SHMC_CAUSE_FULL
                   : r == SHMC_GONE ? SHMC_CAUSE_GONE
                                    : SHMC_CAUSE_MEMORY,
                   1);
    SET(s, domain, d->owner,
        s->slot_reference); /* first: HELD by the dead, in no outbox, is what others free */
    SET(s, domain, d->outbox, 0);
    return GIVEN_UP;
}

static void name_blocked(struct shmc *s, uint64_t item, char *blocked, uint32_t *length) {
    if (!blocked)
        return;
    struct descriptor *d = descriptor_at(s, reference_index(item));
    struct channel *c = channel_at(s, HINT(d->channel));
    uint32_t n = HINT(c->name_length), more = HINT(d->virtual_hash) ? HINT(d->address_length) : 0;
    *length = 0;
    if (n > NAME_MAX_BYTES || n + more > NAME_MAX_BYTES || more > HINT(d->length))
        return;
    memcpy(blocked, c->name, n);
    pool_read(s, d, 0, blocked + n, more);
    *length = n + more;
}

/* Settle items from..count in order, those of one domain under one lock. Returns the index of the first that
 * is blocked, or count. `first`: also mark the outbox as committed, in the section of its first item. */
static uint32_t flush(struct shmc *s, uint64_t ref, const uint64_t *items, uint32_t from, uint32_t count,
                      uint64_t deadline_ns, struct outbox *first) {
    uint32_t k = from;
    int blocked = 0;
    while ((k < count || first) && !blocked && !HINT(s->header->poisoned)) {
        uint32_t domain = k < count ? HINT(descriptor_at(s, reference_index(items[k]))->domain) : SHMC_WORK;
        if (domain < SHMC_WORK || domain > SHMC_REPLY)
            domain = SHMC_WORK; /* it was freed and is another's: settled, as the lock will show */
        struct kicks kicks = {0};
        uint32_t expired[SWEEP], expired_count = 0, given_up[BATCH], given_up_count = 0, last = k + BATCH;
        struct spent spent = {0};
        lock(s, domain);
        if (first) {
            SET(s, domain, first->state, OUTBOX_COMMITTED);
            commit(s, domain);
            first = NULL;
        }
        for (; k < count && k < last && !blocked && spent.count < 16; k++) {
            struct descriptor *d = descriptor_at(s, reference_index(items[k]));
            uint32_t present = HINT(d->domain);
            if (present != domain) {
                if (HINT(d->generation) == reference_generation(items[k])) {
                    if (present < SHMC_WORK || present > SHMC_REPLY)
                        poison(s);
                    break; /* next round, under its own lock */
                }
                continue;
            }
            enum verdict v =
                settle(s, domain, ref, items[k], deadline_ns, &kicks, expired, &expired_count, &spent);
            commit(s, domain);
            if (v == BLOCKED) {
                blocked = 1;
                break;
            }
            if (v == GIVEN_UP)
                given_up[given_up_count++] = reference_index(items[k]);
        }
        unlock(s, domain);
        kick(s, &kicks);
        for (uint32_t n = 0; n < expired_count; n++)
            pool_release(s, expired[n]);
        for (uint32_t n = 0; n < given_up_count; n++)
            pool_release(s, given_up[n]);
        for (uint32_t n = 0; n < spent.count; n++)
            pool_release(s, spent.descriptors[n]);
    }
    return k;
}

/* The lease is done: its lane goes on, the message is freed, then the record. */
static void finish(struct shmc *s, uint64_t ref, uint64_t lease, uint32_t owner) {
    uint32_t index = reference_index(lease);
    if (index && index < s->sizes.descriptors) {
        struct descriptor *d = descriptor_at(s, index);
        uint32_t domain = HINT(d->domain);
        struct kicks kicks = {0};
        int ours = 0;
        if (domain >= SHMC_WORK && domain <= SHMC_REPLY) {
            lock(s, domain);
            if (HINT(d->generation) == reference_generation(lease) && in_hands_of(d, LEASED, owner) &&
                d->domain == domain) {
                queue_finish_lease(s, index, &kicks);
                ours = 1;
            }
            unlock(s, domain);
        }
        kick(s, &kicks);
        if (ours)
            pool_release(s, index);
    }
    release_record(s, ref, OUTBOX_COMMITTED);
}

/* Roll a committed outbox of `owner` forward. SHMC_OK: nothing is left of it; SHMC_PARKED: a target is full
 * before the deadline. */
int outbox_forward(struct shmc *s, uint64_t ref, uint32_t owner, char *blocked, uint32_t *blocked_length) {
    if (!committed(s, ref))
        return SHMC_OK;
    struct outbox *o = outbox_at(s, reference_index(ref));
    uint32_t count = HINT(o->count);
    uint64_t lease = o->lease, deadline_ns = HINT(o->deadline_ns);
    for (uint32_t k = 0; k < count; k += BATCH) {
        uint64_t items[BATCH];
        uint32_t n = count - k < BATCH ? count - k : BATCH;
        int missing = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t *item = item_at(s, o, k + i);
            items[i] = item ? __atomic_load_n(item, __ATOMIC_RELAXED) : 0;
            missing |= !item;
        }
        if (!committed(s, ref)) /* somebody else finished it: what was copied may be another's */
            return SHMC_OK;
        if (missing) {
            poison(s); /* it counts more items than it has places for */
            return SHMC_E_CORRUPT;
        }
        uint32_t done = flush(s, ref, items, 0, n, deadline_ns, NULL);
        if (HINT(s->header->poisoned))
            return SHMC_E_CORRUPT;
        if (done < n) {
            name_blocked(s, items[done], blocked, blocked_length);
            return SHMC_PARKED;
        }
    }
    finish(s, ref, lease, owner);
    return SHMC_OK;
}

int shmc_outbox_commit(shmc *s, uint64_t ref, uint64_t give_up_ns) {
    REQUIRE(s);
    struct outbox *o = mine(s, ref, OUTBOX_OPEN);
    if (!o)
        return SHMC_GONE;
    if (o->lease) {
        struct descriptor *m = descriptor_at(s, reference_index(o->lease));
        if (HINT(m->generation) != reference_generation(o->lease) ||
            !in_hands_of(m, LEASED, s->slot_reference)) {
            outbox_discard(s, ref, s->slot_reference);
            return RESULT(s, SHMC_GONE);
        }
    }
    PUT(o->deadline_ns, now_ns() + give_up_ns);
    uint64_t items[BATCH];
    uint32_t count = o->count < BATCH ? o->count : BATCH;
    for (uint32_t k = 0; k < count; k++)
        items[k] = item_at(s, o, k) ? *item_at(s, o, k) : 0;
    uint64_t lease = o->lease;
    uint32_t all = o->count;
    uint32_t done = flush(s, ref, items, 0, count, o->deadline_ns, o);
    if (HINT(s->header->poisoned))
        return SHMC_E_CORRUPT;
    if (done < count)
        return SHMC_PARKED;
    if (all > count)
        return RESULT(s, outbox_forward(s, ref, s->slot_reference, NULL, NULL));
    finish(s, ref, lease, s->slot_reference);
    return RESULT(s, SHMC_OK);
}

int shmc_outbox_push(shmc *s, uint64_t ref, char *blocked, uint32_t *blocked_length) {
    REQUIRE(s);
    *blocked_length = 0;
    if (!mine(s, ref, OUTBOX_COMMITTED))
        return SHMC_GONE;
    return RESULT(s, outbox_forward(s, ref, s->slot_reference, blocked, blocked_length));
}

void outbox_discard(struct shmc *s, uint64_t ref, uint32_t owner) {
    struct outbox *o = named(s, ref);
    if (!o)
        return;
    for (uint32_t k = 0;
         k < o->count && k < INLINE_ITEMS + FIRST_BLOCK_ITEMS + (ITEM_BLOCKS - 1) * BLOCK_ITEMS; k++) {
        uint64_t *item = item_at(s, o, k);
        if (item && reference_index(*item) < s->sizes.descriptors &&
            HINT(descriptor_at(s, reference_index(*item))->outbox) == ref)
            pool_release_if(s, *item, owner);
    }
    release_record(s, ref, OUTBOX_OPEN);
}

int shmc_outbox_drop(shmc *s, uint64_t ref) {
    REQUIRE(s);
    if (!mine(s, ref, OUTBOX_OPEN))
        return SHMC_GONE;
    outbox_discard(s, ref, s->slot_reference);
    return RESULT(s, SHMC_OK);
}
