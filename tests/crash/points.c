/* points: kill or stop a process at every single store into the segment, and look at what is left.
 *
 *   points MODE STRIDE [OFFSET [STEP]]
 *
 * kill     a process runs the script and is killed at its k-th point; then others reap, go on, and the books
 * must balance. reaper   as kill, and the process that reaps is killed at each of its own points too; a
 * second one finishes. pair     as reaper, but it is stopped first, while a second one, which had begun before
 * it, goes on, to its end or to its own death in the middle; then it is killed. stop     the process is stopped
 * instead; a neighbour goes on, and kills it if it holds a lock; else it is continued.
 *
 * A point stands before and after every store that others can see (POINT in csrc/internal.h); only test
 * builds have them. Every STRIDE-th one is taken, from OFFSET on; with a pair, every STEP-th of the reaper's. Prints
 * one line of what was run; exit code 1 and a line on the first violation.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../../csrc/internal.h"

enum { SEEN_MAX = 4096 };

struct shared {
    long total; /* points of a run that nobody interrupts */
    int lines;  /* places in the source they stand at */
    unsigned long seen[SEEN_MAX];
    long finished; /* the script's process came to its end */
};

static struct shared *shared;
static long fuse, next_fuse; /* points until signal_, and from then on until SIGKILL; 0: never */
static int signal_;
static int counting;
static char path[200];
static const char *mode;

void shmc_point(const char *file, int line) {
    if (counting) {
        shared->total++;
        unsigned long place = (unsigned long)line * 131;
        for (const char *c = file; *c; c++)
            place = place * 31 + (unsigned char)*c;
        int i = 0;
        while (i < shared->lines && shared->seen[i] != place)
            i++;
        if (i == shared->lines && i < SEEN_MAX)
            shared->seen[shared->lines++] = place;
    }
    if (fuse && --fuse == 0) {
        int now = signal_;
        fuse = next_fuse;
        next_fuse = 0;
        signal_ = SIGKILL;
        kill(getpid(), now);
    }
}

static void fail(const char *what, long k, long j, const char *detail) {
    printf("VIOLATION mode %s point %ld/%ld: %s %s\n", mode, k, j, what, detail);
    unlink(path);
    exit(1);
}

static void expect_end(int status, long k, long j, const char *who) {
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        char text[100];
        snprintf(text, sizeof text, "%s: status %x", who, status);
        fail("unexpected end of", k, j, text);
    }
}

static void target(shmc *s, shmc_target *t, const char *name) {
    uint32_t domain = strchr(name, '!') ? SHMC_REPLY : strchr(name, '?') ? SHMC_SINGLE : SHMC_WORK;
    shmc_target_init(s, t, name, (uint32_t)strlen(name), domain, 20, 100);
}

static int send_to(shmc *s, const char *name, const char *text, uint64_t length, const char *lane) {
    shmc_target t;
    target(s, &t, name);
    uint64_t key = lane ? shmc_hash(s, lane, strlen(lane)) : 0;
    return shmc_send(s, &t, text, length, key, lane ? lane : "", lane ? (uint32_t)strlen(lane) : 0, 0);
}

static shmc_interest *interest_in(shmc *s, const char *const *channels, uint32_t n) {
    shmc_target t[8];
    for (uint32_t k = 0; k < n; k++)
        target(s, &t[k], channels[k]);
    return shmc_interest_new(s, t, n);
}

static const char *const ALL[] = {
    "a",     "b",  "websocket.connect", "websocket.receive", "websocket.disconnect",
    "s?one", "r!", "shmchan.dead"};

static shmc *attach(void) {
    uint64_t version;
    shmc *s = NULL;
    return shmc_attach(path, &version, &s) == SHMC_OK ? s : NULL;
}

enum { DUE = 6, BATCH = 77 };
static const char *const DUE_TARGETS[DUE] = {"due", "due?1", "due!x", "due", "due!y", "websocket.due"};

/* The delay process hands over a batch, as often as it is asked to: each message goes out once. */
static void hand_over(shmc *s) {
    for (uint32_t bit = 0; bit < DUE; bit++) {
        shmc_target t;
        target(s, &t, DUE_TARGETS[bit]);
        const char *lane = bit == 5 ? "front!z" : "";
        uint64_t key = bit == 5 ? shmc_hash(s, lane, 7) : 0;
        shmc_delay_put(s, &t, "due", 3, key, lane, (uint32_t)strlen(lane), BATCH, bit);
    }
}

/* How many messages of the batch are queued. */
static uint64_t handed_over(shmc *s) {
    static const char *const QUEUES[] = {"due", "due?1", "due!", "websocket.due"};
    uint64_t pending = 0;
    for (int k = 0; k < 4; k++) {
        shmc_channel_statistics row;
        shmc_target t;
        target(s, &t, QUEUES[k]);
        shmc_channel_read(s, &t, &row);
        pending += row.pending;
    }
    return pending;
}

/* What the delay process does: it takes, lets go of some and refuses one; the rest stays in its hand. */
static void delay_process(shmc *s, char *buffer, uint64_t capacity) {
    shmc_message out[8];
    uint32_t count;
    uint64_t leases[8];
    const char *const own[] = {"asgi.delay"};
    shmc_interest *i = interest_in(s, own, 1);
    for (int k = 0; k < 5; k++)
        send_to(s, "asgi.delay", "later", 5, NULL);
    if (shmc_lease_all(s, i, 4, buffer, capacity, out, &count) == SHMC_OK) {
        for (uint32_t k = 0; k < count; k++)
            leases[k] = out[k].reference;
        shmc_acknowledge_all(s, leases, 2);
        shmc_reject(s, leases[2]);
    }
    hand_over(s);
    hand_over(s);
    shmc_interest_free(i);
}

/* Messages that a group's history keeps, two at most, for a member behind the front and an ordinary one. */
static void keep(shmc *s) {
    uint64_t outbox;
    shmc_group_add(s, "h", 1, "front!x", 7, 20, 100);
    shmc_group_add(s, "h", 1, "kept", 4, 20, 100);
    for (int k = 0; k < 4; k++) {
        if (shmc_outbox_open(s, 0, &outbox) != SHMC_OK)
            continue;
        shmc_outbox_add_kept(s, outbox, "h", 1, "kept--------", 12, 2);
        if (k == 3) /* two in one outbox, and a neighbour's */
            shmc_outbox_add_kept(s, outbox, "h", 1, "kept--------", 12, 2),
                shmc_outbox_add_kept(s, outbox, "i", 1, "kept--------", 12, 1);
        shmc_outbox_commit(s, outbox, 0);
    }
}

/* Users come with several channels, change, leave in every way, and are told of, but for the last. */
static void attend(shmc *s) {
    shmc_presence what;
    const char *const channels[] = {"front!x", "b", "kept", "r!m", "front!y"};
    const char *const users[] = {"u1", "u1", "u2", "u3", "u4"};
    for (int k = 0; k < 5; k++)
        shmc_group_enter(s, "p", 1, channels[k], (uint32_t)strlen(channels[k]), 20, 100, users[k], 2);
    for (int k = 0; k < 3 && shmc_presence_take(s, &what) == SHMC_OK; k++)
        shmc_presence_told(s, &what);
    shmc_group_enter(s, "p", 1, "r!m", 3, 20, 100, "u5", 2);
    shmc_group_enter(s, "q", 1, "kept", 4, 20, 100, "u2", 2);
    shmc_group_discard(s, "p", 1, "b", 1);
    shmc_presence_leave(s, "kept", 4);
    if (shmc_presence_take(s, &what) == SHMC_OK)
        shmc_presence_told(s, &what);
    shmc_presence_take(s, &what);
}

/* Everything that a process does with a layer, once. */
static void script(void) {
    static char big[200000], buffer[300000];
    shmc_message out[8];
    uint32_t count;
    uint64_t outbox;
    shmc_target t, u;
    shmc *s = attach();
    if (!s)
        _exit(3);
    shmc_target queue;
    target(s, &queue, "front!");
    shmc_front_own(s, &queue);
    shmc_group_add(s, "g", 1, "front!x", 7, 20, 100);
    shmc_group_add(s, "g", 1, "b", 1, 20, 100);
    shmc_group_add(s, "g", 1, "r!m", 3, 20, 100);
    /* in: plain, in lanes across channels, behind a '!', single, long, and too many */
    send_to(s, "a", "1", 1, NULL);
    send_to(s, "websocket.receive", "2", 1, "front!x");
    send_to(s, "websocket.disconnect", "3", 1, "front!x");
    send_to(s, "s?one", "4", 1, NULL);
    send_to(s, "r!v", "5", 1, NULL);
    send_to(s, "b", big, sizeof big, NULL);
    /* a connection with its reserved disconnect */
    target(s, &t, "websocket.connect");
    target(s, &u, "websocket.disconnect");
    shmc_connection_open(s, &t, &u, shmc_hash(s, "front!y", 7), "front!y", 7, "hello", 5,
                         "goodbye-code-order", 18, 0, 4);
    send_to(s, "websocket.receive", "6", 1, "front!y");
    /* the first message of a lane in hand, the next one waiting for it; and its answer */
    const char *const keyed[] = {"websocket.receive"};
    shmc_interest *w = interest_in(s, keyed, 1);
    if (shmc_lease(s, w, 0, buffer, sizeof buffer, out) == SHMC_OK) {
        shmc_set_policy(s, out[0].reference, SHMC_POLICY_NOTIFY);
        shmc_outbox_open(s, out[0].reference, &outbox);
        target(s, &t, "front!x");
        shmc_outbox_add(s, outbox, &t, "answer", 6, 0, "", 0);
        shmc_outbox_commit(s, outbox, 0);
    }
    shmc_interest_free(w);
    /* out: at once, leased and committed with an outbox over all domains, requeued, dropped */
    shmc_interest *i = interest_in(s, ALL, 7);
    shmc_receive(s, i, 0, 2, buffer, sizeof buffer, out, &count);
    for (int k = 0; k < 4; k++) {
        if (shmc_lease(s, i, 0, buffer, sizeof buffer, out) != SHMC_OK)
            break;
        shmc_set_policy(s, out[0].reference, (uint32_t)k % 4);
        if (k == 1) {
            shmc_requeue(s, out[0].reference, 0);
            continue;
        }
        if (k == 2) {
            shmc_acknowledge(s, out[0].reference);
            continue;
        }
        shmc_outbox_open(s, out[0].reference, &outbox);
        const char *const names[] = {"a", "r!v", "front!x", "s?one", "b"};
        for (int n = 0; n < 5; n++) {
            target(s, &t, names[n]);
            shmc_outbox_add(s, outbox, &t, "out", 3, 0, "", 0);
        }
        shmc_outbox_add_group(s, outbox, "g", 1, "group", 5);
        if (k == 3 && shmc_outbox_drop(s, outbox) == SHMC_OK) {
            shmc_outbox_open(s, out[0].reference, &outbox);
            for (int n = 0; n < 9; n++) { /* more than an outbox holds by itself */
                target(s, &t, names[n % 5]);
                shmc_outbox_add(s, outbox, &t, "more", 4, 0, "", 0);
            }
        }
        shmc_outbox_commit(s, outbox, 0);
    }
    uint32_t bell;
    int fd;
    if (shmc_bell_new(s, &bell, &fd) == SHMC_OK) {
        const char *const own[] = {"front!"};
        shmc_interest *f = interest_in(s, own, 1);
        shmc_receive(s, f, 0, 8, buffer, sizeof buffer, out, &count);
        target(s, &t, "front!x");
        shmc_credit(s, &t, 1);
        shmc_bell_arm(s, bell, f);
        shmc_interest_free(f);
        shmc_bell_free(s, bell);
        close(fd);
    }
    /* sessions: made, replaced, read, dropped; taken away with the disconnect, when it is consumed and when
     * its consumer dies; left over */
    uint64_t length, known = shmc_hash(s, "front!x", 7), other = shmc_hash(s, "front!other", 11);
    shmc_session_save(s, known, "one", 3, 60 * SECOND_NS);
    shmc_session_save(s, known, big, 20000, 60 * SECOND_NS);
    shmc_session_save(s, other, "other", 5, 0);
    shmc_session_load(s, known, buffer, sizeof buffer, &length);
    shmc_session_drop(s, other);
    shmc_session_save(s, other, "again", 5, 0);
    send_to(s, "websocket.disconnect", "7", 1, "front!other");
    const char *const last[] = {"websocket.disconnect"};
    shmc_interest *ends = interest_in(s, last, 1);
    for (int k = 0; k < 3 && shmc_lease(s, ends, 0, buffer, sizeof buffer, out) == SHMC_OK; k++)
        shmc_acknowledge(s, out[0].reference);
    shmc_interest_free(ends);
    shmc_session_save(s, other, "late", 4, 0);
    shmc_session_save(s, known, "late", 4, 60 * SECOND_NS);
    delay_process(s, buffer, sizeof buffer);
    keep(s);
    attend(s);
    shmc_lease(s, i, 1000000, buffer, sizeof buffer, out); /* in hand at the end */
    shmc_interest_free(i);
    shmc_connection_close(s, shmc_hash(s, "front!y", 7), 1000, 2);
    shmc_group_discard(s, "g", 1, "b", 1);
    int alone;
    shmc_detach(s, &alone);
    shared->finished = 1;
}

static void reap_only(void) {
    shmc *s = attach(); /* attaching reaps */
    if (!s)
        _exit(3);
    shmc_reap(s);
    int alone;
    shmc_detach(s, &alone);
}

/* A child that runs f, with its k-th point deadly (0: none). Returns its wait status; *pid while it is
 * stopped. */
static int child(void (*f)(void), long k, int deadly, pid_t *pid) {
    pid_t p = fork();
    if (p == 0) {
        alarm(60);
        fuse = k;
        signal_ = deadly;
        f();
        _exit(0);
    }
    int status;
    waitpid(p, &status, WUNTRACED);
    if (pid)
        *pid = p;
    return status;
}

/* A reaper that is attached, and waits. It will stop at its k-th point, and be killed `more` points later. */
static pid_t standby(long k, long more) {
    pid_t p = fork();
    if (p == 0) {
        alarm(60);
        shmc *s = attach();
        if (!s)
            _exit(3);
        raise(SIGSTOP);
        fuse = k;
        next_fuse = more;
        signal_ = SIGSTOP;
        shmc_reap(s);
        int alone;
        shmc_detach(s, &alone);
        _exit(0);
    }
    int status;
    waitpid(p, &status, WUNTRACED);
    return p;
}

/* Let it go on until it stops or ends; 1: it stopped. */
static int advance(pid_t p, long k, long j, const char *who) {
    int status;
    kill(p, SIGCONT);
    waitpid(p, &status, WUNTRACED);
    if (!WIFSTOPPED(status) && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        expect_end(status, k, j, who);
    return WIFSTOPPED(status);
}

/* The script is killed at its k-th point, and two reap it at once. The first has looked at all logs when the second
 * begins, which is stopped at its j-th point; it goes on then, and the other dies. Returns 0 when the second came to
 * its end before its j-th point. */
static int reap_in_pairs(long k, long j) {
    enum { LOGS = 2 * 3 * DOMAINS }; /* the points of settle_logs, which a reaper calls twice */
    pid_t first = standby(LOGS, j & 1 ? 1 + (k * 31 + j * 7) % 400 : 0), second = standby(j, 0);
    child(script, k, SIGKILL, NULL);
    int waits = advance(first, k, j, "the first reaper"),
        stopped = advance(second, k, j, "the second reaper");
    if (waits)
        advance(first, k, j, "the first reaper, going on");
    int status;
    if (stopped) {
        kill(second, SIGKILL);
        waitpid(second, &status, 0);
    }
    return stopped;
}

static shmc *fresh(void) {
    shmc_options options = {.max_message_size = 400000,
                            .expiry_ns = 60 * SECOND_NS,
                            .group_expiry_ns = 60 * SECOND_NS,
                            .capacity = 20};
    options.memory = shmc_memory_minimum(&options);
    unlink(path);
    shmc *s;
    if (shmc_create(path, &options, &s) != SHMC_OK) {
        perror("points: no segment");
        exit(2);
    }
    send_to(s, "a", "before", 6, NULL);
    send_to(s, "websocket.receive", "before", 6, "front!z");
    return s;
}

/* Every message that was queued is delivered, still there, or lost by a cause that is counted. */
static void balance(shmc *s, long k, long j, const char *when) {
    static shmc_channel_statistics rows[64];
    uint32_t cursor = 0, count;
    char text[300];
    uint64_t in = 0, out = 0;
    do {
        shmc_channels(s, &cursor, 64, rows, &count);
        for (uint32_t n = 0; n < count; n++) {
            in += rows[n].sent;
            out += rows[n].delivered + rows[n].pending + rows[n].dropped[SHMC_CAUSE_EXPIRED] +
                   rows[n].dropped[SHMC_CAUSE_FLUSH] + rows[n].dropped[SHMC_CAUSE_BAD];
            out += rows[n].dropped[SHMC_CAUSE_CRASH] + rows[n].dropped[SHMC_CAUSE_GONE];
        }
    } while (count);
    shmc_statistics g;
    shmc_statistics_read(s, &g);
    out += g.leased + g.dead_letters; /* a dead letter was sent once more */
    snprintf(text, sizeof text, "%s: %llu came in, %llu are accounted for", when, (unsigned long long)in,
             (unsigned long long)out);
    /* Messages for a front that is dead are refused before they are queued and count as gone too: never more
     * than were sent to it. */
    if (out < in || out > in + 16)
        fail("the books do not balance,", k, j, text);
}

/* What was due is queued if and only if it was noted, and once all is handed over again, each is there once. What
 * the delay process had in hand is back, however it ended. */
static void inspect_delay(shmc *s, long k, long j) {
    char text[200];
    shmc_channel_statistics row;
    shmc_target t;
    uint64_t mask, before = handed_over(s);
    shmc_delay_mask(s, BATCH, &mask);
    snprintf(text, sizeof text, "%llu queued, mask %llx", (unsigned long long)before,
             (unsigned long long)mask);
    if (before != (uint64_t)__builtin_popcountll(mask))
        fail("what is due is not what is noted:", k, j, text);
    hand_over(s);
    if (handed_over(s) != DUE)
        fail("what was due is not there once", k, j, text);
    target(s, &t, "asgi.delay");
    shmc_channel_read(s, &t, &row);
    if (row.pending + row.delivered + row.dropped[SHMC_CAUSE_BAD] != row.sent)
        fail("a message for the delay process is lost", k, j, "");
}

/* What a history says it has had was delivered, no more and no less; what it still has bears its offsets. */
static void inspect_history(shmc *s, long k, long j) {
    static unsigned char buffer[SHMC_HISTORY_MAX + 4];
    char text[200];
    shmc_channel_statistics row;
    shmc_target t;
    uint64_t used, first, last, at = 0, offset;
    target(s, &t, "kept");
    shmc_channel_read(s, &t, &row);
    shmc_history_read(s, "h", 1, 0, buffer, sizeof buffer, &used, &first, &last);
    snprintf(text, sizeof text, "%llu sent, offsets %llu to %llu", (unsigned long long)row.sent,
             (unsigned long long)first, (unsigned long long)last);
    if (row.sent != last || last + 1 - first != (last < 2 ? last : 2))
        fail("the history is not what was delivered:", k, j, text);
    for (offset = first; offset <= last; offset++, at += 16)
        if (at + 16 > used || memcmp(buffer + at, "\x0c\0\0\0kept\0\0\0\0\0\0\0", 15) ||
            buffer[at + 15] != offset)
            fail("a kept message does not bear its offset:", k, j, text);
    shmc_interest *i = interest_in(s, (const char *const[]){"kept"}, 1);
    shmc_message out[8];
    uint32_t count;
    for (offset = 1; offset <= last; offset++)
        if (shmc_receive(s, i, 0, 1, buffer, sizeof buffer, out, &count) != SHMC_OK || out[0].length != 12 ||
            buffer[11] != offset)
            fail("a member got a kept message without its offset, or out of order:", k, j, text);
    shmc_interest_free(i);
}

/* Nobody is there whose front is dead, and the groups can be told all that they do not know, whoever began to. */
static void inspect_presence(shmc *s, long k, long j) {
    char buffer[4096], text[300];
    shmc_presence what;
    uint32_t cursor = 0;
    uint64_t used;
    for (int n = 0; n < 20 && shmc_presence_take(s, &what) == SHMC_OK; n++)
        shmc_presence_told(s, &what);
    if (shmc_presence_owed(s))
        fail("a group is not told who is there", k, j, "");
    if (shmc_check(s, text, sizeof text) != SHMC_OK)
        fail("after telling:", k, j, text);
    shmc_presence_list(s, "p", 1, &cursor, buffer, sizeof buffer, &used);
    for (uint64_t at = 0; at < used; at += 11)
        if (!memcmp(buffer + at + 9, "u4", 2))
            fail("a user of a dead front is there", k, j, "");
}

/* After everybody is reaped: consistent, usable, balanced, and empty when it was emptied. */
static void inspect(shmc *s, long k, long j) {
    static char buffer[300000];
    char text[300];
    shmc_message out[8];
    uint32_t count;
    if (shmc_reap(s) < 0)
        fail("reaping failed", k, j, "");
    if (shmc_check(s, text, sizeof text) != SHMC_OK)
        fail("after reaping:", k, j, text);
    balance(s, k, j, "after reaping");
    uint64_t needed;
    if (shmc_group_members(s, "g", 1, "front!", 6, UINT64_MAX, buffer, sizeof buffer, &needed, &count) !=
            SHMC_OK ||
        count)
        fail("a dead front is still a member", k, j, "");
    shmc_statistics g;
    shmc_statistics_read(s, &g);
    snprintf(text, sizeof text, "%d leases, %d outboxes, %d connections, %d processes", (int)g.leased,
             (int)g.outboxes, (int)g.connections, (int)g.processes);
    if (g.leased || g.outboxes || g.connections || g.processes != 1)
        fail("somebody dead still has", k, j, text);
    inspect_delay(s, k, j);
    inspect_history(s, k, j);
    inspect_presence(s, k, j);
    if (send_to(s, "a", "after", 5, "front!x") != SHMC_OK)
        fail("no message can be sent", k, j, "");
    shmc_interest *i = interest_in(s, ALL, 8);
    for (int n = 0; n < 1000 && shmc_receive(s, i, 0, 8, buffer, sizeof buffer, out, &count) == SHMC_OK; n++)
        ;
    shmc_interest_free(i);
    shmc_flush(s);
    if (shmc_check(s, text, sizeof text) != SHMC_OK)
        fail("after draining:", k, j, text);
    balance(s, k, j, "after draining");
    shmc_statistics_read(s, &g);
    if (g.memory_used || g.pending || g.members)
        fail("something is left", k, j, "");
    int alone;
    shmc_detach(s, &alone);
    if (!alone)
        fail("somebody is still attached", k, j, "");
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: points kill|reaper|pair|stop STRIDE [OFFSET [STEP]]\n");
        return 2;
    }
    mode = argv[1];
    long stride = atol(argv[2]), offset = argc > 3 ? atol(argv[3]) : 1, step = argc > 4 ? atol(argv[4]) : 1;
    long runs = 0, killed = 0, continued = 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(path, sizeof path, "/dev/shm/shmchan-points-%d", getpid());
    alarm(0);
    shmc *s = fresh();
    pid_t p = fork();
    if (p == 0) {
        counting = 1;
        script();
        _exit(0);
    }
    int status;
    waitpid(p, &status, 0);
    expect_end(status, 0, 0, "the script");
    inspect(s, 0, 0);
    for (long k = offset; k <= shared->total; k += stride) {
        if (!strcmp(mode, "pair")) {
            for (long j = 1 + k % step, stopped = 1; stopped; j += step) {
                s = fresh();
                stopped = reap_in_pairs(k, j);
                runs++;
                inspect(s, k, j);
            }
            continue;
        }
        if (strcmp(mode, "reaper")) {
            pid_t worker;
            int stop = !strcmp(mode, "stop");
            s = fresh();
            status = child(script, k, stop ? SIGSTOP : SIGKILL, &worker);
            if (stop && WIFSTOPPED(status)) {
                status =
                    child(reap_only, 0, 0,
                          NULL); /* a neighbour comes and goes; if it needs the lock, it kills the holder */
                expect_end(status, k, 0, "the neighbour");
                send_to(s, "a", "meanwhile", 9, NULL);
                kill(worker, SIGCONT);
                waitpid(worker, &status, 0);
                if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
                    killed++;
                else {
                    expect_end(status, k, 0, "the continued process");
                    continued++;
                }
            }
            runs++;
            inspect(s, k, 0);
            continue;
        }
        for (long j = 1;; j++) {
            s = fresh();
            child(script, k, SIGKILL, NULL);
            status = child(reap_only, j, SIGKILL, NULL);
            int last = WIFEXITED(status);
            runs++;
            inspect(s, k, j);
            if (last)
                break;
        }
    }
    unlink(path);
    printf("%s: %ld points at %d places, every %ld-th: %ld runs", mode, shared->total, shared->lines, stride,
           runs);
    if (!strcmp(mode, "stop"))
        printf(", %ld killed inside a section, %ld continued", killed, continued);
    printf(", no violation\n");
    return 0;
}
