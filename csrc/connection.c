/* connection.c: the connections of the fronts, each with its disconnect, built before it is needed.
 *
 * An entry is made in the step that sends websocket.connect and goes in the step that sends
 * websocket.disconnect: so there is exactly one of these for each of those, also when the front dies.
 * Everything is under WORK.
 */
#include "internal.h"

static uint32_t *bucket_of(struct shmc *s, uint64_t key) {
    return &s->connection_buckets[(key * 0x9E3779B97F4A7C15ull >> 32) & (s->sizes.connection_buckets - 1)];
}

static uint32_t find(struct shmc *s, uint64_t key) {
    uint32_t steps = 0;
    for (uint32_t i = *bucket_of(s, key); i; i = connection_at(s, i)->hash_next) {
        if (endless(s, &steps, s->sizes.connections))
            return 0;
        if (connection_at(s, i)->key == key)
            return i;
    }
    return 0;
}

static uint32_t make(struct shmc *s, uint64_t key, uint32_t disconnect, uint32_t code_offset,
                     uint32_t order_offset) {
    struct counters *k = s->counters;
    uint32_t index = k->connection_free;
    if (index)
        SET(s, SHMC_WORK, k->connection_free, connection_at(s, index)->hash_next);
    else if (k->connection_top < s->sizes.connections) {
        index = k->connection_top;
        SET(s, SHMC_WORK, k->connection_top, index + 1);
    } else
        return 0;
    struct connection *c = connection_at(s, index);
    uint32_t *bucket = bucket_of(s, key);
    SET(s, SHMC_WORK, c->key, key);
    SET(s, SHMC_WORK, c->used, 1);
    SET(s, SHMC_WORK, c->owner, s->slot_reference);
    SET(s, SHMC_WORK, c->disconnect, disconnect);
    SET(s, SHMC_WORK, c->code_offset, code_offset);
    SET(s, SHMC_WORK, c->order_offset, order_offset);
    SET(s, SHMC_WORK, c->order, 0);
    SET(s, SHMC_WORK, c->hash_next, *bucket);
    SET(s, SHMC_WORK, *bucket, index);
    SET(s, SHMC_WORK, k->connections, k->connections + 1);
    return index;
}

/* Queue its disconnect and remove it, in one step. */
static void close_step(struct shmc *s, uint32_t index, struct kicks *kicks) {
    struct counters *k = s->counters;
    struct connection *c = connection_at(s, index);
    uint32_t *bucket = bucket_of(s, c->key), at = *bucket, steps = 0;
    if (at == index)
        SET(s, SHMC_WORK, *bucket, c->hash_next);
    else {
        while (at && connection_at(s, at)->hash_next != index && !endless(s, &steps, s->sizes.connections))
            at = connection_at(s, at)->hash_next;
        if (at)
            SET(s, SHMC_WORK, connection_at(s, at)->hash_next, c->hash_next);
    }
    uint32_t disconnect = c->disconnect;
    SET(s, SHMC_WORK, c->used, 0);
    SET(s, SHMC_WORK, c->owner, 0);
    SET(s, SHMC_WORK, c->disconnect, 0);
    SET(s, SHMC_WORK, c->hash_next, k->connection_free);
    SET(s, SHMC_WORK, k->connection_free, index);
    SET(s, SHMC_WORK, k->connections, k->connections - 1);
    if (queue_enqueue(s, disconnect, kicks, 1) != SHMC_OK)
        poison(s);
}

/* Stores of two and four bytes into a payload that nobody reads yet: each is whole at any instant. */
static void patch(struct shmc *s, struct connection *c, uint32_t code, uint32_t order) {
    uint16_t code_bytes = __builtin_bswap16((uint16_t)code);
    uint32_t order_bytes = __builtin_bswap32(order);
    uint32_t address = descriptor_at(s, c->disconnect)->address_length;
    pool_write(s, c->disconnect, (uint64_t)address + c->code_offset, &code_bytes, 2);
    pool_write(s, c->disconnect, (uint64_t)address + c->order_offset, &order_bytes, 4);
}

int shmc_connection_open(shmc *s, shmc_target *connect, shmc_target *disconnect, uint64_t key,
                         const char *address, uint32_t address_length, const void *hello,
                         uint64_t hello_length, const void *goodbye, uint64_t goodbye_length,
                         uint32_t code_offset, uint32_t order_offset) {
    REQUIRE(s);
    if (code_offset + 2ull > goodbye_length || order_offset + 4ull > goodbye_length ||
        connect->domain != SHMC_WORK || disconnect->domain != SHMC_WORK)
        return SHMC_E_ARGUMENT;
    if (hello_length > s->max_message_size || goodbye_length > s->max_message_size) {
        shmc_count_drop(s, connect, SHMC_CAUSE_TOO_LARGE, 1);
        return RESULT(s, SHMC_TOO_LARGE);
    }
    uint32_t first, second;
    int r = prepare_descriptor(s, connect, hello, hello_length, key, address, address_length, &first);
    if (r != SHMC_OK)
        return RESULT(s, r);
    r = prepare_descriptor(s, disconnect, goodbye, goodbye_length, key, address, address_length, &second);
    if (r != SHMC_OK) {
        pool_release(s, first);
        return RESULT(s, r);
    }
    struct kicks kicks = {0};
    uint32_t expired[SWEEP], expired_count = 0;
    lock(s, SHMC_WORK);
    uint32_t to = target_channel(s, connect);
    commit(s, SHMC_WORK);
    uint32_t from = target_channel(s, disconnect);
    if (from && !(channel_at(s, from)->flags & PINNED))
        SET(s, SHMC_WORK, channel_at(s, from)->flags, channel_at(s, from)->flags | PINNED);
    commit(s, SHMC_WORK);
    r = SHMC_NO_MEMORY;
    if (to && from && !find(s, key)) {
        PUT(descriptor_at(s, first)->channel, to);
        PUT(descriptor_at(s, second)->channel, from);
        if (channel_at(s, to)->count >= connect->capacity)
            expired_count = sweep_expired(s, SHMC_WORK, to, now_ns(), expired, SWEEP, &kicks);
        if (channel_at(s, to)->count >= connect->capacity)
            r = SHMC_FULL;
        else if (make(s, key, second, code_offset, order_offset)) {
            SET(s, SHMC_WORK, descriptor_at(s, second)->state, RESERVED);
            SET(s, SHMC_WORK, descriptor_at(s, second)->owner, 0);
            r = queue_enqueue(s, first, &kicks, 0);
        }
        if (r != SHMC_OK)
            count_refusal(s, SHMC_WORK, to);
    }
    unlock(s, SHMC_WORK);
    kick(s, &kicks);
    for (uint32_t k = 0; k < expired_count; k++)
        pool_release(s, expired[k]);
    if (r != SHMC_OK) {
        pool_release(s, first);
        pool_release(s, second);
    }
    return RESULT(s, r);
}

void connection_note(struct shmc *s, uint64_t key, uint32_t order) {
    uint32_t index = find(s, key);
    if (index)
        SET(s, SHMC_WORK, connection_at(s, index)->order, order);
}

int connection_is_open(struct shmc *s, uint64_t key) {
    return find(s, key) != 0;
}

int shmc_connection_close(shmc *s, uint64_t key, uint32_t code, uint32_t order) {
    REQUIRE(s);
    struct kicks kicks = {0};
    lock(s, SHMC_WORK);
    uint32_t index = find(s, key);
    int ours = index && connection_at(s, index)->owner == s->slot_reference;
    if (ours) {
        patch(s, connection_at(s, index), code, order);
        close_step(s, index, &kicks);
    }
    unlock(s, SHMC_WORK);
    kick(s, &kicks);
    return RESULT(s, ours ? SHMC_OK : SHMC_GONE);
}

/* Every connection of a dead front is closed with 1006. */
void connection_sweep(struct shmc *s, uint32_t owner) {
    for (uint32_t i = 1; i < HINT(s->counters->connection_top) && i < s->sizes.connections; i++) {
        uint32_t whose = HINT(connection_at(s, i)->owner);
        if (!falls_to(s, whose, owner))
            continue;
        struct kicks kicks = {0};
        lock(s, SHMC_WORK);
        struct connection *c = connection_at(s, i);
        if (c->used && c->owner == whose) {
            patch(s, c, 1006, c->order + 1);
            close_step(s, i, &kicks);
        }
        unlock(s, SHMC_WORK);
        kick(s, &kicks);
    }
}

int shmc_lane_busy(shmc *s, uint64_t key) {
    REQUIRE(s);
    lock(s, SHMC_WORK);
    int busy = lane_find(s, key) != 0;
    unlock(s, SHMC_WORK);
    return RESULT(s, busy);
}
