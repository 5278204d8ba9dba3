/* queue.c: a message's way through a channel: in, out, back, and away. Everything here is under the message's
 * domain, but for the public calls at the end, which take it.
 */
#include "internal.h"

static void note_rate(struct shmc *s, uint32_t domain, struct channel *c, uint64_t now) {
    uint64_t elapsed = now - c->window_ns;
    if (c->window_ns && elapsed < SECOND_NS)
        return;
    if (c->window_ns) {
        SET(s, domain, c->rate_ns, elapsed);
        SET(s, domain, c->rate_sent, c->sent - c->window_sent);
        SET(s, domain, c->rate_full, c->refused - c->window_full);
    }
    SET(s, domain, c->window_ns, now);
    SET(s, domain, c->window_sent, c->sent);
    SET(s, domain, c->window_full, c->refused);
}

/* The domain a message says it is in; only the caller knows whose lock it has, so at least it must be one of
 * the three. */
static uint32_t domain_of(struct shmc *s, const struct descriptor *d) {
    uint32_t domain = HINT(d->domain);
    if (__builtin_expect(domain < SHMC_WORK || domain > SHMC_REPLY, 0)) {
        poison(s);
        return SHMC_WORK;
    }
    return domain;
}

/* Queue a HELD descriptor in its channel. Returns SHMC_OK; SHMC_FULL or SHMC_GONE: nothing changed, nothing
 * was counted; SHMC_NO_MEMORY: no entry left for its virtual channel. exempt: whatever the capacity, and it
 * never expires. */
int queue_enqueue(struct shmc *s, uint32_t index, struct kicks *kicks, int exempt) {
    struct descriptor *d = descriptor_at(s, index);
    uint32_t domain = domain_of(s, d);
    struct channel *c = channel_at(s, d->channel);
    if (c->flags & DEAD)
        return SHMC_GONE;
    uint32_t virtual_ = 0;
    if (d->virtual_hash) {
        virtual_ = virtual_find(s, d->virtual_hash, d->channel);
        if (!exempt && (c->count >= d->total || (virtual_ && virtual_at(s, virtual_)->count >= d->capacity)))
            return SHMC_FULL;
        if (!virtual_ && !(virtual_ = virtual_make(s, d->virtual_hash, d->channel)))
            return SHMC_NO_MEMORY;
        struct virtual *v = virtual_at(s, virtual_);
        SET(s, domain, v->count, v->count + 1);
    } else if (!exempt && c->count >= d->capacity)
        return SHMC_FULL;
    uint64_t now = c->flags & LASTING ? now_ns() : tick_ns(); /* a delay counts from when it was asked for */
    note_rate(s, domain, c, now);
    KEEP(s, domain, d->virtual_, virtual_);
    PUT(s->domains[domain].number, s->domains[domain].number + 1); /* a gap does no harm */
    SET(s, domain, d->number, s->domains[domain].number);
    PUT(d->queued_ns, now); /* private until its state says QUEUED */
    PUT(d->deadline_ns, exempt || c->flags & LASTING ? 0 : now + s->expiry_ns);
    SET(s, domain, c->count, c->count + 1);
    SET(s, domain, c->sent, c->sent + 1);
    if (d->key && domain == SHMC_WORK) {
        uint32_t lane = lane_find(s, d->key);
        if (!lane && !(lane = lane_make(s, d->key)))
            return SHMC_NO_MEMORY;
        if (d->deadline_ns)
            age_push(s, domain, index);
        lane_append(s, lane, index);
        SET(s, domain, d->state, QUEUED);
        if (lane_at(s, lane)->state == LANE_IDLE)
            lane_schedule(s, lane, kicks);
    } else {
        KEEP(s, domain, d->lane, 0);
        run_push(s, domain, d->channel, index, TAIL);
        SET(s, domain, d->state, QUEUED);
        wake_one(s, domain, d->channel, kicks);
    }
    KEEP(s, domain, d->outbox, 0); /* after the state: HELD by the dead, in no outbox, is what others free */
    return SHMC_OK;
}

/* Off every list: the descriptor is this process's then, HELD. The caller counts why. */
void queue_unlink(struct shmc *s, uint32_t index, struct kicks *kicks) {
    struct descriptor *d = descriptor_at(s, index);
    uint32_t domain = domain_of(s, d);
    struct channel *c = channel_at(s, d->channel);
    if (d->deadline_ns && d->lane)
        age_remove(s, domain, index);
    if (d->lane) {
        uint32_t lane = d->lane;
        int at_head = lane_at(s, lane)->head == index && lane_at(s, lane)->state != LANE_RUNNING;
        if (at_head)
            lane_stop(s, lane);
        lane_unlink(s, lane, index);
        if (at_head)
            lane_schedule(s, lane, kicks);
    } else if (d->not_before_ns)
        delay_remove(s, domain, index);
    else
        run_remove(s, domain, d->channel, index);
    if (d->virtual_)
        virtual_lower(s, d->virtual_, 1);
    SET(s, domain, c->count, c->count - 1);
    KEEP(s, domain, d->lane, 0);
    KEEP(s, domain, d->virtual_, 0);
    KEEP(s, domain, d->not_before_ns, 0);
    SET(s, domain, d->number, 0);
    PUT(d->owner, s->slot_reference);
    SET(s, domain, d->state, HELD);
}

/* The oldest message, if it has expired: of the keyed by the age list, of the others by the run list. */
static uint32_t oldest_expired(struct shmc *s, uint32_t channel, uint64_t now) {
    struct channel *c = channel_at(s, channel);
    if (c->age_head && descriptor_at(s, c->age_head)->deadline_ns <= now)
        return c->age_head;
    uint32_t entry = c->run_head;
    if (!entry || entry & LANE_BIT)
        return 0;
    uint64_t deadline = descriptor_at(s, entry)->deadline_ns;
    return deadline && deadline <= now ? entry : 0;
}

/* Take up to `limit` expired messages of a channel away, oldest first; the caller frees them after leaving.
 */
uint32_t sweep_expired(struct shmc *s, uint32_t domain, uint32_t channel, uint64_t now, uint32_t *out,
                       uint32_t limit, struct kicks *kicks) {
    uint32_t n = 0;
    while (n < limit) {
        uint32_t index = oldest_expired(s, channel, now);
        if (!index || HINT(s->header->poisoned))
            break;
        struct descriptor *d = descriptor_at(s, index);
        uint32_t before = index == channel_at(s, channel)->age_head ? d->age_prev : d->run_prev;
        if (d->state != QUEUED || d->channel != channel || d->domain != domain || before) {
            poison(s);
            break;
        }
        count_drop(s, domain, channel, SHMC_CAUSE_EXPIRED, 1);
        queue_unlink(s, index, kicks);
        commit(s, domain);
        out[n++] = index;
    }
    return n;
}

/* The first message of a channel that is ready, as HELD (acknowledged) or LEASED; 0 if it had expired: then
 * it is in `expired`. */
uint32_t queue_take(struct shmc *s, uint32_t domain, uint32_t channel, uint32_t state, uint32_t *expired,
                    uint32_t *expired_count, struct kicks *kicks) {
    struct channel *c = channel_at(s, channel);
    uint32_t entry = c->run_head;
    if (!entry || (entry & LANE_BIT && domain != SHMC_WORK)) {
        poison(s);
        return 0;
    }
    uint32_t lane = entry & LANE_BIT ? entry & ~LANE_BIT : 0;
    uint32_t index = lane ? lane_at(s, lane)->head : entry;
    struct descriptor *d = descriptor_at(s, index);
    if (!index || d->state != QUEUED || d->channel != channel || d->domain != domain || d->lane != lane) {
        poison(s);
        return 0;
    }
    if (d->deadline_ns && d->deadline_ns <= tick_ns()) {
        count_drop(s, domain, channel, SHMC_CAUSE_EXPIRED, 1);
        queue_unlink(s, index, kicks);
        expired[(*expired_count)++] = index;
        return 0;
    }
    run_remove(s, domain, channel, entry);
    if (c->run_head && !(c->run_head & LANE_BIT))
        pool_foresee(s, c->run_head);
    if (lane && d->deadline_ns)
        age_remove(s, domain, index);
    SET(s, domain, c->count, c->count - 1);
    if (lane) {
        lane_unlink(s, lane, index);
        if (state == LEASED) {
            SET(s, domain, lane_at(s, lane)->state, LANE_RUNNING);
            SET(s, domain, lane_at(s, lane)->owner, s->slot_reference);
        } else {
            lane_schedule(s, lane, kicks);
            SET(s, domain, d->lane, 0);
        }
    }
    if (state == LEASED)
        SET(s, domain, c->leased, c->leased + 1);
    else {
        SET(s, domain, c->delivered, c->delivered + 1);
        if (d->virtual_ && !(c->flags & OWNED)) { /* an owner gives room back by shmc_credit */
            virtual_lower(s, d->virtual_, 1);
            SET(s, domain, d->virtual_, 0);
        }
    }
    PUT(d->owner, s->slot_reference);
    SET(s, domain, d->state, state);
    return index;
}

void queue_end_lease(struct shmc *s, uint32_t index) {
    struct descriptor *d = descriptor_at(s, index);
    struct channel *c = channel_at(s, d->channel);
    SET(s, domain_of(s, d), c->leased, c->leased - 1);
}

/* It is HELD by this process from here on, to be freed. The owner first: HELD by the dead is what others free. */
void queue_hold(struct shmc *s, uint32_t index) {
    struct descriptor *d = descriptor_at(s, index);
    uint32_t domain = domain_of(s, d);
    if (d->virtual_) {
        virtual_lower(s, d->virtual_, 1);
        SET(s, domain, d->virtual_, 0);
    }
    SET(s, domain, d->number, 0);
    KEEP(s, domain, d->owner, s->slot_reference);
    SET(s, domain, d->state, HELD);
}

/* A lease is done: its lane goes on, the descriptor is HELD by the caller, to be freed. */
void queue_finish_lease(struct shmc *s, uint32_t index, struct kicks *kicks) {
    struct descriptor *d = descriptor_at(s, index);
    uint32_t domain = domain_of(s, d);
    struct channel *c = channel_at(s, d->channel);
    queue_end_lease(s, index);
    session_end(s, index, kicks);
    SET(s, domain, c->delivered, c->delivered + 1);
    if (d->lane) {
        uint32_t lane = d->lane;
        SET(s, domain, d->lane, 0);
        lane_finish(s, lane, kicks);
    }
    queue_hold(s, index);
}

/* A lease goes back into its channel: to the head of its lane; unkeyed to the tail, or by its number. It no
 * longer expires. */
void queue_requeue(struct shmc *s, uint32_t index, uint64_t delay_ns, struct kicks *kicks, int where) {
    struct descriptor *d = descriptor_at(s, index);
    uint32_t domain = domain_of(s, d);
    struct channel *c = channel_at(s, d->channel);
    queue_end_lease(s, index);
    SET(s, domain, d->not_before_ns, delay_ns && domain == SHMC_WORK ? now_ns() + delay_ns : 0);
    SET(s, domain, d->policy, SHMC_POLICY_NOT_BEGUN);
    SET(s, domain, d->attempts, d->attempts + 1);
    PUT(d->deadline_ns, 0); /* that of a lease says nothing */
    KEEP(s, domain, d->outbox, 0);
    SET(s, domain, c->count, c->count + 1);
    SET(s, domain, c->redelivered, c->redelivered + 1);
    if (d->lane) {
        uint32_t lane = d->lane;
        lane_prepend(s, lane, index);
        SET(s, domain, d->state, QUEUED);
        lane_finish(s, lane, kicks);
    } else if (d->not_before_ns) {
        delay_push(s, domain, index, d->not_before_ns);
        SET(s, domain, d->state, QUEUED);
    } else {
        run_push(s, domain, d->channel, index, where);
        SET(s, domain, d->state, QUEUED);
        wake_one(s, domain, d->channel, kicks);
    }
}

/* --- public --- */

int shmc_target_init(shmc *s, shmc_target *t, const char *name, uint32_t length, uint32_t domain,
                     uint32_t capacity, uint32_t total) {
    REQUIRE(s);
    if (length > NAME_MAX_BYTES || domain < SHMC_WORK || domain > SHMC_REPLY)
        return SHMC_E_ARGUMENT;
    memset(t, 0, sizeof *t);
    memcpy(t->name, name, length);
    t->name_length = t->queue_length = length;
    t->domain = domain;
    t->capacity = capacity;
    t->total = total;
    if (domain == SHMC_REPLY) {
        const char *mark = memchr(name, '!', length);
        t->queue_length = mark ? (uint32_t)(mark - name) + 1 : length;
        if (t->queue_length < length)
            t->virtual_hash = hash_bytes(s->seed, name, length);
    }
    t->hash = hash_bytes(s->seed, t->name, t->queue_length);
    return SHMC_OK;
}

uint64_t shmc_hash(shmc *s, const char *bytes, uint64_t length) {
    return s ? hash_bytes(s->seed, bytes, length) : 0;
}

static int count_target(struct shmc *s, shmc_target *t, uint32_t cause, uint64_t n) {
    lock(s, t->domain);
    uint32_t channel = target_channel(s, t);
    if (channel)
        count_drop(s, t->domain, channel, cause, n);
    unlock(s, t->domain);
    if (!channel)
        count_memory_drop(s);
    return SHMC_OK;
}

static void refuse_target(struct shmc *s, shmc_target *t) {
    lock(s, t->domain);
    uint32_t channel = target_channel(s, t);
    if (channel)
        count_refusal(s, t->domain, channel);
    unlock(s, t->domain);
}

int shmc_count_drop(shmc *s, shmc_target *t, uint32_t cause, uint64_t n) {
    REQUIRE(s);
    if (cause >= SHMC_CAUSES)
        return SHMC_E_ARGUMENT;
    return RESULT(s, count_target(s, t, cause, n));
}

/* A HELD descriptor with its bytes in place; the channel is looked up later, under its domain. What travels
 * beside the payload: the name behind the '!' of a virtual channel, else the address given. */
int prepare_descriptor(struct shmc *s, shmc_target *t, const void *payload, uint64_t length, uint64_t key,
                       const char *address, uint32_t address_length, uint32_t *out) {
    if (t->virtual_hash) {
        address = t->name + t->queue_length;
        address_length = t->name_length - t->queue_length;
    }
    if (address_length > NAME_MAX_BYTES)
        return SHMC_E_ARGUMENT;
    int r = pool_allocate(s, length + address_length, out);
    if (r != SHMC_OK)
        return r;
    struct descriptor *d = descriptor_at(s, *out);
    PUT(d->domain, t->domain);
    PUT(d->capacity, t->capacity);
    PUT(d->total, t->total);
    PUT(d->key, t->domain == SHMC_WORK ? key : 0);
    PUT(d->virtual_hash, t->virtual_hash);
    PUT(d->address_length, address_length);
    pool_write(s, *out, 0, address, address_length);
    pool_write(s, *out, address_length, payload, length);
    return SHMC_OK;
}

/* Look again under the lock, after clearing away what has expired; counts. */
static int still_full(struct shmc *s, shmc_target *t) {
    uint32_t expired[SWEEP];
    struct kicks kicks = {0};
    lock(s, t->domain);
    uint32_t channel = target_channel(s, t);
    commit(s, t->domain);
    uint32_t n = channel ? sweep_expired(s, t->domain, channel, now_ns(), expired, SWEEP, &kicks) : 0;
    int full =
        channel && channel_at(s, channel)->count >= t->capacity && !(channel_at(s, channel)->flags & DEAD);
    if (full)
        count_refusal(s, t->domain, channel);
    unlock(s, t->domain);
    kick(s, &kicks);
    for (uint32_t k = 0; k < n; k++)
        pool_release(s, expired[k]);
    return full;
}

int shmc_send(shmc *s, shmc_target *t, const void *payload, uint64_t length, uint64_t key,
              const char *address, uint32_t address_length, uint32_t order) {
    REQUIRE(s);
    if (length > s->max_message_size) {
        count_target(s, t, SHMC_CAUSE_TOO_LARGE, 1);
        return RESULT(s, SHMC_TOO_LARGE);
    }
    uint32_t index, expired[SWEEP], expired_count = 0;
    if (t->channel && !t->virtual_hash && HINT(channel_at(s, t->channel)->count) >= t->capacity &&
        still_full(s, t)) /* before anything is copied */
        return RESULT(s, SHMC_FULL);
    int r = prepare_descriptor(s, t, payload, length, key, address, address_length, &index);
    if (r != SHMC_OK) {
        if (r == SHMC_NO_MEMORY)
            refuse_target(s, t);
        return RESULT(s, r);
    }
    struct kicks kicks = {0};
    lock(s, t->domain);
    uint32_t channel = target_channel(s, t);
    commit(s, t->domain);
    if (channel) {
        PUT(descriptor_at(s, index)->channel, channel);
        r = queue_enqueue(s, index, &kicks, 0);
        if (r == SHMC_FULL) {
            expired_count = sweep_expired(s, t->domain, channel, now_ns(), expired, SWEEP, &kicks);
            if (expired_count)
                r = queue_enqueue(s, index, &kicks, 0);
        }
        if (r == SHMC_OK && order)
            connection_note(s, key, order);
        if (r == SHMC_GONE)
            count_drop(s, t->domain, channel, SHMC_CAUSE_GONE, 1);
        else if (r != SHMC_OK)
            count_refusal(s, t->domain, channel);
    } else
        r = SHMC_NO_MEMORY;
    unlock(s, t->domain);
    kick(s, &kicks);
    for (uint32_t k = 0; k < expired_count; k++)
        pool_release(s, expired[k]);
    if (r != SHMC_OK)
        pool_release(s, index);
    return RESULT(s, r);
}

int shmc_put(shmc *s, shmc_target *t, const void *payload, uint64_t length) {
    return shmc_send(s, t, payload, length, 0, NULL, 0, 0);
}
