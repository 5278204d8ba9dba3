/* storm: processes of every kind on one segment, killed, stopped and started again at random, and the books.
 *
 *   storm KILLS [SEED [SECONDS]]
 *
 * The director forks producers, workers, consumers, fronts, senders to a group and some who come and go
 * (roles.c), and kills one after the other: SIGKILL at any instant, or SIGSTOP for a while, so that a
 * neighbour kills whoever is stopped inside a section. Sections are short, so half of the signals are given
 * by the process to itself, at one of its next stores into the segment (POINT in csrc/internal.h). After each
 * ROUND of kills all is drained, everybody is reaped, and what the ledger knows is held against what the core
 * counted:
 *
 *   - the segment is sound (shmc_check), holds no byte, no lease, no outbox, no connection, no process but
 * this one;
 *   - each channel: sent = delivered + lost, by cause;
 *   - a consumer's sends are all or nothing: as many as were committed went, or were given up and counted, to
 * each of its targets; the same for the members of a group;
 *   - as many disconnects as connects;
 *   - what the ledger knows to be sent, committed or received differs from the core's numbers by no more than
 *     what was under way when somebody was killed, and never the other way round.
 *
 * The seed gives the same choices again, though not the same instants: those are the scheduler's. Prints one
 * line; exit code 1 and a line on the first violation, or when nothing moved for PATIENCE_S.
 */
#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "storm.h"

enum { ROUND = 250, PATIENCE_S = 20, ROWS = 64 };

enum role { PRODUCER, WORKER, CONSUMER, FRONT, GROUP, VISITOR, ROLES };
static const char *const ROLE_NAMES[] = {"producer", "worker",       "consumer",
                                         "front",    "group sender", "visitor"};
static const enum role CAST[SEATS] = {PRODUCER, PRODUCER, PRODUCER, WORKER, WORKER, WORKER,  CONSUMER,
                                      CONSUMER, FRONT,    FRONT,    FRONT,  GROUP,  VISITOR, VISITOR};

struct ledger *ledger;
char segment_path[200];
uint32_t life;
struct seat *seat;

static uint64_t seed, random_state;
static char folder[160];
static pid_t director;
static volatile sig_atomic_t interrupted;

static struct { /* what sits on each seat */
    pid_t pid;
    uint32_t life;
    uint64_t stopped_until_ns, empty_until_ns;
    int armed, wake; /* a fuse was set; it may stop late, so it is continued now and then */
} sitting[SEATS];

static struct {
    uint64_t kills, at_points, stops, deaths, attached_deaths, killed_stopped, killed_by_core, ended;
    uint64_t deaths_of[ROLES];
    uint64_t messages, deliveries, uncertain, lost, redelivered, dead_letters, undone, rounds;
} tally;
static uint64_t calls_lost, front_calls_lost; /* messages that receives under way at a death may have taken */
static uint64_t round_deaths;

uint64_t dice(uint64_t n) { /* splitmix64 */
    uint64_t z = random_state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return n ? (z ^ z >> 31) % n : 0;
}

static void interrupt(int signal_) {
    (void)signal_;
    interrupted = 1;
}

void shmc_point(const char *file, int line);
void shmc_point(const char *file, int line) {
    (void)file, (void)line;
    if (seat && seat->fuse > 0 && atomic_fetch_sub(&seat->fuse, 1) == 1)
        kill(getpid(), seat->fuse_signal);
}

static void remove_folder(void) {
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    rmdir(folder);
}

static void end_everybody(void) {
    for (int k = 0; k < SEATS; k++)
        if (sitting[k].pid) {
            kill(sitting[k].pid, SIGKILL);
            waitpid(sitting[k].pid, NULL, 0);
            sitting[k].pid = 0;
        }
}

__attribute__((noreturn)) static void give_up(const char *text) {
    end_everybody();
    printf("VIOLATION seed %llu after %llu kills: %s\n", (unsigned long long)seed,
           (unsigned long long)tally.kills, text);
    remove_folder();
    exit(1);
}

void violation(const char *format, ...) {
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (getpid() == director)
        give_up(text);
    if (!atomic_fetch_add(&ledger->violations, 1))
        snprintf(ledger->violation, sizeof ledger->violation, "%s", text);
    _exit(9);
}

shmc *attach(void) {
    uint64_t version;
    shmc *s = NULL;
    int r = shmc_attach(segment_path, &version, &s);
    if (r != SHMC_OK)
        violation("attaching: status %d", r);
    seat->attached = 1;
    return s;
}

void detach(shmc *s) {
    int alone;
    seat->attached = 0;
    if (shmc_detach(s, &alone) != SHMC_OK || alone)
        violation("detaching, and alone: %d", alone);
}

void aim(shmc *s, shmc_target *t, const char *name) {
    uint32_t domain = strchr(name, '!') ? SHMC_REPLY : strchr(name, '?') ? SHMC_SINGLE : SHMC_WORK;
    if (shmc_target_init(s, t, name, (uint32_t)strlen(name), domain, CAPACITY, TOTAL) != SHMC_OK)
        violation("no target: %s", name);
}

shmc_interest *ask_for(shmc *s, const char *const *names, uint32_t count) {
    shmc_target targets[16];
    for (uint32_t k = 0; k < count; k++)
        aim(s, &targets[k], names[k]);
    shmc_interest *i = shmc_interest_new(s, targets, count);
    if (!i)
        violation("no interest");
    return i;
}

/* --- the director --- */

static void start(int k) {
    uint32_t number = atomic_fetch_add(&ledger->lives, 1);
    if (number >= LIVES)
        give_up("the ledger has too few lives");
    ledger->seats[k].fuse = 0;
    pid_t pid = fork();
    if (pid < 0)
        give_up("no process can be forked");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != director)
            _exit(0);
        signal(SIGINT, SIG_IGN);
        signal(SIGTERM, SIG_IGN);
        life = number;
        seat = &ledger->seats[k];
        random_state = seed ^ (uint64_t)number << 32;
        switch (CAST[k]) {
        case PRODUCER:
            produce();
            break;
        case WORKER:
            work();
            break;
        case CONSUMER:
            consume(k % 2);
            break;
        case FRONT:
            be_front();
            break;
        case GROUP:
            send_to_group();
            break;
        default:
            come_and_go();
        }
        _exit(0);
    }
    sitting[k].pid = pid;
    sitting[k].life = number;
    sitting[k].stopped_until_ns = 0;
    sitting[k].armed = sitting[k].wake = 0;
}

/* Note an end. Who was told to die or was stopped may die by SIGKILL, everybody else has to end by itself. */
static void note_end(int k, int status) {
    uint32_t was = sitting[k].life;
    sitting[k].pid = 0;
    sitting[k].empty_until_ns = now_ns() + dice(4) * dice(8000000);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        tally.ended++;
        return;
    }
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || !ledger->life[was].doomed) {
        char text[600];
        snprintf(text, sizeof text, "a %s ended with status %x: %s", ROLE_NAMES[CAST[k]], status,
                 ledger->violation);
        give_up(text);
    }
    tally.deaths++;
    tally.attached_deaths += ledger->seats[k].attached;
    ledger->seats[k].attached = 0;
    tally.deaths_of[CAST[k]]++;
    round_deaths++;
    *(CAST[k] == FRONT ? &front_calls_lost : &calls_lost) += ledger->seats[k].calling;
    ledger->seats[k].calling = 0;
}

static void look_after(shmc *s, int restart) {
    for (int k = 0; k < SEATS; k++) {
        int status;
        uint64_t now = now_ns();
        if (sitting[k].pid && waitpid(sitting[k].pid, &status, WNOHANG) == sitting[k].pid) {
            int died = WIFSIGNALED(status), by_core = sitting[k].stopped_until_ns != 0;
            tally.killed_by_core += died && by_core;
            tally.kills += died && !by_core;
            tally.at_points += died && !by_core;
            note_end(k, status);
        }
        if (sitting[k].pid && sitting[k].stopped_until_ns &&
            (now > sitting[k].stopped_until_ns || !restart)) {
            ledger->seats[k].fuse = 0;
            sitting[k].wake = 1;
            sitting[k].stopped_until_ns = 0;
        }
        if (sitting[k].pid && sitting[k].wake && !sitting[k].stopped_until_ns)
            kill(sitting[k].pid, SIGCONT);
        if (!sitting[k].pid && restart && now > sitting[k].empty_until_ns)
            start(k);
    }
    if (ledger->violations)
        give_up(ledger->violation);
    if (interrupted)
        give_up("none, but it was interrupted");
    if (dice(8) == 0 && shmc_reap(s) < 0)
        give_up("reaping failed");
}

/* Something has to be finished all the time. */
static void watch(void) {
    static uint64_t seen, since;
    uint64_t now = now_ns();
    if (seen != ledger->progress || !since) {
        seen = ledger->progress;
        since = now;
    }
    if (now - since > PATIENCE_S * SECOND_NS)
        give_up("nothing moves");
}

static void strike(void) {
    int k = (int)dice(SEATS);
    if (!sitting[k].pid)
        return;
    ledger->life[sitting[k].life].doomed = 1;
    int stop = dice(6) == 0, later = dice(2) == 0;
    if ((sitting[k].armed || sitting[k].stopped_until_ns) && (stop || later))
        return; /* one thing after the other */
    if (stop || later) {
        sitting[k].armed = later;
        ledger->seats[k].fuse_signal = stop ? SIGSTOP : SIGKILL;
        if (later)
            ledger->seats[k].fuse = 1 + (int32_t)dice(3000);
        else
            kill(sitting[k].pid, SIGSTOP);
        if (!stop)
            return;
        sitting[k].wake = 0;
        sitting[k].stopped_until_ns = now_ns() + 1000000 + dice(dice(3) ? 30000000 : 400000000);
        tally.stops++;
        return;
    }
    int status;
    tally.killed_stopped += sitting[k].stopped_until_ns != 0;
    kill(sitting[k].pid, SIGKILL);
    if (waitpid(sitting[k].pid, &status, 0) == sitting[k].pid)
        note_end(k, status);
    tally.kills++;
}

/* --- the books --- */

struct sums {
    uint64_t sent, delivered, dropped[SHMC_CAUSES], pending;
};

static const char *const IN[] = {
    "in.a", "in.b", "in.c", "websocket.connect", "websocket.receive", "websocket.disconnect"};
static const char *const OUT[] = {"out.a", "s?out", "o!"};
static const char *const MEMBERS[] = {"gm.0", "gm.1", "gs?2", "gr!3"};
static const char *const RECEIVED[] = {"out.a", "s?out", "o!",    "gm.0", "gm.1",
                                       "gs?2",  "gr!",   "s?one", "r!",   "shmchan.dead"};
enum { IN_COUNT = 6, OUT_COUNT = 3, MEMBER_COUNT = 4, RECEIVED_COUNT = 10, CONNECT = 3, DISCONNECT = 5 };

static struct sums sums_of(shmc *s, const char *name) {
    shmc_target t;
    shmc_channel_statistics c;
    char queue[32];
    struct sums r = {0};
    snprintf(queue, sizeof queue, "%.*s", (int)(strchr(name, '!') ? strchr(name, '!') + 1 - name : 31), name);
    aim(s, &t, queue);
    if (shmc_channel_read(s, &t, &c) < 0)
        give_up("the statistics cannot be read");
    r.sent = c.sent, r.delivered = c.delivered, r.pending = c.pending;
    memcpy(r.dropped, c.dropped, sizeof r.dropped);
    return r;
}

static struct sums sums_of_all(shmc *s, const char *const *names, int count) {
    struct sums r = {0};
    for (int k = 0; k < count; k++) {
        struct sums one = sums_of(s, names[k]);
        r.sent += one.sent, r.delivered += one.delivered, r.pending += one.pending;
        for (int cause = 0; cause < SHMC_CAUSES; cause++)
            r.dropped[cause] += one.dropped[cause];
    }
    return r;
}

/* Since the run began: the ledger of this round, and what the core settled of the rounds before. */
static struct {
    uint64_t sent, sending, refused, committed, committing, group_committed, group_committing, in_sent,
        in_sending;
} known;

__attribute__((format(printf, 2, 3))) static void expect(int holds, const char *format, ...) {
    char text[400];
    if (holds)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    give_up(text);
}

static void between(const char *what, uint64_t low, uint64_t value, uint64_t high) {
    expect(low <= value && value <= high, "%s: the core says %llu, the ledger %llu to %llu", what,
           (unsigned long long)value, (unsigned long long)low, (unsigned long long)high);
}

static void add_up_ledger(void) {
    uint64_t sending = 0, committing = 0;
    uint32_t top = ledger->notes < NOTES ? ledger->notes : NOTES;
    for (uint32_t k = 1; k < top; k++) {
        struct note *n = &ledger->note[k];
        if (n->kind == GROUPED) {
            known.group_committed += n->committed == COMMITTED;
            known.group_committing += n->committed == COMMITTING;
        } else {
            known.committed +=
                n->committed == COMMITTED || (n->committed == COMMITTING && n->seen & CHILDREN);
            known.committing += n->committed == COMMITTING && !(n->seen & CHILDREN);
            known.sent += n->sent == SENT || (n->sent == SENDING && n->seen);
            known.sending += n->sent == SENDING && !n->seen;
            known.refused += n->sent == REFUSED;
            if (n->kind == WORKED) {
                known.in_sent += n->sent == SENT || (n->sent == SENDING && (n->seen || n->leased));
                known.in_sending += n->sent == SENDING && !n->seen && !n->leased;
            }
        }
        sending += n->sent == SENDING;
        committing += n->committed == COMMITTING;
    }
    tally.messages += top - 1;
    tally.uncertain += sending + committing;
    /* A connection is two messages in one call. */
    expect(sending <= 2 * round_deaths && committing <= round_deaths,
           "%llu sends and %llu commits are uncertain after %llu deaths", (unsigned long long)sending,
           (unsigned long long)committing, (unsigned long long)round_deaths);
}

static void audit(shmc *s) {
    char text[300];
    shmc_statistics g;
    expect(shmc_reap(s) >= 0, "reaping failed");
    if (shmc_check(s, text, sizeof text) != SHMC_OK)
        give_up(text);
    shmc_statistics_read(s, &g);
    expect(!g.memory_used && !g.pending && !g.leased && !g.outboxes && !g.connections && g.processes == 1,
           "left: %llu bytes, %llu messages, %llu leases, %llu outboxes, %llu connections, %llu processes",
           (unsigned long long)g.memory_used, (unsigned long long)g.pending, (unsigned long long)g.leased,
           (unsigned long long)g.outboxes, (unsigned long long)g.connections,
           (unsigned long long)g.processes);
    add_up_ledger();
    struct sums in = sums_of_all(s, IN, IN_COUNT), received = sums_of_all(s, RECEIVED, RECEIVED_COUNT);
    struct sums connects = sums_of(s, IN[CONNECT]), disconnects = sums_of(s, IN[DISCONNECT]);
    struct sums direct = sums_of(s, "s?one"), replies = sums_of(s, "r!v");
    uint64_t memory = in.dropped[SHMC_CAUSE_MEMORY] + direct.dropped[SHMC_CAUSE_MEMORY] +
                      replies.dropped[SHMC_CAUSE_MEMORY];
    expect(in.sent == in.delivered + in.dropped[SHMC_CAUSE_CRASH] + g.dead_letters,
           "leased: %llu sent, %llu served, %llu lost with a worker, %llu dead letters",
           (unsigned long long)in.sent, (unsigned long long)in.delivered,
           (unsigned long long)in.dropped[SHMC_CAUSE_CRASH], (unsigned long long)g.dead_letters);
    expect(received.sent == received.delivered + received.dropped[SHMC_CAUSE_CRASH],
           "received: %llu sent, %llu delivered, %llu lost with a consumer",
           (unsigned long long)received.sent, (unsigned long long)received.delivered,
           (unsigned long long)received.dropped[SHMC_CAUSE_CRASH]);
    expect(!g.dropped[SHMC_CAUSE_EXPIRED] && !g.dropped[SHMC_CAUSE_FLUSH] && !g.dropped[SHMC_CAUSE_TOO_LARGE],
           "messages were lost by a cause that was not there");
    expect(connects.sent == disconnects.sent, "%llu connects, %llu disconnects",
           (unsigned long long)connects.sent, (unsigned long long)disconnects.sent);
    for (int k = 0; k < OUT_COUNT; k++) {
        struct sums o = sums_of(s, OUT[k]);
        uint64_t went = o.sent + o.dropped[SHMC_CAUSE_FULL] + o.dropped[SHMC_CAUSE_MEMORY];
        expect(went == in.delivered, "%llu consumers were done, and %llu sends to %s are accounted for",
               (unsigned long long)in.delivered, (unsigned long long)went, OUT[k]);
    }
    struct sums first = sums_of(s, MEMBERS[0]);
    uint64_t groups = first.sent + first.dropped[SHMC_CAUSE_FULL];
    for (int k = 1; k < MEMBER_COUNT; k++) {
        struct sums m = sums_of(s, MEMBERS[k]);
        expect(m.sent + m.dropped[SHMC_CAUSE_FULL] == groups,
               "%s got word of %llu of %llu messages to its group", MEMBERS[k],
               (unsigned long long)(m.sent + m.dropped[SHMC_CAUSE_FULL]), (unsigned long long)groups);
    }
    /* A refusal of a connection is counted once, for the connect. */
    between("messages sent", known.in_sent, in.sent, known.in_sent + known.in_sending);
    between("all sent", known.sent, in.sent + direct.sent + replies.sent, known.sent + known.sending);
    expect(in.dropped[SHMC_CAUSE_FULL] + direct.dropped[SHMC_CAUSE_FULL] + replies.dropped[SHMC_CAUSE_FULL] +
                   memory <=
               known.refused + known.sending,
           "more refusals are counted than there were");
    between("consumers done", known.committed, in.delivered, known.committed + known.committing);
    between("messages to the group", known.group_committed, groups,
            known.group_committed + known.group_committing);
    between("received", ledger->received, received.delivered, ledger->received + calls_lost);
    uint64_t front_delivered = g.delivered - in.delivered - received.delivered;
    between("received by fronts", ledger->front_received, front_delivered,
            ledger->front_received + front_calls_lost);
    between("deaths", tally.attached_deaths, g.deaths, tally.deaths);
    /* From here on what was uncertain is what the core says, so that the next round is held to its own deaths
     * alone. */
    uint64_t all_sent = in.sent + direct.sent + replies.sent;
    known.refused += known.sending - (all_sent - known.sent);
    known.sent = all_sent, known.in_sent = in.sent, known.sending = known.in_sending = 0;
    known.committed = in.delivered, known.group_committed = groups,
    known.committing = known.group_committing = 0;
    ledger->received = received.delivered;
    ledger->front_received = front_delivered;
    calls_lost = front_calls_lost = 0;
    tally.deliveries = g.delivered;
    tally.lost = g.dropped[SHMC_CAUSE_CRASH];
    tally.redelivered = g.redelivered;
    tally.dead_letters = g.dead_letters;
    tally.undone = g.undone;
    tally.rounds++;
}

static int anybody(enum phase phase) {
    int left = 0;
    for (int k = 0; k < SEATS; k++)
        left += sitting[k].pid && (phase == END || (CAST[k] != WORKER && CAST[k] != CONSUMER));
    return left;
}

/* Those who send end; those who take go on until nothing is left; then they end as well. */
static void settle(shmc *s) {
    uint64_t until = now_ns() + 60 * SECOND_NS;
    shmc_statistics g;
    for (int k = 0; k < SEATS; k++) /* somebody has to take what is there */
        if (!sitting[k].pid && (CAST[k] == WORKER || CAST[k] == CONSUMER))
            start(k);
    ledger->phase = DRAIN;
    do {
        look_after(s, 0);
        for (int k = 0; k < SEATS; k++) /* whom the core killed while it was stopped */
            if (!sitting[k].pid && (CAST[k] == WORKER || CAST[k] == CONSUMER))
                start(k);
        usleep(2000);
        expect(shmc_reap(s) >= 0, "reaping failed");
        shmc_statistics_read(s, &g);
        if (now_ns() > until) {
            char text[300];
            snprintf(text, sizeof text,
                     "not drained: %llu messages, %llu leases, %llu outboxes, %llu bytes, %d still there",
                     (unsigned long long)g.pending, (unsigned long long)g.leased,
                     (unsigned long long)g.outboxes, (unsigned long long)g.memory_used, anybody(DRAIN));
            give_up(text);
        }
    } while (anybody(DRAIN) || g.pending || g.leased || g.outboxes);
    for (ledger->phase = END; anybody(END); usleep(1000)) {
        look_after(s, 0);
        expect(now_ns() < until, "somebody does not end");
    }
}

static void new_page(void) {
    memset(ledger->note, 0, sizeof ledger->note);
    memset(ledger->lane, 0, sizeof ledger->lane);
    ledger->notes = ledger->lanes = 1;
    ledger->phase = STORM;
    round_deaths = 0;
}

static shmc *make_segment(void) {
    shmc_options options = {.memory = 48 << 20,
                            .max_message_size = 1 << 20,
                            .expiry_ns = 3600 * SECOND_NS,
                            .group_expiry_ns = 3600 * SECOND_NS,
                            .capacity = CAPACITY};
    shmc *s;
    snprintf(folder, sizeof folder, "/dev/shm/shmchan-storm-%d", director);
    snprintf(segment_path, sizeof segment_path, "%s/segment", folder);
    if (mkdir(folder, 0700) || shmc_create(segment_path, &options, &s) != SHMC_OK) {
        perror("storm: no segment");
        remove_folder();
        exit(2);
    }
    for (int k = 0; k < MEMBER_COUNT; k++)
        shmc_group_add(s, "g", 1, MEMBERS[k], (uint32_t)strlen(MEMBERS[k]), CAPACITY, TOTAL);
    return s;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: storm KILLS [SEED [SECONDS]]\n");
        return 2;
    }
    uint64_t wanted = strtoull(argv[1], NULL, 10), begin = now_ns();
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    if (!seed)
        seed = now_ns() % 1000000007;
    uint64_t until = argc > 3 ? begin + strtoull(argv[3], NULL, 10) * SECOND_NS : UINT64_MAX;
    random_state = seed;
    director = getpid();
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    printf("seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ledger == MAP_FAILED) {
        perror("storm: no ledger");
        return 2;
    }
    ledger->lives = 1;
    shmc *s = make_segment();
    while (tally.kills < wanted && now_ns() < until) {
        new_page();
        uint64_t goal = tally.kills + ROUND < wanted ? tally.kills + ROUND : wanted;
        while (tally.kills < goal && now_ns() < until && ledger->notes < NOTES) {
            look_after(s, 1);
            strike();
            watch();
            usleep((useconds_t)(500 + dice(12000)));
        }
        settle(s);
        audit(s);
    }
    int alone;
    shmc_detach(s, &alone);
    remove_folder();
    if (!alone)
        give_up("somebody is still attached");
    printf("%llu kills in %.1f s (%llu at points, %llu of stopped ones, %llu by the core of %llu stopped; "
           "%llu undone "
           "sections), %llu "
           "rounds: %llu messages, %llu deliveries, %llu redelivered, %llu lost with a process, %llu dead "
           "letters, %llu "
           "uncertain; no violation\n",
           (unsigned long long)tally.kills, (double)(now_ns() - begin) / 1e9,
           (unsigned long long)tally.at_points, (unsigned long long)tally.killed_stopped,
           (unsigned long long)tally.killed_by_core, (unsigned long long)tally.stops,
           (unsigned long long)tally.undone, (unsigned long long)tally.rounds,
           (unsigned long long)tally.messages, (unsigned long long)tally.deliveries,
           (unsigned long long)tally.redelivered, (unsigned long long)tally.lost,
           (unsigned long long)tally.dead_letters, (unsigned long long)tally.uncertain);
    return 0;
}
