/* presence.c: who is in a group: users, each once, however many channels of theirs are members. Everything is
 * under GROUP.
 *
 * A membership may name a user; the user is there as long as one of them is left, whichever way the others
 * ended (group.c). What a group has still to be told stands here, too, so that it survives whoever was to tell
 * it: an entry is on the owed list while what was told differs from what is. Somebody claims one, tells the
 * group, and notes it. Where it died between these, it may have told or not: the next one says again what is.
 */
#include "internal.h"

enum { LOOK = 64, PIECE = 256, ROUND = 16 };

static uint32_t *bucket_of(struct shmc *s, uint64_t hash) {
    return &s->presence_buckets[hash & (s->sizes.presence_buckets - 1)];
}

static uint32_t *channel_bucket(struct shmc *s, const char *name, uint32_t length) {
    length = length <= NAME_MAX_BYTES ? length : 0;
    if (length > NAME_MAX_BYTES) {
        poison(s);
        length = 0;
    }
    return &s->attendance_buckets[hash_bytes(s->seed, name, length) & (s->sizes.attendance_buckets - 1)];
}

uint32_t presence_find(struct shmc *s, uint64_t group, const char *user, uint32_t length) {
    uint64_t hash = hash_bytes(s->seed ^ group, user, length);
    uint32_t steps = 0;
    for (uint32_t i = *bucket_of(s, hash); i; i = presence_at(s, i)->hash_next) {
        if (endless(s, &steps, s->sizes.presences))
            return 0;
        struct presence *p = presence_at(s, i);
        if (p->hash == hash && p->group_hash == group && p->user_length == length &&
            !memcmp(p->user, user, length))
            return i;
    }
    return 0;
}

int presence_has_room(struct shmc *s) {
    return s->counters->presence_free || s->counters->presence_top < s->sizes.presences;
}

static uint32_t make(struct shmc *s, uint64_t group_hash, const char *group, uint32_t group_length,
                     const char *user, uint32_t length) {
    struct counters *k = s->counters;
    uint32_t index = k->presence_free;
    if (index)
        SET(s, SHMC_GROUP, k->presence_free, presence_at(s, index)->hash_next);
    else if (k->presence_top < s->sizes.presences) {
        index = k->presence_top;
        SET(s, SHMC_GROUP, k->presence_top, index + 1);
    } else
        return 0;
    struct presence *p = presence_at(s, index);
    uint64_t hash = hash_bytes(s->seed ^ group_hash, user, length);
    uint32_t *bucket = bucket_of(s, hash);
    memcpy(p->group, group, group_length); /* nobody finds it yet */
    memcpy(p->user, user, length);
    SET(s, SHMC_GROUP, p->group_length, group_length);
    SET(s, SHMC_GROUP, p->user_length, length);
    SET(s, SHMC_GROUP, p->hash, hash);
    SET(s, SHMC_GROUP, p->group_hash, group_hash);
    SET(s, SHMC_GROUP, p->count, 0);
    SET(s, SHMC_GROUP, p->told, 0);
    SET(s, SHMC_GROUP, p->claim, 0);
    SET(s, SHMC_GROUP, p->listed, 0);
    SET(s, SHMC_GROUP, p->used, 1);
    SET(s, SHMC_GROUP, p->hash_next, *bucket);
    SET(s, SHMC_GROUP, *bucket, index);
    SET(s, SHMC_GROUP, k->presences, k->presences + 1);
    return index;
}

static void drop(struct shmc *s, uint32_t index) {
    struct counters *k = s->counters;
    struct presence *p = presence_at(s, index);
    uint32_t *bucket = bucket_of(s, p->hash), at = *bucket, steps = 0;
    if (at == index)
        SET(s, SHMC_GROUP, *bucket, p->hash_next);
    else {
        while (at && presence_at(s, at)->hash_next != index && !endless(s, &steps, s->sizes.presences))
            at = presence_at(s, at)->hash_next;
        if (at)
            SET(s, SHMC_GROUP, presence_at(s, at)->hash_next, p->hash_next);
    }
    SET(s, SHMC_GROUP, p->used, 0);
    SET(s, SHMC_GROUP, p->generation, p->generation + 1);
    SET(s, SHMC_GROUP, p->hash_next, k->presence_free);
    SET(s, SHMC_GROUP, k->presence_free, index);
    SET(s, SHMC_GROUP, k->presences, k->presences - 1);
}

/* After any change: on the owed list or off it, and away when there is nothing left to say. */
static void settle(struct shmc *s, uint32_t index) {
    struct counters *k = s->counters;
    struct presence *p = presence_at(s, index);
    int owed = p->claim || (p->count != 0) != (p->told != 0);
    if (owed && !p->listed) {
        SET(s, SHMC_GROUP, p->owed_next, 0);
        SET(s, SHMC_GROUP, p->owed_prev, k->owed_tail);
        if (k->owed_tail)
            SET(s, SHMC_GROUP, presence_at(s, k->owed_tail)->owed_next, index);
        else
            SET(s, SHMC_GROUP, k->owed_head, index);
        SET(s, SHMC_GROUP, k->owed_tail, index);
        SET(s, SHMC_GROUP, p->listed, 1);
    } else if (!owed && p->listed) {
        if (p->owed_prev)
            SET(s, SHMC_GROUP, presence_at(s, p->owed_prev)->owed_next, p->owed_next);
        else
            SET(s, SHMC_GROUP, k->owed_head, p->owed_next);
        if (p->owed_next)
            SET(s, SHMC_GROUP, presence_at(s, p->owed_next)->owed_prev, p->owed_prev);
        else
            SET(s, SHMC_GROUP, k->owed_tail, p->owed_prev);
        SET(s, SHMC_GROUP, p->listed, 0);
    }
    if (!owed && !p->count)
        drop(s, index);
}

/* A membership begins to name a user. */
void presence_enter(struct shmc *s, uint32_t member, uint64_t group_hash, const char *group,
                    uint32_t group_length, const char *user, uint32_t length) {
    struct member *m = member_at(s, member);
    uint32_t index = presence_find(s, group_hash, user, length);
    if (!index)
        index = make(s, group_hash, group, group_length, user, length);
    if (!index)
        return;
    struct presence *p = presence_at(s, index);
    if (!p->count) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        SET(s, SHMC_GROUP, p->joined_ns, (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec);
    }
    uint32_t *bucket = channel_bucket(s, m->name, m->name_length);
    SET(s, SHMC_GROUP, p->count, p->count + 1);
    SET(s, SHMC_GROUP, m->presence, index);
    SET(s, SHMC_GROUP, m->channel_next, *bucket);
    SET(s, SHMC_GROUP, *bucket, member);
    settle(s, index);
}

/* A membership ends, or names another. */
void presence_exit(struct shmc *s, uint32_t member) {
    struct member *m = member_at(s, member);
    uint32_t index = m->presence, steps = 0;
    if (!index)
        return;
    struct presence *p = presence_at(s, index);
    uint32_t *bucket = channel_bucket(s, m->name, m->name_length), at = *bucket;
    if (at == member)
        SET(s, SHMC_GROUP, *bucket, m->channel_next);
    else {
        while (at && member_at(s, at)->channel_next != member && !endless(s, &steps, s->sizes.members))
            at = member_at(s, at)->channel_next;
        if (at)
            SET(s, SHMC_GROUP, member_at(s, at)->channel_next, m->channel_next);
    }
    SET(s, SHMC_GROUP, m->presence, 0);
    if (!p->used || !p->count) {
        poison(s);
        return;
    }
    SET(s, SHMC_GROUP, p->count, p->count - 1);
    settle(s, index);
}

int shmc_presence_leave(shmc *s, const char *name, uint32_t length) {
    REQUIRE(s);
    if (length > NAME_MAX_BYTES)
        return SHMC_E_ARGUMENT;
    uint32_t left = HINT(s->counters->presences) ? 1 : 0, rounds = 0;
    while (left && !endless(s, &rounds, s->sizes.members) && !HINT(s->header->poisoned)) {
        left = 0;
        lock(s, SHMC_GROUP);
        for (uint32_t n = 0; n < ROUND; n++) {
            uint32_t i = *channel_bucket(s, name, length), steps = 0;
            while (i &&
                   (member_at(s, i)->name_length != length || memcmp(member_at(s, i)->name, name, length)) &&
                   !endless(s, &steps, s->sizes.members))
                i = member_at(s, i)->channel_next;
            left = i;
            if (!i || HINT(s->header->poisoned))
                break;
            if (!member_at(s, i)->presence) {
                poison(s);
                break;
            }
            if (!member_at(s, i)->presence) {
                poison(s); /* it would not leave the bucket: this would never come to an end */
                break;
            }
            group_member_drop(s, i);
            commit(s, SHMC_GROUP);
        }
        unlock(s, SHMC_GROUP);
    }
    return RESULT(s, SHMC_OK);
}

/* --- telling --- */

int shmc_presence_owed(shmc *s) {
    return usable(s) == SHMC_OK && HINT(s->counters->owed_head) != 0;
}

int shmc_presence_take(shmc *s, shmc_presence *out) {
    REQUIRE(s);
    int r = SHMC_EMPTY;
    uint32_t steps = 0;
    lock(s, SHMC_GROUP);
    for (uint32_t i = s->counters->owed_head; i && steps++ < LOOK; i = presence_at(s, i)->owed_next) {
        struct presence *p = presence_at(s, i);
        if ((p->claim && is_somebody(s, p->claim)) || p->group_length > NAME_MAX_BYTES ||
            p->user_length > NAME_MAX_BYTES)
            continue;
        SET(s, SHMC_GROUP, p->claim, s->slot_reference);
        out->reference = reference(i, p->generation);
        out->present = p->count != 0;
        out->joined_ns = p->joined_ns;
        out->group_length = p->group_length;
        out->user_length = p->user_length;
        memcpy(out->group, p->group, p->group_length);
        memcpy(out->user, p->user, p->user_length);
        r = SHMC_OK;
        break;
    }
    unlock(s, SHMC_GROUP);
    return RESULT(s, r);
}

int shmc_presence_told(shmc *s, const shmc_presence *what) {
    REQUIRE(s);
    uint32_t index = reference_index(what->reference);
    if (index >= s->sizes.presences)
        return SHMC_E_ARGUMENT;
    lock(s, SHMC_GROUP);
    struct presence *p = presence_at(s, index);
    if (p->used && p->generation == reference_generation(what->reference) && p->claim == s->slot_reference) {
        SET(s, SHMC_GROUP, p->claim, 0);
        KEEP(s, SHMC_GROUP, p->told, what->present);
        settle(s, index);
    }
    unlock(s, SHMC_GROUP);
    return RESULT(s, SHMC_OK);
}

/* --- looking --- */

int shmc_presence_list(shmc *s, const char *group, uint32_t length, uint32_t *cursor, void *buffer,
                       uint64_t capacity, uint64_t *used) {
    REQUIRE(s);
    *used = 0;
    if (length > NAME_MAX_BYTES)
        return SHMC_E_ARGUMENT;
    if (!*cursor) {
        group_purge(s);
        *cursor = 1;
    }
    char *out = buffer;
    uint64_t hash = hash_bytes(s->seed, group, length);
    lock(s, SHMC_GROUP);
    uint32_t end = s->counters->presence_top, n = 0;
    for (; *cursor < end && n < PIECE; ++*cursor, n++) {
        struct presence *p = presence_at(s, *cursor);
        uint8_t size = (uint8_t)p->user_length;
        if (!p->used || !p->count || p->group_hash != hash || p->group_length != length ||
            memcmp(p->group, group, length) || p->user_length > NAME_MAX_BYTES)
            continue;
        if (*used + 9 + size > capacity)
            break;
        memcpy(out + *used, &p->joined_ns, 8);
        memcpy(out + *used + 8, &size, 1);
        memcpy(out + *used + 9, p->user, size);
        *used += 9u + size;
    }
    if (*cursor >= end)
        *cursor = 0;
    unlock(s, SHMC_GROUP);
    return RESULT(s, SHMC_OK);
}

/* All who have left are forgotten, told or not. */
void presence_flush(struct shmc *s) {
    for (uint32_t i = 1; i < HINT(s->counters->presence_top) && i < s->sizes.presences; i++) {
        lock(s, SHMC_GROUP);
        struct presence *p = presence_at(s, i);
        if (p->used && !p->count) {
            SET(s, SHMC_GROUP, p->claim, 0);
            SET(s, SHMC_GROUP, p->told, 0);
            settle(s, i);
        }
        unlock(s, SHMC_GROUP);
    }
}
