/* group.c: who belongs to which group. Everything is under GROUP, which is never held together with another
 * lock.
 *
 * The members of a group stand in branches: one for each '!' prefix (the queue of one front), one for all
 * names without. A send to the group asks for the branches first, and writes one record for each that a front
 * owns.
 */
#include <stdlib.h>

#include "internal.h"

enum { PURGE = 8, PIECE = 256 };

/* --- tables --- */

static uint32_t take(struct shmc *s, uint32_t *free_, uint32_t *top, uint32_t limit, uint32_t next) {
    uint32_t index = *free_;
    if (index)
        SET(s, SHMC_GROUP, *free_, next);
    else if (*top < limit) {
        index = *top;
        SET(s, SHMC_GROUP, *top, index + 1);
    }
    return index;
}

static void set_name(struct shmc *s, char *field, const char *name, uint32_t length) {
    uint32_t words[NAME_MAX_BYTES / 4] = {0};
    memcpy(words, name, length);
    for (uint32_t k = 0; k < NAME_MAX_BYTES / 4; k++)
        SET(s, SHMC_GROUP, ((uint32_t *)(void *)field)[k], words[k]);
}

static uint32_t *group_bucket(struct shmc *s, uint64_t hash) {
    return &s->group_buckets[hash & (s->sizes.group_buckets - 1)];
}
static uint32_t *member_bucket(struct shmc *s, uint64_t hash) {
    return &s->member_buckets[hash & (s->sizes.member_buckets - 1)];
}
static uint64_t member_hash(struct shmc *s, uint64_t group_hash, const char *name, uint32_t length) {
    return hash_bytes(s->seed ^ group_hash, name, length);
}
static uint32_t prefix_of(const char *name, uint32_t length) {
    const char *mark = memchr(name, '!', length);
    return mark ? (uint32_t)(mark - name) + 1 : 0;
}

static uint32_t group_find(struct shmc *s, const char *name, uint32_t length, uint64_t hash) {
    uint32_t steps = 0;
    for (uint32_t i = *group_bucket(s, hash); i; i = group_at(s, i)->hash_next) {
        if (endless(s, &steps, s->sizes.groups))
            return 0;
        struct group *g = group_at(s, i);
        if (g->hash == hash && g->name_length == length && !memcmp(g->name, name, length))
            return i;
    }
    return 0;
}

static uint32_t group_make(struct shmc *s, const char *name, uint32_t length, uint64_t hash) {
    struct counters *c = s->counters;
    uint32_t index = take(s, &c->group_free, &c->group_top, s->sizes.groups,
                          c->group_free ? group_at(s, c->group_free)->hash_next : 0);
    if (!index)
        return 0;
    struct group *g = group_at(s, index);
    uint32_t *bucket = group_bucket(s, hash);
    SET(s, SHMC_GROUP, g->hash, hash);
    SET(s, SHMC_GROUP, g->used, 1);
    SET(s, SHMC_GROUP, g->branch_head, 0);
    SET(s, SHMC_GROUP, g->count, 0);
    SET(s, SHMC_GROUP, g->name_length, length);
    set_name(s, g->name, name, length);
    SET(s, SHMC_GROUP, g->hash_next, *bucket);
    SET(s, SHMC_GROUP, *bucket, index);
    SET(s, SHMC_GROUP, c->groups, c->groups + 1);
    return index;
}

static void group_drop(struct shmc *s, uint32_t index) {
    struct counters *c = s->counters;
    struct group *g = group_at(s, index);
    uint32_t *bucket = group_bucket(s, g->hash), at = *bucket, steps = 0;
    if (at == index)
        SET(s, SHMC_GROUP, *bucket, g->hash_next);
    else {
        while (at && group_at(s, at)->hash_next != index && !endless(s, &steps, s->sizes.groups))
            at = group_at(s, at)->hash_next;
        if (at)
            SET(s, SHMC_GROUP, group_at(s, at)->hash_next, g->hash_next);
    }
    SET(s, SHMC_GROUP, g->used, 0);
    SET(s, SHMC_GROUP, g->hash_next, c->group_free);
    SET(s, SHMC_GROUP, c->group_free, index);
    SET(s, SHMC_GROUP, c->groups, c->groups - 1);
}

static uint32_t branch_find(struct shmc *s, uint32_t group, const char *prefix, uint32_t length) {
    uint32_t steps = 0;
    for (uint32_t i = group_at(s, group)->branch_head; i; i = branch_at(s, i)->next) {
        if (endless(s, &steps, s->sizes.branches))
            return 0;
        struct branch *b = branch_at(s, i);
        if (b->prefix_length == length && !memcmp(b->prefix, prefix, length))
            return i;
    }
    return 0;
}

static uint32_t branch_make(struct shmc *s, uint32_t group, const char *prefix, uint32_t length) {
    struct counters *c = s->counters;
    uint32_t index = take(s, &c->branch_free, &c->branch_top, s->sizes.branches,
                          c->branch_free ? branch_at(s, c->branch_free)->next : 0);
    if (!index)
        return 0;
    struct branch *b = branch_at(s, index);
    struct group *g = group_at(s, group);
    SET(s, SHMC_GROUP, b->group, group);
    SET(s, SHMC_GROUP, b->member_head, 0);
    SET(s, SHMC_GROUP, b->count, 0);
    SET(s, SHMC_GROUP, b->prefix_length, length);
    set_name(s, b->prefix, prefix, length);
    SET(s, SHMC_GROUP, b->prev, 0);
    SET(s, SHMC_GROUP, b->next, g->branch_head);
    if (g->branch_head)
        SET(s, SHMC_GROUP, branch_at(s, g->branch_head)->prev, index);
    SET(s, SHMC_GROUP, g->branch_head, index);
    return index;
}

static void branch_drop(struct shmc *s, uint32_t index) {
    struct branch *b = branch_at(s, index);
    if (b->prev)
        SET(s, SHMC_GROUP, branch_at(s, b->prev)->next, b->next);
    else
        SET(s, SHMC_GROUP, group_at(s, b->group)->branch_head, b->next);
    if (b->next)
        SET(s, SHMC_GROUP, branch_at(s, b->next)->prev, b->prev);
    uint32_t group = b->group;
    SET(s, SHMC_GROUP, b->group, 0);
    SET(s, SHMC_GROUP, b->next, s->counters->branch_free);
    SET(s, SHMC_GROUP, s->counters->branch_free, index);
    if (!group_at(s, group)->branch_head)
        group_drop(s, group);
}

/* --- members --- */

static void age_link(struct shmc *s, uint32_t index) {
    struct counters *c = s->counters;
    struct member *m = member_at(s, index);
    SET(s, SHMC_GROUP, m->age_next, 0);
    SET(s, SHMC_GROUP, m->age_prev, c->member_age_tail);
    if (c->member_age_tail)
        SET(s, SHMC_GROUP, member_at(s, c->member_age_tail)->age_next, index);
    else
        SET(s, SHMC_GROUP, c->member_age_head, index);
    SET(s, SHMC_GROUP, c->member_age_tail, index);
}

static void age_unlink(struct shmc *s, uint32_t index) {
    struct counters *c = s->counters;
    struct member *m = member_at(s, index);
    if (!m->age_prev != (c->member_age_head == index)) {
        poison(s); /* who drops them from the head on would never come to an end */
        return;
    }
    if (m->age_prev)
        SET(s, SHMC_GROUP, member_at(s, m->age_prev)->age_next, m->age_next);
    else
        SET(s, SHMC_GROUP, c->member_age_head, m->age_next);
    if (m->age_next)
        SET(s, SHMC_GROUP, member_at(s, m->age_next)->age_prev, m->age_prev);
    else
        SET(s, SHMC_GROUP, c->member_age_tail, m->age_prev);
}

static uint32_t member_find(struct shmc *s, uint32_t group, uint64_t hash, const char *name,
                            uint32_t length) {
    uint32_t steps = 0;
    for (uint32_t i = *member_bucket(s, hash); i; i = member_at(s, i)->hash_next) {
        if (endless(s, &steps, s->sizes.members))
            return 0;
        struct member *m = member_at(s, i);
        if (m->hash == hash && branch_at(s, m->branch)->group == group && m->name_length == length &&
            !memcmp(m->name, name, length))
            return i;
    }
    return 0;
}

void group_member_drop(struct shmc *s, uint32_t index) {
    struct counters *c = s->counters;
    struct member *m = member_at(s, index);
    uint32_t *bucket = member_bucket(s, m->hash), at = *bucket, steps = 0;
    if (at == index)
        SET(s, SHMC_GROUP, *bucket, m->hash_next);
    else {
        while (at && member_at(s, at)->hash_next != index && !endless(s, &steps, s->sizes.members))
            at = member_at(s, at)->hash_next;
        if (at)
            SET(s, SHMC_GROUP, member_at(s, at)->hash_next, m->hash_next);
    }
    age_unlink(s, index);
    presence_exit(s, index);
    struct branch *b = branch_at(s, m->branch);
    if (m->prev)
        SET(s, SHMC_GROUP, member_at(s, m->prev)->next, m->next);
    else
        SET(s, SHMC_GROUP, b->member_head, m->next);
    if (m->next)
        SET(s, SHMC_GROUP, member_at(s, m->next)->prev, m->prev);
    SET(s, SHMC_GROUP, b->count, b->count - 1);
    struct group *g = group_at(s, b->group);
    SET(s, SHMC_GROUP, g->count, g->count - 1);
    SET(s, SHMC_GROUP, c->members, c->members - 1);
    uint32_t branch = m->branch;
    SET(s, SHMC_GROUP, m->branch, 0);
    SET(s, SHMC_GROUP, m->next, c->member_free);
    SET(s, SHMC_GROUP, c->member_free, index);
    if (!branch_at(s, branch)->member_head)
        branch_drop(s, branch);
}

static void purge_expired(struct shmc *s) {
    uint64_t now = now_ns();
    for (uint32_t n = 0; n < PURGE; n++) {
        uint32_t oldest = s->counters->member_age_head;
        if (!oldest || member_at(s, oldest)->deadline_ns > now)
            return;
        group_member_drop(s, oldest);
        commit(s, SHMC_GROUP);
    }
}

static int queue_is_dead(struct shmc *s, const char *name, uint32_t prefix_length) {
    if (!prefix_length)
        return 0;
    uint64_t hash = hash_bytes(s->seed, name, prefix_length);
    lock(s, SHMC_REPLY);
    uint32_t channel = channel_find(s, SHMC_REPLY, name, prefix_length, hash);
    int dead = channel && channel_at(s, channel)->flags & DEAD;
    unlock(s, SHMC_REPLY);
    return dead;
}

/* Members whose time is over; each leaves in a step of its own. */
void group_purge(struct shmc *s) {
    uint32_t rounds = 0;
    for (int more = 1; more && !endless(s, &rounds, s->sizes.members) && !HINT(s->header->poisoned);) {
        lock(s, SHMC_GROUP);
        purge_expired(s);
        uint32_t oldest = s->counters->member_age_head;
        more = oldest && member_at(s, oldest)->deadline_ns <= now_ns();
        unlock(s, SHMC_GROUP);
    }
}

int shmc_group_enter(shmc *s, const char *group, uint32_t group_length, const char *name, uint32_t length,
                     uint32_t capacity, uint32_t total, const char *user, uint32_t user_length) {
    REQUIRE(s);
    if (group_length > NAME_MAX_BYTES || length > NAME_MAX_BYTES || user_length > NAME_MAX_BYTES)
        return SHMC_E_ARGUMENT;
    uint64_t hash = hash_bytes(s->seed, group, group_length), own = member_hash(s, hash, name, length);
    uint32_t prefix = prefix_of(name, length);
    struct counters *c = s->counters;
    lock(s, SHMC_GROUP);
    purge_expired(s);
    int r = SHMC_NO_MEMORY;
    uint32_t g = group_find(s, group, group_length, hash);
    uint32_t m = g ? member_find(s, g, own, name, length) : 0;
    if (user_length && !presence_find(s, hash, user, user_length) && !presence_has_room(s)) {
        unlock(s, SHMC_GROUP);
        return RESULT(s, SHMC_NO_MEMORY);
    }
    if (m) {
        if (member_at(s, m)->deadline_ns <= now_ns()) { /* it had left */
            SET(s, SHMC_GROUP, c->sequence, c->sequence + 1);
            SET(s, SHMC_GROUP, member_at(s, m)->join_sequence, c->sequence);
        }
        SET(s, SHMC_GROUP, member_at(s, m)->deadline_ns, now_ns() + s->group_expiry_ns);
        age_unlink(s, m);
        age_link(s, m);
        if (user_length && (!member_at(s, m)->presence ||
                            member_at(s, m)->presence != presence_find(s, hash, user, user_length))) {
            presence_exit(s, m);
            presence_enter(s, m, hash, group, group_length, user, user_length);
        }
        r = SHMC_OK;
    } else if ((g || (g = group_make(s, group, group_length, hash)))) {
        uint32_t b = branch_find(s, g, name, prefix);
        if (!b)
            b = branch_make(s, g, name, prefix);
        if (b)
            m = take(s, &c->member_free, &c->member_top, s->sizes.members,
                     c->member_free ? member_at(s, c->member_free)->next : 0);
        if (m) {
            struct member *n = member_at(s, m);
            struct branch *at = branch_at(s, b);
            uint32_t *bucket = member_bucket(s, own);
            SET(s, SHMC_GROUP, c->sequence, c->sequence + 1);
            SET(s, SHMC_GROUP, n->hash, own);
            SET(s, SHMC_GROUP, n->deadline_ns, now_ns() + s->group_expiry_ns);
            SET(s, SHMC_GROUP, n->join_sequence, c->sequence);
            SET(s, SHMC_GROUP, n->branch, b);
            SET(s, SHMC_GROUP, n->prev, 0);
            SET(s, SHMC_GROUP, n->next, at->member_head);
            if (at->member_head)
                SET(s, SHMC_GROUP, member_at(s, at->member_head)->prev, m);
            SET(s, SHMC_GROUP, at->member_head, m);
            SET(s, SHMC_GROUP, at->count, at->count + 1);
            SET(s, SHMC_GROUP, group_at(s, g)->count, group_at(s, g)->count + 1);
            SET(s, SHMC_GROUP, c->members, c->members + 1);
            SET(s, SHMC_GROUP, n->capacity, capacity);
            SET(s, SHMC_GROUP, n->total, total);
            SET(s, SHMC_GROUP, n->name_length, length);
            set_name(s, n->name, name, length);
            SET(s, SHMC_GROUP, n->hash_next, *bucket);
            SET(s, SHMC_GROUP, *bucket, m);
            age_link(s, m);
            KEEP(s, SHMC_GROUP, n->presence, 0);
            if (user_length)
                presence_enter(s, m, hash, group, group_length, user, user_length);
            r = SHMC_OK;
        } else if (b && !branch_at(s, b)->member_head)
            branch_drop(s, b);
        else if (!b && !group_at(s, g)->branch_head)
            group_drop(s, g);
    }
    unlock(s, SHMC_GROUP);
    /* A front that died: its members were swept, or will be; this one may have come after that. */
    if (r == SHMC_OK && queue_is_dead(s, name, prefix))
        return shmc_group_discard(s, group, group_length, name, length);
    return RESULT(s, r);
}

int shmc_group_add(shmc *s, const char *group, uint32_t group_length, const char *name, uint32_t length,
                   uint32_t capacity, uint32_t total) {
    return shmc_group_enter(s, group, group_length, name, length, capacity, total, NULL, 0);
}

int shmc_group_discard(shmc *s, const char *group, uint32_t group_length, const char *name, uint32_t length) {
    REQUIRE(s);
    if (group_length > NAME_MAX_BYTES || length > NAME_MAX_BYTES)
        return SHMC_E_ARGUMENT;
    uint64_t hash = hash_bytes(s->seed, group, group_length);
    lock(s, SHMC_GROUP);
    uint32_t g = group_find(s, group, group_length, hash);
    uint32_t m = g ? member_find(s, g, member_hash(s, hash, name, length), name, length) : 0;
    if (m)
        group_member_drop(s, m);
    unlock(s, SHMC_GROUP);
    return RESULT(s, SHMC_OK);
}

int shmc_group_members(shmc *s, const char *group, uint32_t group_length, const char *prefix,
                       uint32_t prefix_length, uint64_t sequence, void *buffer, uint64_t capacity,
                       uint64_t *needed, uint32_t *count) {
    REQUIRE(s);
    *needed = 0;
    *count = 0;
    if (group_length > NAME_MAX_BYTES || prefix_length > NAME_MAX_BYTES)
        return SHMC_E_ARGUMENT;
    char *out = buffer;
    uint32_t branch_steps = 0, steps = 0;
    uint64_t now = now_ns();
    lock(s, SHMC_GROUP);
    uint32_t g = group_find(s, group, group_length, hash_bytes(s->seed, group, group_length));
    for (uint32_t b = g ? group_at(s, g)->branch_head : 0; b && !endless(s, &branch_steps, s->sizes.branches);
         b = branch_at(s, b)->next) {
        struct branch *at = branch_at(s, b);
        if (prefix_length &&
            (at->prefix_length != prefix_length || memcmp(at->prefix, prefix, prefix_length)))
            continue;
        for (uint32_t i = at->member_head; i && !endless(s, &steps, s->sizes.members);
             i = member_at(s, i)->next) {
            struct member *m = member_at(s, i);
            if (m->deadline_ns <= now || m->join_sequence > sequence || m->name_length > NAME_MAX_BYTES ||
                m->name_length < prefix_length)
                continue;
            uint32_t length = m->name_length - prefix_length;
            if (*needed + 1 + length <= capacity) {
                out[*needed] = (char)length;
                memcpy(out + *needed + 1, m->name + prefix_length, length);
            }
            *needed += 1 + length;
            ++*count;
        }
    }
    unlock(s, SHMC_GROUP);
    return RESULT(s, *needed > capacity ? SHMC_BIG : SHMC_OK);
}

/* --- copies for a send --- */

int group_branches(struct shmc *s, const char *group, uint32_t length, struct branch_list *list,
                   uint64_t *sequence) {
    uint32_t steps = 0;
    int r = SHMC_OK;
    lock(s, SHMC_GROUP);
    *sequence = s->counters->sequence;
    uint32_t g = group_find(s, group, length, hash_bytes(s->seed, group, length));
    for (uint32_t b = g ? group_at(s, g)->branch_head : 0; b && !endless(s, &steps, s->sizes.branches);
         b = branch_at(s, b)->next) {
        if (list->count == list->capacity) {
            uint32_t more = list->capacity ? 2 * list->capacity : 8;
            void *grown = realloc(list->branches, more * sizeof *list->branches);
            if (!grown) {
                r = SHMC_NO_MEMORY;
                break;
            }
            list->branches = grown;
            list->capacity = more;
        }
        struct branch *at = branch_at(s, b);
        list->branches[list->count].prefix_length =
            at->prefix_length <= NAME_MAX_BYTES ? at->prefix_length : 0;
        memcpy(list->branches[list->count].prefix, at->prefix, NAME_MAX_BYTES);
        list->count++;
    }
    unlock(s, SHMC_GROUP);
    return r;
}

int group_branch_members(struct shmc *s, const char *group, uint32_t length, const branch_name *branch,
                         struct member_list *list) {
    uint32_t steps = 0;
    int r = SHMC_OK;
    uint64_t now = now_ns();
    lock(s, SHMC_GROUP);
    uint32_t g = group_find(s, group, length, hash_bytes(s->seed, group, length));
    uint32_t b = g ? branch_find(s, g, branch->prefix, branch->prefix_length) : 0;
    for (uint32_t i = b ? branch_at(s, b)->member_head : 0; i && !endless(s, &steps, s->sizes.members);
         i = member_at(s, i)->next) {
        struct member *m = member_at(s, i);
        if (m->deadline_ns <= now || m->name_length > NAME_MAX_BYTES)
            continue;
        if (list->count == list->capacity) {
            uint32_t more = list->capacity ? 2 * list->capacity : PIECE;
            void *grown = realloc(list->targets, more * sizeof *list->targets);
            if (!grown) {
                r = SHMC_NO_MEMORY;
                break;
            }
            list->targets = grown;
            list->capacity = more;
        }
        uint32_t domain = branch->prefix_length                  ? SHMC_REPLY
                          : memchr(m->name, '?', m->name_length) ? SHMC_SINGLE
                                                                 : SHMC_WORK;
        r = shmc_target_init(s, &list->targets[list->count], m->name, m->name_length, domain, m->capacity,
                             m->total);
        if (r != SHMC_OK)
            break;
        list->count++;
    }
    unlock(s, SHMC_GROUP);
    return r;
}

void group_free_branches(struct branch_list *list) {
    free(list->branches);
}
void group_free_members(struct member_list *list) {
    free(list->targets);
}

/* --- leaving in crowds --- */

static void sweep(struct shmc *s, const char *prefix, uint32_t prefix_length) {
    for (uint32_t from = 1; from < HINT(s->counters->member_top) && from < s->sizes.members; from += 32) {
        lock(s, SHMC_GROUP);
        for (uint32_t i = from; i < from + 32 && i < s->counters->member_top && i < s->sizes.members; i++) {
            struct member *m = member_at(s, i);
            if (m->branch && (!prefix_length ||
                              (m->name_length > prefix_length && !memcmp(m->name, prefix, prefix_length)))) {
                group_member_drop(s, i);
                commit(s, SHMC_GROUP);
            }
        }
        unlock(s, SHMC_GROUP);
    }
}

/* All members behind the prefix of a dead front. */
void group_sweep(struct shmc *s, const char *prefix, uint32_t prefix_length) {
    if (prefix_length)
        sweep(s, prefix, prefix_length);
}

void group_flush(struct shmc *s) {
    sweep(s, NULL, 0);
}
