/* session.c: what workers remember of a connection: one payload for each key, in place of the one before.
 *
 * An entry owns its payload as a RESERVED descriptor. Saving writes a HELD one first, then exchanges the two
 * in one step; the old one is freed afterwards, by whoever holds it. An entry goes when a worker is done with
 * the connection's websocket.disconnect, however that ended, in the same step; or when its time is over.
 * Everything is under WORK.
 */
#include "internal.h"

static const char LAST[] = "websocket.disconnect";
enum { LOOK = 16 }; /* entries that one new one looks at for one that has expired */

static uint32_t *bucket_of(struct shmc *s, uint64_t key) {
    return &s->session_buckets[(key * 0x9E3779B97F4A7C15ull >> 32) & (s->sizes.session_buckets - 1)];
}

uint32_t session_find(struct shmc *s, uint64_t key) {
    uint32_t steps = 0;
    for (uint32_t i = *bucket_of(s, key); i; i = session_at(s, i)->hash_next) {
        if (endless(s, &steps, s->sizes.sessions))
            return 0;
        if (session_at(s, i)->key == key)
            return i;
    }
    return 0;
}

static uint32_t make(struct shmc *s, uint64_t key) {
    struct counters *k = s->counters;
    uint32_t index = k->session_free;
    if (index)
        SET(s, SHMC_WORK, k->session_free, session_at(s, index)->hash_next);
    else if (k->session_top < s->sizes.sessions) {
        index = k->session_top;
        SET(s, SHMC_WORK, k->session_top, index + 1);
    } else
        return 0;
    struct session *e = session_at(s, index);
    uint32_t *bucket = bucket_of(s, key);
    SET(s, SHMC_WORK, e->key, key);
    SET(s, SHMC_WORK, e->payload, 0);
    SET(s, SHMC_WORK, e->hash_next, *bucket);
    SET(s, SHMC_WORK, *bucket, index);
    SET(s, SHMC_WORK, k->sessions, k->sessions + 1);
    return index;
}

/* A payload is this process's now, to be freed after the section. */
static uint32_t let_go(struct shmc *s, uint32_t payload) {
    if (payload) {
        SET(s, SHMC_WORK, descriptor_at(s, payload)->owner, s->slot_reference);
        SET(s, SHMC_WORK, descriptor_at(s, payload)->state, HELD);
    }
    return payload;
}

/* Take an entry out. Returns its payload, to be freed after the section. */
static uint32_t take_out(struct shmc *s, uint32_t index) {
    struct counters *k = s->counters;
    struct session *e = session_at(s, index);
    uint32_t *bucket = bucket_of(s, e->key), at = *bucket, steps = 0, payload = e->payload;
    if (at == index)
        SET(s, SHMC_WORK, *bucket, e->hash_next);
    else {
        while (at && session_at(s, at)->hash_next != index && !endless(s, &steps, s->sizes.sessions))
            at = session_at(s, at)->hash_next;
        if (at)
            SET(s, SHMC_WORK, session_at(s, at)->hash_next, e->hash_next);
    }
    SET(s, SHMC_WORK, e->key, 0);
    SET(s, SHMC_WORK, e->payload, 0);
    SET(s, SHMC_WORK, e->hash_next, k->session_free);
    SET(s, SHMC_WORK, k->session_free, index);
    SET(s, SHMC_WORK, k->sessions, k->sessions - 1);
    return let_go(s, payload);
}

/* Take out one entry whose time is over, if there is one among the next few. */
static uint32_t sweep_one(struct shmc *s, uint64_t now) {
    struct counters *k = s->counters;
    uint32_t i = k->session_hand;
    for (uint32_t n = 0; n < LOOK; n++) {
        i = i + 1 < k->session_top ? i + 1 : 1;
        if (session_at(s, i)->key && session_at(s, i)->deadline_ns <= now)
            break;
    }
    SET(s, SHMC_WORK, k->session_hand, i);
    return session_at(s, i)->key && session_at(s, i)->deadline_ns <= now ? take_out(s, i) : 0;
}

/* A message was consumed, or lost by a crash: if it was the last of its connection, nothing is remembered of
 * that any more. */
void session_end(struct shmc *s, uint32_t message, struct kicks *kicks) {
    struct descriptor *d = descriptor_at(s, message);
    struct channel *c = channel_at(s, d->channel);
    if (!s->counters->sessions || d->domain != SHMC_WORK || c->name_length != sizeof LAST - 1 ||
        memcmp(c->name, LAST, sizeof LAST - 1))
        return;
    uint64_t key = d->key;
    if (!key && d->address_length <= NAME_MAX_BYTES && d->address_length <= d->length) { /* in no lane */
        char address[NAME_MAX_BYTES];
        pool_read(s, d, 0, address, d->address_length);
        key = hash_bytes(s->seed, address, d->address_length);
    }
    uint32_t index = key ? session_find(s, key) : 0;
    if (index && !kicks->spent)
        kicks->spent = take_out(s, index);
}

/* Everything is thrown away; but who is connected stays connected. */
void session_flush(struct shmc *s) {
    for (uint32_t i = 1; i < HINT(s->counters->session_top) && i < s->sizes.sessions; i++) {
        uint32_t payload = 0;
        lock(s, SHMC_WORK);
        uint64_t key = session_at(s, i)->key;
        uint32_t lane = key ? lane_find(s, key) : 0;
        if (key && !connection_is_open(s, key) && !(lane && lane_at(s, lane)->state == LANE_RUNNING))
            payload = take_out(s, i);
        unlock(s, SHMC_WORK);
        if (payload)
            pool_release(s, payload);
    }
}

int shmc_session_save(shmc *s, uint64_t key, const void *payload, uint64_t length, uint64_t life_ns) {
    REQUIRE(s);
    if (!key)
        return SHMC_E_ARGUMENT;
    if (length > SHMC_SESSION_MAX)
        return SHMC_TOO_LARGE;
    uint32_t fresh, spent[2] = {0, 0};
    int r = pool_allocate(s, length, &fresh);
    if (r != SHMC_OK)
        return RESULT(s, r);
    PUT(descriptor_at(s, fresh)->domain, SHMC_WORK);
    PUT(descriptor_at(s, fresh)->channel, 0);
    pool_write(s, fresh, 0, payload, length);
    uint64_t now = now_ns();
    lock(s, SHMC_WORK);
    uint32_t index = session_find(s, key);
    if (!index) {
        spent[1] = sweep_one(s, now);
        commit(s, SHMC_WORK);
        index = make(s, key);
    }
    if (index) {
        struct session *e = session_at(s, index);
        spent[0] = let_go(s, e->payload);
        SET(s, SHMC_WORK, e->payload, fresh);
        SET(s, SHMC_WORK, e->deadline_ns, now + life_ns);
        SET(s, SHMC_WORK, descriptor_at(s, fresh)->state, RESERVED);
        SET(s, SHMC_WORK, descriptor_at(s, fresh)->owner, 0);
    }
    unlock(s, SHMC_WORK);
    if (!index)
        pool_release(s, fresh);
    for (int n = 0; n < 2; n++)
        if (spent[n])
            pool_release(s, spent[n]);
    return RESULT(s, index ? SHMC_OK : SHMC_NO_MEMORY);
}

int shmc_session_load(shmc *s, uint64_t key, void *buffer, uint64_t capacity, uint64_t *length) {
    REQUIRE(s);
    int r = SHMC_EMPTY;
    *length = 0;
    lock(s, SHMC_WORK);
    uint32_t index = session_find(s, key);
    if (index && session_at(s, index)->deadline_ns > now_ns()) {
        struct descriptor *d = descriptor_at(s, session_at(s, index)->payload);
        *length = d->length;
        r = d->length <= capacity ? SHMC_OK : SHMC_BIG;
        if (d->state != RESERVED || d->length > SHMC_SESSION_MAX)
            poison(s);
        else if (r == SHMC_OK)
            pool_read(s, d, 0, buffer, d->length);
    }
    unlock(s, SHMC_WORK);
    return RESULT(s, r);
}

int shmc_session_drop(shmc *s, uint64_t key) {
    REQUIRE(s);
    lock(s, SHMC_WORK);
    uint32_t index = session_find(s, key), payload = index ? take_out(s, index) : 0;
    unlock(s, SHMC_WORK);
    if (payload)
        pool_release(s, payload);
    return RESULT(s, index ? SHMC_OK : SHMC_GONE);
}
