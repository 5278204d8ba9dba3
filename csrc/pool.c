/* pool.c: descriptors and the blocks that hold their payloads. All of it under POOL; nothing else is locked
 * meanwhile.
 *
 * A payload of up to 64 KiB less a header is one block of a size class; a longer one is a chain of whole
 * chunks, the odd piece last. It grows at its front and shrinks behind its first block, one committed step
 * each, so that at any instant what exists is hung on its descriptor and a death leaks nothing. Several
 * descriptors may share a payload: its first block counts them.
 */
#include "internal.h"

enum { PIECE = CHUNK - BLOCK_HEADER, ROUND = 16, STASHED_MAX = 4096 - BLOCK_HEADER };

static uint32_t class_for(uint64_t bytes) {
    uint32_t class_ = 0;
    while (((uint64_t)CELL << class_) < bytes + BLOCK_HEADER)
        class_++;
    return class_;
}

/* --- chunks --- */

static void partial_push(struct shmc *s, uint32_t class_, uint32_t index) {
    struct chunk *c = chunk_at(s, index);
    uint32_t head = s->pool->partial[class_];
    SET(s, SHMC_POOL, c->next, head);
    SET(s, SHMC_POOL, c->prev, 0);
    if (head)
        SET(s, SHMC_POOL, chunk_at(s, head)->prev, index);
    SET(s, SHMC_POOL, s->pool->partial[class_], index);
}

static void partial_remove(struct shmc *s, uint32_t class_, uint32_t index) {
    struct chunk *c = chunk_at(s, index);
    if (c->prev)
        SET(s, SHMC_POOL, chunk_at(s, c->prev)->next, c->next);
    else
        SET(s, SHMC_POOL, s->pool->partial[class_], c->next);
    if (c->next)
        SET(s, SHMC_POOL, chunk_at(s, c->next)->prev, c->prev);
}

static void chunk_free(struct shmc *s, uint32_t index) {
    struct chunk *c = chunk_at(s, index);
    SET(s, SHMC_POOL, c->class_, 0);
    SET(s, SHMC_POOL, c->next, s->pool->chunk_free);
    SET(s, SHMC_POOL, s->pool->chunk_free, index);
}

/* An empty chunk that a class kept for its next message. */
static uint32_t chunk_reclaim(struct shmc *s) {
    for (uint32_t class_ = 0; class_ < CLASSES - 1; class_++) {
        uint32_t index = s->pool->partial[class_];
        if (index && chunk_at(s, index)->used == 0) {
            partial_remove(s, class_, index);
            return index;
        }
    }
    return 0;
}

static uint32_t chunk_take(struct shmc *s, uint32_t class_) {
    struct pool *p = s->pool;
    uint32_t index = p->chunk_free;
    if (index)
        SET(s, SHMC_POOL, p->chunk_free, chunk_at(s, index)->next);
    else if (p->chunk_top < s->sizes.chunks) {
        index = p->chunk_top;
        SET(s, SHMC_POOL, p->chunk_top, index + 1);
    } else
        index = chunk_reclaim(s);
    if (!index)
        return 0;
    struct chunk *c = chunk_at(s, index);
    SET(s, SHMC_POOL, c->class_, class_ + 1);
    SET(s, SHMC_POOL, c->used, 0);
    SET(s, SHMC_POOL, c->carved, 0);
    SET(s, SHMC_POOL, c->free_head, 0);
    return index;
}

/* One block for `bytes` (at most PIECE). POOL is held. Returns the bytes it takes, for pool_count; 0: there is none.
 * The caller hangs it up and commits. */
uint32_t pool_block(struct shmc *s, uint64_t bytes, uint32_t *cell) {
    struct pool *p = s->pool;
    uint32_t class_ = class_for(bytes);
    uint32_t per_chunk = CELLS >> class_;
    uint32_t index = class_ == CLASSES - 1 ? 0 : p->partial[class_];
    if (!index) {
        index = chunk_take(s, class_);
        if (!index)
            return 0;
        if (class_ != CLASSES - 1)
            partial_push(s, class_, index);
    }
    struct chunk *c = chunk_at(s, index);
    if (c->free_head) {
        *cell = c->free_head;
        SET(s, SHMC_POOL, c->free_head, block_at(s, *cell)->free_next);
    } else {
        *cell = index * CELLS + (c->carved << class_);
        SET(s, SHMC_POOL, c->carved, c->carved + 1);
    }
    SET(s, SHMC_POOL, c->used, c->used + 1);
    if (class_ != CLASSES - 1 && c->used == per_chunk)
        partial_remove(s, class_, index);
    struct block *b = block_at(s, *cell);
    PUT(b->references, 1);
    PUT(b->next, 0);
    return (uint32_t)CELL << class_;
}

/* Give one block back. POOL is held. Returns the bytes it took. */
uint32_t pool_unblock(struct shmc *s, uint32_t cell) {
    uint32_t index = cell / CELLS;
    struct chunk *c = chunk_at(s, index);
    if (c->class_ == 0 || c->class_ > CLASSES || c->used == 0) {
        poison(s);
        return 0;
    }
    uint32_t class_ = c->class_ - 1, per_chunk = CELLS >> class_;
    if (class_ == CLASSES - 1) {
        SET(s, SHMC_POOL, c->used, 0);
        chunk_free(s, index);
        return CHUNK;
    }
    PUT(block_at(s, cell)->free_next, c->free_head);
    SET(s, SHMC_POOL, c->free_head, cell);
    if (c->used == per_chunk)
        partial_push(s, class_, index);
    SET(s, SHMC_POOL, c->used, c->used - 1);
    if (c->used == 0 &&
        (c->next || c->prev)) { /* the last empty one stays: the next message is likely of its size */
        partial_remove(s, class_, index);
        chunk_free(s, index);
    }
    return (uint32_t)CELL << class_;
}

/* So many bytes more are in use. POOL is held. */
void pool_count(struct shmc *s, int64_t bytes) {
    SET(s, SHMC_POOL, s->pool->used_bytes, s->pool->used_bytes + (uint64_t)bytes);
}

/* --- descriptors --- */

static uint32_t descriptor_take(struct shmc *s) {
    struct pool *p = s->pool;
    uint32_t index = p->descriptor_free;
    if (index)
        SET(s, SHMC_POOL, p->descriptor_free, descriptor_at(s, index)->next);
    else if (p->descriptor_top < s->sizes.descriptors) {
        index = p->descriptor_top;
        SET(s, SHMC_POOL, p->descriptor_top, index + 1);
    } else
        return 0;
    struct descriptor *d = descriptor_at(s, index);
    PUT(d->owner, s->slot_reference);
    PUT(d->payload, 0);
    PUT(d->outbox, 0);
    PUT(d->number, 0);
    SET(s, SHMC_POOL, d->state, HELD);
    return index;
}

static void reset(struct descriptor *d) {
    PUT(d->kind, SHMC_KIND_PLAIN);
    PUT(d->policy, SHMC_POLICY_NOT_BEGUN);
    PUT(d->attempts, 0);
    PUT(d->code, 0);
    PUT(d->lane, 0);
    PUT(d->virtual_, 0);
    PUT(d->virtual_hash, 0);
    PUT(d->key, 0);
    PUT(d->origin, 0);
    PUT(d->deaths, 0);
    PUT(d->not_before_ns, 0);
    PUT(d->deadline_ns, 0);
    PUT(d->address_length, 0);
    PUT(d->sequence, 0);
}

void count_memory_drop(struct shmc *s) {
    lock(s, SHMC_POOL);
    SET(s, SHMC_POOL, s->pool->memory_dropped, s->pool->memory_dropped + 1);
    unlock(s, SHMC_POOL);
}

/* Hang further pieces before the first one of a long payload. POOL is held, and let go of now and then. */
static int grow(struct shmc *s, struct descriptor *d, uint64_t pieces) {
    for (uint64_t round = 1; round <= pieces; round++) {
        uint32_t cell, bytes = pool_block(s, PIECE, &cell);
        if (!bytes)
            return SHMC_NO_MEMORY;
        PUT(block_at(s, cell)->next, d->payload);
        SET(s, SHMC_POOL, d->payload, cell);
        pool_count(s, bytes);
        commit(s, SHMC_POOL);
        if (round % ROUND == 0) {
            unlock(s, SHMC_POOL);
            lock(s, SHMC_POOL);
        }
    }
    return SHMC_OK;
}

int pool_allocate(struct shmc *s, uint64_t length, uint32_t *out) {
    lock(s, SHMC_POOL);
    uint32_t index = descriptor_take(s);
    if (!index) {
        unlock(s, SHMC_POOL);
        return SHMC_NO_MEMORY;
    }
    struct descriptor *d = descriptor_at(s, index);
    uint64_t last = length <= PIECE ? length : length % PIECE ? length % PIECE : PIECE;
    uint32_t cell = 0, bytes = length ? pool_block(s, last, &cell) : 0;
    PUT(d->payload, bytes ? cell : 0);
    pool_count(s, bytes + (int64_t)sizeof *d);
    commit(s, SHMC_POOL);
    int r = length && !bytes ? SHMC_NO_MEMORY : grow(s, d, (length - last) / PIECE);
    unlock(s, SHMC_POOL);
    if (r != SHMC_OK) {
        pool_release(s, index);
        return r;
    }
    reset(d);
    PUT(d->length, length);
    *out = index;
    return SHMC_OK;
}

/* Another descriptor with the payload of `from`, which this process holds. */
int pool_share(struct shmc *s, uint32_t from, uint32_t *out) {
    struct descriptor *f = descriptor_at(s, from);
    lock(s, SHMC_POOL);
    uint32_t index = descriptor_take(s);
    if (index && f->payload) {
        struct block *b = block_at(s, f->payload);
        SET(s, SHMC_POOL, b->references, b->references + 1);
        PUT(descriptor_at(s, index)->payload, f->payload);
    }
    if (index)
        pool_count(s, sizeof *f);
    unlock(s, SHMC_POOL);
    if (!index)
        return SHMC_NO_MEMORY;
    struct descriptor *d = descriptor_at(s, index);
    reset(d);
    PUT(d->length, f->length);
    PUT(d->address_length, f->address_length);
    *out = index;
    return SHMC_OK;
}

/* Free the pieces behind the first one of a long payload that is nobody else's. POOL is held, and let go of now and
 * then. */
static void shrink(struct shmc *s, struct descriptor *d, uint32_t generation, uint32_t owner) {
    uint32_t rounds = 0;
    while (d->generation == generation && in_hands_of(d, HELD, owner) && d->payload) {
        struct block *b = block_at(s, d->payload);
        uint32_t second = b->next;
        if (!second || b->references > 1 || endless(s, &rounds, s->sizes.chunks))
            return;
        SET(s, SHMC_POOL, b->next, block_at(s, second)->next);
        pool_count(s, -(int64_t)pool_unblock(s, second));
        commit(s, SHMC_POOL);
        if (rounds % ROUND == 0) {
            unlock(s, SHMC_POOL);
            lock(s, SHMC_POOL);
        }
    }
}

static void release_locked(struct shmc *s, uint32_t index, uint32_t generation, uint32_t owner) {
    struct descriptor *d = descriptor_at(s, index);
    shrink(s, d, generation, owner);
    if (d->generation != generation || !in_hands_of(d, HELD, owner))
        return;
    int64_t bytes = sizeof *d;
    struct block *b = block_at(s, d->payload);
    if (d->payload && b->references > 1)
        SET(s, SHMC_POOL, b->references, b->references - 1);
    else if (d->payload)
        bytes += pool_unblock(s, d->payload);
    pool_count(s, -bytes);
    SET(s, SHMC_POOL, d->generation, generation + 1);
    PUT(d->next, s->pool->descriptor_free);
    SET(s, SHMC_POOL, s->pool->descriptor_free, index);
    SET(s, SHMC_POOL, d->state, FREE);
}

static void release(struct shmc *s, uint32_t index, uint32_t generation, uint32_t owner) {
    lock(s, SHMC_POOL);
    release_locked(s, index, generation, owner);
    unlock(s, SHMC_POOL);
}

/* Free several that this process holds, in one section. */
void pool_release_all(struct shmc *s, const uint32_t *descriptors, uint32_t count) {
    lock(s, SHMC_POOL);
    for (uint32_t k = 0; k < count; k++) {
        release_locked(s, descriptors[k], descriptor_at(s, descriptors[k])->generation, s->slot_reference);
        commit(s, SHMC_POOL);
    }
    unlock(s, SHMC_POOL);
}

/* Free what this process holds. */
void pool_release(struct shmc *s, uint32_t index) {
    release(s, index, HINT(descriptor_at(s, index)->generation), s->slot_reference);
}

/* The next message of a long queue has left the caches since it was queued: have it fetched meanwhile. */
void pool_foresee(struct shmc *s, uint32_t index) {
    const struct descriptor *d = descriptor_at(s, index);
    const char *block = (const char *)block_at(s, HINT(d->payload));
    for (uint32_t at = 64; at < sizeof *d; at += 64)
        __builtin_prefetch((const char *)d + at);
    for (uint32_t at = 0; at < CELL; at += 64)
        __builtin_prefetch(block + at);
    if (d->run_next < s->sizes.descriptors) /* its place on the list is looked at one message earlier */
        __builtin_prefetch(&s->descriptors[d->run_next]);
}

/* Bytes that freeing a HELD message gives back; 0 for a payload that is long or shared, which is not worth
 * keeping. */
uint64_t pool_footprint(struct shmc *s, const struct descriptor *d) {
    struct block *b = block_at(s, d->payload);
    if (!d->payload || d->length > STASHED_MAX || b->next || HINT(b->references) != 1)
        return 0;
    return ((uint64_t)CELL << class_for(d->length)) + sizeof *d;
}

/* Free it if it is still that one, held by `owner`. */
void pool_release_if(struct shmc *s, uint64_t ref, uint32_t owner) {
    release(s, reference_index(ref), reference_generation(ref), owner);
}

/* --- bytes --- */

static uint64_t piece_length(uint64_t length, uint64_t at) {
    return length - at < PIECE ? length - at : PIECE;
}

/* A block of a damaged chain may lie so near the end of the segment that its bytes do not. */
static int beyond(struct shmc *s, uint32_t cell, uint64_t bytes) {
    uint64_t room = s->bytes - (uint64_t)((char *)block_at(s, cell) + BLOCK_HEADER - s->base);
    if (bytes <= room)
        return 0;
    poison(s);
    return 1;
}

void pool_write(struct shmc *s, uint32_t index, uint64_t offset, const void *bytes, uint64_t length) {
    struct descriptor *d = descriptor_at(s, index);
    uint64_t total = d->length, at = 0;
    uint32_t steps = 0;
    for (uint32_t cell = d->payload; cell && at < total && length; cell = block_at(s, cell)->next) {
        if (endless(s, &steps, s->sizes.chunks))
            return;
        uint64_t piece = piece_length(total, at);
        if (beyond(s, cell, piece))
            return;
        if (offset < at + piece) {
            uint64_t from = offset - at, n = piece - from < length ? piece - from : length;
            memcpy((char *)block_at(s, cell) + BLOCK_HEADER + from, bytes, n);
            bytes = (const char *)bytes + n;
            offset += n;
            length -= n;
        }
        at += piece;
    }
}

void pool_read(struct shmc *s, const struct descriptor *d, uint64_t offset, void *bytes, uint64_t length) {
    uint64_t total = d->length, at = 0;
    uint32_t steps = 0;
    for (uint32_t cell = d->payload; cell && at < total && length; cell = block_at(s, cell)->next) {
        if (endless(s, &steps, s->sizes.chunks))
            break;
        uint64_t piece = piece_length(total, at);
        if (beyond(s, cell, piece))
            break;
        if (offset < at + piece) {
            uint64_t from = offset - at, n = piece - from < length ? piece - from : length;
            memcpy(bytes, (char *)block_at(s, cell) + BLOCK_HEADER + from, n);
            bytes = (char *)bytes + n;
            offset += n;
            length -= n;
        }
        at += piece;
    }
    if (length) { /* a chain shorter than it says */
        poison(s);
        memset(bytes, 0, length);
    }
}
