/* channel.c: the channel table of each domain, and the two lists that every channel has: what is ready to
 * run, and all by age. Everything here is under the domain's lock.
 *
 * Entries are made by whoever first names a channel. They stay until the table is full; then one that holds
 * nothing is used again, its counters folded into the domain's.
 */
#include "internal.h"

static uint32_t *bucket_of(struct shmc *s, uint32_t domain, uint64_t hash) {
    return &s->domains[domain].buckets[hash & (BUCKETS - 1)];
}

uint32_t channel_find(struct shmc *s, uint32_t domain, const char *name, uint32_t length, uint64_t hash) {
    uint32_t steps = 0;
    for (uint32_t i = *bucket_of(s, domain, hash); i; i = channel_at(s, i)->hash_next) {
        if (endless(s, &steps, CHANNELS))
            return 0;
        struct channel *c = channel_at(s, i);
        if (c->hash == hash && c->name_length == length && !memcmp(c->name, name, length))
            return i;
    }
    return 0;
}

static void unhash(struct shmc *s, uint32_t domain, uint32_t index) {
    struct channel *c = channel_at(s, index);
    uint32_t *bucket = bucket_of(s, domain, c->hash), at = *bucket, steps = 0;
    if (at == index) {
        SET(s, domain, *bucket, c->hash_next);
        return;
    }
    while (at && channel_at(s, at)->hash_next != index && !endless(s, &steps, CHANNELS))
        at = channel_at(s, at)->hash_next;
    if (at)
        SET(s, domain, channel_at(s, at)->hash_next, c->hash_next);
}

static int awaited(struct shmc *s, uint32_t domain, uint32_t channel) {
    uint32_t bit = channel_bit(channel), steps = 0;
    for (uint32_t w = s->domains[domain].idle_head; w && !endless(s, &steps, WAITERS);
         w = idle_at(s, domain, w)->next)
        if (idle_at(s, domain, w)->bits[bit / 64] >> (bit % 64) & 1)
            return 1;
    return 0;
}

/* Use an entry again that holds nothing and that nobody waits for. */
static uint32_t reuse(struct shmc *s, uint32_t domain) {
    struct domain *d = &s->domains[domain];
    for (uint32_t step = 0; step < CHANNELS; step++) {
        uint32_t bit = (d->hand + step) & (CHANNELS - 1);
        uint32_t index = (domain - 1) * CHANNELS + bit;
        struct channel *c = channel_at(s, index);
        if (!bit || !c->used || c->count || c->leased || c->virtuals || c->flags & PINNED ||
            (c->flags & OWNED && !(c->flags & DEAD)) || awaited(s, domain, index))
            continue;
        SET(s, domain, d->hand, bit + 1);
        unhash(s, domain, index);
        SET(s, domain, d->folded_sent, d->folded_sent + c->sent);
        SET(s, domain, d->folded_delivered, d->folded_delivered + c->delivered);
        SET(s, domain, d->folded_redelivered, d->folded_redelivered + c->redelivered);
        SET(s, domain, d->folded_refused, d->folded_refused + c->refused);
        for (uint32_t k = 0; k < SHMC_CAUSES; k++)
            if (c->dropped[k])
                SET(s, domain, d->folded_dropped[k], d->folded_dropped[k] + c->dropped[k]);
        return index;
    }
    return 0;
}

/* Two channels are kept by the core itself: what waits for the delay process, and dead letters. */
static uint32_t flags_of(const char *name, uint32_t length) {
    if (length == 10 && !memcmp(name, "asgi.delay", 10))
        return LASTING | KEPT;
    return length == 12 && !memcmp(name, "shmchan.dead", 12) ? LASTING : 0;
}

uint32_t channel_make(struct shmc *s, uint32_t domain, const char *name, uint32_t length, uint64_t hash) {
    struct domain *d = &s->domains[domain];
    uint32_t index;
    if (d->channel_top < CHANNELS) {
        index = (domain - 1) * CHANNELS + d->channel_top;
        SET(s, domain, d->channel_top, d->channel_top + 1);
    } else if (!(index = reuse(s, domain)))
        return 0;
    struct channel *c = channel_at(s, index);
    SET(s, domain, c->generation, c->generation + 1);
    SET(s, domain, c->used, 1);
    SET(s, domain, c->hash, hash);
    SET(s, domain, c->flags, flags_of(name, length));
    SET(s, domain, c->owner, 0);
    SET(s, domain, c->sent, 0);
    SET(s, domain, c->delivered, 0);
    SET(s, domain, c->redelivered, 0);
    SET(s, domain, c->refused, 0);
    for (uint32_t k = 0; k < SHMC_CAUSES; k++)
        SET(s, domain, c->dropped[k], 0);
    SET(s, domain, c->window_ns, 0);
    SET(s, domain, c->window_sent, 0);
    SET(s, domain, c->window_full, 0);
    SET(s, domain, c->rate_ns, 0);
    SET(s, domain, c->rate_sent, 0);
    SET(s, domain, c->rate_full, 0);
    SET(s, domain, c->name_length, length);
    uint32_t words[NAME_MAX_BYTES / 4] = {0};
    memcpy(words, name, length);
    for (uint32_t k = 0; k < NAME_MAX_BYTES / 4; k++)
        SET(s, domain, ((uint32_t *)(void *)c->name)[k], words[k]);
    uint32_t *bucket = bucket_of(s, domain, hash);
    SET(s, domain, c->hash_next, *bucket);
    SET(s, domain, *bucket, index);
    return index;
}

/* The channel of a target, made if need be; 0 when the table is full. */
uint32_t target_channel(struct shmc *s, shmc_target *t) {
    if (t->channel) {
        struct channel *c = channel_at(s, t->channel);
        if (c->generation == t->generation && c->used)
            return t->channel;
    }
    uint32_t index = channel_find(s, t->domain, t->name, t->queue_length, t->hash);
    if (!index)
        index = channel_make(s, t->domain, t->name, t->queue_length, t->hash);
    t->channel = index;
    t->generation = index ? channel_at(s, index)->generation : 0;
    return index;
}

/* It was full: whoever sent was told, and still has the message. */
void count_refusal(struct shmc *s, uint32_t domain, uint32_t channel) {
    struct channel *c = channel_at(s, channel);
    SET(s, domain, c->refused, c->refused + 1);
}

void count_drop(struct shmc *s, uint32_t domain, uint32_t channel, uint32_t cause, uint64_t n) {
    struct channel *c = channel_at(s, channel);
    SET(s, domain, c->dropped[cause], c->dropped[cause] + n);
}

/* --- the run list: messages without a key, and lanes (LANE_BIT) --- */

static uint32_t *next_of(struct shmc *s, uint32_t entry) {
    return entry & LANE_BIT ? &lane_at(s, entry & ~LANE_BIT)->run_next : &descriptor_at(s, entry)->run_next;
}
static uint32_t *prev_of(struct shmc *s, uint32_t entry) {
    return entry & LANE_BIT ? &lane_at(s, entry & ~LANE_BIT)->run_prev : &descriptor_at(s, entry)->run_prev;
}
static uint64_t number_of(struct shmc *s, uint32_t entry) {
    return descriptor_at(s, entry & LANE_BIT ? lane_at(s, entry & ~LANE_BIT)->head : entry)->number;
}

static void set_ready(struct shmc *s, uint32_t domain, uint32_t channel, int ready) {
    struct domain *d = &s->domains[domain];
    uint32_t bit = channel_bit(channel), word = bit / 64;
    uint64_t mask = 1ull << (bit % 64), value = ready ? d->ready[word] | mask : d->ready[word] & ~mask;
    SET(s, domain, d->ready[word], value);
    uint64_t summary = value ? d->summary | 1ull << word : d->summary & ~(1ull << word);
    if (summary != d->summary)
        SET(s, domain, d->summary, summary);
}

/* A message that is not QUEUED yet, nor was when the section began: its links say nothing to anybody. */
static int is_fresh(struct shmc *s, uint32_t entry) {
    return !(entry & LANE_BIT) && descriptor_at(s, entry)->state != QUEUED;
}

/* Between `before` and `after` (0: at that end) of the list whose ends are head and tail. */
static void link_between(struct shmc *s, uint32_t domain, uint32_t *head, uint32_t *tail, uint32_t before,
                         uint32_t entry, uint32_t after) {
    if (is_fresh(s, entry)) {
        PUT(*prev_of(s, entry), before);
        PUT(*next_of(s, entry), after);
    } else {
        SET(s, domain, *prev_of(s, entry), before);
        SET(s, domain, *next_of(s, entry), after);
    }
    if (before)
        SET(s, domain, *next_of(s, before), entry);
    else
        SET(s, domain, *head, entry);
    if (after)
        SET(s, domain, *prev_of(s, after), entry);
    else
        SET(s, domain, *tail, entry);
}

static void unlink_entry(struct shmc *s, uint32_t domain, uint32_t *head, uint32_t *tail, uint32_t entry) {
    uint32_t before = *prev_of(s, entry), after = *next_of(s, entry);
    if (__builtin_expect((before ? *next_of(s, before) : *head) != entry, 0)) {
        poison(s); /* not on this list: who empties it would never come to an end */
        return;
    }
    if (before)
        SET(s, domain, *next_of(s, before), after);
    else
        SET(s, domain, *head, after);
    if (after)
        SET(s, domain, *prev_of(s, after), before);
    else
        SET(s, domain, *tail, before);
}

/* where: TAIL, or SORTED by enqueue number, which is near the head for what comes back. */
void run_push(struct shmc *s, uint32_t domain, uint32_t channel, uint32_t entry, int where) {
    struct channel *c = channel_at(s, channel);
    uint32_t after = 0, before = c->run_tail, steps = 0;
    if (where == SORTED) {
        after = c->run_head;
        before = 0;
        while (after && number_of(s, after) < number_of(s, entry) &&
               !endless(s, &steps, s->sizes.descriptors)) {
            before = after;
            after = *next_of(s, after);
        }
    }
    int was_empty = !c->run_head;
    link_between(s, domain, &c->run_head, &c->run_tail, before, entry, after);
    if (was_empty)
        set_ready(s, domain, channel, 1);
}

void run_remove(struct shmc *s, uint32_t domain, uint32_t channel, uint32_t entry) {
    struct channel *c = channel_at(s, channel);
    unlink_entry(s, domain, &c->run_head, &c->run_tail, entry);
    if (!c->run_head)
        set_ready(s, domain, channel, 0);
}

/* --- the delayed list: what waits for its time, soonest first --- */

static uint64_t due_of(struct shmc *s, uint32_t entry) {
    return descriptor_at(s, entry & LANE_BIT ? lane_at(s, entry & ~LANE_BIT)->head : entry)->not_before_ns;
}

void delay_push(struct shmc *s, uint32_t domain, uint32_t entry, uint64_t due_ns) {
    struct domain *d = &s->domains[domain];
    uint32_t before = d->delayed_tail, after = 0, steps = 0;
    while (before && due_of(s, before) > due_ns && !endless(s, &steps, s->sizes.descriptors)) {
        after = before;
        before = *prev_of(s, before);
    }
    link_between(s, domain, &d->delayed_head, &d->delayed_tail, before, entry, after);
}

void delay_remove(struct shmc *s, uint32_t domain, uint32_t entry) {
    struct domain *d = &s->domains[domain];
    unlink_entry(s, domain, &d->delayed_head, &d->delayed_tail, entry);
}

void delayed_due(struct shmc *s, uint64_t now, struct kicks *kicks) {
    struct domain *d = &s->domains[SHMC_WORK];
    for (uint32_t n = 0; n < 16 && d->delayed_head; n++) {
        uint32_t entry = d->delayed_head;
        if (due_of(s, entry) > now)
            return;
        delay_remove(s, SHMC_WORK, entry);
        uint32_t index = entry & LANE_BIT ? lane_at(s, entry & ~LANE_BIT)->head : entry;
        struct descriptor *m = descriptor_at(s, index);
        SET(s, SHMC_WORK, m->not_before_ns, 0);
        if (entry & LANE_BIT)
            lane_schedule(s, entry & ~LANE_BIT, kicks);
        else {
            run_push(s, SHMC_WORK, m->channel, entry, TAIL);
            wake_one(s, SHMC_WORK, m->channel, kicks);
        }
        commit(s, SHMC_WORK);
    }
}

/* When the next delayed entry is due; 0 if there is none. A hint, read without the lock. */
uint64_t delayed_next(struct shmc *s) {
    uint32_t entry = HINT(s->domains[SHMC_WORK].delayed_head), index = entry & ~LANE_BIT;
    if (!entry || index >= s->sizes.descriptors)
        return 0;
    if (entry & LANE_BIT)
        index = HINT(s->lanes[index].head);
    return index && index < s->sizes.descriptors ? HINT(s->descriptors[index].not_before_ns) : 0;
}

/* --- all that can expire, oldest first --- */

void age_push(struct shmc *s, uint32_t domain, uint32_t index) {
    struct descriptor *d = descriptor_at(s, index);
    struct channel *c = channel_at(s, d->channel);
    PUT(d->age_prev, c->age_tail); /* it is fresh */
    PUT(d->age_next, 0);
    if (c->age_tail)
        SET(s, domain, descriptor_at(s, c->age_tail)->age_next, index);
    else
        SET(s, domain, c->age_head, index);
    SET(s, domain, c->age_tail, index);
}

void age_remove(struct shmc *s, uint32_t domain, uint32_t index) {
    struct descriptor *d = descriptor_at(s, index);
    struct channel *c = channel_at(s, d->channel);
    if (d->age_prev)
        SET(s, domain, descriptor_at(s, d->age_prev)->age_next, d->age_next);
    else
        SET(s, domain, c->age_head, d->age_next);
    if (d->age_next)
        SET(s, domain, descriptor_at(s, d->age_next)->age_prev, d->age_prev);
    else
        SET(s, domain, c->age_tail, d->age_prev);
}
