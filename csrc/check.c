/* check.c: is the segment what the rules say? Meant for a moment when nobody is in the middle of anything:
 * each domain is looked at under its lock, but what moves between domains meanwhile would look wrong.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "internal.h"

struct report {
    char *text;
    uint64_t capacity;
    int bad;
};

static __attribute__((format(printf, 2, 3))) void bad(struct report *r, const char *format, ...) {
    if (r->bad++ || !r->capacity)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->text, r->capacity, format, arguments);
    va_end(arguments);
}

#define EXPECT(condition, ...)                                                                               \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            bad(r, __VA_ARGS__);                                                                             \
    } while (0)

/* The mark of a record; a link out of the table has number 0's, and poisons when it is followed. */
#define MARK(table, index) table[(index) < s->sizes.descriptors ? (index) : 0]

static uint32_t cell_of(struct shmc *s, uint32_t cell) {
    return cell < s->sizes.chunks * CELLS ? cell : 0;
}

/* Up to where each table was ever used: what the walks below go by. */
static void check_tops(struct shmc *s, struct report *r) {
    const struct pool *p = s->pool;
    const struct counters *k = s->counters;
    const struct sizes *z = &s->sizes;
    EXPECT(p->descriptor_top <= z->descriptors && p->outbox_top <= OUTBOXES && p->chunk_top <= z->chunks &&
               k->lane_top <= z->descriptors && k->connection_top <= z->connections &&
               k->session_top <= z->sessions && k->group_top <= z->groups && k->history_top <= z->histories &&
               k->presence_top <= z->presences,
           "a table is used beyond its end");
}

/* The delay process notes only what is of a batch. */
static void check_delay(struct shmc *s, uint32_t domain, struct report *r) {
    struct domain *d = &s->domains[domain];
    EXPECT(!d->delay_mask == !d->delay_batch, "domain %u: batch %llx of the delay process with mask %llx",
           domain, (unsigned long long)d->delay_batch, (unsigned long long)d->delay_mask);
}

/* seen[index]: how often a record was met on a list */
static void check_channels(struct shmc *s, uint32_t domain, uint8_t *seen, uint8_t *lanes, struct report *r) {
    struct domain *d = &s->domains[domain];
    for (uint32_t bit = 1; bit < CHANNELS && !r->bad; bit++) {
        uint32_t index = (domain - 1) * CHANNELS + bit, last = 0, steps = 0, aged = 0;
        struct channel *c = channel_at(s, index);
        int ready = d->ready[bit / 64] >> (bit % 64) & 1;
        if (!c->used) {
            EXPECT(!ready && !c->run_head && !c->count, "unused channel %u is not empty", index);
            continue;
        }
        EXPECT(c->name_length <= NAME_MAX_BYTES && hash_bytes(s->seed, c->name, c->name_length) == c->hash,
               "channel %u has another name than its hash says", index);
        if (r->bad)
            return;
        EXPECT(channel_find(s, domain, c->name, c->name_length, c->hash) == index,
               "channel %u is not found by its name", index);
        EXPECT(ready == (c->run_head != 0), "channel %u: ready bit %d, head %u", index, ready, c->run_head);
        EXPECT(!(d->ready[bit / 64]) == !(d->summary >> (bit / 64) & 1), "summary of word %u", bit / 64);
        for (uint32_t entry = c->run_head; entry && !r->bad;) {
            EXPECT(++steps < s->sizes.descriptors, "channel %u: endless run list", index);
            uint32_t before = last;
            last = entry;
            if (entry & LANE_BIT) {
                uint32_t lane = entry & ~LANE_BIT;
                struct lane *l = lane_at(s, lane);
                EXPECT(domain == SHMC_WORK && lane < s->sizes.descriptors, "channel %u lists lane %u", index,
                       lane);
                if (r->bad)
                    return;
                EXPECT(l->run_prev == before, "lane %u: link back", lane);
                EXPECT(l->state == LANE_READY && l->channel == index && !MARK(lanes, lane)++,
                       "lane %u on the list of %u", lane, index);
                EXPECT(l->head && descriptor_at(s, l->head)->channel == index,
                       "lane %u: head in another channel", lane);
                entry = l->run_next;
            } else {
                struct descriptor *m = descriptor_at(s, entry);
                EXPECT(entry < s->sizes.descriptors && m->run_prev == before, "message %u: link back", entry);
                if (r->bad)
                    return;
                EXPECT(m->state == QUEUED && m->channel == index && m->domain == domain && !m->lane &&
                           !MARK(seen, entry)++,
                       "message %u on the list of channel %u", entry, index);
                entry = m->run_next;
            }
        }
        EXPECT(c->run_tail == last || !c->run_head, "channel %u: tail %u, last is %u", index, c->run_tail,
               last);
        EXPECT(c->run_head || !c->run_tail, "channel %u: tail without a head", index);
        steps = 0;
        for (uint32_t i = c->age_head, before = 0; i && !r->bad;
             before = i, i = descriptor_at(s, i)->age_next) {
            struct descriptor *m = descriptor_at(s, i);
            EXPECT(++steps < s->sizes.descriptors, "channel %u: endless age list", index);
            EXPECT(m->age_prev == before && m->state == QUEUED && m->channel == index && m->deadline_ns,
                   "message %u by age", i);
            aged++;
        }
        EXPECT(aged <= c->count, "channel %u: %u by age, %u in all", index, aged, c->count);
    }
}

static void check_lanes(struct shmc *s, uint8_t *seen, uint8_t *lanes, struct report *r) {
    struct counters *k = s->counters;
    struct domain *d = &s->domains[SHMC_WORK];
    uint32_t steps = 0;
    for (uint32_t entry = d->delayed_head; entry && !r->bad;) {
        EXPECT(++steps < s->sizes.descriptors, "endless delayed list");
        if (entry & LANE_BIT) {
            struct lane *l = lane_at(s, entry & ~LANE_BIT);
            EXPECT(l->state == LANE_RESTING && !MARK(lanes, entry & ~LANE_BIT)++, "lane %u rests",
                   entry & ~LANE_BIT);
            entry = l->run_next;
        } else {
            struct descriptor *m = descriptor_at(s, entry);
            EXPECT(m->state == QUEUED && m->not_before_ns && !MARK(seen, entry)++, "message %u rests", entry);
            entry = m->run_next;
        }
    }
    for (uint32_t lane = 1; lane < k->lane_top && !r->bad; lane++) {
        struct lane *l = lane_at(s, lane);
        if (l->state == LANE_IDLE)
            continue;
        EXPECT(lane_find(s, l->key) == lane, "lane %u is not found by its key", lane);
        EXPECT(lanes[lane] == (l->state != LANE_RUNNING), "lane %u in state %u is on %u lists", lane,
               l->state, lanes[lane]);
        EXPECT((l->owner != 0) == (l->state == LANE_RUNNING), "lane %u in state %u has owner %x", lane,
               l->state, l->owner);
        uint32_t n = 0, before = 0;
        for (uint32_t i = l->head; i && !r->bad; before = i, i = descriptor_at(s, i)->next, n++) {
            struct descriptor *m = descriptor_at(s, i);
            EXPECT(n < s->sizes.descriptors, "lane %u: endless", lane);
            EXPECT(m->prev == before && m->state == QUEUED && m->lane == lane && !MARK(seen, i)++,
                   "message %u in lane %u", i, lane);
        }
        EXPECT(n == l->count && before == l->tail, "lane %u: %u messages, says %u", lane, n, l->count);
    }
    uint32_t free_ = 0;
    for (uint32_t lane = k->lane_free; lane && !r->bad; lane = lane_at(s, lane)->hash_next)
        EXPECT(lane_at(s, lane)->state == LANE_IDLE && ++free_ < s->sizes.descriptors, "free lane %u", lane);
    for (uint32_t i = 1; i < k->connection_top && !r->bad; i++) {
        struct connection *c = connection_at(s, i);
        if (c->used)
            EXPECT(descriptor_at(s, c->disconnect)->state == RESERVED && !MARK(seen, c->disconnect)++,
                   "disconnect of connection %u", i);
    }
    uint32_t sessions = 0;
    for (uint32_t i = 1; i < k->session_top && !r->bad; i++) {
        struct session *e = session_at(s, i);
        if (!e->key)
            continue;
        sessions++;
        EXPECT(session_find(s, e->key) == i, "session %u is not found by its key", i);
        EXPECT(e->payload && descriptor_at(s, e->payload)->state == RESERVED && !seen[e->payload]++,
               "payload of session %u", i);
    }
    EXPECT(sessions == k->sessions, "%u sessions, says %u", sessions, k->sessions);
}

static void check_histories(struct shmc *s, uint8_t *seen, struct report *r) {
    struct counters *k = s->counters;
    uint64_t messages = 0, bytes = 0;
    uint32_t histories = 0, aged = 0;
    for (uint32_t i = 1; i < k->history_top && !r->bad; i++) {
        struct history *h = history_at(s, i);
        uint32_t n = 0, before = 0;
        uint64_t own = 0;
        if (!h->used)
            continue;
        histories++;
        EXPECT(h->name_length <= NAME_MAX_BYTES && history_find(s, h->name, h->name_length) == i,
               "history %u is not found by its group", i);
        for (uint32_t m = h->head; m && !r->bad; before = m, m = descriptor_at(s, m)->run_next, n++) {
            struct descriptor *d = descriptor_at(s, m);
            own += d->length + sizeof *d;
            EXPECT(d->state == RESERVED && !MARK(seen, m)++ && d->run_prev == before && n < h->count,
                   "message %u of history %u", m, i);
        }
        EXPECT(n == h->count && before == h->tail && own == h->bytes && h->offset >= n,
               "history %u: %u messages, says %u up to offset %llu", i, n, h->count,
               (unsigned long long)h->offset);
        messages += n;
        bytes += own;
    }
    EXPECT(messages == k->history_messages && bytes == k->history_bytes,
           "%llu messages in histories, says %llu", (unsigned long long)messages,
           (unsigned long long)k->history_messages);
    uint32_t before = 0;
    for (uint32_t i = k->history_head; i && !r->bad; before = i, i = history_at(s, i)->age_next)
        EXPECT(++aged <= histories && history_at(s, i)->used && history_at(s, i)->age_prev == before,
               "history %u by age", i);
    EXPECT(aged == histories && before == k->history_tail, "%u histories by age, %u in all", aged, histories);
}

/* members[index]: how many memberships name this user */
static void check_presences(struct shmc *s, const uint32_t *members, struct report *r) {
    struct counters *k = s->counters;
    uint32_t presences = 0, listed = 0, owed = 0, before = 0;
    for (uint32_t i = 1; i < k->presence_top && !r->bad; i++) {
        struct presence *p = presence_at(s, i);
        EXPECT(p->used ? p->count == members[i] : !members[i], "user %u: %u memberships, says %u", i,
               members[i], p->count);
        if (!p->used)
            continue;
        presences++;
        listed += p->listed;
        EXPECT(p->user_length <= NAME_MAX_BYTES &&
                   presence_find(s, p->group_hash, p->user, p->user_length) == i,
               "user %u is not found", i);
        EXPECT(!p->listed == !(p->claim || (p->count != 0) != (p->told != 0)) && (p->count || p->listed),
               "user %u: %u memberships, told %u, on the list %u", i, p->count, p->told, p->listed);
    }
    EXPECT(presences == k->presences, "%u users, says %u", presences, k->presences);
    for (uint32_t i = k->owed_head; i && !r->bad; before = i, i = presence_at(s, i)->owed_next)
        EXPECT(++owed <= listed && presence_at(s, i)->listed && presence_at(s, i)->owed_prev == before,
               "user %u on the owed list", i);
    EXPECT(owed == listed && before == k->owed_tail, "%u users are owed, %u on the list", listed, owed);
}

static void check_groups(struct shmc *s, struct report *r) {
    struct counters *k = s->counters;
    uint32_t *named = calloc(s->sizes.presences, sizeof *named);
    if (!named) {
        bad(r, "no memory for the check");
        return;
    }
    uint32_t members = 0, groups = 0;
    for (uint32_t g = 1; g < k->group_top && !r->bad; g++) {
        struct group *at = group_at(s, g);
        if (!at->used)
            continue;
        groups++;
        uint32_t count = 0, steps = 0;
        EXPECT(at->branch_head, "group %u is empty", g);
        for (uint32_t b = at->branch_head; b && !r->bad; b = branch_at(s, b)->next) {
            uint32_t n = 0, before = 0;
            EXPECT(++steps < s->sizes.branches, "group %u: endless list of branches", g);
            EXPECT(branch_at(s, b)->group == g && branch_at(s, b)->member_head, "branch %u of group %u", b,
                   g);
            for (uint32_t m = branch_at(s, b)->member_head; m && !r->bad;
                 named[member_at(s, m)->presence < s->sizes.presences ? member_at(s, m)->presence : 0]++,
                          before = m, m = member_at(s, m)->next, n++)
                EXPECT(n < s->sizes.members && member_at(s, m)->branch == b &&
                           member_at(s, m)->prev == before,
                       "member %u", m);
            EXPECT(n == branch_at(s, b)->count, "branch %u: %u members, says %u", b, n,
                   branch_at(s, b)->count);
            count += n;
        }
        EXPECT(count == at->count, "group %u: %u members, says %u", g, count, at->count);
        members += count;
    }
    EXPECT(groups == k->groups && members == k->members, "%u groups and %u members, says %u and %u", groups,
           members, k->groups, k->members);
    uint32_t aged = 0;
    for (uint32_t m = k->member_age_head; m && !r->bad; m = member_at(s, m)->age_next)
        EXPECT(++aged <= members, "members by age: more than %u", members);
    EXPECT(aged == members, "%u members by age, %u in all", aged, members);
    if (!r->bad)
        check_presences(s, named, r);
    free(named);
}

static void mark_chain(struct shmc *s, uint32_t cell, uint8_t *blocks, uint64_t *bytes, struct report *r) {
    for (uint32_t steps = 0; cell && !r->bad; cell = block_at(s, cell)->next) {
        EXPECT(cell < s->sizes.chunks * CELLS && ++steps <= s->sizes.chunks,
               "a chain of blocks is damaged at %u", cell);
        if (r->bad)
            return;
        uint32_t class_ = chunk_at(s, cell / CELLS)->class_;
        EXPECT(class_ >= 1 && class_ <= CLASSES, "block %u lies in a free chunk", cell);
        if (r->bad || blocks[cell])
            return;
        blocks[cell] = 1;
        *bytes += (uint64_t)CELL << (class_ - 1);
    }
}

static void check_pool(struct shmc *s, uint8_t *seen, struct report *r) {
    struct pool *p = s->pool;
    uint32_t *references = calloc((uint64_t)s->sizes.chunks * CELLS, sizeof *references);
    uint8_t *blocks = calloc((uint64_t)s->sizes.chunks * CELLS, 1);
    if (!references || !blocks) {
        bad(r, "no memory for the check");
        free(references);
        free(blocks);
        return;
    }
    uint64_t bytes = 0, used = 0;
    uint32_t steps = 0;
    for (uint32_t i = p->descriptor_free; i && !r->bad; i = descriptor_at(s, i)->next)
        EXPECT(++steps < s->sizes.descriptors && descriptor_at(s, i)->state == FREE && !MARK(seen, i)++,
               "free message %u", i);
    for (uint32_t i = 1; i < p->descriptor_top && !r->bad; i++) {
        struct descriptor *d = descriptor_at(s, i);
        int alone = d->state == HELD || d->state == LEASED || d->state == MOVING;
        EXPECT(seen[i] == !alone, "message %u in state %u is on %u lists", i, d->state, seen[i]);
        EXPECT(!alone || d->state == MOVING || is_somebody(s, d->owner), "message %u in state %u is nobody's",
               i, d->state);
        if (d->state == FREE)
            continue;
        used++;
        EXPECT(d->payload < s->sizes.chunks * CELLS, "message %u: payload %u", i, d->payload);
        if (d->payload && !r->bad) {
            references[d->payload]++;
            mark_chain(s, d->payload, blocks, &bytes, r);
        }
    }
    for (uint32_t i = 1; i < p->outbox_top && !r->bad; i++)
        for (uint32_t k = 0; k < ITEM_BLOCKS; k++)
            if (outbox_at(s, i)->blocks[k]) {
                references[cell_of(s, outbox_at(s, i)->blocks[k])]++;
                mark_chain(s, outbox_at(s, i)->blocks[k], blocks, &bytes, r);
            }
    for (uint32_t cell = 0; cell < s->sizes.chunks * CELLS && !r->bad; cell++)
        EXPECT(!references[cell] || block_at(s, cell)->references == references[cell],
               "block %u has %u references, says %u", cell, references[cell], block_at(s, cell)->references);
    EXPECT(bytes + used * sizeof(struct descriptor) == p->used_bytes, "%llu bytes in use, the pool says %llu",
           (unsigned long long)(bytes + used * sizeof(struct descriptor)), (unsigned long long)p->used_bytes);
    for (uint32_t index = 1; index < p->chunk_top && !r->bad; index++) {
        struct chunk *c = chunk_at(s, index);
        if (!c->class_)
            continue;
        uint32_t n = 0;
        for (uint32_t k = 0; k < CELLS; k++)
            n += blocks[index * CELLS + k];
        EXPECT(n == c->used, "chunk %u: %u blocks in use, says %u", index, n, c->used);
    }
    free(references);
    free(blocks);
}

/* Each channel counts what is in it, and each lane that runs is that of one lease. */
static void check_counts(struct shmc *s, struct report *r) {
    uint32_t *queued = calloc(3 * CHANNELS, sizeof *queued), *leased = calloc(3 * CHANNELS, sizeof *leased);
    uint8_t *running = calloc(s->sizes.descriptors, 1);
    int enough = queued && leased && running;
    for (uint32_t i = 1; enough && i < s->pool->descriptor_top; i++) {
        struct descriptor *d = descriptor_at(s, i);
        if (d->channel >= 3 * CHANNELS)
            continue;
        queued[d->channel] += d->state == QUEUED;
        leased[d->channel] += d->state == LEASED;
        if (d->state == LEASED && d->lane < s->sizes.descriptors)
            running[d->lane]++;
    }
    for (uint32_t i = 0; enough && i < 3 * CHANNELS && !r->bad; i++)
        EXPECT(channel_at(s, i)->count == queued[i] && channel_at(s, i)->leased == leased[i],
               "channel %u: %u queued and %u leased, says %u and %u", i, queued[i], leased[i],
               channel_at(s, i)->count, channel_at(s, i)->leased);
    for (uint32_t i = 1; enough && i < s->counters->lane_top && !r->bad; i++)
        EXPECT(running[i] == (lane_at(s, i)->state == LANE_RUNNING),
               "lane %u in state %u is that of %u leases", i, lane_at(s, i)->state, running[i]);
    free(queued);
    free(leased);
    free(running);
}

int shmc_check(shmc *s, char *text, uint64_t capacity) {
    REQUIRE(s);
    struct report report = {text, capacity, 0}, *r = &report;
    if (capacity)
        text[0] = 0;
    uint8_t *seen = calloc(s->sizes.descriptors, 1), *lanes = calloc(s->sizes.descriptors, 1);
    if (!seen || !lanes) {
        free(seen);
        free(lanes);
        return SHMC_E_SYSTEM;
    }
    settle_logs(s);
    check_tops(s, r);
    for (uint32_t domain = SHMC_WORK; domain <= SHMC_REPLY; domain++) {
        lock(s, domain);
        if (!r->bad)
            check_channels(s, domain, seen, lanes, r);
        if (!r->bad)
            check_delay(s, domain, r);
        if (domain == SHMC_WORK && !r->bad)
            check_lanes(s, seen, lanes, r);
        if (domain == SHMC_REPLY && !r->bad)
            check_histories(s, seen, r);
        unlock(s, domain);
    }
    lock(s, SHMC_GROUP);
    if (!r->bad)
        check_groups(s, r);
    unlock(s, SHMC_GROUP);
    lock(s, SHMC_POOL);
    if (!r->bad)
        check_pool(s, seen, r);
    unlock(s, SHMC_POOL);
    if (!r->bad)
        check_counts(s, r);
    free(seen);
    free(lanes);
    if (HINT(s->header->poisoned))
        bad(r, "the segment is poisoned: a process read an index that is out of bounds");
    return report.bad ? SHMC_E_CORRUPT : SHMC_OK;
}
