/* threads: many threads do everything at once with one segment, so that ThreadSanitizer sees each access.
 *
 *   threads SECONDS PATH
 *
 * Half of the threads share one attachment, the others have one each: a slot, a lock on a byte of the file,
 * leases and waiters of their own. TSan knows memory by its address, so every attachment has to see the
 * segment at the same one: this program's mmap gives the same mapping to all (the core is compiled with
 * -Dmmap=one_mmap, see test_sanitize.py). Ends with 0 when the segment is sound; TSan speaks on stderr and
 * changes the exit code.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "../../csrc/internal.h"

enum { THREADS = 6, BUFFER = 40000 };

static const char *path;
static shmc *common;
static int stop; /* relaxed */
static long done[THREADS];

/* --- one mapping for all --- */

static pthread_mutex_t mapping_mutex = PTHREAD_MUTEX_INITIALIZER;
static void *mapping;
static int mappings;

void *one_mmap(void *wish, size_t bytes, int protection, int flags, int fd, off_t offset) {
    if (fd < 0)
        return mmap(wish, bytes, protection, flags, fd, offset);
    pthread_mutex_lock(&mapping_mutex);
    if (!mappings++)
        mapping = mmap(wish, bytes, protection, flags, fd, offset);
    void *base = mapping;
    pthread_mutex_unlock(&mapping_mutex);
    return base;
}

int one_munmap(void *base, size_t bytes) {
    if (bytes == 4096)
        return munmap(base, bytes);
    pthread_mutex_lock(&mapping_mutex);
    int last = --mappings == 0;
    pthread_mutex_unlock(&mapping_mutex);
    return last ? munmap(base, bytes) : 0;
}

/* TSan does not know pthread_mutex_clocklock. */
int one_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    for (;;) {
        struct timespec now;
        int r = pthread_mutex_trylock(mutex);
        clock_gettime(clock, &now);
        if (r != EBUSY)
            return r;
        if (now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec))
            return ETIMEDOUT;
        sched_yield();
    }
}

/* --- what each thread does --- */

static void target(shmc *s, shmc_target *t, const char *name) {
    uint32_t domain = strchr(name, '!') ? SHMC_REPLY : strchr(name, '?') ? SHMC_SINGLE : SHMC_WORK;
    shmc_target_init(s, t, name, (uint32_t)strlen(name), domain, 30, 200);
}

static const char *const ALL[] = {
    "a",     "b",  "websocket.connect", "websocket.receive", "websocket.disconnect",
    "s?one", "r!", "shmchan.dead"};

static void answer(shmc *s, uint64_t lease) {
    static const char *const names[] = {"a", "r!v", "s?one", "b", "front-0!x", "front-1!x"};
    uint64_t outbox;
    shmc_target t;
    uint32_t length;
    char blocked[200];
    if (shmc_outbox_open(s, lease, &outbox) != SHMC_OK)
        return;
    for (int k = 0; k < 6; k++) {
        target(s, &t, names[k]);
        shmc_outbox_add(s, outbox, &t, "answer", 6, 0, "", 0);
    }
    shmc_outbox_add_group(s, outbox, "g", 1, "group", 5);
    if (lease % 7 == 0 && shmc_outbox_drop(s, outbox) == SHMC_OK)
        return;
    if (shmc_outbox_commit(s, outbox, 1000000) == SHMC_PARKED)
        while (shmc_outbox_push(s, outbox, blocked, &length) == SHMC_PARKED)
            ;
}

static void round_of(shmc *s, shmc_interest *i, shmc_target *queue, shmc_interest *front, long n, int me) {
    char lane[20], buffer[BUFFER], text[300];
    shmc_message out[8];
    shmc_target t, u;
    uint32_t count;
    uint64_t needed;
    uint8_t admitted[8];
    snprintf(lane, sizeof lane, "front-%d!%ld", me, n % 3);
    uint64_t key = shmc_hash(s, lane, strlen(lane));
    target(s, &t, n & 1 ? "a" : "b");
    shmc_send(s, &t, buffer, (uint64_t)(n % 4 ? 100 : 30000), 0, "", 0, 0);
    target(s, &t, "websocket.connect");
    target(s, &u, "websocket.disconnect");
    shmc_connection_open(s, &t, &u, key, lane, (uint32_t)strlen(lane), "hello", 5, "goodbye-code-order", 18,
                         0, 4);
    target(s, &t, "websocket.receive");
    shmc_send(s, &t, "text", 4, key, lane, (uint32_t)strlen(lane), (uint32_t)n);
    shmc_group_add(s, "g", 1, lane, (uint32_t)strlen(lane), 30, 200);
    shmc_group_add(s, "g", 1, "b", 1, 30, 200);
    uint64_t wait = n % 16 ? 0 : 2000000;
    if (shmc_lease(s, i, wait, buffer, sizeof buffer, out) == SHMC_OK) {
        shmc_set_policy(s, out[0].reference, SHMC_POLICY_NOTIFY);
        if (n % 5 == 0)
            shmc_requeue(s, out[0].reference, n % 10 ? 0 : 1000);
        else if (n % 5 == 1)
            shmc_acknowledge(s, out[0].reference);
        else
            answer(s, out[0].reference);
    }
    shmc_receive(s, i, 0, 8, buffer, sizeof buffer, out, &count);
    shmc_receive(s, front, 0, 8, buffer, sizeof buffer, out, &count);
    shmc_group_members(s, "g", 1, queue->name, queue->name_length, UINT64_MAX, buffer, sizeof buffer, &needed,
                       &count);
    shmc_group_admit(s, queue, "\1x\1y", 4, 30, admitted);
    target(s, &t, "front-0!x");
    shmc_credit(s, &t, 2);
    shmc_lane_busy(s, key);
    shmc_is_listened(s, &t);
    shmc_connection_close(s, key, 1000, (uint32_t)n + 1);
    if (n % 8 == 0)
        shmc_group_discard(s, "g", 1, lane, (uint32_t)strlen(lane));
    if (n % 64 == me) {
        shmc_statistics all;
        shmc_process processes[8];
        shmc_statistics_read(s, &all);
        shmc_processes(s, 8, processes, &count);
        shmc_reap(s);
        shmc_interrupt(s);
    }
    if (n % 256 == 255)
        shmc_flush(s);
    (void)text;
}

static void *thread(void *which) {
    int me = (int)(intptr_t)which, alone;
    shmc *s = common;
    uint64_t version;
    char name[20];
    shmc_target t[8], queue;
    if (me % 2 && shmc_attach(path, &version, &s) != SHMC_OK)
        return "attach";
    for (int k = 0; k < 8; k++)
        target(s, &t[k], ALL[k]);
    snprintf(name, sizeof name, "front-%d!", me);
    target(s, &queue, name);
    shmc_front_own(s, &queue);
    shmc_interest *i = shmc_interest_new(s, t, 8), *front = shmc_interest_new(s, &queue, 1);
    shmc_listen(s, i);
    for (; !__atomic_load_n(&stop, __ATOMIC_RELAXED); done[me]++) {
        round_of(s, i, &queue, front, done[me], me);
        if (me == 1 && done[me] % 50 == 49) { /* one that comes and goes */
            shmc_interest_free(i);
            shmc_interest_free(front);
            shmc_detach(s, &alone);
            if (shmc_attach(path, &version, &s) != SHMC_OK)
                return "attach";
            shmc_front_own(s, &queue);
            i = shmc_interest_new(s, t, 8);
            front = shmc_interest_new(s, &queue, 1);
        }
    }
    shmc_interest_free(i);
    shmc_interest_free(front);
    if (s != common)
        shmc_detach(s, &alone);
    return NULL;
}

int main(int argc, char **argv) {
    shmc_options options = {.max_message_size = 40000,
                            .expiry_ns = SECOND_NS / 10,
                            .group_expiry_ns = SECOND_NS / 10,
                            .capacity = 30};
    pthread_t threads[THREADS];
    char text[300] = "";
    int alone, bad = 0;
    long all = 0;
    if (argc < 3)
        return 2;
    path = argv[2];
    options.memory = shmc_memory_minimum(&options);
    if (shmc_create(path, &options, &common) != SHMC_OK)
        return 2;
    for (int k = 0; k < THREADS; k++)
        pthread_create(&threads[k], NULL, thread, (void *)(intptr_t)k);
    struct timespec a_while = {atol(argv[1]), 0};
    nanosleep(&a_while, NULL);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int k = 0; k < THREADS; k++) {
        void *failed;
        pthread_join(threads[k], &failed);
        if (failed)
            bad = 3;
        all += done[k];
    }
    if (shmc_check(common, text, sizeof text) != SHMC_OK)
        bad = 4;
    shmc_detach(common, &alone);
    unlink(path);
    printf("%ld rounds of %d threads %s\n", all, THREADS, text);
    return bad;
}
