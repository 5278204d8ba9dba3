/* wake.c: who waits, and how they are woken.
 *
 * A receiver that finds nothing lists itself as idle in the section that found it so; a sender takes one idle
 * waiter whose bits match off the list in the section that queues, and wakes it after leaving: by its futex,
 * or through the FIFO of a bell. Both are only hints: a waiter looks again by itself every 200 ms, so a waker
 * that dies in between costs a moment, never a message.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "internal.h"

/* --- the idle list of a domain; under it --- */

void idle_insert(struct shmc *s, uint32_t domain, uint32_t waiter) {
    struct domain *d = &s->domains[domain];
    struct idle *i = idle_at(s, domain, waiter);
    if (i->listed)
        return;
    SET(s, domain, i->next, d->idle_head);
    SET(s, domain, i->prev, 0);
    if (d->idle_head)
        SET(s, domain, idle_at(s, domain, d->idle_head)->prev, waiter);
    SET(s, domain, d->idle_head, waiter);
    SET(s, domain, i->listed, 1);
}

void idle_remove(struct shmc *s, uint32_t domain, uint32_t waiter) {
    struct idle *i = idle_at(s, domain, waiter);
    if (!i->listed)
        return;
    if (i->prev)
        SET(s, domain, idle_at(s, domain, i->prev)->next, i->next);
    else
        SET(s, domain, s->domains[domain].idle_head, i->next);
    if (i->next)
        SET(s, domain, idle_at(s, domain, i->next)->prev, i->prev);
    SET(s, domain, i->listed, 0);
}

void wake_one(struct shmc *s, uint32_t domain, uint32_t channel, struct kicks *kicks) {
    uint32_t bit = channel_bit(channel), steps = 0;
    if (kicks->count == sizeof kicks->waiters / sizeof *kicks->waiters)
        return; /* whoever was woken already finds this as well */
    for (uint32_t w = s->domains[domain].idle_head; w; w = idle_at(s, domain, w)->next) {
        if (endless(s, &steps, WAITERS))
            return;
        if (!(idle_at(s, domain, w)->bits[bit / 64] >> (bit % 64) & 1))
            continue;
        idle_remove(s, domain, w);
        __atomic_store_n(&waiter_at(s, w)->futex, 1, __ATOMIC_RELEASE);
        kicks->waiters[kicks->count++] = w;
        return;
    }
}

static void ring(struct shmc *s, uint32_t waiter) {
    uint32_t generation = HINT(waiter_at(s, waiter)->generation);
    pthread_mutex_lock(&s->bell_mutex);
    if (s->bell_fds[waiter] >= 0 && s->bell_generations[waiter] != generation) {
        close(s->bell_fds[waiter]);
        s->bell_fds[waiter] = -1;
    }
    if (s->bell_fds[waiter] < 0) {
        char path[512];
        snprintf(path, sizeof path, "%s/bell-%u-%u", s->folder, waiter, generation);
        s->bell_fds[waiter] = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        s->bell_generations[waiter] = generation;
    }
    int fd = s->bell_fds[waiter];
    if (fd >= 0 && write(fd, "", 1) < 0 && errno != EAGAIN) {
        close(fd);
        s->bell_fds[waiter] = -1;
    }
    pthread_mutex_unlock(&s->bell_mutex);
}

void wake(struct shmc *s, uint32_t waiter) {
    struct waiter *w = waiter_at(s, waiter);
    if (waiter >= WAITERS)
        return;
    if (HINT(w->bell))
        ring(s, waiter);
    else
        syscall(SYS_futex, &w->futex, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void kick(struct shmc *s, struct kicks *kicks) {
    for (uint32_t i = 0; i < kicks->count; i++)
        wake(s, kicks->waiters[i]);
    kicks->count = 0;
    if (kicks->spent)
        pool_release(s, kicks->spent);
    kicks->spent = 0;
}

/* Everybody who is idle in this domain looks again: a dead waker may have swallowed a wake-up. Takes the lock
 * itself. */
void wake_all(struct shmc *s, uint32_t domain) {
    for (uint32_t steps = 0; steps < WAITERS; steps++) {
        lock(s, domain);
        uint32_t w = s->domains[domain].idle_head;
        if (w) {
            idle_remove(s, domain, w);
            __atomic_store_n(&waiter_at(s, w)->futex, 1, __ATOMIC_RELEASE);
        }
        unlock(s, domain);
        if (!w)
            return;
        wake(s, w);
    }
}

/* --- waiters --- */

int waiter_allocate(struct shmc *s, uint32_t *out) {
    lock(s, SHMC_POOL);
    uint32_t found = 0;
    for (uint32_t i = 1; i < WAITERS && !found; i++)
        if (!waiter_at(s, i)->owner)
            found = i;
    if (found) {
        struct waiter *w = waiter_at(s, found);
        SET(s, SHMC_POOL, w->generation, w->generation + 1);
        SET(s, SHMC_POOL, w->bell, 0);
        SET(s, SHMC_POOL, w->owner, s->slot_reference);
    }
    unlock(s, SHMC_POOL);
    *out = found;
    return found ? SHMC_OK : SHMC_NO_MEMORY;
}

/* Off every list, then free: never the other way round. */
void waiter_release(struct shmc *s, uint32_t waiter) {
    for (uint32_t domain = SHMC_WORK; domain <= SHMC_REPLY; domain++) {
        lock(s, domain);
        idle_remove(s, domain, waiter);
        unlock(s, domain);
    }
    lock(s, SHMC_POOL);
    struct waiter *w = waiter_at(s, waiter);
    if (HINT(w->bell)) {
        char path[512];
        snprintf(path, sizeof path, "%s/bell-%u-%u", s->folder, waiter, w->generation);
        unlink(path);
    }
    SET(s, SHMC_POOL, w->owner, 0);
    unlock(s, SHMC_POOL);
}

/* --- bells --- */

int shmc_bell_new(shmc *s, uint32_t *waiter, int *fd) {
    REQUIRE(s);
    int r = waiter_allocate(s, waiter);
    if (r != SHMC_OK)
        return RESULT(s, r);
    struct waiter *w = waiter_at(s, *waiter);
    char path[512];
    snprintf(path, sizeof path, "%s/bell-%u-%u", s->folder, *waiter, w->generation);
    unlink(path);
    *fd = mkfifo(path, 0600) ? -1 : open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0) {
        int error = errno;
        waiter_release(s, *waiter);
        errno = error;
        return SHMC_E_SYSTEM;
    }
    lock(s, SHMC_POOL);
    SET(s, SHMC_POOL, w->bell, 1);
    unlock(s, SHMC_POOL);
    return RESULT(s, SHMC_OK);
}

int shmc_bell_free(shmc *s, uint32_t waiter) {
    REQUIRE(s);
    waiter_release(s, waiter);
    return RESULT(s, SHMC_OK);
}

void bell_close_all(struct shmc *s) {
    for (uint32_t k = 0; k < WAITERS; k++)
        if (s->bell_fds[k] >= 0) {
            close(s->bell_fds[k]);
            s->bell_fds[k] = -1;
        }
}
