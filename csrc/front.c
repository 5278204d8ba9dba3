/* front.c: the queue of a front: its owner takes all that is behind one '!' prefix, and gives room back when
 * its sockets took it. */
#include "internal.h"

int shmc_front_own(shmc *s, shmc_target *queue) {
    REQUIRE(s);
    if (queue->domain != SHMC_REPLY || queue->virtual_hash)
        return SHMC_E_ARGUMENT;
    lock(s, SHMC_REPLY);
    uint32_t channel = target_channel(s, queue);
    if (channel) {
        struct channel *c = channel_at(s, channel);
        SET(s, SHMC_REPLY, c->owner, s->slot_reference);
        SET(s, SHMC_REPLY, c->total, queue->total);
        SET(s, SHMC_REPLY, c->flags, OWNED);
    }
    unlock(s, SHMC_REPLY);
    return RESULT(s, channel ? SHMC_OK : SHMC_NO_MEMORY);
}

int shmc_credit(shmc *s, shmc_target *t, uint32_t count) {
    REQUIRE(s);
    if (t->domain != SHMC_REPLY || !t->virtual_hash)
        return SHMC_E_ARGUMENT;
    lock(s, SHMC_REPLY);
    uint32_t channel = channel_find(s, SHMC_REPLY, t->name, t->queue_length, t->hash);
    uint32_t virtual_ = channel ? virtual_find(s, t->virtual_hash, channel) : 0;
    if (virtual_)
        virtual_lower(s, virtual_, count);
    unlock(s, SHMC_REPLY);
    return RESULT(s, SHMC_OK);
}

/* A front is dead: nothing more comes in, its members leave, what is queued is counted as gone. Several may
 * do this at once. */
void front_settle(struct shmc *s, uint32_t channel, uint32_t owner) {
    struct channel *c = channel_at(s, channel);
    char prefix[NAME_MAX_BYTES];
    uint32_t length = 0;
    lock(s, SHMC_REPLY);
    int dead = c->used && c->flags & OWNED && c->owner == owner;
    if (dead) {
        length = c->name_length <= NAME_MAX_BYTES ? c->name_length : 0;
        memcpy(prefix, c->name, length);
        SET(s, SHMC_REPLY, c->flags, OWNED | DEAD);
    }
    unlock(s, SHMC_REPLY);
    if (!dead)
        return;
    group_sweep(s, prefix, length);
    for (;;) {
        struct kicks kicks = {0};
        uint32_t taken[16], n = 0;
        lock(s, SHMC_REPLY);
        while (n < 16 && c->run_head && c->owner == owner && !HINT(s->header->poisoned)) {
            taken[n] = c->run_head;
            struct descriptor *d = descriptor_at(s, taken[n]);
            if (d->state != QUEUED || d->channel != channel || d->domain != SHMC_REPLY) {
                poison(s); /* a list that runs in a circle comes back to what was taken */
                break;
            }
            count_drop(s, SHMC_REPLY, channel, SHMC_CAUSE_GONE, 1);
            queue_unlink(s, taken[n], &kicks);
            commit(s, SHMC_REPLY);
            n++;
        }
        unlock(s, SHMC_REPLY);
        for (uint32_t k = 0; k < n; k++)
            pool_release(s, taken[k]);
        if (!n)
            break;
    }
    virtual_sweep(s, channel);
    lock(s, SHMC_REPLY);
    if (c->owner == owner)
        SET(s, SHMC_REPLY, c->owner, 0); /* all done: stays as a tombstone, so that late senders are told */
    unlock(s, SHMC_REPLY);
}

int shmc_front_leave(shmc *s, shmc_target *queue) {
    REQUIRE(s);
    lock(s, SHMC_REPLY);
    uint32_t channel = channel_find(s, SHMC_REPLY, queue->name, queue->queue_length, queue->hash);
    unlock(s, SHMC_REPLY);
    if (channel)
        front_settle(s, channel, s->slot_reference);
    return RESULT(s, SHMC_OK);
}

int shmc_group_admit(shmc *s, shmc_target *queue, const void *members, uint64_t length, uint32_t capacity,
                     uint8_t *admitted) {
    REQUIRE(s);
    const unsigned char *at = members, *end = at + length;
    char name[2 * NAME_MAX_BYTES];
    uint32_t k = 0;
    if (queue->domain != SHMC_REPLY || queue->queue_length > NAME_MAX_BYTES)
        return SHMC_E_ARGUMENT;
    memcpy(name, queue->name, queue->queue_length);
    while (at < end) {
        lock(s, SHMC_REPLY);
        uint32_t channel = target_channel(s, queue);
        commit(s, SHMC_REPLY);
        for (uint32_t round = 0; round < 128 && at < end && at + 1 + *at <= end && *at <= NAME_MAX_BYTES;
             round++, k++) {
            memcpy(name + queue->queue_length, at + 1, *at);
            uint64_t hash = hash_bytes(s->seed, name, queue->queue_length + *at);
            uint32_t virtual_ = channel ? virtual_find(s, hash, channel) : 0;
            if (channel && !virtual_)
                virtual_ = virtual_make(s, hash, channel);
            struct virtual *v = virtual_at(s, virtual_);
            admitted[k] = virtual_ && v->count < capacity;
            if (admitted[k])
                SET(s, SHMC_REPLY, v->count, v->count + 1);
            else if (channel) {
                count_refusal(s, SHMC_REPLY, channel);
                count_drop(s, SHMC_REPLY, channel, SHMC_CAUSE_FULL, 1);
            }
            commit(s, SHMC_REPLY);
            at += 1 + *at;
        }
        unlock(s, SHMC_REPLY);
        if (!channel || HINT(s->header->poisoned) ||
            (at < end && (at + 1 + *at > end || *at > NAME_MAX_BYTES)))
            break;
    }
    return RESULT(s, SHMC_OK);
}
