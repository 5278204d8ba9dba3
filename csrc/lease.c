/* lease.c: what a process has in hand: reading it, giving it back, being done with it. */
#include "internal.h"

enum { ROUND = 32 }; /* messages acknowledged in one section */

static struct descriptor *in_hand(struct shmc *s, uint64_t ref, uint32_t state) {
    uint32_t index = reference_index(ref);
    if (!index || index >= s->sizes.descriptors)
        return NULL;
    struct descriptor *d = descriptor_at(s, index);
    int ours = state ? in_hands_of(d, state, s->slot_reference)
                     : in_hands_of(d, HELD, s->slot_reference) || in_hands_of(d, LEASED, s->slot_reference);
    return ours && HINT(d->generation) == reference_generation(ref) ? d : NULL;
}

int shmc_read(shmc *s, uint64_t ref, void *buffer, uint64_t capacity) {
    REQUIRE(s);
    struct descriptor *d = in_hand(s, ref, 0);
    if (!d)
        return SHMC_GONE;
    if (d->length > capacity)
        return SHMC_BIG;
    pool_read(s, d, 0, buffer, d->length);
    return RESULT(s, SHMC_OK);
}

int shmc_free(shmc *s, uint64_t ref) {
    REQUIRE(s);
    struct descriptor *d = in_hand(s, ref, HELD);
    if (!d)
        return SHMC_GONE;
    pool_release(s, reference_index(ref));
    return RESULT(s, SHMC_OK);
}

int shmc_set_policy(shmc *s, uint64_t ref, uint32_t policy) {
    REQUIRE(s);
    struct descriptor *d = in_hand(s, ref, LEASED);
    if (!d || policy > SHMC_POLICY_DEAD_LETTER)
        return d ? SHMC_E_ARGUMENT : SHMC_GONE;
    PUT(d->policy, policy);
    return SHMC_OK;
}

/* Leave the section that ended a lease: wake who waits, then free the message. */
static int part(struct shmc *s, uint32_t domain, uint64_t ref, struct kicks *kicks) {
    unlock(s, domain);
    kick(s, kicks);
    pool_release(s, reference_index(ref));
    return RESULT(s, SHMC_OK);
}

/* The domain of what is leased by this process, locked; or why it cannot be. */
static int enter(struct shmc *s, uint64_t ref, uint32_t *domain) {
    struct descriptor *d = in_hand(s, ref, LEASED);
    if (!d)
        return SHMC_GONE;
    *domain = d->domain;
    if (*domain < SHMC_WORK || *domain > SHMC_REPLY)
        return SHMC_E_CORRUPT;
    lock(s, *domain);
    return SHMC_OK;
}

int shmc_acknowledge(shmc *s, uint64_t ref) {
    REQUIRE(s);
    uint32_t domain;
    struct kicks kicks = {0};
    int r = enter(s, ref, &domain);
    if (r != SHMC_OK)
        return r;
    queue_finish_lease(s, reference_index(ref), &kicks);
    return part(s, domain, ref, &kicks);
}

int shmc_acknowledge_all(shmc *s, const uint64_t *leases, uint32_t count) {
    REQUIRE(s);
    uint32_t done[ROUND];
    for (uint32_t k = 0; k < count;) {
        struct descriptor *d = in_hand(s, leases[k], LEASED);
        uint32_t domain = d ? d->domain : 0, n = 0;
        if (!d || d->lane || domain < SHMC_WORK || domain > SHMC_REPLY) {
            int r = d ? shmc_acknowledge(s, leases[k]) : SHMC_OK; /* its lane may wake somebody */
            if (r < 0)
                return r;
            k++;
            continue;
        }
        struct kicks kicks = {0};
        lock(s, domain);
        for (; k < count && n < ROUND && !kicks.count && !kicks.spent; k++) {
            d = in_hand(s, leases[k], LEASED);
            if (!d || d->lane || d->domain != domain)
                break;
            queue_finish_lease(s, reference_index(leases[k]), &kicks);
            commit(s, domain);
            done[n++] = reference_index(leases[k]);
        }
        unlock(s, domain);
        kick(s, &kicks);
        pool_release_all(s, done, n);
    }
    return RESULT(s, SHMC_OK);
}

int shmc_reject(shmc *s, uint64_t ref) {
    REQUIRE(s);
    uint32_t domain;
    struct kicks kicks = {0};
    int r = enter(s, ref, &domain);
    if (r != SHMC_OK)
        return r;
    uint32_t channel = descriptor_at(s, reference_index(ref))->channel;
    queue_finish_lease(s, reference_index(ref), &kicks);
    SET(s, domain, channel_at(s, channel)->delivered, channel_at(s, channel)->delivered - 1);
    count_drop(s, domain, channel, SHMC_CAUSE_BAD, 1);
    return part(s, domain, ref, &kicks);
}

int shmc_requeue(shmc *s, uint64_t ref, uint64_t delay_ns) {
    REQUIRE(s);
    uint32_t domain;
    struct kicks kicks = {0};
    int r = enter(s, ref, &domain);
    if (r != SHMC_OK)
        return r;
    queue_requeue(s, reference_index(ref), delay_ns, &kicks, TAIL);
    unlock(s, domain);
    kick(s, &kicks);
    return RESULT(s, SHMC_OK);
}
