/* lane.c: the order of one connection's messages, across channels. Everything here is under WORK.
 *
 *   IDLE (no entry) --append--> READY --lease--> RUNNING --finish--> READY | RESTING | IDLE
 *
 * A lane exists while it has a message queued or leased. While READY it stands on the run list of its head's
 * channel, while RESTING on the delayed list, while RUNNING on none: so at most one of its messages is out at
 * any time.
 */
#include "internal.h"

static uint32_t *bucket_of(struct shmc *s, uint64_t key) {
    return &s->lane_buckets[(key * 0x9E3779B97F4A7C15ull >> 32) & (s->sizes.lane_buckets - 1)];
}

uint32_t lane_find(struct shmc *s, uint64_t key) {
    uint32_t steps = 0;
    for (uint32_t i = *bucket_of(s, key); i; i = lane_at(s, i)->hash_next) {
        if (endless(s, &steps, s->sizes.descriptors))
            return 0;
        if (lane_at(s, i)->key == key)
            return i;
    }
    return 0;
}

/* There are as many lanes as descriptors, and each lane in use has one: so there is always one left. */
uint32_t lane_make(struct shmc *s, uint64_t key) {
    struct counters *c = s->counters;
    uint32_t index = c->lane_free;
    if (index)
        SET(s, SHMC_WORK, c->lane_free, lane_at(s, index)->hash_next);
    else if (c->lane_top < s->sizes.descriptors) {
        index = c->lane_top;
        SET(s, SHMC_WORK, c->lane_top, index + 1);
    } else {
        poison(s);
        return 0;
    }
    struct lane *l = lane_at(s, index);
    uint32_t *bucket = bucket_of(s, key);
    PUT(l->key, key);
    PUT(l->head, 0);
    PUT(l->tail, 0);
    PUT(l->count, 0);
    SET(s, SHMC_WORK, l->hash_next, *bucket);
    SET(s, SHMC_WORK, *bucket, index);
    return index;
}

static void drop(struct shmc *s, uint32_t index) {
    struct lane *l = lane_at(s, index);
    uint32_t *bucket = bucket_of(s, l->key), at = *bucket, steps = 0;
    if (at == index)
        SET(s, SHMC_WORK, *bucket, l->hash_next);
    else {
        while (at && lane_at(s, at)->hash_next != index && !endless(s, &steps, s->sizes.descriptors))
            at = lane_at(s, at)->hash_next;
        if (at)
            SET(s, SHMC_WORK, lane_at(s, at)->hash_next, l->hash_next);
    }
    SET(s, SHMC_WORK, l->state, LANE_IDLE);
    SET(s, SHMC_WORK, l->key, 0);
    SET(s, SHMC_WORK, l->hash_next, s->counters->lane_free);
    SET(s, SHMC_WORK, s->counters->lane_free, index);
}

void lane_append(struct shmc *s, uint32_t lane, uint32_t index) {
    struct lane *l = lane_at(s, lane);
    struct descriptor *d = descriptor_at(s, index);
    SET(s, SHMC_WORK, d->lane, lane);
    PUT(d->prev, l->tail); /* it is in no lane yet */
    PUT(d->next, 0);
    if (l->tail)
        SET(s, SHMC_WORK, descriptor_at(s, l->tail)->next, index);
    else
        SET(s, SHMC_WORK, l->head, index);
    SET(s, SHMC_WORK, l->tail, index);
    SET(s, SHMC_WORK, l->count, l->count + 1);
}

void lane_prepend(struct shmc *s, uint32_t lane, uint32_t index) {
    struct lane *l = lane_at(s, lane);
    struct descriptor *d = descriptor_at(s, index);
    KEEP(s, SHMC_WORK, d->lane, lane);
    PUT(d->next, l->head); /* a lease is in no list */
    PUT(d->prev, 0);
    if (l->head)
        SET(s, SHMC_WORK, descriptor_at(s, l->head)->prev, index);
    else
        SET(s, SHMC_WORK, l->tail, index);
    SET(s, SHMC_WORK, l->head, index);
    SET(s, SHMC_WORK, l->count, l->count + 1);
}

void lane_unlink(struct shmc *s, uint32_t lane, uint32_t index) {
    struct lane *l = lane_at(s, lane);
    struct descriptor *d = descriptor_at(s, index);
    if (d->prev)
        SET(s, SHMC_WORK, descriptor_at(s, d->prev)->next, d->next);
    else
        SET(s, SHMC_WORK, l->head, d->next);
    if (d->next)
        SET(s, SHMC_WORK, descriptor_at(s, d->next)->prev, d->prev);
    else
        SET(s, SHMC_WORK, l->tail, d->prev);
    SET(s, SHMC_WORK, l->count, l->count - 1);
}

void lane_stop(struct shmc *s, uint32_t lane) {
    struct lane *l = lane_at(s, lane);
    if (l->state == LANE_READY)
        run_remove(s, SHMC_WORK, l->channel, LANE_BIT | lane);
    else if (l->state == LANE_RESTING)
        delay_remove(s, SHMC_WORK, LANE_BIT | lane);
}

/* Put a lane that is on no list where its head belongs, or away if it is empty. */
void lane_schedule(struct shmc *s, uint32_t lane, struct kicks *kicks) {
    struct lane *l = lane_at(s, lane);
    if (!l->head) {
        drop(s, lane);
        return;
    }
    struct descriptor *d = descriptor_at(s, l->head);
    SET(s, SHMC_WORK, l->channel, d->channel);
    if (d->not_before_ns) {
        SET(s, SHMC_WORK, l->state, LANE_RESTING);
        delay_push(s, SHMC_WORK, LANE_BIT | lane, d->not_before_ns);
        return;
    }
    SET(s, SHMC_WORK, l->state, LANE_READY);
    run_push(s, SHMC_WORK, d->channel, LANE_BIT | lane, TAIL);
    wake_one(s, SHMC_WORK, d->channel, kicks);
}

void lane_finish(struct shmc *s, uint32_t lane, struct kicks *kicks) {
    SET(s, SHMC_WORK, lane_at(s, lane)->owner, 0);
    lane_schedule(s, lane, kicks);
}
