/* wsload: WebSocket load from one thread with epoll.
 *
 *   wsload -p PORT [-h ADDRESS] [-P PATH] [-c CONNECTIONS] [-d DEPTH] [-s BYTES] [-t SECONDS] [-m
 * echo|order|bcast|idle]
 *
 * echo:  every connection keeps DEPTH text frames in flight; the server sends each frame back.
 * order: the same, and the frames of a connection must come back in the order sent.
 * bcast: connection 0 keeps DEPTH frames in flight; the server sends each to every connection.
 * idle:  opens the connections, holds them, answers pings.
 *
 * A frame begins with the time it was sent (16 hex digits, ns of CLOCK_MONOTONIC) and its number (8 hex
 * digits); latency and order come from there. After SECONDS nothing more is sent, and what is in flight has
 * DRAIN_NS to arrive; what does not is lost.
 *
 * Prints one JSON object. Exit 0: all went well; 1: refused, a connection lost, a frame lost, twice or out of
 * order, or silence for SILENCE_NS; 2: wrong arguments. Works on Linux; more than 20,000 connections use
 * several source addresses of 127/8.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)
#define DRAIN_NS (5 * SECOND_NS)
#define SILENCE_NS (10 * SECOND_NS)
#define SETTLE_US 100000
#define STAMP_BYTES 24
#define READ_BYTES 65536
#define OPENING_MAX 256
#define CONNECTIONS_PER_ADDRESS 20000
#define EVENTS 1024
/* The key of RFC 6455 section 1.3, and the answer a server owes it. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum mode { ECHO, ORDER, BCAST, IDLE };
enum state { NEW, HANDSHAKE, OPEN, CLOSED };
enum opcode { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

struct buffer {
    uint8_t *data;
    size_t begin, end, capacity;
};

struct connection {
    int fd;
    enum state state;
    bool wants_out;
    uint32_t next_number, expected_number;
    struct buffer in, out;
};

/* Counts of latencies in 64 steps for each power of two of ns: 1.6 % wide. */
#define STEP_BITS 6
static uint64_t histogram[64 << STEP_BITS];

static struct {
    const char *address, *path, *mode_name;
    int port, connections, depth;
    size_t size;
    double seconds;
    enum mode mode;
} option = {"127.0.0.1", "/", "echo", 0, 1, 1, 64, 3.0, ECHO};

static int epoll_fd;
static struct connection *connections;
static int opened, closed, broadcast_arrivals;
static uint64_t sent, received, errors, misordered, duplicated;
static bool stopping;

static void die(const char *what) {
    fprintf(stderr, "wsload: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void record(uint64_t ns) {
    unsigned power = 63u - (unsigned)__builtin_clzll(ns | 1);
    uint64_t step = power < STEP_BITS ? ns << (STEP_BITS - power) : ns >> (power - STEP_BITS);
    histogram[(power << STEP_BITS) | (step & ((1u << STEP_BITS) - 1))]++;
}

/* The latency in us below which a share q of the frames stayed; 0 without frames. */
static double quantile_us(double q) {
    uint64_t total = 0, seen = 0;
    size_t i = 0, n = sizeof histogram / sizeof *histogram;
    for (i = 0; i < n; i++)
        total += histogram[i];
    for (i = 0; i < n; i++) {
        seen += histogram[i];
        if (seen && (double)seen >= q * (double)total) {
            double base = (double)(UINT64_C(1) << (i >> STEP_BITS));
            return base * (1.0 + ((double)(i & ((1u << STEP_BITS) - 1)) + 0.5) / (1 << STEP_BITS)) / 1000.0;
        }
    }
    return 0;
}

/* Room for `bytes` more behind the end, moving what is there to the front first. */
static uint8_t *reserve(struct buffer *b, size_t bytes) {
    if (b->begin && (b->begin == b->end || b->end + bytes > b->capacity)) {
        memmove(b->data, b->data + b->begin, b->end - b->begin);
        b->end -= b->begin;
        b->begin = 0;
    }
    if (b->end + bytes > b->capacity) {
        b->capacity = (b->end + bytes) * 2;
        b->data = realloc(b->data, b->capacity);
        if (!b->data)
            die("memory");
    }
    return b->data + b->end;
}

static void append(struct buffer *b, const void *bytes, size_t n) {
    memcpy(reserve(b, n), bytes, n);
    b->end += n;
}

static void lose(struct connection *c) {
    errors++;
    closed++;
    c->state = CLOSED;
    close(c->fd);
}

static void arm(struct connection *c, bool out) {
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    if (c->wants_out == out)
        return;
    c->wants_out = out;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e))
        die("epoll_ctl");
}

static void flush(struct connection *c) {
    while (c->state != CLOSED && c->out.begin < c->out.end) {
        ssize_t n = write(c->fd, c->out.data + c->out.begin, c->out.end - c->out.begin);
        if (n < 0 && errno == EAGAIN) {
            arm(c, true);
            return;
        }
        if (n < 0) {
            lose(c);
            return;
        }
        c->out.begin += (size_t)n;
    }
    if (c->state != CLOSED)
        arm(c, false);
}

/* RFC 6455 section 5.2, as a client: one whole frame, masked. */
static void queue_frame(struct connection *c, enum opcode opcode, const uint8_t *payload, size_t n) {
    static const uint8_t mask[4] = {0x11, 0x22, 0x33, 0x44};
    uint8_t head[14];
    size_t k = 0;
    head[k++] = (uint8_t)(0x80 | opcode);
    if (n < 126) {
        head[k++] = (uint8_t)(0x80 | n);
    } else if (n < 65536) {
        head[k++] = 0x80 | 126;
        head[k++] = (uint8_t)(n >> 8);
        head[k++] = (uint8_t)n;
    } else {
        head[k++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            head[k++] = (uint8_t)((uint64_t)n >> shift);
    }
    memcpy(head + k, mask, 4);
    append(&c->out, head, k + 4);
    uint8_t *to = reserve(&c->out, n);
    for (size_t i = 0; i < n; i++)
        to[i] = payload[i] ^ mask[i & 3];
    c->out.end += n;
}

static void queue_message(struct connection *c) {
    static uint8_t *payload;
    char stamp[STAMP_BYTES + 1];
    if (!payload) {
        payload = malloc(option.size);
        if (!payload)
            die("memory");
        memset(payload, 'x', option.size);
    }
    snprintf(stamp, sizeof stamp, "%016" PRIx64 "%08" PRIx32, now_ns(), c->next_number++);
    memcpy(payload, stamp, STAMP_BYTES);
    queue_frame(c, TEXT, payload, option.size);
    sent++;
}

static void on_message(struct connection *c, const uint8_t *payload, size_t n) {
    char digits[17] = {0};
    received++;
    if (n < STAMP_BYTES) {
        errors++;
        return;
    }
    memcpy(digits, payload, 16);
    record(now_ns() - strtoull(digits, NULL, 16));
    memset(digits, 0, sizeof digits);
    memcpy(digits, payload + 16, 8);
    uint32_t number = (uint32_t)strtoul(digits, NULL, 16);
    if (option.mode == ORDER) {
        duplicated += number < c->expected_number;
        misordered += number > c->expected_number;
        if (number >= c->expected_number)
            c->expected_number = number + 1;
    }
    if (stopping)
        return;
    if (option.mode == BCAST) {
        if (++broadcast_arrivals < option.connections)
            return;
        broadcast_arrivals = 0;
        c = &connections[0];
        queue_message(c);
        flush(c);
    } else {
        queue_message(c);
    }
}

/* True when the head of the handshake's answer is complete; it is then taken from the buffer. */
static bool take_handshake(struct connection *c) {
    uint8_t *head = c->in.data + c->in.begin;
    size_t n = c->in.end - c->in.begin;
    uint8_t *end = memmem(head, n, "\r\n\r\n", 4);
    if (!end)
        return false;
    if (memcmp(head, "HTTP/1.1 101", 12) || !memmem(head, n, ACCEPT, strlen(ACCEPT))) {
        fprintf(stderr, "wsload: refused: %.*s\n", (int)strcspn((char *)head, "\r"), head);
        exit(1);
    }
    c->in.begin += (size_t)(end + 4 - head);
    c->state = OPEN;
    opened++;
    return true;
}

/* True when one whole frame was taken from the buffer. */
static bool take_frame(struct connection *c) {
    uint8_t *frame = c->in.data + c->in.begin;
    size_t available = c->in.end - c->in.begin, head = 2;
    if (available < 2)
        return false;
    uint64_t n = frame[1] & 127;
    if (n >= 126) {
        size_t digits = n == 126 ? 2 : 8;
        head += digits;
        if (available < head)
            return false;
        n = 0;
        for (size_t i = 0; i < digits; i++)
            n = n << 8 | frame[2 + i];
    }
    if (available - head < n)
        return false;
    c->in.begin += head + n;
    switch (frame[0] & 15) {
    case TEXT:
    case BINARY:
        on_message(c, frame + head, n);
        break;
    case PING:
        queue_frame(c, PONG, frame + head, n);
        break;
    case PONG:
        break;
    default: /* a close nobody asked for, or a fragment of a message that was sent whole */
        lose(c);
    }
    return true;
}

static void on_readable(struct connection *c) {
    while (c->state != CLOSED) {
        uint8_t *to = reserve(&c->in, READ_BYTES);
        ssize_t n = read(c->fd, to, READ_BYTES);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            lose(c);
            return;
        }
        c->in.end += (size_t)n;
        if (c->state == HANDSHAKE && !take_handshake(c))
            break;
        while (c->state == OPEN && take_frame(c)) {
        }
        if (n < READ_BYTES)
            break;
    }
    flush(c);
}

static void open_connection(int index) {
    struct connection *c = &connections[index];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port)};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    char request[1024];
    int one = 1;
    if (inet_pton(AF_INET, option.address, &to.sin_addr) != 1)
        die("the address is not of IPv4");
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket (see ulimit -n)");
    if (option.connections > CONNECTIONS_PER_ADDRESS) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(0x7f000002u + (uint32_t)(index / CONNECTIONS_PER_ADDRESS));
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from))
            die("bind");
    }
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to))
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e))
        die("epoll_ctl");
    c->state = HANDSHAKE;
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: %s:%d\r\nOrigin: http://%s:%d\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n",
                     option.path, option.address, option.port, option.address, option.port);
    if (n < 0 || (size_t)n >= sizeof request) {
        fprintf(stderr, "wsload: the path is too long\n");
        exit(2);
    }
    append(&c->out, request, (size_t)n);
    flush(c);
}

static void start_traffic(void) {
    int senders = option.mode == IDLE ? 0 : option.mode == BCAST ? 1 : option.connections;
    for (int i = 0; i < senders; i++) {
        for (int d = 0; d < option.depth; d++)
            queue_message(&connections[i]);
        flush(&connections[i]);
    }
}

/* Say goodbye with code 1000, so that the server does not take the end for a broken connection. Its answer is
 * not awaited. */
static void leave(void) {
    static const uint8_t normal_closure[2] = {1000 >> 8, 1000 & 255};
    for (int i = 0; i < option.connections; i++)
        if (connections[i].state == OPEN) {
            queue_frame(&connections[i], CLOSE, normal_closure, sizeof normal_closure);
            flush(&connections[i]);
        }
}

static void parse(int argc, char **argv) {
    static const char *const modes[] = {"echo", "order", "bcast", "idle"};
    int o;
    while ((o = getopt(argc, argv, "p:h:P:c:d:s:t:m:")) != -1)
        switch (o) {
        case 'p':
            option.port = atoi(optarg);
            break;
        case 'h':
            option.address = optarg;
            break;
        case 'P':
            option.path = optarg;
            break;
        case 'c':
            option.connections = atoi(optarg);
            break;
        case 'd':
            option.depth = atoi(optarg);
            break;
        case 's':
            option.size = strtoul(optarg, NULL, 10);
            break;
        case 't':
            option.seconds = atof(optarg);
            break;
        case 'm':
            option.mode_name = optarg;
            break;
        default:
            exit(2);
        }
    for (option.mode = ECHO; option.mode <= IDLE && strcmp(option.mode_name, modes[option.mode]);
         option.mode++) {
    }
    if (option.mode > IDLE || option.port < 1 || option.port > 65535 || option.connections < 1 ||
        option.depth < 1) {
        fprintf(stderr, "usage: wsload -p PORT [-h ADDRESS] [-P PATH] [-c CONNECTIONS] [-d DEPTH] [-s BYTES] "
                        "[-t SECONDS] [-m echo|order|bcast|idle]\n");
        exit(2);
    }
    if (option.size < STAMP_BYTES)
        option.size = STAMP_BYTES;
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    uint64_t begin, start = 0, stop = 0, last, received_in_time = 0;
    double open_seconds = 0, elapsed = 0;
    int begun = 0;

    parse(argc, argv);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc((size_t)option.connections, sizeof *connections);
    if (epoll_fd < 0 || !connections)
        die("start");
    uint64_t copies = option.mode == BCAST ? (uint64_t)option.connections : 1;
    begin = last = now_ns();
    for (;;) {
        while (begun < option.connections && begun - opened - closed < OPENING_MAX)
            open_connection(begun++);
        int n = epoll_wait(epoll_fd, events, EVENTS, 20);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        uint64_t now = now_ns();
        if (n > 0)
            last = now;
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->state != CLOSED && events[i].events & EPOLLOUT)
                flush(c);
            if (c->state != CLOSED && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                on_readable(c);
        }
        if (!start && opened == option.connections) {
            open_seconds = (double)(now_ns() - begin) / 1e9;
            usleep(SETTLE_US);
            start = now = now_ns();
            start_traffic();
        }
        if (start && !stopping && (double)(now - start) / 1e9 >= option.seconds) {
            stopping = true;
            stop = now;
            elapsed = (double)(now - start) / 1e9;
            received_in_time = received;
        }
        if (stopping && (received >= sent * copies || now - stop > DRAIN_NS))
            break;
        if (closed == option.connections || (now - last > SILENCE_NS && (!start || option.mode != IDLE))) {
            fprintf(stderr, "wsload: %s (%d of %d open, %" PRIu64 " frames received)\n",
                    closed ? "connections were lost" : "no answer for 10 s", opened - closed,
                    option.connections, received);
            errors++;
            break;
        }
    }
    leave();
    uint64_t lost = received < sent * copies ? sent * copies - received : 0;
    printf("{\"mode\":\"%s\",\"conns\":%d,\"depth\":%d,\"size\":%zu,\"open_s\":%.3f,\"seconds\":%.3f,"
           "\"sent\":%" PRIu64 ",\"received\":%" PRIu64
           ",\"per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"errors\":%" PRIu64
           ",\"closed\":%d,\"lost\":%" PRIu64 ",\"duplicated\":%" PRIu64 ",\"misordered\":%" PRIu64 "}\n",
           option.mode_name, option.connections, option.depth, option.size, open_seconds, elapsed, sent,
           received, elapsed > 0 ? (double)received_in_time / elapsed : 0, quantile_us(.5), quantile_us(.99),
           quantile_us(.999), errors, closed, lost, duplicated, misordered);
    return errors || lost || duplicated || misordered ? 1 : 0;
}
