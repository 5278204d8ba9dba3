/* The WebSocket frame codec. Contracts are in wsframe.h. */
#include "wsframe.h"

#include <string.h>

enum {
    FIN = 0x80,
    RSV1 = 0x40,
    RSV = 0x70,
    OPCODE = 0x0f,
    MASKED = 0x80,
    LENGTH = 0x7f,
    TEXT = 1,
    BINARY = 2,
    CLOSE = 8,
    PONG = 10
};

_Static_assert(sizeof(((struct shmc_ws_parser *)0)->header) == SHMC_WS_HEADER_BYTES, "header");
_Static_assert(sizeof(((struct shmc_ws_parser *)0)->control) == SHMC_WS_CONTROL_BYTES, "control payload");
_Static_assert(SHMC_WS_BATCH_OUT_BYTES >= SHMC_WS_BATCH_INPUT_BYTES + SHMC_WS_CONTROL_BYTES,
               "room for the payloads");

void shmc_ws_parser_init(struct shmc_ws_parser *parser, uint64_t max_message_bytes,
                         uint64_t max_compressed_bytes, uint32_t max_fragments) {
    memset(parser, 0, sizeof *parser);
    parser->max_message_bytes = max_message_bytes;
    parser->max_compressed_bytes = max_compressed_bytes;
    parser->max_fragments = max_fragments;
}

static void fail(struct shmc_ws_parser *p, int32_t error) {
    if (p->error == SHMC_WS_OK)
        p->error = error;
}

void shmc_ws_parser_fail(struct shmc_ws_parser *parser) {
    fail(parser, SHMC_WS_E_CALLER);
}

uint32_t shmc_ws_unmask(uint8_t *out, const uint8_t *data, uint64_t length, const uint8_t *mask,
                        uint32_t phase) {
    uint8_t turned[8];
    uint64_t wide, i = 0;

    for (uint32_t k = 0; k < 8; k++)
        turned[k] = mask[(phase + k) & 3];
    memcpy(&wide, turned, sizeof wide);
    /* Four words a round: memcpy keeps unaligned access legal, and the compiler makes vector instructions of
     * it. */
    for (; length - i >= 32; i += 32) {
        uint64_t block[4];
        memcpy(block, data + i, sizeof block);
        block[0] ^= wide;
        block[1] ^= wide;
        block[2] ^= wide;
        block[3] ^= wide;
        memcpy(out + i, block, sizeof block);
    }
    for (; length - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, sizeof word);
        word ^= wide;
        memcpy(out + i, &word, sizeof word);
    }
    for (; i < length; i++)
        out[i] = data[i] ^ turned[i & 7];
    return (uint32_t)((phase + length) & 3);
}

uint64_t shmc_utf8_feed(struct shmc_utf8 *state, const uint8_t *data, uint64_t length) {
    const uint64_t high_bits = 0x8080808080808080u;
    uint8_t left = state->left, low = state->low, high = state->high;
    uint64_t i = 0;

    while (i < length) {
        uint8_t byte;
        if (left == 0) {
            /* ASCII in steps of 16 bytes. */
            while (length - i >= 16) {
                uint64_t word[2];
                memcpy(word, data + i, sizeof word);
                if ((word[0] | word[1]) & high_bits)
                    break;
                i += 16;
            }
            if (i == length)
                break;
        }
        byte = data[i];
        if (left != 0) {
            if (byte < low || byte > high)
                return i;
            left--;
            low = 0x80;
            high = 0xbf;
        } else if (byte >= 0x80) {
            /* RFC 3629, section 4: the lead byte bounds the second one. C0, C1 and F5 to FF lead nothing. */
            if (byte < 0xc2 || byte > 0xf4)
                return i;
            left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
            low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
            high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
        }
        i++;
    }
    state->left = left;
    state->low = low;
    state->high = high;
    return length;
}

uint32_t shmc_ws_header(uint8_t *out, uint8_t first, uint64_t payload_bytes) {
    uint32_t extra = payload_bytes < 126 ? 0 : payload_bytes < 65536 ? 2 : 8;

    out[0] = first;
    out[1] = extra == 0 ? (uint8_t)payload_bytes : extra == 2 ? 126 : 127;
    for (uint32_t k = 0; k < extra; k++)
        out[2 + k] = (uint8_t)(payload_bytes >> (8 * (extra - 1 - k)));
    return 2 + extra;
}

static int is_control(uint8_t opcode) {
    return opcode >= CLOSE;
}

/* RFC 6455, section 5.2 (RSV, opcode), 5.4 (fragmentation), 5.5 (control frames); RFC 7692, section 6.1
 * (RSV1). */
static void judge_first_byte(struct shmc_ws_parser *p, uint8_t byte) {
    uint8_t opcode = byte & OPCODE, rsv = byte & RSV;
    uint8_t allowed = p->max_compressed_bytes && (opcode == TEXT || opcode == BINARY) ? RSV1 : 0;

    if (rsv & ~allowed)
        fail(p, SHMC_WS_E_RSV);
    else if ((opcode > BINARY && !is_control(opcode)) || opcode > PONG)
        fail(p, SHMC_WS_E_OPCODE);
    else if (is_control(opcode) && !(byte & FIN))
        fail(p, SHMC_WS_E_CONTROL_FRAGMENTED);
    else if (opcode == 0 && p->message_opcode == 0)
        fail(p, SHMC_WS_E_NO_MESSAGE);
    else if ((opcode == TEXT || opcode == BINARY) && p->message_opcode != 0)
        fail(p, SHMC_WS_E_IN_MESSAGE);
    else if (opcode == 0 && p->fragments >= p->max_fragments)
        fail(p, SHMC_WS_E_FRAGMENTS);
}

static void judge_second_byte(struct shmc_ws_parser *p, uint8_t byte) {
    if (!(byte & MASKED))
        fail(p, SHMC_WS_E_MASK); /* section 5.1 */
    else if (is_control(p->header[0] & OPCODE) && (byte & LENGTH) > SHMC_WS_CONTROL_BYTES)
        fail(p, SHMC_WS_E_CONTROL_LENGTH); /* section 5.5 */
}

/* The length is known: is it minimal, and within the message's limit? A failed parser only remembers it. */
static void judge_length(struct shmc_ws_parser *p, uint32_t extra) {
    uint8_t opcode = p->header[0] & OPCODE;
    uint64_t length = 0;

    if (extra == 0)
        length = p->header[1] & LENGTH;
    for (uint32_t k = 0; k < extra; k++)
        length = length << 8 | p->header[2 + k];
    p->frame_bytes = length;
    if (p->error != SHMC_WS_OK)
        return;
    if ((extra == 2 && length < 126) || (extra == 8 && (length < 65536 || length >> 63))) {
        fail(p, SHMC_WS_E_LENGTH);
    } else if (!is_control(opcode)) {
        uint8_t compressed = opcode ? (p->header[0] & RSV1) != 0 : p->message_compressed;
        uint64_t limit = compressed ? p->max_compressed_bytes : p->max_message_bytes;
        uint64_t before = opcode ? 0 : p->message_bytes;
        if (length > limit || before > limit - length)
            fail(p, SHMC_WS_E_TOO_BIG);
    }
}

static void begin_payload(struct shmc_ws_parser *p) {
    uint8_t opcode = p->header[0] & OPCODE;

    memset(p->mask, 0, sizeof p->mask);
    if (p->header[1] & MASKED)
        memcpy(p->mask, p->header + p->header_have - 4, sizeof p->mask);
    p->mask_phase = 0;
    p->in_payload = 1;
    p->header_have = 0;
    p->frame_left = p->frame_bytes;
    if (p->error != SHMC_WS_OK || is_control(opcode))
        return;
    if (opcode != 0) {
        p->message_opcode = opcode;
        p->message_compressed = (p->header[0] & RSV1) != 0;
        p->message_bytes = 0;
        p->fragments = 0;
        memset(&p->utf8, 0, sizeof p->utf8);
    } else {
        p->fragments++;
    }
    p->message_bytes += p->frame_bytes;
}

/* Take header bytes up to the end of the header, or to the first that proves an error. Returns the bytes
 * taken. */
static uint64_t take_header(struct shmc_ws_parser *p, const uint8_t *data, uint64_t length) {
    int32_t error = p->error;

    for (uint64_t i = 0; i < length && p->error == error;) {
        uint32_t code, extra = 0, need = 2;
        p->header[p->header_have++] = data[i++];
        if (p->header_have == 1) {
            if (error == SHMC_WS_OK)
                judge_first_byte(p, p->header[0]);
            if (p->error != error)
                return i;
            continue;
        }
        code = p->header[1] & LENGTH;
        extra = code == 126 ? 2 : code == 127 ? 8 : 0;
        need += extra + (p->header[1] & MASKED ? 4 : 0);
        if (p->header_have == 2 && error == SHMC_WS_OK)
            judge_second_byte(p, p->header[1]);
        if (p->header_have == 2 + extra)
            judge_length(p, extra);
        if (p->header_have == need)
            begin_payload(p);
        if (p->in_payload || p->error != error)
            return i;
    }
    return length;
}

static void end_frame(struct shmc_ws_parser *p) {
    p->in_payload = 0;
    if (!is_control(p->header[0] & OPCODE) && (p->header[0] & FIN))
        p->message_opcode = 0;
}

static void add_record(struct shmc_ws_batch *batch, uint32_t *n, uint32_t offset, uint64_t length,
                       uint32_t kind) {
    batch->records[*n] = (struct shmc_ws_record){.offset = offset, .length = (uint32_t)length, .kind = kind};
    ++*n;
}

uint32_t shmc_ws_parse(struct shmc_ws_parser *p, const uint8_t *data, uint64_t start, uint64_t length,
                       struct shmc_ws_batch *batch) {
    uint32_t n = 0, used = 0;
    uint64_t at = start, end = length;

    if (start >= length) {
        p->consumed = length;
        return 0;
    }
    if (end - start > SHMC_WS_BATCH_INPUT_BYTES)
        end = start + SHMC_WS_BATCH_INPUT_BYTES;
    for (;;) {
        int32_t error = p->error;
        uint8_t opcode;
        uint64_t piece;

        if (n == SHMC_WS_BATCH_RECORDS)
            break;
        if (!p->in_payload) {
            if (at == end)
                break;
            at += take_header(p, data + at, end - at);
            if (p->error != error) {
                if (p->in_payload && p->frame_left == 0)
                    end_frame(p); /* an empty frame without a mask: it ends where it failed */
                break;
            }
            if (!p->in_payload)
                break; /* the input ended inside the header */
        }
        if (p->frame_left != 0 && at == end)
            break;

        opcode = p->header[0] & OPCODE;
        piece = p->frame_left < end - at ? p->frame_left : end - at;
        if (error != SHMC_WS_OK) {
            at += piece;
            p->frame_left -= piece;
            if (p->frame_left == 0) {
                end_frame(p);
                if (opcode == CLOSE && (p->header[0] & FIN))
                    add_record(batch, &n, used, 0, CLOSE | SHMC_WS_END);
            }
            continue;
        }
        if (is_control(opcode)) {
            uint8_t *kept = p->control + (p->frame_bytes - p->frame_left);
            p->mask_phase = (uint8_t)shmc_ws_unmask(kept, data + at, piece, p->mask, p->mask_phase);
            at += piece;
            p->frame_left -= piece;
            if (p->frame_left == 0) {
                memcpy(batch->out + used, p->control, p->frame_bytes);
                add_record(batch, &n, used, p->frame_bytes, opcode | SHMC_WS_END);
                used += (uint32_t)p->frame_bytes;
                end_frame(p);
            }
            continue;
        }

        {
            uint32_t kind = p->message_opcode | (p->message_compressed ? SHMC_WS_COMPRESSED : 0);
            int is_text = kind == TEXT;
            int ends;
            p->mask_phase =
                (uint8_t)shmc_ws_unmask(batch->out + used, data + at, piece, p->mask, p->mask_phase);
            if (is_text) {
                uint64_t good = shmc_utf8_feed(&p->utf8, batch->out + used, piece);
                if (good != piece) {
                    at += good + 1;
                    p->frame_left -= good + 1;
                    if (p->frame_left == 0)
                        end_frame(p);
                    fail(p, SHMC_WS_E_UTF8);
                    break;
                }
            }
            at += piece;
            p->frame_left -= piece;
            ends = p->frame_left == 0 && (p->header[0] & FIN);
            if (p->frame_left == 0)
                end_frame(p);
            if (ends && is_text && p->utf8.left != 0) {
                fail(p, SHMC_WS_E_UTF8);
                break;
            }
            /* The last record of this batch is of the same message, unless it is a control frame's or ended
             * one. */
            if (n > 0 && batch->records[n - 1].kind == kind) {
                batch->records[n - 1].length += (uint32_t)piece;
                if (ends)
                    batch->records[n - 1].kind |= SHMC_WS_END;
            } else if (piece != 0 || ends) {
                add_record(batch, &n, used, piece, kind | (ends ? SHMC_WS_END : 0));
            }
            used += (uint32_t)piece;
        }
    }
    p->consumed = at;
    return n;
}
