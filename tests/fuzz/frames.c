/* frames: the WebSocket codec takes any bytes, and says the same however they are cut.
 *
 * An input is 4 bytes {limits, seed of the cuts, 2 bytes of limits}, then what a client sends. It is parsed
 * twice, whole and in pieces; the bytes of the messages, their kinds and order, the error and the bytes taken
 * before it must be the same. libFuzzer hands each input over at the end of a block of its own, so ASan sees a
 * read beyond it. Nothing is allocated, and what the parsers said is compared as it stands: a run costs little
 * more than the two parsers.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/frames/wsframe.h"

enum { BYTES_MAX = 4096, EVENTS_MAX = BYTES_MAX / 2 };

struct event { /* the end of a message: its kind, and where its bytes end in those of its sort */
    uint32_t kind, end;
};

struct story { /* what a parser said */
    uint32_t used[2], events;
    int32_t error;
    uint64_t failed_at;
    uint8_t bytes[2][BYTES_MAX]; /* of messages, and of control frames, which may come between their pieces */
    struct event event[EVENTS_MAX];
};

static void tell(struct story *t, const struct shmc_ws_batch *batch, uint32_t n) {
    for (uint32_t k = 0; k < n; k++) {
        const struct shmc_ws_record *r = &batch->records[k];
        uint32_t kind = r->kind & ~(uint32_t)SHMC_WS_END, control = (kind & 15) >= 8;
        if (r->offset + (uint64_t)r->length > SHMC_WS_BATCH_OUT_BYTES ||
            r->length > BYTES_MAX - t->used[control])
            abort();
        if (control && (r->length > SHMC_WS_CONTROL_BYTES || !(r->kind & SHMC_WS_END)))
            abort();
        memcpy(t->bytes[control] + t->used[control], batch->out + r->offset, r->length);
        t->used[control] += r->length;
        if (r->kind & SHMC_WS_END) {
            if (t->events == EVENTS_MAX)
                abort();
            t->event[t->events++] = (struct event){kind, t->used[control]};
        }
    }
}

static void parse(struct story *t, const uint8_t *data, uint64_t length, uint32_t seed, const uint8_t *head) {
    static struct shmc_ws_batch batch;
    struct shmc_ws_parser p;
    uint64_t at = 0;
    t->used[0] = t->used[1] = t->events = 0;
    t->failed_at = 0;
    shmc_ws_parser_init(&p, 1u << (head[0] & 15), head[0] & 16 ? 1u << (head[2] & 15) : 0, head[3] & 31);
    while (at < length) {
        uint64_t end = length;
        if (seed) {
            seed = seed * 1664525 + 1013904223;
            end = at + 1 + (seed >> 24) % 9;
            end = end < length ? end : length;
        }
        for (uint64_t from = at; from < end; from = p.consumed) {
            int32_t before = p.error;
            uint32_t n = shmc_ws_parse(&p, data, from, end, &batch);
            if (n > SHMC_WS_BATCH_RECORDS || p.consumed <= from || p.consumed > end)
                abort();
            tell(t, &batch, n);
            if (p.error != before) {
                if (before)
                    abort();
                t->failed_at = p.consumed;
            }
        }
        at = end;
    }
    t->error = p.error;
}

/* How a message is cut into records is free: its bytes, and where it ends, are not. Of one that is never
 * whole, as an error or the input ends it, nothing is compared. */
static int differ(const struct story *a, const struct story *b) {
    uint32_t ends[2] = {0, 0};
    if (a->error != b->error || a->failed_at != b->failed_at || a->events != b->events ||
        memcmp(a->event, b->event, a->events * sizeof *a->event))
        return 1;
    for (uint32_t k = 0; k < a->events; k++)
        ends[(a->event[k].kind & 15) >= 8] = a->event[k].end;
    return memcmp(a->bytes[0], b->bytes[0], ends[0]) || memcmp(a->bytes[1], b->bytes[1], ends[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    static struct story whole, pieces;
    if (length < 4 || length > BYTES_MAX)
        return 0;
    parse(&whole, data + 4, length - 4, 0, data);
    parse(&pieces, data + 4, length - 4, data[1] + 1u, data);
    if (differ(&whole, &pieces))
        abort();
    return 0;
}
