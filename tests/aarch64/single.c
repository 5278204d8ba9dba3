/* single: one process does everything with a segment once, with answers that are checked; for machines that
 * are emulated.
 *
 *   single PATH
 *
 * It forks nothing and kills nobody: under qemu-user a robust mutex of a dead process never says EOWNERDEAD,
 * as the emulator, not the kernel, would have to walk the robust list. So this shows that the layout's
 * assertions hold and that the code does the same on aarch64, not what happens after a death, and not weak
 * memory order, which qemu on x86-64 does not show. Frames are parsed and made as well. Ends with 0, or names
 * the first line that was wrong.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../csrc/frames/wsframe.h"
#include "../../csrc/internal.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            printf("line %d: %s\n", __LINE__, #condition);                                                   \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

static shmc_target target(shmc *s, const char *name) {
    shmc_target t;
    uint32_t domain = strchr(name, '!') ? SHMC_REPLY : strchr(name, '?') ? SHMC_SINGLE : SHMC_WORK;
    shmc_target_init(s, &t, name, (uint32_t)strlen(name), domain, 3, 10);
    return t;
}

static int messages(shmc *s) {
    static char big[150000], buffer[200000];
    shmc_message out[8];
    uint32_t count;
    shmc_target a = target(s, "a"), b = target(s, "b"), single = target(s, "s?one"), reply = target(s, "r!v");
    memset(big, 'x', sizeof big);
    MUST(shmc_send(s, &a, "one", 3, 0, "", 0, 0) == SHMC_OK);
    MUST(shmc_send(s, &a, big, sizeof big, 0, "", 0, 0) == SHMC_OK);
    MUST(shmc_send(s, &a, "three", 5, 0, "", 0, 0) == SHMC_OK);
    MUST(shmc_send(s, &a, "four", 4, 0, "", 0, 0) == SHMC_FULL);
    MUST(shmc_send(s, &single, "1", 1, 0, "", 0, 0) == SHMC_OK);
    MUST(shmc_send(s, &reply, "2", 1, 0, "", 0, 0) == SHMC_OK);
    MUST(shmc_send(s, &b, "in", 2, 77, "front!x", 7, 0) == SHMC_OK);
    MUST(shmc_send(s, &b, "order", 5, 77, "front!x", 7, 0) == SHMC_OK);
    shmc_target of_a[] = {a}, of_b[] = {b}, others[] = {single, reply};
    shmc_interest *i = shmc_interest_new(s, of_a, 1), *lane = shmc_interest_new(s, of_b, 1),
                  *rest = shmc_interest_new(s, others, 2);
    MUST(shmc_receive(s, i, 0, 8, buffer, sizeof buffer, out, &count) == SHMC_OK && count == 3);
    MUST(out[1].length == sizeof big && !memcmp(buffer + out[1].offset, big, sizeof big));
    MUST(out[2].length == 5 && !memcmp(buffer + out[2].offset, "three", 5));
    MUST(shmc_receive(s, i, 1000000, 8, buffer, sizeof buffer, out, &count) == SHMC_EMPTY);
    MUST(shmc_receive(s, rest, 0, 8, buffer, sizeof buffer, out, &count) == SHMC_OK);
    MUST(shmc_receive(s, rest, 0, 8, buffer, sizeof buffer, out, &count) == SHMC_OK);
    /* a lane gives one message at a time, and goes on when its answers were sent */
    MUST(shmc_lease(s, lane, 0, buffer, sizeof buffer, out) == SHMC_OK && out[0].length == 2);
    MUST(shmc_lease(s, lane, 0, buffer, sizeof buffer, out + 1) == SHMC_EMPTY);
    uint64_t outbox;
    MUST(shmc_outbox_open(s, out[0].reference, &outbox) == SHMC_OK);
    for (int k = 0; k < 3; k++)
        MUST(shmc_outbox_add(s, outbox, &a, "out", 3, 0, "", 0) == SHMC_OK);
    MUST(shmc_group_add(s, "g", 1, "s?one", 5, 3, 10) == SHMC_OK);
    MUST(shmc_group_add(s, "g", 1, "r!v", 3, 3, 10) == SHMC_OK);
    MUST(shmc_outbox_add_group(s, outbox, "g", 1, "all", 3) == SHMC_OK);
    MUST(shmc_outbox_commit(s, outbox, 0) == SHMC_OK);
    MUST(shmc_lease(s, lane, 0, buffer, sizeof buffer, out) == SHMC_OK && out[0].length == 5);
    MUST(shmc_requeue(s, out[0].reference, 0) == SHMC_OK);
    MUST(shmc_lease(s, lane, 0, buffer, sizeof buffer, out) == SHMC_OK && out[0].attempts == 1);
    MUST(shmc_acknowledge(s, out[0].reference) == SHMC_OK);
    MUST(shmc_receive(s, i, 0, 8, buffer, sizeof buffer, out, &count) == SHMC_OK && count == 3);
    uint64_t needed;
    MUST(shmc_group_members(s, "g", 1, "", 0, UINT64_MAX, buffer, sizeof buffer, &needed, &count) == SHMC_OK);
    MUST(count == 2 && needed == 10);
    shmc_interest_free(i);
    shmc_interest_free(lane);
    shmc_interest_free(rest);
    return 0;
}

static int connections(shmc *s) {
    shmc_target hello = target(s, "websocket.connect"), bye = target(s, "websocket.disconnect");
    MUST(shmc_connection_open(s, &hello, &bye, 5, "front!y", 7, "hello", 5, "goodbye-code-order", 18, 0, 4) ==
         SHMC_OK);
    MUST(shmc_connection_close(s, 5, 1000, 2) == SHMC_OK);
    MUST(shmc_connection_close(s, 5, 1000, 2) == SHMC_GONE);
    return 0;
}

static int frames(void) {
    static struct shmc_ws_batch batch;
    struct shmc_ws_parser parser;
    uint8_t frame[40] = {0x81, 0x80 | 20, 1, 2, 3, 4}, header[SHMC_WS_HEADER_BYTES];
    const char text[] = "Gr\xc3\xbc\xc3\x9f"
                        "e von hier!!";
    shmc_ws_unmask(frame + 6, (const uint8_t *)text, sizeof text - 1, frame + 2, 0);
    frame[1] = (uint8_t)(0x80 | (sizeof text - 1));
    shmc_ws_parser_init(&parser, 1 << 20, 0, 100);
    MUST(shmc_ws_parse(&parser, frame, 0, 6 + sizeof text - 1, &batch) == 1 && parser.error == SHMC_WS_OK);
    MUST(batch.records[0].length == sizeof text - 1 && !memcmp(batch.out, text, sizeof text - 1));
    MUST(shmc_ws_header(header, 0x82, 70000) == 10 && header[1] == 127 && header[7] == 1);
    return 0;
}

int main(int argc, char **argv) {
    shmc_options options = {.max_message_size = 200000,
                            .expiry_ns = 60 * SECOND_NS,
                            .group_expiry_ns = 60 * SECOND_NS,
                            .capacity = 3};
    options.memory = shmc_memory_minimum(&options);
    shmc *s, *other;
    uint64_t version;
    int alone;
    char text[300] = "";
    MUST(argc == 2);
    unlink(argv[1]);
    MUST(shmc_create(argv[1], &options, &s) == SHMC_OK);
    MUST(shmc_attach(argv[1], &version, &other) == SHMC_OK);
    if (messages(other) || connections(s) || frames())
        return 1;
    MUST(shmc_detach(other, &alone) == SHMC_OK && !alone);
    MUST(shmc_reap(s) == 0);
    if (shmc_check(s, text, sizeof text) != SHMC_OK) {
        printf("%s\n", text);
        return 1;
    }
    MUST(shmc_flush(s) == SHMC_OK);
    MUST(shmc_detach(s, &alone) == SHMC_OK && alone);
    unlink(argv[1]);
    printf("all as expected, layout version %d, %zu bytes of a message's record\n", LAYOUT_VERSION,
           sizeof(struct descriptor));
    return 0;
}
