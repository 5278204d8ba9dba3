/* stats.c: reading the counters, and throwing everything away. */
#include "internal.h"

/* What has expired is not pending: it is taken away before anybody counts. */
static void sweep_all(struct shmc *s, uint32_t domain, uint32_t index) {
    uint32_t n = SWEEP;
    while (n == SWEEP) {
        struct kicks kicks = {0};
        uint32_t expired[SWEEP];
        lock(s, domain);
        n = sweep_expired(s, domain, index, now_ns(), expired, SWEEP, &kicks);
        unlock(s, domain);
        kick(s, &kicks);
        for (uint32_t k = 0; k < n; k++)
            pool_release(s, expired[k]);
    }
}

static void read_channel(struct shmc *s, uint32_t domain, uint32_t index, shmc_channel_statistics *out) {
    struct channel *c = channel_at(s, index);
    memset(out, 0, sizeof *out);
    if (HINT(c->count))
        sweep_all(s, domain, index);
    lock(s, domain);
    uint64_t now = now_ns();
    out->name_length = c->name_length <= NAME_MAX_BYTES ? c->name_length : 0;
    memcpy(out->name, c->name, out->name_length);
    out->domain = domain;
    out->pending = c->count;
    out->sent = c->sent;
    out->delivered = c->delivered;
    out->redelivered = c->redelivered;
    out->refused = c->refused;
    for (uint32_t k = 0; k < SHMC_CAUSES; k++)
        out->dropped[k] = c->dropped[k];
    uint64_t elapsed = now - c->window_ns;
    if (c->window_ns && elapsed >= 2 * SECOND_NS) {
        ; /* nothing came in the last second, else the window would be younger */
    } else if (c->window_ns && elapsed >= SECOND_NS) {
        out->sent_per_second = (double)(c->sent - c->window_sent) * SECOND_NS / (double)elapsed;
        out->full_per_second = (double)(c->refused - c->window_full) * SECOND_NS / (double)elapsed;
    } else if (c->rate_ns) {
        out->sent_per_second = (double)c->rate_sent * SECOND_NS / (double)c->rate_ns;
        out->full_per_second = (double)c->rate_full * SECOND_NS / (double)c->rate_ns;
    } else {
        out->sent_per_second = (double)c->sent;
        out->full_per_second = (double)c->refused;
    }
    uint32_t heads[] = {c->age_head, c->run_head & LANE_BIT ? 0 : c->run_head};
    for (int k = 0; k < 2; k++) {
        double age = heads[k] ? (double)(now - descriptor_at(s, heads[k])->queued_ns) / (double)SECOND_NS : 0;
        out->max_age = age > out->max_age ? age : out->max_age;
    }
    unlock(s, domain);
}

int shmc_channel_read(shmc *s, shmc_target *t, shmc_channel_statistics *out) {
    REQUIRE(s);
    lock(s, t->domain);
    uint32_t index = channel_find(s, t->domain, t->name, t->queue_length, t->hash);
    uint32_t virtual_ = index && t->virtual_hash ? virtual_find(s, t->virtual_hash, index) : 0;
    uint32_t count = virtual_ ? virtual_at(s, virtual_)->count : 0;
    unlock(s, t->domain);
    memset(out, 0, sizeof *out);
    if (!index)
        return RESULT(s, SHMC_EMPTY);
    read_channel(s, t->domain, index, out);
    if (t->virtual_hash)
        out->pending = count;
    return RESULT(s, SHMC_OK);
}

int shmc_channels(shmc *s, uint32_t *cursor, uint32_t limit, shmc_channel_statistics *out, uint32_t *count) {
    REQUIRE(s);
    *count = 0;
    for (; *cursor < 3 * CHANNELS && *count < limit; ++*cursor) {
        uint32_t domain = SHMC_WORK + *cursor / CHANNELS;
        if (channel_bit(*cursor) && HINT(channel_at(s, *cursor)->used))
            read_channel(s, domain, *cursor, &out[(*count)++]);
    }
    return RESULT(s, SHMC_OK);
}

int shmc_statistics_read(shmc *s, shmc_statistics *out) {
    REQUIRE(s);
    memset(out, 0, sizeof *out);
    for (uint32_t index = 0; index < 3 * CHANNELS; index++) {
        if (!channel_bit(index) || !HINT(channel_at(s, index)->used))
            continue;
        shmc_channel_statistics c;
        read_channel(s, SHMC_WORK + index / CHANNELS, index, &c);
        out->pending += c.pending;
        out->sent += c.sent;
        out->delivered += c.delivered;
        out->redelivered += c.redelivered;
        out->refused += c.refused;
        for (uint32_t k = 0; k < SHMC_CAUSES; k++)
            out->dropped[k] += c.dropped[k];
        out->sent_per_second += c.sent_per_second;
        out->full_per_second += c.full_per_second;
        out->max_age = c.max_age > out->max_age ? c.max_age : out->max_age;
        out->leased += HINT(channel_at(s, index)->leased);
    }
    for (uint32_t domain = SHMC_WORK; domain <= SHMC_REPLY; domain++) {
        struct domain *d = &s->domains[domain];
        lock(s, domain);
        out->sent += d->folded_sent;
        out->delivered += d->folded_delivered;
        out->redelivered += d->folded_redelivered;
        out->refused += d->folded_refused;
        for (uint32_t k = 0; k < SHMC_CAUSES; k++)
            out->dropped[k] += d->folded_dropped[k];
        unlock(s, domain);
    }
    struct pool *p = s->pool;
    lock(s, SHMC_POOL);
    out->memory_total = s->bytes;
    out->memory_used = p->used_bytes;
    out->dropped[SHMC_CAUSE_MEMORY] += p->memory_dropped;
    out->deaths = p->deaths;
    out->kills = HINT(p->kills);
    for (uint32_t i = 1; i < p->outbox_top && i < OUTBOXES; i++)
        out->outboxes += HINT(outbox_at(s, i)->state) != OUTBOX_FREE;
    for (uint32_t i = 1; i < SLOTS; i++)
        if (slot_at(s, i)->state == SLOT_LIVE) {
            uint64_t stashed = HINT(slot_at(s, i)->stashed);
            out->processes++;
            out->memory_used -= stashed < out->memory_used ? stashed : out->memory_used;
        }
    unlock(s, SHMC_POOL);
    out->undone = HINT(s->header->undone);
    out->groups = HINT(s->counters->groups);
    out->members = HINT(s->counters->members);
    out->connections = HINT(s->counters->connections);
    out->sessions = HINT(s->counters->sessions);
    out->dead_letters = HINT(s->counters->dead_letters);
    return RESULT(s, SHMC_OK);
}

int shmc_processes(shmc *s, uint32_t limit, shmc_process *out, uint32_t *count) {
    REQUIRE(s);
    *count = 0;
    for (uint32_t i = 1; i < SLOTS && *count < limit; i++) {
        struct slot *slot = slot_at(s, i);
        if (HINT(slot->state) != SLOT_LIVE)
            continue;
        shmc_process *p = &out[(*count)++];
        memset(p, 0, sizeof *p);
        p->slot = i;
        p->generation = HINT(slot->generation);
        p->pid = HINT(slot->pid);
        p->alive = slot_is_live(s, i);
        uint32_t owner = i | p->generation << 8;
        for (uint32_t k = 1; k < HINT(s->pool->descriptor_top) && k < s->sizes.descriptors; k++) {
            p->leased += (uint32_t)in_hands_of(descriptor_at(s, k), LEASED, owner);
            p->held += (uint32_t)in_hands_of(descriptor_at(s, k), HELD, owner);
        }
        for (uint32_t k = 1; k < HINT(s->pool->outbox_top) && k < OUTBOXES; k++)
            p->outboxes += HINT(outbox_at(s, k)->owner) == owner;
    }
    return RESULT(s, SHMC_OK);
}

int shmc_leases(shmc *s, uint32_t limit, shmc_lease_info *out, uint32_t *count) {
    REQUIRE(s);
    *count = 0;
    for (uint32_t i = 1; i < HINT(s->pool->descriptor_top) && i < s->sizes.descriptors && *count < limit;
         i++) {
        struct descriptor *d = descriptor_at(s, i);
        uint32_t domain = HINT(d->domain);
        if (HINT(d->state) != LEASED || domain < SHMC_WORK || domain > SHMC_REPLY)
            continue;
        lock(s, domain);
        if (HINT(d->state) == LEASED && HINT(d->domain) == domain && d->address_length <= NAME_MAX_BYTES &&
            d->address_length <= d->length) {
            shmc_lease_info *info = &out[(*count)++];
            struct channel *c = channel_at(s, d->channel);
            memset(info, 0, sizeof *info);
            info->slot = slot_of(d->owner);
            info->pid = HINT(slot_at(s, info->slot)->pid);
            info->attempts = d->attempts;
            info->policy = d->policy;
            info->length = d->length - d->address_length;
            info->age = (double)(now_ns() - d->queued_ns) / (double)SECOND_NS;
            info->channel_length = c->name_length <= NAME_MAX_BYTES ? c->name_length : 0;
            memcpy(info->channel, c->name, info->channel_length);
            info->address_length = d->address_length;
            pool_read(s, d, 0, info->address, d->address_length);
        }
        unlock(s, domain);
    }
    return RESULT(s, SHMC_OK);
}

int shmc_flush(shmc *s) {
    REQUIRE(s);
    for (uint32_t i = 1; i < HINT(s->pool->descriptor_top) && i < s->sizes.descriptors; i++) {
        struct descriptor *d = descriptor_at(s, i);
        uint32_t domain = HINT(d->domain);
        if (HINT(d->state) != QUEUED || domain < SHMC_WORK || domain > SHMC_REPLY)
            continue;
        struct kicks kicks = {0};
        lock(s, domain);
        int ours = HINT(d->state) == QUEUED && HINT(d->domain) == domain;
        if (ours) {
            count_drop(s, domain, d->channel, SHMC_CAUSE_FLUSH, 1);
            queue_unlink(s, i, &kicks);
        }
        unlock(s, domain);
        kick(s, &kicks);
        if (ours)
            pool_release(s, i);
        if (HINT(s->header->poisoned))
            return SHMC_E_CORRUPT;
    }
    group_flush(s);
    presence_flush(s);
    history_flush(s);
    session_flush(s);
    return RESULT(s, SHMC_OK);
}
