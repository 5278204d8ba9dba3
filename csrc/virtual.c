/* virtual.c: how much each virtual channel behind a '!' has under way, so that one slow reader cannot fill
 * its neighbours' queue. Everything here is under REPLY. An entry exists while its count is not 0.
 */
#include "internal.h"

static uint32_t *bucket_of(struct shmc *s, uint64_t hash) {
    return &s->virtual_buckets[hash & (s->sizes.virtual_buckets - 1)];
}

uint32_t virtual_find(struct shmc *s, uint64_t hash, uint32_t channel) {
    uint32_t steps = 0;
    for (uint32_t i = *bucket_of(s, hash); i; i = virtual_at(s, i)->next) {
        if (endless(s, &steps, s->sizes.virtuals))
            return 0;
        if (virtual_at(s, i)->hash == hash && virtual_at(s, i)->channel == channel)
            return i;
    }
    return 0;
}

uint32_t virtual_make(struct shmc *s, uint64_t hash, uint32_t channel) {
    struct counters *c = s->counters;
    uint32_t index = c->virtual_free;
    if (index)
        SET(s, SHMC_REPLY, c->virtual_free, virtual_at(s, index)->next);
    else if (c->virtual_top < s->sizes.virtuals) {
        index = c->virtual_top;
        SET(s, SHMC_REPLY, c->virtual_top, index + 1);
    } else
        return 0;
    struct virtual *v = virtual_at(s, index);
    uint32_t *bucket = bucket_of(s, hash);
    SET(s, SHMC_REPLY, v->hash, hash);
    SET(s, SHMC_REPLY, v->channel, channel);
    SET(s, SHMC_REPLY, v->count, 0);
    SET(s, SHMC_REPLY, v->next, *bucket);
    SET(s, SHMC_REPLY, *bucket, index);
    struct channel *owner = channel_at(s, channel);
    SET(s, SHMC_REPLY, owner->virtuals, owner->virtuals + 1);
    return index;
}

static void drop(struct shmc *s, uint32_t index) {
    struct virtual *v = virtual_at(s, index);
    uint32_t *bucket = bucket_of(s, v->hash), at = *bucket, steps = 0;
    if (at == index)
        SET(s, SHMC_REPLY, *bucket, v->next);
    else {
        while (at && virtual_at(s, at)->next != index && !endless(s, &steps, s->sizes.virtuals))
            at = virtual_at(s, at)->next;
        if (at)
            SET(s, SHMC_REPLY, virtual_at(s, at)->next, v->next);
    }
    struct channel *owner = channel_at(s, v->channel);
    SET(s, SHMC_REPLY, owner->virtuals, owner->virtuals - 1);
    SET(s, SHMC_REPLY, v->channel, 0);
    SET(s, SHMC_REPLY, v->count, 0);
    SET(s, SHMC_REPLY, v->next, s->counters->virtual_free);
    SET(s, SHMC_REPLY, s->counters->virtual_free, index);
}

void virtual_lower(struct shmc *s, uint32_t index, uint32_t count) {
    struct virtual *v = virtual_at(s, index);
    if (!index || !v->channel)
        return;
    if (v->count > count)
        SET(s, SHMC_REPLY, v->count, v->count - count);
    else
        drop(s, index);
}

/* All of a dead front's. Takes the lock itself, in rounds. */
void virtual_sweep(struct shmc *s, uint32_t channel) {
    for (uint32_t from = 1; from < HINT(s->counters->virtual_top) && from < s->sizes.virtuals; from += 64) {
        lock(s, SHMC_REPLY);
        for (uint32_t i = from; i < from + 64 && i < s->counters->virtual_top && i < s->sizes.virtuals; i++)
            if (virtual_at(s, i)->channel == channel) {
                drop(s, i);
                commit(s, SHMC_REPLY);
            }
        unlock(s, SHMC_REPLY);
    }
}
