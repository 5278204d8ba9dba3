/* lock.c: the five robust mutexes and their undo logs.
 *
 * A section begins with lock(), changes shared words by SET() only, and ends with unlock(). commit() makes
 * what was done so far final without leaving. A holder that died is undone by the next one that comes; one
 * that is stopped inside is killed by a waiter of the same user after a second, never robbed.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "internal.h"

enum { TRIES = 16, PAUSES = 40 };
#ifndef PATIENCE_NS /* how long one holder may stay inside before it is looked at; tests shorten it */
#define PATIENCE_NS SECOND_NS
#endif
#define LOCK_SLICE_NS (PATIENCE_NS / 20)

int domain_init(struct domain *d) {
    pthread_mutexattr_t attributes;
    if (pthread_mutexattr_init(&attributes))
        return SHMC_E_SYSTEM;
    int failed = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
#ifndef SHMC_UNSAFE
    failed = failed || pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
#endif
    failed = failed || pthread_mutex_init(&d->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return failed ? SHMC_E_SYSTEM : SHMC_OK;
}

void poison(struct shmc *s) {
    __atomic_store_n(&s->header->poisoned, 1, __ATOMIC_RELAXED);
}

void log_overflow(struct shmc *s) {
    poison(s);
}

/* Whether a logged word of 8 bytes may stand at `offset`: behind the header, and in no mutex and no log. */
static int loggable(struct shmc *s, uint64_t offset) {
    uint64_t domains = (uint64_t)((char *)s->domains - s->base), end = domains + DOMAINS * sizeof *s->domains;
    if (offset < sizeof(struct header) || offset + 8 > s->bytes)
        return 0;
    return offset < domains || offset >= end ||
           (offset - domains) % sizeof *s->domains >= offsetof(struct domain, channel_free);
}

/* Play the log of a dead holder backwards. May be interrupted by death at any point and begun again. */
static void undo(struct shmc *s, struct domain *d) {
    uint32_t n = d->log_n;
    if (n > LOG_SIZE) {
        poison(s);
        n = 0;
    }
    if (n)
        __atomic_fetch_add(&s->header->undone, 1, __ATOMIC_RELAXED);
    while (n) {
        n--;
        uint64_t where = d->log[n].where & ~(uint64_t)7, low = d->log[n].where & 7;
        uint64_t offset = where | (low & 4);
        if (!loggable(s, offset)) {
            poison(s);
        } else if (low & 1) {
            __atomic_store_n((uint64_t *)(void *)(s->base + offset), d->log[n].old, __ATOMIC_RELAXED);
        } else {
            __atomic_store_n((uint32_t *)(void *)(s->base + offset), (uint32_t)d->log[n].old,
                             __ATOMIC_RELAXED);
        }
        BARRIER();
        POINT();
        d->log_n = n;
        BARRIER();
        POINT();
    }
    d->log_n = 0;
}

/* Thread that holds a robust mutex. glibc keeps it in the futex word, as the kernel's robust list wants it
 * there. */
static int32_t holder_of(struct domain *d) {
    return (int32_t)(__atomic_load_n((uint32_t *)(void *)&d->mutex.__data.__lock, __ATOMIC_RELAXED) &
                     FUTEX_TID_MASK);
}

/* State letter and process of a thread; 0 if there is none. */
static char thread_state(int32_t tid, int32_t *pid) {
    char path[64], text[2048];
    snprintf(path, sizeof path, "/proc/%d/status", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    char *state = strstr(text, "\nState:\t"), *group = strstr(text, "\nTgid:\t");
    if (!state || !group)
        return 0;
    *pid = (int32_t)strtol(group + 7, NULL, 10);
    return state[8];
}

/* The holder has been the same for a while: kill it if it is stopped. Thread ids mean nothing in another pid
 * namespace. */
static void kill_stopped(struct shmc *s, struct domain *d, int32_t tid) {
    int32_t pid = 0;
    char state = thread_state(tid, &pid);
    if ((state != 'T' && state != 't') || pid <= 1 || pid == s->pid || !s->same_namespace)
        return;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return;
    /* Still the same thread in the same section: then this descriptor is its process's. */
    if (holder_of(d) == tid && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0)
        __atomic_fetch_add(&s->pool->kills, 1, __ATOMIC_RELAXED);
    close(fd);
}

static int lock_slowly(struct shmc *s, struct domain *d) {
    int32_t holder = 0;
    uint64_t since = 0;
    for (;;) {
        uint64_t now = now_ns(), until = now + LOCK_SLICE_NS;
        struct timespec deadline = {(time_t)(until / SECOND_NS), (long)(until % SECOND_NS)};
        int r = pthread_mutex_clocklock(&d->mutex, CLOCK_MONOTONIC, &deadline);
        if (r != ETIMEDOUT)
            return r;
        int32_t present = holder_of(d);
        if (present != holder || !since) {
            holder = present;
            since = now;
        } else if (now - since >= PATIENCE_NS) {
            kill_stopped(s, d, holder);
            since = now;
        }
        if (HINT(s->header->poisoned) && now - since > SECOND_NS / 2)
            return EINVAL;
    }
}

void lock(struct shmc *s, uint32_t domain) {
    struct domain *d = &s->domains[domain];
    int r = pthread_mutex_trylock(&d->mutex);
    for (int i = 0; r == EBUSY && i < TRIES; i++) {
        /* Only read until it looks free: trying takes the cache line away from the holder. */
        for (int k = 0; k < PAUSES && holder_of(d); k++)
            relax();
        r = pthread_mutex_trylock(&d->mutex);
    }
    if (r == EBUSY)
        r = lock_slowly(s, d);
    POINT();
    if (__builtin_expect(r == EOWNERDEAD, 0)) {
        undo(s, d);
        POINT();
        pthread_mutex_consistent(&d->mutex);
    } else if (__builtin_expect(r != 0, 0)) {
        poison(s); /* the mutex itself is damaged: nobody may trust what it guarded */
        return;
    }
    if (__builtin_expect(d->log_n != 0, 0))
        undo(s, d);
}

void commit(struct shmc *s, uint32_t domain) {
    BARRIER();
    __atomic_store_n(&s->domains[domain].log_n, 0, __ATOMIC_RELAXED);
    BARRIER();
    POINT();
}

void unlock(struct shmc *s, uint32_t domain) {
    commit(s, domain);
    pthread_mutex_unlock(&s->domains[domain].mutex);
    POINT();
}

/* After this no section of a process that is dead now has half its stores in the segment. */
void settle_logs(struct shmc *s) {
    for (uint32_t domain = 0; domain < DOMAINS; domain++) {
        lock(s, domain);
        unlock(s, domain);
    }
}

int usable(struct shmc *s) {
    if (__builtin_expect(s == NULL, 0))
        return SHMC_E_CLOSED;
    if (__builtin_expect(*s->cookie == 0, 0))
        return SHMC_E_FORKED;
    if (__builtin_expect(s->detached, 0))
        return SHMC_E_CLOSED;
    if (__builtin_expect(HINT(s->header->poisoned) != 0, 0))
        return SHMC_E_CORRUPT;
    return SHMC_OK;
}
