/* delay.c: what the delay process needs of the segment: to hand over what is due exactly once, and timers.
 *
 * The heap is a file; the queues are here. One batch of due messages is named in the file first; then each is
 * queued and noted, in one step; then the file forgets those that were noted. Whoever comes after a death reads
 * the notes and does the last step. A note must stand under the lock of the queue it tells of, so there is one
 * for each channel domain: {batch, mask}. The first message of another batch replaces both words: the file has
 * settled the batch before by then.
 */
#include <sys/timerfd.h>

#include "internal.h"

static int noted(struct shmc *s, uint32_t domain, uint64_t batch, uint32_t bit) {
    struct domain *d = &s->domains[domain];
    return d->delay_batch == batch && d->delay_mask >> bit & 1;
}

/* In the section that queued it, before anything is committed. */
static void note(struct shmc *s, uint32_t domain, uint64_t batch, uint32_t bit) {
    struct domain *d = &s->domains[domain];
    uint64_t before = d->delay_batch == batch ? d->delay_mask : 0;
    KEEP(s, domain, d->delay_batch, batch);
    SET(s, domain, d->delay_mask, before | 1ull << bit);
}

uint64_t shmc_epoch(shmc *s) {
    return usable(s) == SHMC_OK ? s->header->epoch : 0;
}

int shmc_delay_put(shmc *s, shmc_target *t, const void *payload, uint64_t length, uint64_t key,
                   const char *address, uint32_t address_length, uint64_t batch, uint32_t bit) {
    REQUIRE(s);
    if (!batch || bit > 63)
        return SHMC_E_ARGUMENT;
    if (length > s->max_message_size)
        return RESULT(s, SHMC_TOO_LARGE);
    uint32_t index, expired[SWEEP], expired_count = 0;
    int r = prepare_descriptor(s, t, payload, length, key, address, address_length, &index);
    if (r != SHMC_OK)
        return RESULT(s, r);
    struct kicks kicks = {0};
    int before = 0;
    lock(s, t->domain);
    uint32_t channel = target_channel(s, t);
    commit(s, t->domain);
    if (!channel)
        r = SHMC_NO_MEMORY;
    else if (!(before = noted(s, t->domain, batch, bit))) {
        PUT(descriptor_at(s, index)->channel, channel);
        r = queue_enqueue(s, index, &kicks, 0);
        if (r == SHMC_FULL) {
            expired_count = sweep_expired(s, t->domain, channel, now_ns(), expired, SWEEP, &kicks);
            if (expired_count)
                r = queue_enqueue(s, index, &kicks, 0);
        }
        if (r == SHMC_OK || r == SHMC_GONE)
            note(s, t->domain, batch, bit);
        if (r == SHMC_GONE)
            count_drop(s, t->domain, channel, SHMC_CAUSE_GONE, 1);
        else if (r != SHMC_OK)
            count_refusal(s, t->domain, channel);
    }
    unlock(s, t->domain);
    kick(s, &kicks);
    for (uint32_t k = 0; k < expired_count; k++)
        pool_release(s, expired[k]);
    if (r != SHMC_OK || before)
        pool_release(s, index);
    return RESULT(s, r);
}

int shmc_delay_mask(shmc *s, uint64_t batch, uint64_t *mask) {
    REQUIRE(s);
    *mask = 0;
    for (uint32_t domain = SHMC_WORK; batch && domain <= SHMC_REPLY; domain++) {
        lock(s, domain); /* what a dead process did not finish is undone first */
        if (s->domains[domain].delay_batch == batch)
            *mask |= s->domains[domain].delay_mask;
        unlock(s, domain);
    }
    return RESULT(s, SHMC_OK);
}

/* --- timers --- */

int shmc_timer_new(int wall, int *fd) {
    *fd = timerfd_create(wall ? CLOCK_REALTIME : CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    return *fd < 0 ? SHMC_E_SYSTEM : SHMC_OK;
}

int shmc_timer_set(int fd, int wall, uint64_t due_ns) {
    struct itimerspec t = {.it_value = {(time_t)(due_ns / SECOND_NS), (long)(due_ns % SECOND_NS)}};
    int flags = TFD_TIMER_ABSTIME | (wall ? TFD_TIMER_CANCEL_ON_SET : 0);
    if (timerfd_settime(fd, flags, &t, NULL) == 0)
        return SHMC_OK;
    return errno == ECANCELED ? SHMC_INTERRUPTED : SHMC_E_SYSTEM;
}
