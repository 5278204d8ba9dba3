/* wsframe.h: the WebSocket frame codec of the front (RFC 6455, section 5). This header is its manual.
 *
 * It owns the way from a server's received bytes to pieces of messages: headers are judged, payloads
 * unmasked, text checked as UTF-8, frames of one message joined. It never allocates, blocks, prints or
 * aborts, reads nothing beyond its input, and knows no sockets, clocks or Python. Only the front runs it,
 * through shmchan/protocol/frames.py, which reaches it by cffi: what stands between the two markers is
 * declared once.
 *
 * Life of a parser
 *   struct shmc_ws_parser p;
 *   shmc_ws_parser_init(&p, 1 << 20, 0, 1 << 17);
 *   for each read:
 *       for (start = 0; start < length; start = p.consumed) {
 *           n = shmc_ws_parse(&p, data, start, length, &batch);
 *           look at batch.records[0 .. n-1], then at p.error;
 *       }
 *
 * States of a parser, kept in it as plain fields
 *   between frames  header_have == 0, in_payload == 0
 *   in a header     header_have > 0, in_payload == 0
 *   in a payload    in_payload == 1
 *   in a message    message_opcode != 0 (control frames may come between its frames)
 *   failed          error != 0, for good. From then on frames are only measured and skipped, so that the
 * peer's Close, which answers ours, is still found: the only record a failed parser makes, empty.
 *
 * Caveats
 *   - A parser and a batch belong to one thread while a call runs. A batch holds nothing between calls;
 * parsers may share one.
 *   - Plain memory of one process. Nothing here is in the segment; nothing survives, or fears, a crash.
 *   - Compressed messages (RSV1, RFC 7692) are handed on as they came: inflating them, limiting what comes
 * out and checking that it is UTF-8 (shmc_utf8_feed) is the caller's.
 *   - The contents of a Close (RFC 6455, section 7.4) are not judged here.
 */
#ifndef SHMCHAN_WSFRAME_H
#define SHMCHAN_WSFRAME_H

#include <stddef.h>
#include <stdint.h>

/* cdef begin */

/* Why a parser failed. On the wire UTF8 is 1007, TOO_BIG and FRAGMENTS are 1009, CALLER is the caller's, the
 * others are 1002. */
enum {
    SHMC_WS_OK = 0,
    SHMC_WS_E_RSV = -1,                /* a reserved bit that no extension defines here */
    SHMC_WS_E_OPCODE = -2,             /* a reserved opcode */
    SHMC_WS_E_CONTROL_FRAGMENTED = -3, /* a control frame without FIN */
    SHMC_WS_E_NO_MESSAGE = -4,         /* a continuation, but no message to continue */
    SHMC_WS_E_IN_MESSAGE = -5,         /* a new message inside an unfinished one */
    SHMC_WS_E_MASK = -6,               /* a client's frame that is not masked */
    SHMC_WS_E_CONTROL_LENGTH = -7,     /* a control frame of more than 125 bytes */
    SHMC_WS_E_LENGTH = -8,             /* a length that is not minimal, or beyond 63 bits */
    SHMC_WS_E_UTF8 = -9,               /* text that cannot be, or at its end is not, UTF-8 */
    SHMC_WS_E_TOO_BIG = -10,           /* a message longer than the parser's limit */
    SHMC_WS_E_FRAGMENTS = -11,         /* a message in more frames than the parser's limit */
    SHMC_WS_E_CALLER = -12             /* shmc_ws_parser_fail() was called */
};

#define SHMC_WS_BATCH_RECORDS 64
#define SHMC_WS_BATCH_INPUT_BYTES 65536
/* The input, and what a control frame kept of earlier inputs (125), rounded up. */
#define SHMC_WS_BATCH_OUT_BYTES 65664
#define SHMC_WS_HEADER_BYTES 14 /* the longest header */
#define SHMC_WS_CONTROL_BYTES 125

/* Bits of a record's kind besides the opcode (1 text, 2 binary, 8 close, 9 ping, 10 pong; never 0, a
 * continuation has the opcode of its message). */
#define SHMC_WS_END 0x10 /* the last piece of its message; always set on control frames, which come whole */
#define SHMC_WS_COMPRESSED 0x20 /* a piece of a message whose first frame had RSV1 */

/* One piece of a message, or one control frame: `length` unmasked bytes from out[offset]. */
struct shmc_ws_record {
    uint32_t offset;
    uint32_t length;
    uint32_t kind;
};

/* What one call of shmc_ws_parse found. */
struct shmc_ws_batch {
    struct shmc_ws_record records[SHMC_WS_BATCH_RECORDS];
    uint8_t out[SHMC_WS_BATCH_OUT_BYTES];
};

/* Incremental UTF-8: `left` continuation bytes are due, the next of them in [low, high]. All zero at the
 * start; text may end only where left == 0. */
struct shmc_utf8 {
    uint8_t left;
    uint8_t low;
    uint8_t high;
};

struct shmc_ws_parser {
    int32_t error;                 /* SHMC_WS_OK or the first SHMC_WS_E_; read it after each call */
    uint32_t fragments;            /* continuations of the message so far */
    uint64_t consumed;             /* where the last call stopped, counted from `data` */
    uint64_t max_message_bytes;    /* limit of a message as sent, uncompressed */
    uint64_t max_compressed_bytes; /* limit of a compressed message as sent; 0: RSV1 is an error */
    uint64_t message_bytes;        /* sum of the lengths announced for the message */
    uint64_t frame_left;           /* bytes of the payload still to come */
    uint64_t frame_bytes;          /* length of the payload */
    uint32_t max_fragments;        /* limit of `fragments` */
    struct shmc_utf8 utf8;         /* of the message, if it is uncompressed text */
    uint8_t in_payload;            /* the header is complete */
    uint8_t message_opcode;        /* 1, 2, or 0 between messages */
    uint8_t message_compressed;    /* 0 or 1 */
    uint8_t header_have;           /* bytes in header[] */
    uint8_t mask_phase;            /* which byte of mask[] is next */
    uint8_t mask[4];               /* zero for an unmasked frame, which only a failed parser skips */
    uint8_t header[14];
    uint8_t control[125]; /* the payload of a control frame that came in parts, unmasked */
};

/* Make a parser ready for the first byte after the handshake.
 * max_message_bytes:    a message that announces more fails with SHMC_WS_E_TOO_BIG, at the header in
 * question. max_compressed_bytes: the same for compressed messages; 0 when permessage-deflate was not
 * negotiated. max_fragments:        continuation frames a message may have. Callers: the parser's thread.
 * Cannot fail. */
void shmc_ws_parser_init(struct shmc_ws_parser *parser, uint64_t max_message_bytes,
                         uint64_t max_compressed_bytes, uint32_t max_fragments);

/* Fail a parser for a reason found outside (a bad deflate stream): SHMC_WS_E_CALLER, unless it failed before.
 * Callers: the parser's thread. */
void shmc_ws_parser_fail(struct shmc_ws_parser *parser);

/* Take bytes from data[start .. length-1], at most SHMC_WS_BATCH_INPUT_BYTES of them, into `batch`.
 * Stops early when the records are full, or behind the byte that proved an error. `data` is only read.
 * Callers: the parser's thread. O(bytes); never blocks.
 * Returns: the number of records filled in, all of them valid even if parser->error is now set.
 *          parser->consumed says where to go on; it grows with every call, unless start >= length (no
 * records). Records: pieces that follow each other in one message are one record; an empty piece that is not
 * the last of its message has none. A control frame is one record, when it is complete. A piece of text may
 * end inside a character; its bytes are valid so far. Errors:  found as early as the bytes allow: the first
 * two header bytes each when it comes, a length when it is complete, UTF-8 at the first byte that cannot
 * belong to any valid text. */
uint32_t shmc_ws_parse(struct shmc_ws_parser *parser, const uint8_t *data, uint64_t start, uint64_t length,
                       struct shmc_ws_batch *batch);

/* Write a server's (unmasked) frame header to out, which holds SHMC_WS_HEADER_BYTES.
 * first: the first byte, that is FIN, RSV and opcode. payload_bytes: below 2^63.
 * Returns: the bytes written: 2, 4 or 10. Source: RFC 6455, section 5.2. */
uint32_t shmc_ws_header(uint8_t *out, uint8_t first, uint64_t payload_bytes);

/* out[i] = data[i] ^ mask[(phase + i) % 4] for `length` bytes; masks as well as unmasks (RFC 6455,
 * section 5.3). out may be data itself, and must not overlap it otherwise. phase: 0 to 3. Returns: the phase
 * of the byte that follows. */
uint32_t shmc_ws_unmask(uint8_t *out, const uint8_t *data, uint64_t length, const uint8_t *mask,
                        uint32_t phase);

/* Check the next `length` bytes of a text.
 * Returns: length if all may belong to valid UTF-8 (RFC 3629: no overlong forms, no surrogates, at most
 *          U+10FFFF); else the index of the first byte that cannot, after which the state is spent. */
uint64_t shmc_utf8_feed(struct shmc_utf8 *state, const uint8_t *data, uint64_t length);

/* cdef end */

#endif
