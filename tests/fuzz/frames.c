/* frames: the WebSocket codec takes any bytes, and says the same however they are cut.
 *
 * An input is 4 bytes {limits, seed of the cuts, 2 bytes of limits}, then what a client sends. It is parsed
 * twice, whole and in pieces; the pieces of messages joined, the error and the bytes taken before it must be
 * the same. The input is copied to the end of a block of its own, so that ASan sees a read beyond it.
 */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/frames/wsframe.h"

struct story { /* what a parser said */
    uint64_t hash, records;
    uint64_t open; /* hash of the message under way */
    uint64_t failed_at;
    int32_t error;
};

static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15ull;
    return hash ^ hash >> 29;
}

static void tell(struct story *t, const struct shmc_ws_batch *batch, uint32_t n) {
    for (uint32_t k = 0; k < n; k++) {
        const struct shmc_ws_record *r = &batch->records[k];
        uint32_t kind = r->kind & ~(uint32_t)SHMC_WS_END, control = (kind & 15) >= 8;
        if (r->offset + (uint64_t)r->length > SHMC_WS_BATCH_OUT_BYTES)
            abort();
        if (control && (r->length > SHMC_WS_CONTROL_BYTES || !(r->kind & SHMC_WS_END)))
            abort();
        /* How a message is cut into records is free: its bytes, and where it ends, are not. Of one that is
         * never whole, as an error ends it, nothing is compared. Control frames may come between. */
        uint64_t hash = control ? 0 : t->open;
        for (uint32_t i = 0; i < r->length; i++)
            hash = mix(hash, batch->out[r->offset + i] + 1u);
        if (r->kind & SHMC_WS_END) {
            t->hash = mix(t->hash, hash + kind);
            t->records++;
            hash = 0;
        }
        if (!control)
            t->open = hash;
    }
}

static void parse(struct story *t, const uint8_t *data, uint64_t length, uint32_t seed, const uint8_t *head) {
    static struct shmc_ws_batch batch;
    struct shmc_ws_parser p;
    uint64_t at = 0;
    memset(t, 0, sizeof *t);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    if (length < 4)
        return 0;
    struct story whole, pieces;
    uint8_t *copy = malloc(length - 4 + (length == 4));
    if (!copy)
        return 0;
    memcpy(copy, data + 4, length - 4);
    parse(&whole, copy, length - 4, 0, data);
    parse(&pieces, copy, length - 4, data[1] + 1u, data);
    free(copy);
    if (whole.error != pieces.error || whole.failed_at != pieces.failed_at || whole.hash != pieces.hash ||
        whole.records != pieces.records)
        abort();
    return 0;
}
