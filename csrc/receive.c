/* receive.c: taking messages: which channel is next, waiting for one, and the bytes on their way out.
 *
 * An interest is the set of channels of one receiver, kept as bits beside the ready bits of each domain, so
 * that finding the next channel costs the same with one or with a thousand of them. It belongs to one thread.
 */
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "internal.h"

/* --- interests --- */

enum { TAKE_BUFFER = 64 << 10, STASH = 16 };

struct shmc_interest {
    struct shmc *s;
    uint32_t count, waiter;
    uint32_t cursor;
    int luck;         /* of spinning before parking */
    uint32_t domains; /* bit set of those asked for */
    int status;       /* of the last shmc_take, with what it took */
    shmc_message last;
    char *buffer;
    uint32_t stash[STASH], stash_count; /* read, to be freed in one section */
    uint64_t stash_bytes;
    uint64_t summary[DOMAINS];
    uint64_t bits[DOMAINS][READY_WORDS];
    shmc_target targets[];
};

static void bit_set(shmc_interest *i, uint32_t domain, uint32_t channel) {
    uint32_t bit = channel_bit(channel);
    i->bits[domain][bit / 64] |= 1ull << (bit % 64);
    i->summary[domain] |= 1ull << (bit / 64);
}

/* Make sure that every channel asked for has an entry, and that the bits are those of the entries. */
static int refresh(struct shmc *s, shmc_interest *i) {
    int stale = 0;
    for (uint32_t k = 0; k < i->count; k++) {
        shmc_target *t = &i->targets[k];
        stale |= !t->channel || HINT(channel_at(s, t->channel)->generation) != t->generation;
    }
    if (__builtin_expect(!stale, 1))
        return SHMC_OK;
    memset(i->bits, 0, sizeof i->bits);
    memset(i->summary, 0, sizeof i->summary);
    for (uint32_t k = 0; k < i->count; k++) {
        shmc_target *t = &i->targets[k];
        lock(s, t->domain);
        uint32_t channel = target_channel(s, t);
        unlock(s, t->domain);
        if (!channel)
            return SHMC_NO_MEMORY;
        bit_set(i, t->domain, channel);
    }
    return SHMC_OK;
}

shmc_interest *shmc_interest_new(shmc *s, shmc_target *targets, uint32_t count) {
    if (usable(s) != SHMC_OK)
        return NULL;
    shmc_interest *i = calloc(1, sizeof *i + count * sizeof *i->targets);
    if (!i || !(i->buffer = malloc(TAKE_BUFFER))) {
        free(i);
        return NULL;
    }
    i->s = s;
    i->count = count;
    i->luck = 8;
    for (uint32_t k = 0; k < count; k++) {
        i->targets[k] = targets[k];
        i->targets[k].channel = 0;
        i->domains |= 1u << targets[k].domain;
    }
    return i;
}

/* Messages that were read are freed several at a time, and before this process waits: the pool's lock is the
 * busiest. They are HELD meanwhile, and no longer count as used (shmc_statistics_read). */
static void stash_flush(struct shmc *s, shmc_interest *i) {
    if (!i->stash_count)
        return;
    pool_release_all(s, i->stash, i->stash_count);
    __atomic_fetch_sub(&slot_at(s, s->slot)->stashed, i->stash_bytes, __ATOMIC_RELAXED);
    i->stash_count = 0;
    i->stash_bytes = 0;
}

static void stash(struct shmc *s, shmc_interest *i, uint32_t index) {
    struct descriptor *d = descriptor_at(s, index);
    uint64_t bytes = pool_footprint(s, d);
    if (!bytes) {
        pool_release(s, index);
        return;
    }
    PUT(d->number, 0); /* it has arrived: from here on its loss is none */
    i->stash[i->stash_count++] = index;
    i->stash_bytes += bytes;
    __atomic_fetch_add(&slot_at(s, s->slot)->stashed, bytes, __ATOMIC_RELAXED);
    if (i->stash_count == STASH)
        stash_flush(s, i);
}

void shmc_interest_free(shmc_interest *i) {
    if (!i)
        return;
    if (i->stash_count && usable(i->s) == SHMC_OK)
        stash_flush(i->s, i);
    if (i->waiter && usable(i->s) == SHMC_OK)
        waiter_release(i->s, i->waiter);
    free(i->buffer);
    free(i);
}

/* A ready channel of this domain that is asked for, in turn; 0 if none. Under the domain. */
static uint32_t choose(struct shmc *s, shmc_interest *i, uint32_t domain) {
    struct domain *d = &s->domains[domain];
    uint64_t words = d->summary & i->summary[domain];
    if (!words)
        return 0;
    uint32_t start = d->cursor & (CHANNELS - 1), first = start / 64;
    for (uint32_t step = 0; step <= READY_WORDS; step++) {
        uint32_t word = (first + step) % READY_WORDS;
        if (!(words >> word & 1))
            continue;
        uint64_t ready = d->ready[word] & i->bits[domain][word];
        if (step == 0)
            ready &= ~0ull << (start % 64);
        if (ready) {
            uint32_t bit = word * 64 + (uint32_t)__builtin_ctzll(ready);
            PUT(d->cursor, bit + 1); /* whatever it is, it will do */
            return (domain - 1) * CHANNELS + bit;
        }
    }
    return 0;
}

static int might_be_ready(struct shmc *s, shmc_interest *i) {
    for (uint32_t domain = SHMC_WORK; domain <= SHMC_REPLY; domain++)
        if (HINT(s->domains[domain].summary) & i->summary[domain])
            for (uint32_t word = 0; word < READY_WORDS; word++)
                if (HINT(s->domains[domain].ready[word]) & i->bits[domain][word])
                    return 1;
    return 0;
}

static uint32_t entry_of(struct shmc *s, shmc_interest *i, uint32_t channel) {
    (void)s;
    for (uint32_t k = 0; k < i->count; k++)
        if (i->targets[k].channel == channel)
            return k;
    return 0;
}

/* --- taking --- */

struct basket {
    uint32_t taken[64], channels[64], count;
    uint32_t expired[16], expired_count;
};

/* Fill the basket from one domain. With `waiter`, list it as idle in the section that found nothing. */
static void gather(struct shmc *s, shmc_interest *i, uint32_t domain, uint32_t state, uint32_t limit,
                   struct basket *b, uint32_t waiter) {
    struct kicks kicks = {0};
    lock(s, domain);
    if (domain == SHMC_WORK && s->domains[domain].delayed_head)
        delayed_due(s, now_ns(), &kicks);
    while (b->count < limit && b->expired_count < 16) {
        uint32_t channel = choose(s, i, domain);
        if (!channel)
            break;
        uint32_t index = queue_take(s, domain, channel, state, b->expired, &b->expired_count, &kicks);
        if (index) {
            b->taken[b->count] = index;
            b->channels[b->count++] = channel;
        }
        commit(s, domain);
        if (HINT(s->header->poisoned))
            break;
    }
    if (!b->count && waiter && b->expired_count < 16) {
        struct idle *idle = idle_at(s, domain, waiter);
        if (!idle->listed) {
            memcpy(idle->bits, i->bits[domain], sizeof idle->bits);
            idle_insert(s, domain, waiter);
        }
    }
    unlock(s, domain);
    kick(s, &kicks);
}

static void free_expired(struct shmc *s, struct basket *b) {
    for (uint32_t k = 0; k < b->expired_count; k++)
        pool_release(s, b->expired[k]);
    b->expired_count = 0;
}

static void gather_all(struct shmc *s, shmc_interest *i, uint32_t state, uint32_t limit, struct basket *b,
                       uint32_t waiter) {
    uint32_t turn = i->cursor++;
    for (uint32_t step = 0; step < 3 && !b->count; step++) {
        uint32_t domain = SHMC_WORK + (turn + step) % 3;
        if (!(i->domains >> domain & 1))
            continue;
        do {
            free_expired(s, b);
            gather(s, i, domain, state, limit, b, waiter);
        } while (b->expired_count == 16 && !b->count);
        free_expired(s, b);
    }
}

static int unlist(struct shmc *s, shmc_interest *i, uint32_t waiter) {
    int listed = 0;
    for (uint32_t domain = SHMC_WORK; domain <= SHMC_REPLY; domain++) {
        if (!(i->domains >> domain & 1) || !HINT(idle_at(s, domain, waiter)->listed))
            continue;
        lock(s, domain);
        listed |= idle_at(s, domain, waiter)->listed != 0;
        idle_remove(s, domain, waiter);
        unlock(s, domain);
    }
    return listed;
}

enum { SPINS = 300, LUCK_MAX = 16 };

/* Poll for a moment before parking: answers often come within microseconds. Worth it only while it often
 * succeeds. */
static int spin(struct shmc *s, shmc_interest *i) {
    if (!s->spin)
        return 0;
    if (i->luck <= 0) {
        i->luck++; /* try again some time */
        if (i->luck <= 0)
            return 0;
    }
    for (int k = 0; k < SPINS; k++) {
        if (might_be_ready(s, i)) {
            i->luck = i->luck < LUCK_MAX ? i->luck + 1 : LUCK_MAX;
            return 1;
        }
        for (int pause = 0; pause < 4; pause++)
            relax();
    }
    if (--i->luck == 0)
        i->luck = -LUCK_MAX;
    return 0;
}

static int obtain(struct shmc *s, shmc_interest *i, uint64_t timeout_ns, uint32_t state, uint32_t limit,
                  struct basket *b) {
    int r = refresh(s, i);
    if (r != SHMC_OK)
        return r;
    gather_all(s, i, state, limit, b, 0);
    if (b->count)
        return SHMC_OK;
    stash_flush(s, i);
    if (!timeout_ns)
        return SHMC_EMPTY;
    if (!i->waiter && (r = waiter_allocate(s, &i->waiter)) != SHMC_OK)
        return r;
    struct waiter *w = waiter_at(s, i->waiter);
    uint64_t start = now_ns(), until = timeout_ns > UINT64_MAX - start ? UINT64_MAX : start + timeout_ns;
    for (;;) {
        if (!spin(s, i)) {
            __atomic_store_n(&w->futex, 0, __ATOMIC_RELEASE);
            gather_all(s, i, state, limit, b, i->waiter);
            if (!b->count && !HINT(s->header->poisoned)) {
                uint64_t now = now_ns();
                uint64_t slice = until > now ? until - now : 0;
                slice = slice < WAIT_SLICE_NS ? slice : WAIT_SLICE_NS;
                uint64_t due = i->domains >> SHMC_WORK & 1 ? delayed_next(s) : 0;
                if (due)
                    slice = due <= now ? 0 : due - now < slice ? due - now : slice;
                struct timespec t = {(time_t)(slice / SECOND_NS), (long)(slice % SECOND_NS)};
                r = slice ? (int)syscall(SYS_futex, &w->futex, FUTEX_WAIT, 0, &t, NULL, 0) : 0;
                int interrupted = r < 0 && errno == EINTR;
                unlist(s, i, i->waiter);
                if (interrupted) {
                    /* a wake-up meant for this waiter must not be lost with it */
                    gather_all(s, i, state, limit, b, 0);
                    return b->count ? SHMC_OK : SHMC_INTERRUPTED;
                }
                if (HINT(w->futex) == 2) { /* shmc_interrupt */
                    gather_all(s, i, state, limit, b, 0);
                    return b->count ? SHMC_OK : SHMC_INTERRUPTED;
                }
            } else
                unlist(s, i, i->waiter);
        }
        if (!b->count)
            gather_all(s, i, state, limit, b, 0);
        if (b->count)
            return SHMC_OK;
        if (HINT(s->header->poisoned))
            return SHMC_E_CORRUPT;
        if (now_ns() >= until)
            return SHMC_EMPTY;
        reap_idle(s);
        r = refresh(s, i);
        if (r != SHMC_OK)
            return r;
    }
}

static void describe(struct shmc *s, shmc_interest *i, uint32_t index, uint32_t channel, uint64_t offset,
                     shmc_message *out) {
    struct descriptor *d = descriptor_at(s, index);
    memset(out, 0, offsetof(shmc_message, origin));
    out->reference = reference(index, d->generation);
    out->brief = UINT64_MAX;
    out->offset = offset;
    out->address_length = d->address_length;
    out->length = d->length >= d->address_length ? d->length - d->address_length : 0;
    out->sequence = d->sequence;
    out->number = d->number;
    out->queued_ns = d->queued_ns;
    out->kind = d->kind;
    out->entry = entry_of(s, i, channel);
    out->attempts = d->attempts;
    out->code = d->code;
    if (out->kind == SHMC_KIND_PLAIN && !out->address_length && !offset)
        out->brief = out->length | (uint64_t)out->entry << 40;
    if (d->kind == SHMC_KIND_DEAD) {
        struct channel *c = channel_at(s, d->origin);
        out->origin_length = c->name_length <= NAME_MAX_BYTES ? c->name_length : 0;
        memcpy(out->origin, c->name, out->origin_length);
    }
    if (d->address_length > d->length || d->address_length > NAME_MAX_BYTES || d->length > s->bytes)
        poison(s);
}

/* Take up to `limit` messages and copy them into `buffer`, one after the other. What does not fit has the offset
 * UINT64_MAX and stays in hand; the others do so if they are leased. */
static int take_out(struct shmc *s, shmc_interest *i, uint64_t timeout_ns, uint32_t state, uint32_t limit,
                    void *buffer, uint64_t capacity, shmc_message *out, uint32_t *count) {
    *count = 0;
    struct basket b;
    b.count = b.expired_count = 0;
    int r = obtain(s, i, timeout_ns, state, limit > 64 ? 64 : limit, &b);
    if (r != SHMC_OK)
        return RESULT(s, r);
    uint64_t at = 0;
    for (uint32_t k = 0; k < b.count; k++) {
        struct descriptor *d = descriptor_at(s, b.taken[k]);
        int fits = d->length <= capacity - at;
        describe(s, i, b.taken[k], b.channels[k], fits ? at : UINT64_MAX, &out[k]);
        if (HINT(s->header->poisoned))
            return SHMC_E_CORRUPT;
        *count = k + 1;
        if (!fits) {
            r = SHMC_BIG;
            continue;
        }
        pool_read(s, d, 0, (char *)buffer + at, d->length);
        at += d->length;
        if (state == HELD) {
            stash(s, i, b.taken[k]);
            out[k].reference = 0;
        }
    }
    return RESULT(s, r);
}

int shmc_receive(shmc *s, shmc_interest *i, uint64_t timeout_ns, uint32_t limit, void *buffer,
                 uint64_t capacity, shmc_message *out, uint32_t *count) {
    REQUIRE(s);
    return take_out(s, i, timeout_ns, HELD, limit, buffer, capacity, out, count);
}

int64_t shmc_take(shmc *s, shmc_interest *i, uint64_t timeout_ns) {
    uint32_t count;
    i->status = shmc_receive(s, i, timeout_ns, 1, i->buffer, TAKE_BUFFER, &i->last, &count);
    if (i->status == SHMC_EMPTY)
        return -2;
    return i->status == SHMC_OK && i->last.brief != UINT64_MAX ? (int64_t)i->last.brief : -1;
}

char *shmc_interest_buffer(shmc_interest *i, uint64_t *capacity) {
    *capacity = TAKE_BUFFER;
    return i->buffer;
}

int shmc_interest_last(shmc_interest *i, shmc_message *out) {
    *out = i->last;
    return i->status;
}

int shmc_lease(shmc *s, shmc_interest *i, uint64_t timeout_ns, void *buffer, uint64_t capacity,
               shmc_message *out) {
    REQUIRE(s);
    uint32_t count;
    return take_out(s, i, timeout_ns, LEASED, 1, buffer, capacity, out, &count);
}

int shmc_lease_all(shmc *s, shmc_interest *i, uint32_t limit, void *buffer, uint64_t capacity,
                   shmc_message *out, uint32_t *count) {
    REQUIRE(s);
    return take_out(s, i, 0, LEASED, limit, buffer, capacity, out, count);
}

/* --- listening --- */

int shmc_listen(shmc *s, shmc_interest *i) {
    REQUIRE(s);
    int r = refresh(s, i);
    struct slot *slot = slot_at(s, s->slot);
    for (uint32_t word = 0; word < READY_WORDS; word++)
        PUT(slot->listening[word], i->bits[SHMC_WORK][word]);
    return RESULT(s, r);
}

int shmc_is_listened(shmc *s, shmc_target *t) {
    REQUIRE(s);
    lock(s, t->domain);
    uint32_t channel = target_channel(s, t);
    unlock(s, t->domain);
    uint32_t bit = channel_bit(channel);
    for (uint32_t k = 1; k < SLOTS; k++)
        if (HINT(slot_at(s, k)->state) == SLOT_LIVE &&
            HINT(slot_at(s, k)->listening[bit / 64]) >> (bit % 64) & 1)
            return 1;
    return RESULT(s, 0);
}

int shmc_interrupt(shmc *s) {
    REQUIRE(s);
    for (uint32_t k = 1; k < WAITERS; k++) {
        struct waiter *w = waiter_at(s, k);
        if (HINT(w->owner) != s->slot_reference)
            continue;
        if (!HINT(w->bell))
            __atomic_store_n(&w->futex, 2, __ATOMIC_RELEASE);
        wake(s, k);
    }
    return SHMC_OK;
}

/* --- bells --- */

int shmc_bell_arm(shmc *s, uint32_t waiter, shmc_interest *i) {
    REQUIRE(s);
    int r = refresh(s, i);
    if (r != SHMC_OK)
        return r;
    int ready = 0;
    for (uint32_t domain = SHMC_WORK; domain <= SHMC_REPLY; domain++) {
        if (!(i->domains >> domain & 1))
            continue;
        lock(s, domain);
        struct domain *d = &s->domains[domain];
        struct idle *idle = idle_at(s, domain, waiter);
        for (uint32_t word = 0; word < READY_WORDS && !ready; word++)
            ready = (d->ready[word] & i->bits[domain][word]) != 0;
        if (!ready) {
            if (!idle->listed)
                memcpy(idle->bits, i->bits[domain], sizeof idle->bits);
            idle_insert(s, domain, waiter);
        }
        unlock(s, domain);
        if (ready)
            break;
    }
    if (ready)
        unlist(s, i, waiter);
    return RESULT(s, ready ? SHMC_FULL : SHMC_OK);
}
