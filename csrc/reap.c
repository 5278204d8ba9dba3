/* reap.c: what a dead process owned, settled by whoever finds it dead.
 *
 * No claim is taken: each step is guarded, under its lock, by the owner, generation and state that it is
 * about, so several may reap the same process at once, and one that stops in the middle blocks nobody. The
 * slot goes last: until then, whoever comes begins again.
 */
#include "internal.h"

static const char DEAD_LETTERS[] = "shmchan.dead";
enum { DEAD_LETTERS_MAX = 10000 };
#define REAP_INTERVAL_NS (SECOND_NS / 2)

/* Somebody asked an owner for word, and it died: 502 for a request, 500 for a handshake, 1011 for a message
 * of an open socket. */
static uint32_t notice_code(struct shmc *s, const struct descriptor *d) {
    struct channel *c = channel_at(s, d->channel);
    uint32_t n = c->name_length;
    if (n >= 5 && !memcmp(c->name, "http.", 5))
        return 502;
    return n == 17 && !memcmp(c->name, "websocket.connect", 17) ? 500 : 1011;
}

/* Put a MOVING notice into the queue of the front that waits for it. Anybody, at any time. */
void complete_moving(struct shmc *s, uint32_t index) {
    struct descriptor *d = descriptor_at(s, index);
    uint32_t generation = HINT(d->generation);
    lock(s, SHMC_WORK); /* the section that began to move it is over: done, or undone */
    int moving = HINT(d->state) == MOVING && HINT(d->generation) == generation;
    unlock(s, SHMC_WORK);
    if (!moving)
        return;
    struct kicks kicks = {0};
    int freed = 0;
    lock(s, SHMC_REPLY);
    if (HINT(d->state) == MOVING && HINT(d->generation) == generation) {
        char name[NAME_MAX_BYTES];
        uint32_t length =
            d->address_length <= NAME_MAX_BYTES && d->address_length <= d->length ? d->address_length : 0;
        pool_read(s, d, 0, name, length);
        const char *mark = length ? memchr(name, '!', length) : NULL;
        uint32_t queue_length = mark ? (uint32_t)(mark - name) + 1 : 0;
        uint32_t channel = queue_length ? channel_find(s, SHMC_REPLY, name, queue_length,
                                                       hash_bytes(s->seed, name, queue_length))
                                        : 0;
        SET(s, SHMC_REPLY, d->channel, channel);
        if (!channel || queue_enqueue(s, index, &kicks, 1) != SHMC_OK) {
            if (channel)
                count_drop(s, SHMC_REPLY, channel, SHMC_CAUSE_GONE, 1);
            queue_hold(s, index);
            freed = 1;
        }
    }
    unlock(s, SHMC_REPLY);
    kick(s, &kicks);
    if (freed)
        pool_release(s, index);
}

static int dead_letter(struct shmc *s, uint32_t index, struct kicks *kicks) {
    struct descriptor *d = descriptor_at(s, index);
    uint32_t length = sizeof DEAD_LETTERS - 1;
    uint64_t hash = hash_bytes(s->seed, DEAD_LETTERS, length);
    if (d->domain != SHMC_WORK)
        return 0;
    uint32_t channel = channel_find(s, SHMC_WORK, DEAD_LETTERS, length, hash);
    if (!channel) {
        channel = channel_make(s, SHMC_WORK, DEAD_LETTERS, length, hash);
        commit(s, SHMC_WORK);
    }
    if (!channel || channel == d->channel || channel_at(s, channel)->count >= DEAD_LETTERS_MAX)
        return 0;
    queue_end_lease(s, index);
    SET(s, SHMC_WORK, d->lane, 0);
    SET(s, SHMC_WORK, d->origin, d->channel);
    SET(s, SHMC_WORK, d->kind, SHMC_KIND_DEAD);
    SET(s, SHMC_WORK, d->channel, channel);
    SET(s, SHMC_WORK, d->key, 0);
    SET(s, SHMC_WORK, d->policy, SHMC_POLICY_NOT_BEGUN);
    SET(s, SHMC_WORK, s->counters->dead_letters, s->counters->dead_letters + 1);
    return queue_enqueue(s, index, kicks, 1) == SHMC_OK;
}

/* One lease of a dead process meets its policy. Its lane rests until settle_lanes, unless it is put back. */
static void settle_lease(struct shmc *s, uint32_t index, uint32_t owner) {
    struct descriptor *d = descriptor_at(s, index);
    uint32_t domain = HINT(d->domain);
    if (domain < SHMC_WORK || domain > SHMC_REPLY)
        return;
    struct kicks kicks = {0};
    int freed = 0, moving = 0;
    lock(s, domain);
    if (in_hands_of(d, LEASED, owner) && HINT(d->domain) == domain) {
        uint32_t policy = d->policy, channel = d->channel;
        SET(s, domain, d->deaths, d->deaths + 1);
        int again = (policy == SHMC_POLICY_REDELIVER || policy == SHMC_POLICY_NOT_BEGUN) &&
                    (d->deaths < MAX_ATTEMPTS || channel_at(s, channel)->flags & KEPT);
        if (policy == SHMC_POLICY_NOT_BEGUN) /* it kills whoever takes it, before any consumer */
            policy = d->address_length ? SHMC_POLICY_NOTIFY : SHMC_POLICY_DROP;
        if (!again)
            session_end(s, index, &kicks);
        if (again) {
            queue_requeue(s, index, 0, &kicks, SORTED);
        } else if ((policy == SHMC_POLICY_REDELIVER || policy == SHMC_POLICY_DEAD_LETTER) &&
                   dead_letter(s, index, &kicks)) {
            ;
        } else if (policy == SHMC_POLICY_NOTIFY && domain == SHMC_WORK && d->address_length) {
            uint32_t code = notice_code(s, d);
            count_drop(s, domain, channel, SHMC_CAUSE_CRASH, 1);
            queue_end_lease(s, index);
            SET(s, domain, d->lane, 0);
            SET(s, domain, d->kind, SHMC_KIND_NOTICE);
            SET(s, domain, d->code, code);
            SET(s, domain, d->key, 0);
            SET(s, domain, d->owner, 0);
            SET(s, domain, d->state, MOVING);
            SET(s, domain, d->domain, SHMC_REPLY); /* last: seen under REPLY, it is no lease */
            moving = 1;
        } else {
            count_drop(s, domain, channel, SHMC_CAUSE_CRASH, 1);
            queue_end_lease(s, index);
            SET(s, domain, d->lane, 0);
            queue_hold(s, index);
            freed = 1;
        }
    }
    unlock(s, domain);
    kick(s, &kicks);
    if (freed)
        pool_release(s, index);
    if (moving)
        complete_moving(s, index);
}

/* What a dead process held: private things are freed; what it had taken out of a channel was lost by the
 * crash. */
static void settle_held(struct shmc *s, uint32_t index, uint32_t owner) {
    struct descriptor *d = descriptor_at(s, index);
    uint32_t generation = HINT(d->generation), domain = HINT(d->domain);
    lock(s, SHMC_POOL);
    int ours = in_hands_of(d, HELD, owner) && !(d->outbox && outbox_is_committed(s, d->outbox));
    unlock(s, SHMC_POOL);
    if (!ours)
        return;
    if (HINT(d->number) && domain >= SHMC_WORK && domain <= SHMC_REPLY) {
        lock(s, domain);
        if (in_hands_of(d, HELD, owner) && d->generation == generation && d->number) {
            struct channel *c = channel_at(s, d->channel);
            SET(s, domain, d->number, 0);
            SET(s, domain, c->delivered, c->delivered - 1);
            SET(s, domain, c->dropped[SHMC_CAUSE_CRASH], c->dropped[SHMC_CAUSE_CRASH] + 1);
            if (d->virtual_) {
                virtual_lower(s, d->virtual_, 1);
                SET(s, domain, d->virtual_, 0);
            }
        }
        unlock(s, domain);
    }
    pool_release_if(s, reference(index, generation), owner);
}

/* Lanes that still run in a dead process's name: their leases are settled, and the notices that came of them
 * are queued, so what the next message says cannot overtake them. */
static void settle_lanes(struct shmc *s, uint32_t owner) {
    for (uint32_t i = 1; i < HINT(s->counters->lane_top) && i < s->sizes.descriptors; i++) {
        uint32_t whose = HINT(lane_at(s, i)->owner);
        if (!falls_to(s, whose, owner))
            continue;
        struct kicks kicks = {0};
        lock(s, SHMC_WORK);
        if (lane_at(s, i)->state == LANE_RUNNING && lane_at(s, i)->owner == whose)
            lane_finish(s, i, &kicks);
        unlock(s, SHMC_WORK);
        kick(s, &kicks);
    }
}

static void settle_outboxes(struct shmc *s, uint32_t owner) {
    for (uint32_t i = 1; i < HINT(s->pool->outbox_top) && i < OUTBOXES; i++) {
        struct outbox *o = outbox_at(s, i);
        uint64_t ref = reference(i, HINT(o->generation));
        uint32_t whose = HINT(o->owner);
        if (!falls_to(s, whose, owner))
            continue;
        /* A full target has until the outbox's own deadline, 2 s at most, to make room. */
        uint64_t until = now_ns() + 2 * SECOND_NS;
        while (outbox_forward(s, ref, whose, NULL, NULL) == SHMC_PARKED) {
            if (now_ns() > until)
                PUT(o->deadline_ns, 0);
            struct timespec pause = {0, 2000000};
            nanosleep(&pause, NULL);
        }
    }
}

static void drop_open_outboxes(struct shmc *s, uint32_t owner) {
    for (uint32_t i = 1; i < HINT(s->pool->outbox_top) && i < OUTBOXES; i++) {
        struct outbox *o = outbox_at(s, i);
        uint64_t ref = reference(i, HINT(o->generation));
        uint32_t whose = HINT(o->owner);
        if (falls_to(s, whose, owner) && HINT(o->state) == OUTBOX_OPEN)
            outbox_discard(s, ref, whose);
    }
}

/* Settle everything that this incarnation of a slot owned, the slot itself last. Also how a living process
 * leaves. */
void reap_slot(struct shmc *s, uint32_t index, uint32_t owner) {
    settle_logs(s);
    settle_outboxes(s, owner);
    for (uint32_t i = 1; i < HINT(s->pool->descriptor_top) && i < s->sizes.descriptors; i++) {
        struct descriptor *d = descriptor_at(s, i);
        uint32_t state = __atomic_load_n(&d->state, __ATOMIC_ACQUIRE), whose = HINT(d->owner);
        if (state == MOVING)
            complete_moving(s, i);
        else if (state == LEASED && falls_to(s, whose, owner))
            settle_lease(s, i, whose);
        else if (state == HELD && falls_to(s, whose, owner))
            settle_held(s, i, whose);
        if (HINT(s->header->poisoned))
            return;
    }
    settle_lanes(s, owner);
    drop_open_outboxes(s, owner);
    for (uint32_t bit = 1; bit < HINT(s->domains[SHMC_REPLY].channel_top) && bit < CHANNELS; bit++) {
        uint32_t channel = (SHMC_REPLY - 1) * CHANNELS + bit;
        uint32_t whose = HINT(channel_at(s, channel)->owner);
        if (falls_to(s, whose, owner))
            front_settle(s, channel, whose);
    }
    connection_sweep(s, owner);
    for (uint32_t w = 1; w < WAITERS; w++)
        if (falls_to(s, HINT(waiter_at(s, w)->owner), owner))
            waiter_release(s, w);
    if (owner != s->slot_reference) { /* a dead sender may have swallowed a wake-up */
        for (uint32_t domain = SHMC_WORK; domain <= SHMC_REPLY; domain++)
            wake_all(s, domain);
        for (uint32_t w = 1; w < WAITERS; w++) /* of one that is listed no more, as the dead took it off */
            if (HINT(waiter_at(s, w)->owner))
                wake(s, w);
    }
    lock(s, SHMC_POOL);
    struct slot *slot = slot_at(s, index);
    if (slot->state == SLOT_LIVE && (index | slot->generation << 8) == owner) {
        SET(s, SHMC_POOL, slot->state, SLOT_FREE);
        SET(s, SHMC_POOL, slot->pid, 0);
        if (owner != s->slot_reference)
            SET(s, SHMC_POOL, s->pool->deaths, s->pool->deaths + 1);
    }
    unlock(s, SHMC_POOL);
}

int shmc_reap(shmc *s) {
    REQUIRE(s);
    int found = 0;
    __atomic_store_n(&s->last_reap_ns, now_ns(), __ATOMIC_RELAXED);
    settle_logs(s); /* a slot that was being taken or left looks like what it is only then */
    for (uint32_t i = 1; i < SLOTS; i++) {
        struct slot *slot = slot_at(s, i);
        if (HINT(slot->state) != SLOT_LIVE || i == s->slot)
            continue;
        uint32_t owner = i | HINT(slot->generation) << 8;
        if (slot_is_live(s, i))
            continue;
        /* A slot is marked LIVE only while its byte is held: dead, unless it was taken again since. */
        if (HINT(slot->state) != SLOT_LIVE || (i | HINT(slot->generation) << 8) != owner)
            continue;
        reap_slot(s, i, owner);
        found++;
        if (HINT(s->header->poisoned))
            return SHMC_E_CORRUPT;
    }
    return RESULT(s, found);
}

/* Whoever waits has time: look for the dead now and then. */
void reap_idle(struct shmc *s) {
    uint64_t last = __atomic_load_n(&s->last_reap_ns, __ATOMIC_RELAXED);
    if (now_ns() - last >= REAP_INTERVAL_NS)
        shmc_reap(s);
}
