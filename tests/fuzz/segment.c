/* segment: a damaged segment is refused, or poisoned, or does no harm; nobody who attaches crashes or hangs.
 *
 * A template is made once: a segment in use whose other process was killed with leases, outboxes, a front's
 * queue, connections, sessions, groups and their histories in hand. It is read into an arena (system.c), which each run damages and
 * attaches to anew; afterwards the lines of it that were changed are put back. No run makes a system call, time
 * stands still but for the core's own looks at it, and the same input does the same in every process.
 *
 * An input is one byte of flags, then damages of 8 bytes: {how, index, word (2), value (4)}, see damage().
 * Mutexes are never damaged: attach makes them new when nobody lives, whatever is there.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "../../csrc/internal.h"
#include "system.h"

enum { DAMAGES = 24, HOT_MAX = 1 << 16, BUFFER = 300000 };
enum flag {
    LATER = 1,
    CHECK = 2 | 32 | 64,
    STATISTICS = 4 | 32,
    FLUSH = 8,
    BUSY = 16,
    LONG = 16 | 128,
    EXAMINE = 8 | 64
};

static char folder[100], path[160];
static uint32_t hot[HOT_MAX], hot_count; /* offsets of words that are not 0 in the template */
static struct { uint64_t offset, entry, count; } tables[64];
static uint32_t table_count;
static uint64_t mutexes[DOMAINS];

static void damage(char *base, const uint8_t *at) {
    uint32_t how = at[0], index = at[1], word, value, *where;
    word = (uint32_t)at[2] | (uint32_t)at[3] << 8;
    memcpy(&value, at + 4, 4);
    if (how & 1) { /* a word that is in use */
        where = (uint32_t *)(void *)(base + hot[(word << 8 | index) % hot_count]);
    } else { /* a word of an entry of a table */
        uint32_t t = (how >> 1) % table_count;
        uint64_t words = tables[t].entry / 4;
        where = (uint32_t *)(void *)(base + tables[t].offset + index % tables[t].count * tables[t].entry +
                                     word % words * 4);
    }
    system_touch(where, 4);
    switch (how >> 6) {
    case 0:
        *where = value;
        break;
    case 1:
        *where += (uint32_t)(int32_t)(int8_t)at[4];
        break;
    case 2:
        *where ^= 1u << (value & 31);
        break;
    default: /* what another word in use has: links that cross */
        *where = *(uint32_t *)(void *)(base + hot[value % hot_count]);
    }
}

/* --- the template --- */

static void target(shmc *s, shmc_target *t, const char *name) {
    uint32_t domain = strchr(name, '!') ? SHMC_REPLY : strchr(name, '?') ? SHMC_SINGLE : SHMC_WORK;
    shmc_target_init(s, t, name, (uint32_t)strlen(name), domain, 8, 40);
}

static int send_to(shmc *s, const char *name, uint64_t length, const char *lane) {
    static char payload[200000];
    shmc_target t;
    target(s, &t, name);
    uint64_t key = lane ? shmc_hash(s, lane, strlen(lane)) : 0;
    return shmc_send(s, &t, payload, length, key, lane ? lane : "", lane ? (uint32_t)strlen(lane) : 0, 0);
}

static shmc_interest *interest_in(shmc *s, const char *const *names, uint32_t n) {
    shmc_target t[8];
    for (uint32_t k = 0; k < n; k++)
        target(s, &t[k], names[k]);
    return shmc_interest_new(s, t, n);
}

static const char *const ALL[] = {
    "a",     "b",  "websocket.connect", "websocket.receive", "websocket.disconnect",
    "s?one", "r!", "shmchan.dead"};

static void fill_outbox(shmc *s, uint64_t lease, uint64_t *outbox) {
    const char *const names[] = {"a", "r!v", "front!x", "s?one", "b"};
    shmc_target t;
    if (shmc_outbox_open(s, lease, outbox) != SHMC_OK)
        return;
    for (int k = 0; k < 9; k++) {
        target(s, &t, names[k % 5]);
        shmc_outbox_add(s, *outbox, &t, "out", 3, 0, "", 0);
    }
    shmc_outbox_add_group(s, *outbox, "g", 1, "group", 5);
    shmc_outbox_add_kept(s, *outbox, "g", 1, "kept--------", 12, 2);
    shmc_outbox_add_kept(s, *outbox, "i", 1, "kept--------", 12, 1);
}

/* Leaves with everything in hand. */
static void die(void) {
    static char buffer[BUFFER];
    shmc_message messages[8];
    shmc_target queue, t, u;
    uint64_t version, outbox;
    shmc *s;
    if (shmc_attach(path, &version, &s) != SHMC_OK)
        _exit(1);
    target(s, &queue, "front!");
    shmc_front_own(s, &queue);
    const char *const members[] = {"front!x", "front!y", "b", "r!m", "s?one"};
    for (int k = 0; k < 5; k++)
        for (int g = 0; g < 2; g++)
            shmc_group_add(s, g ? "h" : "g", 1, members[k], (uint32_t)strlen(members[k]), 8, 40);
    const char *const present[] = {"front!x", "ann", "front!y", "ann", "front!w", "bob"};
    shmc_presence what;
    for (uint32_t k = 0; k < 6; k += 2)
        shmc_group_enter(s, "g", 1, present[k], 7, 8, 40, present[k + 1], 3);
    shmc_presence_leave(s, "front!w", 7);
    if (shmc_presence_take(s, &what) == SHMC_OK) /* told, and the next one claimed */
        shmc_presence_told(s, &what);
    shmc_presence_take(s, &what);
    for (int k = 0; k < 3; k++) {
        char lane[] = "front!x";
        lane[6] = (char)('x' + k);
        target(s, &t, "websocket.connect");
        target(s, &u, "websocket.disconnect");
        shmc_connection_open(s, &t, &u, shmc_hash(s, lane, 7), lane, 7, "hello", 5, "goodbye-code-order", 18,
                             0, 4);
        send_to(s, "websocket.receive", 100, lane);
        send_to(s, "websocket.receive", 1000, lane);
    }
    for (int k = 0; k < 3; k++) {
        send_to(s, "a", 10, NULL);
        send_to(s, "b", k ? 3000 : 150000, NULL);
        send_to(s, "s?one", 10, NULL);
        send_to(s, "r!v", 10, NULL);
        send_to(s, "front!x", 10, NULL);
    }
    shmc_session_save(s, shmc_hash(s, "front!x", 7), "known", 5, 60 * SECOND_NS);
    shmc_session_save(s, shmc_hash(s, "front!w", 7), buffer, 5000, 0);
    for (uint32_t k = 0; k < 3; k++) {
        target(s, &t, ALL[k * 2]);
        shmc_delay_put(s, &t, "late", 4, 0, "", 0, 7, k);
    }
    for (uint32_t k = 0; k < 3; k++)
        if (shmc_outbox_open(s, 0, &outbox) == SHMC_OK) {
            shmc_outbox_add_kept(s, outbox, k == 1 ? "h" : "g", 1, "kept--------", 12, 2);
            shmc_outbox_commit(s, outbox, 0);
        }
    shmc_interest *i = interest_in(s, ALL, 8);
    for (uint32_t k = 0; k < 5 && shmc_lease(s, i, 0, buffer, sizeof buffer, messages) == SHMC_OK; k++) {
        shmc_set_policy(s, messages[0].reference, k % 4);
        if (k == 1)
            shmc_requeue(s, messages[0].reference, SECOND_NS);
        if (k == 3)
            fill_outbox(s, messages[0].reference, &outbox);
        if (k == 4) { /* committed, and parked: "a" is full */
            while (send_to(s, "a", 1, NULL) == SHMC_OK)
                ;
            fill_outbox(s, messages[0].reference, &outbox);
            shmc_outbox_commit(s, outbox, SECOND_NS);
        }
    }
    uint32_t bell, count;
    int fd;
    const char *const own[] = {"front!"};
    shmc_interest *f = interest_in(s, own, 1);
    shmc_receive(s, f, 0, 2, buffer, 1, messages, &count); /* too big for the buffer: HELD */
    if (shmc_bell_new(s, &bell, &fd) == SHMC_OK) {
        const char *const nothing[] = {"silent", "silent!"};
        shmc_bell_arm(s, bell, interest_in(s, nothing, 2));
    }
    kill(getpid(), SIGKILL);
}

static void remember(void *table, uint64_t entry, uint64_t count, shmc *s) {
    tables[table_count].offset = (uint64_t)((char *)table - s->base);
    tables[table_count].entry = entry;
    tables[table_count++].count = count;
}

static void remove_template(void) {
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command))
        perror("segment: the template stays");
}

static void make_template(void) {
    shmc *s;
    int status, alone;
    shmc_options options = {.max_message_size = 200000,
                            .expiry_ns = 60 * SECOND_NS,
                            .group_expiry_ns = 60 * SECOND_NS,
                            .capacity = 8};
    const char *place = getenv("SHMCHAN_FUZZ_FOLDER");
    snprintf(folder, sizeof folder, "%s/shmchan-fuzz-%d", place ? place : "/dev/shm", getpid());
    snprintf(path, sizeof path, "%s/segment", folder);
    options.memory = shmc_memory_minimum(&options);
    if (mkdir(folder, 0700) || shmc_create(path, &options, &s) != SHMC_OK) {
        perror("segment: no template");
        exit(2);
    }
    pid_t child = fork();
    if (child == 0)
        die();
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        fprintf(stderr, "segment: the template's process ended with status %x\n", status);
        exit(2);
    }
    remember(s->header, sizeof *s->header, 1, s);
    for (uint32_t d = 0; d < DOMAINS; d++) {
        remember(&s->domains[d].log_n, 8 * sizeof(struct log_entry), 1, s);
        remember(&s->domains[d].channel_free,
                 offsetof(struct domain, ready) - offsetof(struct domain, channel_free), 1, s);
    }
    remember(s->pool, sizeof *s->pool, 1, s);
    remember(s->counters, sizeof *s->counters, 1, s);
    remember(s->slots, sizeof *s->slots, 4, s);
    remember(s->waiters, sizeof *s->waiters, 4, s);
    remember(s->idles, sizeof *s->idles, 3, s);
    for (uint32_t d = 0; d < 3; d++)
        remember(s->channels + d * CHANNELS, sizeof *s->channels, 12, s);
    remember(s->outboxes, sizeof *s->outboxes, 4, s);
    remember(s->descriptors, sizeof *s->descriptors, s->pool->descriptor_top + 1, s);
    remember(s->lanes, sizeof *s->lanes, 6, s);
    remember(s->virtuals, sizeof *s->virtuals, 6, s);
    remember(s->connections, sizeof *s->connections, 5, s);
    remember(s->sessions, sizeof *s->sessions, 4, s);
    remember(s->groups, sizeof *s->groups, 4, s);
    remember(s->branches, sizeof *s->branches, 10, s);
    remember(s->members, sizeof *s->members, 14, s);
    remember(s->chunks, sizeof *s->chunks, s->pool->chunk_top + 1, s);
    remember(s->cells + CHUNK, CELL, 64, s);
    remember(s->histories, sizeof *s->histories, 4, s);
    remember(s->presences, sizeof *s->presences, 4, s);
    uint64_t domains = (uint64_t)((char *)s->domains - s->base), bytes = s->bytes;
    shmc_detach(s, &alone);
    if (!alone || system_serve(path, bytes)) {
        perror("segment: the template cannot be served");
        exit(2);
    }
    remove_template();
    for (uint32_t d = 0; d < DOMAINS; d++)
        mutexes[d] = domains + d * sizeof *s->domains;
    for (uint64_t at = 0; at < bytes && hot_count < HOT_MAX; at += 4) {
        if (at >= domains && at < domains + DOMAINS * sizeof *s->domains &&
            (at - domains) % sizeof *s->domains < sizeof(pthread_mutex_t))
            continue;
        if (*(uint32_t *)(void *)(system_arena() + at))
            hot[hot_count++] = (uint32_t)at;
    }
}

/* --- one run --- */

/* All that reads only: what `shmchan doctor` does with a segment whose processes are dead. */
static void look(shmc *s, int flags) {
    static shmc_channel_statistics rows[8];
    shmc_lease_info leases[8];
    shmc_process processes[8];
    shmc_statistics all;
    char text[300];
    uint32_t count, cursor = 0;
    shmc_leases(s, 8, leases, &count);
    shmc_processes(s, 8, processes, &count);
    if ((flags & STATISTICS) == STATISTICS) {
        do {
            if (shmc_channels(s, &cursor, 8, rows, &count) < 0)
                break;
        } while (count);
        shmc_statistics_read(s, &all);
    }
    if ((flags & CHECK) == CHECK)
        shmc_check(s, text, sizeof text);
}

static void work(shmc *s, int flags) {
    static char buffer[BUFFER];
    static shmc_channel_statistics row;
    static shmc_message out[8];
    char text[300];
    uint8_t admitted[16];
    uint32_t count, cursor = 0;
    shmc_presence what;
    uint64_t needed, outbox, first, last, leases[4] = {0};
    shmc_target t, u;
    shmc_interest *i = interest_in(s, ALL, 8);
    if (flags & BUSY)
        for (int k = 0; k < 8; k++)
            send_to(s, ALL[k], k == 3 && (flags & LONG) == LONG ? 66000 : 200, k & 1 ? "front!x" : NULL);
    for (int k = 0; i && k < 4 && shmc_lease(s, i, 0, buffer, sizeof buffer, out) == SHMC_OK; k++) {
        shmc_set_policy(s, out[0].reference, (uint32_t)k);
        if (k == 0)
            shmc_requeue(s, out[0].reference, SECOND_NS);
        else if (k == 1)
            shmc_acknowledge(s, out[0].reference);
        else {
            fill_outbox(s, out[0].reference, &outbox);
            if (shmc_outbox_commit(s, outbox, 0) == SHMC_PARKED)
                shmc_outbox_push(s, outbox, text, &count);
        }
    }
    shmc_group_members(s, "g", 1, "front!", 6, UINT64_MAX, buffer, sizeof buffer, &needed, &count);
    shmc_group_members(s, "h", 1, "", 0, UINT64_MAX, buffer, 10, &needed, &count);
    shmc_history_read(s, "g", 1, 0, buffer, sizeof buffer, &needed, &first, &last);
    shmc_history_read(s, "h", 1, 1, buffer, 66000, &needed, &first, &last);
    shmc_group_add(s, "g", 1, "front!z", 7, 8, 40);
    shmc_group_add(s, "h", 1, "front!x", 7, 8, 40);
    shmc_group_discard(s, "h", 1, "b", 1);
    shmc_group_enter(s, "g", 1, "front!x", 7, 8, 40, "cid", 3);
    shmc_group_enter(s, "h", 1, "front!v", 7, 8, 40, "ann", 3);
    for (int k = 0; k < 4 && shmc_presence_owed(s) && shmc_presence_take(s, &what) == SHMC_OK; k++)
        if (k != 1)
            shmc_presence_told(s, &what);
    shmc_presence_leave(s, "front!y", 7);
    do {
        if (shmc_presence_list(s, "g", 1, &cursor, buffer, sizeof buffer, &needed) < 0)
            break;
    } while (cursor);
    target(s, &t, "front!");
    shmc_front_own(s, &t);
    shmc_group_admit(s, &t, "\1x\1y\1z", 6, 2, admitted);
    target(s, &t, "front!x");
    shmc_credit(s, &t, 1);
    shmc_channel_read(s, &t, &row);
    target(s, &t, "websocket.connect");
    target(s, &u, "websocket.disconnect");
    shmc_is_listened(s, &t);
    shmc_connection_open(s, &t, &u, shmc_hash(s, "front!q", 7), "front!q", 7, "hello", 5,
                         "goodbye-code-order", 18, 0, 4);
    shmc_lane_busy(s, shmc_hash(s, "front!q", 7));
    shmc_connection_close(s, shmc_hash(s, "front!q", 7), 1000, 2);
    uint64_t known = shmc_hash(s, "front!x", 7);
    shmc_session_load(s, known, buffer, 100, &needed);
    shmc_session_save(s, known, "again", 5, SECOND_NS);
    shmc_session_save(s, shmc_hash(s, "front!v", 7), "new", 3, 0);
    shmc_session_drop(s, shmc_hash(s, "front!w", 7));
    for (uint32_t k = 2; k < 5; k++) {
        target(s, &t, ALL[k]);
        shmc_delay_put(s, &t, "late", 4, 0, "", 0, 7 + k % 2, k);
    }
    shmc_delay_mask(s, 7, &needed);
    if (i && shmc_lease_all(s, i, 4, buffer, sizeof buffer, out, &count) >= 0)
        for (uint32_t k = 0; k < count && k < 4; k++) {
            leases[k] = out[k].reference;
            if (k == 1)
                shmc_reject(s, leases[k]);
        }
    shmc_acknowledge_all(s, leases, 3);
    for (int k = 0; i && k < 8 && shmc_receive(s, i, 0, 8, buffer, sizeof buffer, out, &count) >= 0; k++)
        for (uint32_t m = 0; m < count; m++)
            if (out[m].reference)
                shmc_free(s, out[m].reference);
    look(s, flags);
    if (flags & FLUSH)
        shmc_flush(s);
    shmc_reap(s);
    shmc_interest_free(i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    static uint64_t runs;
    if (!table_count)
        make_template();
    if (!length)
        return 0;
    uint64_t version;
    shmc *s;
    int alone, examine = (data[0] & EXAMINE) == EXAMINE;
    system_set_clock((data[0] & LATER ? 1100 : 1001) * SECOND_NS);
    for (size_t at = 1, n = 0; at + 8 <= length && n < DAMAGES; at += 8, n++)
        damage(system_arena(), data + at);
    for (uint32_t d = 0; d < DOMAINS; d++)
        system_touch(system_arena() + mutexes[d], sizeof(pthread_mutex_t));
    if ((examine ? shmc_examine : shmc_attach)(path, &version, &s) == SHMC_OK) {
        (examine ? look : work)(s, data[0]);
        /* What detaching leaves for a while is given back by the next run that is at another time then. */
        system_set_clock((2000 + ++runs % 2 * 1000) * SECOND_NS);
        shmc_detach(s, &alone);
    }
    system_restore();
    return 0;
}
