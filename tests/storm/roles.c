/* roles.c: what the processes of the storm do, each until it is told to end or is killed.
 *
 * Every call is noted in the ledger before and after. What contradicts the ledger at once is a violation: a
 * message seen twice, a lane's message out of order or in two hands, an outbox of which part went out though
 * it was never committed. What can only be seen in sum is the director's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "storm.h"

enum { LANES_EACH = 4, CONNECTIONS = 8, PARKED_MAX = 4 };

static char buffer[2 * BUFFER_BYTES],
    filled[PACKET_MAX]; /* a batch, and one message that did not fit into it */

/* --- packets --- */

static uint8_t filler(uint32_t number, uint32_t at) {
    return (uint8_t)(number * 31 + at * 7);
}

/* A new message in the ledger; 0 when the round's ledger is full. */
static uint32_t new_note(enum kind kind) {
    uint32_t number = ledger->notes < NOTES ? atomic_fetch_add(&ledger->notes, 1) : NOTES;
    if (number >= NOTES)
        return 0;
    ledger->note[number].kind = (uint8_t)kind;
    return number;
}

static uint32_t new_lane(void) {
    uint32_t lane = atomic_fetch_add(&ledger->lanes, 1);
    if (lane >= LANES)
        violation("the ledger has too few lanes");
    return lane;
}

static uint64_t fill(uint32_t number, uint32_t lane, uint32_t sequence) {
    uint64_t bytes = sizeof(struct packet) + (dice(50)   ? dice(60)
                                              : dice(20) ? dice(3000)
                                                         : dice(PACKET_MAX - 100));
    struct packet p = {.number = number, .lane = lane, .sequence = sequence, .bytes = (uint32_t)bytes};
    memcpy(filled, &p, sizeof p);
    for (uint32_t k = sizeof p; k < bytes; k++)
        filled[k] = (char)filler(number, k);
    return bytes;
}

static struct packet unpack(const shmc_message *m) {
    struct packet p;
    const char *at = buffer + m->offset + m->address_length;
    if (m->length < sizeof p)
        violation("a message of %llu bytes", (unsigned long long)m->length);
    memcpy(&p, at, sizeof p);
    if (p.bytes != m->length || !p.number || p.number >= NOTES || p.lane >= LANES)
        violation("a message of %llu bytes says %u, number %u, lane %u", (unsigned long long)m->length,
                  p.bytes, p.number, p.lane);
    for (uint32_t k = sizeof p; k < p.bytes; k++)
        if ((uint8_t)at[k] != filler(p.number, k))
            violation("message %u is damaged at byte %u", p.number, k);
    if (ledger->note[p.number].sent == REFUSED)
        violation("message %u was refused, and came", p.number);
    return p;
}

static void see(uint32_t number, uint32_t sight) {
    struct note *n = &ledger->note[number];
    uint32_t before = atomic_fetch_or(&n->seen, sight), after = before | sight;
    if (before & sight)
        violation("message %u was seen twice: %x", number, sight);
    if (sight & CHILDREN && !n->committed)
        violation("message %u: something of an outbox (%x) that was not committed", number, sight);
    if (!!(after & CHILDREN) + !!(after & SEEN_DEAD) + !!(after & SEEN_NOTICE) > 1)
        violation("message %u was served and died as well: %x", number, after);
    ledger->progress++;
}

/* What one sender sent in this order to one reader. */
static void in_order(const struct packet *p, const char *where) {
    uint32_t last = atomic_exchange(&ledger->lane[p->lane].last, p->sequence);
    if (p->sequence <= last)
        violation("%s: %u of lane %u after %u", where, p->sequence, p->lane, last);
}

/* --- producers --- */

static const char *const IN[] = {"in.a", "in.b", "in.c"};

static int send_noted(shmc *s, const char *name, enum kind kind, uint32_t lane, uint32_t sequence,
                      uint64_t key, const char *address, uint32_t order) {
    shmc_target t;
    aim(s, &t, name);
    uint32_t number = new_note(kind);
    if (!number)
        return SHMC_FULL;
    uint64_t bytes = fill(number, lane, sequence);
    ledger->note[number].sent = SENDING;
    int r = shmc_send(s, &t, filled, bytes, key, address, (uint32_t)strlen(address), order);
    if (r != SHMC_OK && r != SHMC_FULL && r != SHMC_NO_MEMORY)
        violation("sending to %s: status %d", name, r);
    ledger->note[number].sent = r == SHMC_OK ? SENT : REFUSED;
    ledger->progress++;
    return r;
}

void produce(void) {
    shmc *s = attach();
    uint32_t lanes[LANES_EACH], sequences[LANES_EACH] = {0}, streams[2] = {new_lane(), new_lane()},
                                streamed = 0;
    uint64_t keys[LANES_EACH];
    for (int k = 0; k < LANES_EACH; k++) {
        lanes[k] = new_lane();
        keys[k] = shmc_hash(s, (char *)&lanes[k], sizeof *lanes) ^ life;
    }
    while (ledger->phase == STORM) {
        uint64_t what = dice(20), k = dice(LANES_EACH);
        int r;
        if (what < 12)
            r = send_noted(s, IN[dice(3)], WORKED, lanes[k], ++sequences[k], keys[k], "", 0);
        else if (what < 15)
            r = send_noted(s, IN[dice(3)], WORKED, 0, 0, 0, "", 0);
        else if (what < 18)
            r = send_noted(s, "s?one", DIRECT, streams[0], ++streamed, 0, "", 0);
        else
            r = send_noted(s, "r!v", DIRECT, streams[1], ++streamed, 0, "", 0);
        if (r != SHMC_OK)
            usleep(300);
        else if (!dice(4))
            usleep((useconds_t)dice(200));
    }
    detach(s);
}

/* --- workers --- */

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The lane's messages come one at a time and in order; again only what was given back. */
static void take_lane(struct packet *p, const shmc_message *m, int is_disconnect) {
    struct lane *l = &ledger->lane[p->lane];
    if (is_disconnect)
        p->sequence = big_endian(p->order);
    if (atomic_exchange(&ledger->note[p->number].leased, 1) && !m->attempts)
        violation("message %u was leased again, and is not said to be", p->number);
    if (!p->lane)
        return;
    uint32_t holder = atomic_exchange(&l->holder, life);
    if (holder && holder != life && !ledger->life[holder].doomed)
        violation("lane %u is in two hands", p->lane);
    if (p->sequence < l->last || (p->sequence == l->last && p->sequence && !m->attempts))
        violation("lane %u: %u after %u (attempt %u)", p->lane, p->sequence, l->last, m->attempts);
    l->last = p->sequence;
}

static void leave_lane(const struct packet *p) {
    uint32_t expected = life;
    if (p->lane)
        atomic_compare_exchange_strong(&ledger->lane[p->lane].holder, &expected, 0);
}

static int add(shmc *s, uint64_t outbox, const char *name, uint32_t length, uint64_t bytes) {
    shmc_target t;
    char text[128];
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    aim(s, &t, text);
    return shmc_outbox_add(s, outbox, &t, filled, bytes, 0, "", 0);
}

/* Its sends: one to each kind of channel, and one to the front that it came from. */
static int answer(shmc *s, const shmc_message *m, const struct packet *p, const char *address,
                  uint64_t *outbox) {
    int r = shmc_outbox_open(s, m->reference, outbox);
    if (r != SHMC_OK)
        return r;
    uint64_t bytes = fill(p->number, 0, 0);
    r = add(s, *outbox, "out.a", 5, bytes);
    if (r == SHMC_OK)
        r = add(s, *outbox, "s?out", 5, bytes);
    if (r == SHMC_OK)
        r = add(s, *outbox, "o!v", 3, bytes);
    if (r == SHMC_OK && m->address_length && m->entry != 5)
        r = add(s, *outbox, address, m->address_length, bytes);
    if (r != SHMC_OK)
        shmc_outbox_drop(s, *outbox);
    return r;
}

struct owed {
    uint64_t outbox[PARKED_MAX];
    int count;
};

static void push(shmc *s, struct owed *owed) {
    char blocked[104];
    uint32_t length;
    for (int k = 0; k < owed->count; k++) {
        int r = shmc_outbox_push(s, owed->outbox[k], blocked, &length);
        if (r == SHMC_PARKED)
            continue;
        if (r != SHMC_OK)
            violation("pushing an outbox: status %d", r);
        ledger->progress++;
        owed->outbox[k--] = owed->outbox[--owed->count];
    }
}

static void park(shmc *s, struct owed *owed, uint64_t outbox) {
    while (owed->count == PARKED_MAX) {
        push(s, owed);
        usleep(500);
    }
    owed->outbox[owed->count++] = outbox;
}

static void serve(shmc *s, const shmc_message *m, struct owed *owed) {
    uint64_t outbox;
    char address[104];
    struct packet p = unpack(m);
    struct note *n = &ledger->note[p.number];
    take_lane(&p, m, m->entry == 5);
    memcpy(address, buffer + m->offset, m->address_length);
    if (shmc_set_policy(s, m->reference, p.number % 4) != SHMC_OK)
        violation("the policy of a lease cannot be set");
    if (!dice(25)) /* so that they die with it in hand, too */
        usleep((useconds_t)dice(3000));
    if (n->committed == COMMITTED)
        violation("message %u was leased after it had been served", p.number);
    int again = !dice(20) && m->attempts < 5, r = again ? SHMC_OK : answer(s, m, &p, address, &outbox);
    if (r == SHMC_OK && !again && !dice(20)) {
        if (shmc_outbox_drop(s, outbox) != SHMC_OK)
            violation("an open outbox cannot be dropped");
        r = answer(s, m, &p, address, &outbox);
    }
    leave_lane(&p);
    if (again || r != SHMC_OK) {
        if (r != SHMC_OK && r != SHMC_NO_MEMORY)
            violation("filling an outbox: status %d", r);
        r = shmc_requeue(s, m->reference, dice(2) * dice(2000000));
        if (r != SHMC_OK)
            violation("a lease cannot be given back: status %d", r);
        return;
    }
    n->committed = COMMITTING;
    r = shmc_outbox_commit(s, outbox, GIVE_UP_NS);
    if (r != SHMC_OK && r != SHMC_PARKED)
        violation("committing an outbox: status %d", r);
    n->committed = COMMITTED;
    ledger->progress++;
    if (r == SHMC_PARKED)
        park(s, owed, outbox);
}

void work(void) {
    static const char *const channels[] = {
        "in.a", "in.b", "in.c", "websocket.connect", "websocket.receive", "websocket.disconnect"};
    shmc *s = attach();
    shmc_interest *i = ask_for(s, channels, 6);
    struct owed owed = {.count = 0};
    shmc_message m;
    shmc_listen(s, i);
    while (ledger->phase != END) {
        int r = shmc_lease(s, i, owed.count ? 500000 : WAIT_NS, buffer, sizeof buffer, &m);
        if (r == SHMC_OK)
            serve(s, &m, &owed);
        else if (r != SHMC_EMPTY && r != SHMC_INTERRUPTED)
            violation("leasing: status %d", r);
        push(s, &owed);
    }
    shmc_interest_free(i);
    detach(s);
}

/* --- consumers --- */

static const char *const RECEIVED[2][6] = {{"s?one", "r!", "out.a", "gm.0", "shmchan.dead", "gm.1"},
                                           {"s?out", "o!", "gs?2", "gr!", "out.a", "gm.0"}};
static const uint32_t SIGHTS[2][6] = {
    {SEEN_DIRECT, SEEN_DIRECT, SEEN_OUT, SEEN_MEMBER, SEEN_DEAD, SEEN_MEMBER << 1},
    {SEEN_SINGLE, SEEN_REPLY, SEEN_MEMBER << 2, SEEN_MEMBER << 3, SEEN_OUT, SEEN_MEMBER}};

void consume(int which) {
    shmc *s = attach();
    shmc_interest *i = ask_for(s, RECEIVED[which], 6);
    shmc_message out[BATCH_MAX];
    uint32_t count;
    while (ledger->phase != END) {
        uint32_t limit = 1 + (uint32_t)dice(BATCH_MAX);
        seat->calling = limit;
        int r = shmc_receive(s, i, WAIT_NS, limit, buffer, BUFFER_BYTES, out, &count);
        if (r != SHMC_OK && r != SHMC_EMPTY && r != SHMC_INTERRUPTED && r != SHMC_BIG)
            violation("receiving: status %d", r);
        int whole = r != SHMC_BIG;
        for (uint32_t k = 0; k < count; k++) {
            if (!whole && out[k].reference) { /* it did not fit beside the others */
                if (shmc_read(s, out[k].reference, buffer + BUFFER_BYTES, BUFFER_BYTES) != SHMC_OK)
                    violation("a long message cannot be read");
                out[k].offset = BUFFER_BYTES;
            }
            struct packet p = unpack(&out[k]);
            see(p.number, SIGHTS[which][out[k].entry]);
            if (SIGHTS[which][out[k].entry] == SEEN_DIRECT)
                in_order(&p, RECEIVED[which][out[k].entry]);
            ledger->received++;
            if (!whole && out[k].reference && shmc_free(s, out[k].reference) != SHMC_OK)
                violation("a long message cannot be freed");
            seat->calling--;
        }
        seat->calling = 0;
    }
    shmc_interest_free(i);
    detach(s);
}

/* --- fronts --- */

struct connection_here {
    uint32_t lane, sequence;
    uint64_t key;
    char name[64];
};

static int open_connection(shmc *s, const char *prefix, struct connection_here *c) {
    shmc_target connect, disconnect;
    static char goodbye[PACKET_MAX];
    uint32_t first = new_note(WORKED), second = new_note(WORKED);
    if (!first || !second || ledger->lanes > LANES_FOR_CONNECTIONS)
        return 0;
    c->lane = new_lane();
    c->sequence = 0;
    snprintf(c->name, sizeof c->name, "%s%u", prefix, c->lane);
    c->key = shmc_hash(s, c->name, strlen(c->name));
    aim(s, &connect, "websocket.connect");
    aim(s, &disconnect, "websocket.disconnect");
    uint64_t goodbye_bytes = fill(second, c->lane, 0);
    memcpy(goodbye, filled, goodbye_bytes);
    uint64_t bytes = fill(first, c->lane, 0);
    ledger->note[first].sent = ledger->note[second].sent = SENDING;
    int r = shmc_connection_open(s, &connect, &disconnect, c->key, c->name, (uint32_t)strlen(c->name), filled,
                                 bytes, goodbye, goodbye_bytes, offsetof(struct packet, code),
                                 offsetof(struct packet, order));
    if (r != SHMC_OK && r != SHMC_FULL && r != SHMC_NO_MEMORY)
        violation("opening a connection: status %d", r);
    ledger->note[first].sent = ledger->note[second].sent = r == SHMC_OK ? SENT : REFUSED;
    if (r == SHMC_OK && dice(2))
        shmc_group_add(s, "g", 1, c->name, (uint32_t)strlen(c->name), CAPACITY, TOTAL);
    return r == SHMC_OK;
}

static void close_connection(shmc *s, struct connection_here *c) {
    int r = shmc_connection_close(s, c->key, 1000, c->sequence + 1);
    if (r != SHMC_OK)
        violation("closing a connection: status %d", r);
    shmc_group_discard(s, "g", 1, c->name, (uint32_t)strlen(c->name));
    c->lane = 0;
}

static void take_group_record(shmc *s, shmc_target *queue, const shmc_message *m) {
    static char members[8192];
    uint8_t admitted[256];
    uint64_t needed;
    uint32_t count;
    shmc_target t;
    const char *group = buffer + m->offset;
    if (shmc_group_members(s, group, m->address_length, queue->name, queue->queue_length, m->sequence,
                           members, sizeof members, &needed, &count) != SHMC_OK ||
        count > CONNECTIONS || shmc_group_admit(s, queue, members, needed, CAPACITY, admitted) != SHMC_OK)
        violation("a front has %u members of a group", count);
    const char *at = members;
    for (uint32_t k = 0; k < count; k++, at += 1 + *at) {
        char name[104];
        snprintf(name, sizeof name, "%.*s%.*s", (int)queue->queue_length, queue->name, *at, at + 1);
        aim(s, &t, name);
        if (admitted[k])
            shmc_credit(s, &t, 1);
    }
}

static void drain(shmc *s, shmc_interest *i, shmc_target *queue, uint32_t *sequences) {
    shmc_message out[BATCH_MAX];
    uint32_t count;
    seat->calling = BATCH_MAX;
    int r = shmc_receive(s, i, dice(2) * 2000000, BATCH_MAX, buffer, BUFFER_BYTES, out, &count);
    if (r != SHMC_OK && r != SHMC_EMPTY && r != SHMC_INTERRUPTED && r != SHMC_BIG)
        violation("a front receives: status %d", r);
    for (uint32_t k = 0; k < count; k++) {
        shmc_target t;
        char name[104];
        uint64_t reference = out[k].reference;
        if (reference) {
            if (shmc_read(s, reference, buffer + BUFFER_BYTES, BUFFER_BYTES) != SHMC_OK)
                violation("a front cannot read a long message");
            out[k].offset = BUFFER_BYTES;
        }
        struct packet p = unpack(&out[k]);
        if (out[k].kind == SHMC_KIND_GROUP) {
            if (p.sequence <= sequences[p.lane])
                violation("group message %u of sender %u after %u", p.sequence, p.lane, sequences[p.lane]);
            sequences[p.lane] = p.sequence;
            take_group_record(s, queue, &out[k]);
        } else {
            see(p.number, out[k].kind == SHMC_KIND_NOTICE ? SEEN_NOTICE : SEEN_FRONT);
            const char *address = buffer + out[k].offset;
            uint32_t length = out[k].address_length;
            if (memchr(address, '!', length)) /* a notice has the whole name */
                snprintf(name, sizeof name, "%.*s", (int)length, address);
            else
                snprintf(name, sizeof name, "%.*s%.*s", (int)queue->queue_length, queue->name, (int)length,
                         address);
            aim(s, &t, name);
            shmc_credit(s, &t, 1);
        }
        ledger->front_received++;
        seat->calling--;
        if (reference && shmc_free(s, reference) != SHMC_OK)
            violation("a front cannot free a long message");
    }
    seat->calling = 0;
}

void be_front(void) {
    static uint32_t sequences[LANES];
    shmc *s = attach();
    struct connection_here here[CONNECTIONS] = {{0}};
    char prefix[32];
    shmc_target queue;
    snprintf(prefix, sizeof prefix, "f%u!", life);
    aim(s, &queue, prefix);
    if (shmc_front_own(s, &queue) != SHMC_OK)
        violation("a front cannot have its queue");
    const char *const own[] = {prefix};
    shmc_interest *i = ask_for(s, own, 1);
    while (ledger->phase == STORM && dice(5000)) {
        struct connection_here *c = &here[dice(CONNECTIONS)];
        uint64_t what = dice(10);
        if (!c->lane) {
            if (!open_connection(s, prefix, c)) {
                c->lane = 0;
                usleep(300);
            }
        } else if (!what)
            close_connection(s, c);
        else if (what < 7) {
            if (send_noted(s, "websocket.receive", WORKED, c->lane, c->sequence + 1, c->key, c->name,
                           c->sequence + 1) == SHMC_OK)
                c->sequence++;
        }
        drain(s, i, &queue, sequences);
    }
    for (int k = 0; k < CONNECTIONS; k++) /* the others' disconnects are sent because it leaves */
        if (here[k].lane && dice(2))
            close_connection(s, &here[k]);
    if (dice(2))
        shmc_front_leave(s, &queue);
    shmc_interest_free(i);
    detach(s);
}

/* --- senders to the group, and those who come and go --- */

void send_to_group(void) {
    shmc *s = attach();
    struct owed owed = {.count = 0};
    uint32_t lane = new_lane(), sequence = 0;
    while (ledger->phase == STORM) {
        uint64_t outbox;
        uint32_t number = new_note(GROUPED);
        if (!number || shmc_outbox_open(s, 0, &outbox) != SHMC_OK) {
            usleep(1000);
            continue;
        }
        uint64_t bytes = fill(number, lane, ++sequence);
        int r = shmc_outbox_add_group(s, outbox, "g", 1, filled, bytes);
        if (r == SHMC_NO_MEMORY || !dice(10)) {
            shmc_outbox_drop(s, outbox);
            continue;
        }
        if (r != SHMC_OK)
            violation("filling an outbox for a group: status %d", r);
        ledger->note[number].committed = COMMITTING;
        r = shmc_outbox_commit(s, outbox, GIVE_UP_NS);
        if (r != SHMC_OK && r != SHMC_PARKED)
            violation("committing an outbox for a group: status %d", r);
        ledger->note[number].committed = COMMITTED;
        ledger->progress++;
        if (r == SHMC_PARKED) /* one after the other: the next would overtake */
            for (owed.outbox[0] = outbox, owed.count = 1; owed.count; usleep(500))
                push(s, &owed);
        usleep((useconds_t)dice(300));
    }
    detach(s);
}

void come_and_go(void) {
    while (ledger->phase == STORM) {
        shmc *s = attach();
        shmc_statistics g;
        shmc_target t;
        uint32_t bell, count;
        int fd;
        char name[32];
        shmc_process processes[SEATS];
        static const char *const nothing[] = {"nothing.comes.here", "nor?here"};
        aim(s, &t, "websocket.receive");
        switch (dice(6)) {
        case 0:
            shmc_statistics_read(s, &g);
            shmc_is_listened(s, &t);
            break;
        case 1:
            shmc_processes(s, SEATS, processes, &count);
            break;
        case 2:
            snprintf(name, sizeof name, "m%u", life);
            shmc_group_add(s, "other", 5, name, (uint32_t)strlen(name), 5, 5);
            shmc_group_discard(s, "other", 5, name, (uint32_t)strlen(name));
            break;
        case 3:
            if (shmc_bell_new(s, &bell, &fd) == SHMC_OK) {
                shmc_interest *i = ask_for(s, nothing, 2);
                shmc_bell_arm(s, bell, i);
                shmc_interest_free(i);
                shmc_bell_free(s, bell);
                close(fd);
            }
            break;
        default:
            send_noted(s, IN[dice(3)], WORKED, 0, 0, 0, "", 0);
            if (shmc_reap(s) < 0)
                violation("reaping failed");
        }
        detach(s);
        usleep((useconds_t)dice(3000));
    }
}
