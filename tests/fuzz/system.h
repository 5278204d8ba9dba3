/* system.h: what `segment` gives the core for the system. Included before each file of the core, by the compiler.
 *
 * The core's calls go to fuzz_* in system.c, and what it stores into the segment is noted there, so that a run
 * needs no system call and leaves nothing to be made anew. Stores are noted by the compiler
 * (-fsanitize-coverage=trace-stores); what it does not tell of, copies and additions, by the macros below.
 */
#ifndef SHMCHAN_FUZZ_SYSTEM_H
#define SHMCHAN_FUZZ_SYSTEM_H
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Make the arena, a segment's bytes between two guard areas, and serve it to every attach from now on. */
int system_serve(const char *path, uint64_t bytes);
char *system_arena(void);
/* Before these bytes of the arena change; anything else is passed over. */
void system_touch(const void *at, uint64_t bytes);
/* Let the clock stand here; each look at it, and each pause, takes it further. */
void system_set_clock(uint64_t ns);
/* Put back what was changed; now and then look whether that was all. */
void system_restore(void);

int fuzz_clock_gettime(clockid_t clock, struct timespec *t);
int fuzz_nanosleep(const struct timespec *pause, struct timespec *left);
int fuzz_open(const char *path, int flags, ...);
int fuzz_close(int fd);
int fuzz_fcntl(int fd, int command, struct flock *lock);
int fuzz_fstat(int fd, struct stat *out);
int fuzz_stat(const char *path, struct stat *out);
int fuzz_mkfifo(const char *path, mode_t mode);
int fuzz_unlink(const char *path);
ssize_t fuzz_read(int fd, void *buffer, size_t bytes);
ssize_t fuzz_write(int fd, const void *buffer, size_t bytes);
ssize_t fuzz_getrandom(void *out, size_t bytes, unsigned flags);
long fuzz_syscall(long number, ...);
long fuzz_sysconf(int name);
void *fuzz_mmap(void *wish, size_t bytes, int protection, int flags, int fd, off_t offset);
int fuzz_munmap(void *base, size_t bytes);
int fuzz_madvise(void *base, size_t bytes, int advice);

#ifdef SHMCHAN_FUZZ_CORE
static inline void *fuzz_memcpy(void *to, const void *from, size_t bytes) {
    system_touch(to, bytes);
    return memcpy(to, from, bytes);
}
static inline void *fuzz_memset(void *to, int value, size_t bytes) {
    system_touch(to, bytes);
    return memset(to, value, bytes);
}
#define __atomic_fetch_add(at, n, order) (system_touch(at, sizeof *(at)), __atomic_fetch_add(at, n, order))
#define __atomic_fetch_sub(at, n, order) (system_touch(at, sizeof *(at)), __atomic_fetch_sub(at, n, order))
#define memcpy fuzz_memcpy
#define memset fuzz_memset
#define clock_gettime fuzz_clock_gettime
#define nanosleep fuzz_nanosleep
#define open fuzz_open
#define close fuzz_close
#define fcntl fuzz_fcntl
#define fstat fuzz_fstat
#define stat(path, out) fuzz_stat(path, out)
#define mkfifo fuzz_mkfifo
#define unlink fuzz_unlink
#define read fuzz_read
#define write fuzz_write
#define getrandom fuzz_getrandom
#define syscall fuzz_syscall
#define sysconf fuzz_sysconf
#define mmap fuzz_mmap
#define munmap fuzz_munmap
#define madvise fuzz_madvise
#endif
#endif
