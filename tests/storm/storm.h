/* storm.h: what the director and the roles of the storm share. */
#ifndef STORM_H
#define STORM_H
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../csrc/shmchan.h"
#include "ledger.h"

#define SECOND_NS 1000000000ull

enum { CAPACITY = 60, TOTAL = 400, BUFFER_BYTES = 300000, BATCH_MAX = 8, PACKET_MAX = 150000 };
#define GIVE_UP_NS 50000000ull
#define WAIT_NS 20000000ull

struct packet { /* the start of each payload; a pattern that follows from the number fills the rest */
    uint32_t number, lane, sequence, bytes;
    uint8_t code[2], order[4];
    uint8_t spare[2];
};

extern struct ledger *ledger;
extern char segment_path[200];

/* This process: its life (a number used once), its seat, its own random numbers. */
extern uint32_t life;
extern struct seat *seat;
uint64_t dice(uint64_t n); /* 0 to n - 1 */

__attribute__((noreturn, format(printf, 1, 2))) void violation(const char *format, ...);
shmc *attach(void);
void detach(shmc *s);
void aim(shmc *s, shmc_target *t, const char *name);
shmc_interest *ask_for(shmc *s, const char *const *names, uint32_t count);

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

void produce(void);
void work(void);
void consume(int which);
void be_front(void);
void send_to_group(void);
void come_and_go(void);
#endif
