/* system.c: the system that `segment` gives the core: an arena that holds the segment, and is put back after
 * each run line by line; a clock that only the core's own looks at it take further; no files, nobody else alive.
 *
 * Until system_serve() the calls go through to the real system, but for the clock and random numbers, so that
 * the template is the same in every process.
 */
#include "system.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { LINE = 64, GUARD = 1 << 20, FD = 1000, PAGE = 4096, LOOK_EVERY = 4096 };

static char *arena, *pristine;
static uint64_t arena_bytes, clock_ns = 1000000000000, restored;
static uint8_t *touched;
static uint32_t *lines, line_count;

/* --- the arena --- */

char *system_arena(void) {
    return arena;
}

void system_touch(const void *at, uint64_t bytes) {
    uint64_t first = (uint64_t)((const char *)at - arena);
    if (first >= arena_bytes || !bytes)
        return;
    if (bytes > arena_bytes - first)
        bytes = arena_bytes - first;
    for (uint64_t line = first / LINE; line <= (first + bytes - 1) / LINE; line++)
        if (!touched[line]) {
            touched[line] = 1;
            lines[line_count++] = (uint32_t)line;
        }
}

void system_restore(void) {
    for (uint32_t k = 0; k < line_count; k++) {
        uint64_t at = (uint64_t)lines[k] * LINE;
        memcpy(arena + at, pristine + at, LINE);
        touched[lines[k]] = 0;
    }
    line_count = 0;
    if (++restored % LOOK_EVERY == 1 && memcmp(arena, pristine, arena_bytes)) {
        uint64_t at = 0;
        while (arena[at] == pristine[at])
            at++;
        fprintf(stderr, "system: a store at offset %llu was not noted\n", (unsigned long long)at);
        abort();
    }
}

int system_serve(const char *path, uint64_t bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *room = mmap(NULL, bytes + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pristine = malloc(bytes);
    touched = calloc(bytes / LINE, 1);
    lines = malloc(bytes / LINE * sizeof *lines);
    if (fd < 0 || room == MAP_FAILED || !pristine || !touched || !lines ||
        read(fd, pristine, bytes) != (ssize_t)bytes || mprotect(room + GUARD, bytes, PROT_READ | PROT_WRITE))
        return -1;
    close(fd);
    memcpy(room + GUARD, pristine, bytes);
    arena = room + GUARD;
    arena_bytes = bytes;
    return 0;
}

/* What the compiler tells of each store of the core, before it. */
void __sanitizer_cov_store1(uint8_t *at);
void __sanitizer_cov_store2(uint16_t *at);
void __sanitizer_cov_store4(uint32_t *at);
void __sanitizer_cov_store8(uint64_t *at);
void __sanitizer_cov_store16(__int128 *at);
void __sanitizer_cov_store1(uint8_t *at) {
    system_touch(at, 1);
}
void __sanitizer_cov_store2(uint16_t *at) {
    system_touch(at, 2);
}
void __sanitizer_cov_store4(uint32_t *at) {
    system_touch(at, 4);
}
void __sanitizer_cov_store8(uint64_t *at) {
    system_touch(at, 8);
}
void __sanitizer_cov_store16(__int128 *at) {
    system_touch(at, 16);
}

/* --- the clock --- */

void system_set_clock(uint64_t ns) {
    clock_ns = ns;
}

int fuzz_clock_gettime(clockid_t clock, struct timespec *t) {
    (void)clock;
    clock_ns += 1000;
    *t = (struct timespec){(time_t)(clock_ns / 1000000000), (long)(clock_ns % 1000000000)};
    return 0;
}

int fuzz_nanosleep(const struct timespec *pause, struct timespec *left) {
    (void)left;
    clock_ns += (uint64_t)pause->tv_sec * 1000000000 + (uint64_t)pause->tv_nsec;
    return 0;
}

/* --- files --- */

int fuzz_open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    if (!arena)
        return open(path, flags, mode);
    errno = ENOENT;
    return strncmp(path, "/proc/", 6) ? FD : -1;
}

int fuzz_close(int fd) {
    return arena ? 0 : close(fd);
}

int fuzz_fcntl(int fd, int command, struct flock *lock) {
    if (!arena)
        return fcntl(fd, command, lock);
    if (command == F_OFD_GETLK)
        lock->l_type = F_UNLCK; /* nobody else lives */
    return 0;
}

int fuzz_fstat(int fd, struct stat *out) {
    if (!arena)
        return fstat(fd, out);
    memset(out, 0, sizeof *out);
    out->st_size = (off_t)arena_bytes;
    return 0;
}

int fuzz_stat(const char *path, struct stat *out) {
    if (!arena)
        return stat(path, out);
    memset(out, 0, sizeof *out);
    return 0;
}

int fuzz_mkfifo(const char *path, mode_t mode) {
    return arena ? 0 : mkfifo(path, mode);
}

int fuzz_unlink(const char *path) {
    return arena ? 0 : unlink(path);
}

ssize_t fuzz_read(int fd, void *buffer, size_t bytes) {
    return arena ? 0 : read(fd, buffer, bytes);
}

ssize_t fuzz_write(int fd, const void *buffer, size_t bytes) {
    return arena ? (ssize_t)bytes : write(fd, buffer, bytes);
}

ssize_t fuzz_getrandom(void *out, size_t bytes, unsigned flags) {
    (void)flags;
    memset(out, 0x5a, bytes);
    return (ssize_t)bytes;
}

/* The core wakes and waits by futex alone; here nobody waits, and a wait is over at once. */
long fuzz_syscall(long number, ...) {
    if (number != SYS_futex)
        abort();
    return 0;
}

long fuzz_sysconf(int name) {
    return arena ? 1 : sysconf(name);
}

/* --- memory --- */

void *fuzz_mmap(void *wish, size_t bytes, int protection, int flags, int fd, off_t offset) {
    static char cookie[PAGE] __attribute__((aligned(PAGE)));
    if (!arena)
        return mmap(wish, bytes, protection, flags, fd, offset);
    return fd < 0 ? cookie : arena;
}

int fuzz_munmap(void *base, size_t bytes) {
    return arena ? 0 : munmap(base, bytes);
}

int fuzz_madvise(void *base, size_t bytes, int advice) {
    return arena ? 0 : madvise(base, bytes, advice);
}
