/* segment.c: making, attaching to and leaving a segment; the slot of this process; what a fork does to it.
 *
 * The file is allocated whole when it is made and never truncated while anybody is attached. Liveness is an
 * open-file-description lock on one byte of the file per slot: the kernel lets go of it with the process,
 * whatever ended it. Folders and names are the caller's; so is the lock that keeps two processes from making
 * or removing the same name at once.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "internal.h"

_Static_assert(sizeof(struct descriptor) % 8 == 0 && sizeof(struct channel) % 8 == 0 &&
                   sizeof(struct member) % 8 == 0,
               "tables stay aligned");
_Static_assert(sizeof(struct header) <= 8192, "the header has two pages");
_Static_assert(sizeof(struct block) == BLOCK_HEADER, "a block's header");
_Static_assert(__atomic_always_lock_free(8, 0) && __atomic_always_lock_free(4, 0), "words must be lock-free");

static pthread_mutex_t attachments_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct shmc *attachments;

/* --- hashing --- */

static uint64_t mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_bytes(uint64_t seed, const char *bytes, uint64_t length) {
    uint64_t h = seed ^ 0x9E3779B97F4A7C15ull, word;
    uint64_t left = length;
    for (; left >= 8; left -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        h = mix(h ^ word, 0xD6E8FEB86659FD93ull);
    }
    word = 0;
    memcpy(&word, bytes, left);
    h = mix(h ^ word, 0xA0761D6478BD642Full ^ length);
    h ^= h >> 32;
    return h ? h : 1;
}

/* --- layout --- */

static uint32_t power_of_two(uint64_t at_least) {
    uint32_t n = 64;
    while (n < at_least)
        n <<= 1;
    return n;
}

static uint32_t between(uint64_t n, uint64_t low, uint64_t high) {
    return (uint32_t)(n < low ? low : n > high ? high : n);
}

static void sizes_for(uint64_t memory, struct sizes *z) {
    memset(z, 0, sizeof *z);
    z->descriptors = between(memory / 2048, 2048, 1u << 24);
    z->virtuals = between(memory / 4096, 1024, 1u << 22);
    z->connections = between(memory / 4096, 1024, 1u << 22);
    z->sessions = z->connections;
    z->groups = between(memory / 32768, 512, 1u << 20);
    z->branches = 2 * z->groups;
    z->members = between(memory / 4096, 2048, 1u << 22);
    z->histories = z->groups;
    z->presences = between(memory / 16384, 512, 1u << 20);
    z->lane_buckets = power_of_two(z->descriptors / 2);
    z->virtual_buckets = power_of_two(z->virtuals / 2);
    z->connection_buckets = power_of_two(z->connections / 2);
    z->session_buckets = power_of_two(z->sessions / 2);
    z->group_buckets = power_of_two(z->groups);
    z->member_buckets = power_of_two(z->members / 2);
    z->history_buckets = power_of_two(z->histories);
    z->presence_buckets = power_of_two(z->presences);
    z->attendance_buckets = power_of_two(z->members / 2);
}

#define PLACE(field, count)                                                                                  \
    do {                                                                                                     \
        at = (at + 127) & ~127ull;                                                                           \
        if (s->base)                                                                                         \
            s->field = (void *)(s->base + at);                                                               \
        at += (uint64_t)(count) * sizeof *s->field;                                                          \
    } while (0)

/* Where each table stands. Sets the pointers if base is set. Returns the bytes before the cells; 0 when
 * memory is too small. */
static uint64_t lay_out(struct shmc *s, uint64_t memory) {
    struct sizes *z = &s->sizes;
    sizes_for(memory, z);
    uint64_t at = 0;
    PLACE(header, 1);
    at = 8192;
    PLACE(domains, DOMAINS);
    PLACE(pool, 1);
    PLACE(counters, 1);
    PLACE(slots, SLOTS);
    PLACE(waiters, WAITERS);
    PLACE(idles, 3 * WAITERS);
    PLACE(channels, 3 * CHANNELS);
    PLACE(outboxes, OUTBOXES);
    PLACE(descriptors, z->descriptors);
    PLACE(lanes, z->descriptors);
    PLACE(virtuals, z->virtuals);
    PLACE(connections, z->connections);
    PLACE(sessions, z->sessions);
    PLACE(groups, z->groups);
    PLACE(branches, z->branches);
    PLACE(members, z->members);
    PLACE(histories, z->histories);
    PLACE(presences, z->presences);
    PLACE(lane_buckets, z->lane_buckets);
    PLACE(virtual_buckets, z->virtual_buckets);
    PLACE(connection_buckets, z->connection_buckets);
    PLACE(session_buckets, z->session_buckets);
    PLACE(group_buckets, z->group_buckets);
    PLACE(member_buckets, z->member_buckets);
    PLACE(history_buckets, z->history_buckets);
    PLACE(presence_buckets, z->presence_buckets);
    PLACE(attendance_buckets, z->attendance_buckets);
    uint64_t chunk_table = memory / CHUNK;
    PLACE(chunks, chunk_table);
    at = (at + 4095) & ~4095ull;
    if (s->base)
        s->cells = s->base + at;
    if (at + 4 * CHUNK > memory)
        return 0;
    z->chunks = (uint32_t)((memory - at) / CHUNK);
    return at;
}

/* Changes with every change of a structure, so that two builds never read each other's segment by mistake. */
static uint64_t layout_hash(void) {
    const uint64_t parts[] = {sizeof(struct header),
                              sizeof(struct domain),
                              sizeof(struct channel),
                              sizeof(struct lane),
                              sizeof(struct descriptor),
                              sizeof(struct outbox),
                              sizeof(struct slot),
                              sizeof(struct idle),
                              sizeof(struct member),
                              sizeof(struct connection),
                              sizeof(pthread_mutex_t),
                              sizeof(struct pool),
                              sizeof(struct counters),
                              sizeof(struct session),
                              sizeof(struct history),
                              sizeof(struct presence),
                              LAYOUT_VERSION};
    return hash_bytes(1, (const char *)parts, sizeof parts);
}

uint64_t shmc_layout_version(void) {
    return LAYOUT_VERSION;
}

uint64_t shmc_memory_minimum(const shmc_options *options) {
    struct shmc probe = {0};
    uint64_t need = 8ull << 20;
    for (int i = 0; i < 40; i++, need += need / 8) {
        uint64_t at = lay_out(&probe, need);
        if (at && need >= at + 2 * (options->max_message_size + CHUNK) + 16 * CHUNK)
            return (need + (1 << 20) - 1) & ~((1ull << 20) - 1);
    }
    return UINT64_MAX;
}

/* --- who is alive --- */

static int byte_lock(int fd, int command, uint32_t slot, short type) {
    struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
    int r = fcntl(fd, command, &f);
    if (r < 0)
        return -1;
    return command == F_OFD_GETLK ? f.l_type != F_UNLCK : 0;
}

int slot_is_live(struct shmc *s, uint32_t slot) {
    return slot == s->slot || byte_lock(s->fd, F_OFD_GETLK, slot, F_WRLCK) != 0;
}

uint64_t process_start_time(int32_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

int shmc_count_live(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return SHMC_E_SYSTEM;
    int live = 0;
    for (uint32_t slot = 1; slot < SLOTS; slot++)
        live += byte_lock(fd, F_OFD_GETLK, slot, F_WRLCK) == 1;
    close(fd);
    return live;
}

/* --- fork --- */

static void in_child(void) {
    for (struct shmc *s = attachments; s; s = s->next) {
        if (s->fd >= 0)
            close(s->fd); /* else this child would keep the parent's slot alive */
        s->fd = -1;
        bell_close_all(s);
        pthread_mutex_init(&s->bell_mutex, NULL);
    }
    attachments = NULL;
    pthread_mutex_init(&attachments_mutex, NULL);
}
static void before_fork(void) {
    pthread_mutex_lock(&attachments_mutex);
}
static void in_parent(void) {
    pthread_mutex_unlock(&attachments_mutex);
}
static void watch_forks(void) {
    pthread_atfork(before_fork, in_parent, in_child);
}

/* --- making and attaching --- */

static void discard(struct shmc *s) {
    if (s->base)
        munmap(s->base, s->bytes);
    if (s->cookie)
        munmap(s->cookie, 4096);
    if (s->fd >= 0)
        close(s->fd);
    free(s->folder);
    free(s);
}

static struct shmc *blank(const char *path) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    struct shmc *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->fd = -1;
    s->pid = getpid();
    for (int i = 0; i < WAITERS; i++)
        s->bell_fds[i] = -1;
    pthread_mutex_init(&s->bell_mutex, NULL);
    const char *slash = strrchr(path, '/');
    s->folder = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    s->cookie = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->cookie == MAP_FAILED || !s->folder) {
        s->cookie = s->cookie == MAP_FAILED ? NULL : s->cookie;
        discard(s);
        return NULL;
    }
    if (madvise(s->cookie, 4096, MADV_WIPEONFORK)) {
        discard(s);
        return NULL;
    }
    *s->cookie = 1;
    return s;
}

static int map(struct shmc *s, uint64_t bytes, int kind) {
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, kind, s->fd, 0);
    if (base == MAP_FAILED)
        return SHMC_E_SYSTEM;
    s->base = base;
    s->bytes = bytes;
    madvise(base, bytes, MADV_DONTDUMP);
#ifdef MADV_POPULATE_READ
    madvise(
        base, bytes,
        MADV_POPULATE_READ); /* else each page costs its first toucher a fault; fails on Linux before 5.14 */
#endif
    return SHMC_OK;
}

static uint64_t pid_namespace(void) {
    struct stat st;
    return stat("/proc/self/ns/pid", &st) ? 0 : st.st_ino;
}

static void adopt_options(struct shmc *s) {
    s->expiry_ns = s->header->options.expiry_ns;
    s->group_expiry_ns = s->header->options.group_expiry_ns;
    s->max_message_size = s->header->options.max_message_size;
    s->seed = s->header->seed;
    s->same_namespace = s->header->pid_namespace == pid_namespace();
    s->spin = sysconf(_SC_NPROCESSORS_ONLN) > 1;
}

/* Take a free slot of the table, or one whose process left without being reaped after reaping it. */
static int take_slot(struct shmc *s) {
    for (uint32_t i = 1; i < SLOTS; i++) {
        struct slot *slot = slot_at(s, i);
        if (HINT(slot->state) != SLOT_FREE || byte_lock(s->fd, F_OFD_SETLK, i, F_WRLCK))
            continue;
        lock(s, SHMC_POOL);
        int free_ = slot->state == SLOT_FREE;
        if (free_) {
            s->slot = i;
            SET(s, SHMC_POOL, slot->generation, (slot->generation + 1) & 0xffffff);
            SET(s, SHMC_POOL, slot->pid, s->pid);
            SET(s, SHMC_POOL, slot->start_time, process_start_time(s->pid));
            SET(s, SHMC_POOL, slot->stashed, 0);
            SET(s, SHMC_POOL, slot->state, SLOT_LIVE);
            s->slot_reference = i | slot->generation << 8;
        }
        unlock(s, SHMC_POOL);
        if (free_) {
            memset(slot->listening, 0, sizeof slot->listening);
            return SHMC_OK;
        }
        byte_lock(s->fd, F_OFD_SETLK, i, F_UNLCK);
    }
    return SHMC_E_SLOTS;
}

static void enlist(struct shmc *s) {
    pthread_mutex_lock(&attachments_mutex);
    s->next = attachments;
    attachments = s;
    pthread_mutex_unlock(&attachments_mutex);
}

int shmc_create(const char *path, const shmc_options *options, shmc **out) {
    if (options->memory < shmc_memory_minimum(options))
        return SHMC_NO_MEMORY;
    struct shmc *s = blank(path);
    if (!s)
        return SHMC_E_SYSTEM;
    s->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = s->fd < 0 ? errno : posix_fallocate(s->fd, 0, (off_t)options->memory);
    if (r || map(s, options->memory, MAP_SHARED) != SHMC_OK || getrandom(&s->seed, 8, 0) != 8) {
        r = r ? r : errno;
        discard(s);
        errno = r;
        return SHMC_E_SYSTEM;
    }
    lay_out(s, options->memory);
    struct header *h = s->header;
    h->version = LAYOUT_VERSION;
    h->layout_hash = layout_hash();
    h->memory = options->memory;
    h->seed = s->seed;
    getrandom(&h->epoch, 8, 0);
    h->options = *options;
    h->sizes = s->sizes;
    h->pid_namespace = pid_namespace();
    for (uint32_t i = 0; i < DOMAINS; i++)
        domain_init(&s->domains[i]);
    for (uint32_t i = SHMC_WORK; i <= SHMC_REPLY; i++)
        s->domains[i].channel_top = 1;
    struct counters *c = s->counters;
    c->lane_top = c->connection_top = c->virtual_top = c->group_top = c->branch_top = c->member_top = 1;
    c->session_top = c->history_top = c->presence_top = 1;
    s->pool->descriptor_top = s->pool->chunk_top = s->pool->outbox_top = s->pool->waiter_top = 1;
    adopt_options(s);
    __atomic_store_n(&h->magic, MAGIC, __ATOMIC_RELEASE);
    __atomic_store_n(&h->ready, 1, __ATOMIC_RELEASE);
    r = take_slot(s);
    if (r != SHMC_OK) {
        discard(s);
        return r;
    }
    enlist(s);
    *out = s;
    return SHMC_OK;
}

static int validate(struct shmc *s, uint64_t *version) {
    struct header *h = s->header;
    if (__atomic_load_n(&h->magic, __ATOMIC_ACQUIRE) != MAGIC)
        return SHMC_E_CORRUPT;
    *version = h->version;
    if (h->version != LAYOUT_VERSION || h->layout_hash != layout_hash())
        return SHMC_E_VERSION;
    if (!__atomic_load_n(&h->ready, __ATOMIC_ACQUIRE) || h->memory != s->bytes || HINT(h->poisoned))
        return SHMC_E_CORRUPT;
    if (!lay_out(s, s->bytes) || memcmp(&s->sizes, &h->sizes, sizeof s->sizes) ||
        h->options.max_message_size > s->bytes || h->options.blob_length > sizeof h->options.blob)
        return SHMC_E_CORRUPT;
    return SHMC_OK;
}

/* Nobody is attached: the mutexes are nobody's either, and are made new, since what a dead machine left in
 * them may be anything. Their logs are played back by the first lock(). */
static void renew_mutexes(struct shmc *s) {
    for (uint32_t i = 0; i < DOMAINS; i++)
        domain_init(&s->domains[i]);
}

/* Open, map and validate; nothing in the segment is changed. */
static int open_segment(const char *path, uint64_t *version, int kind, shmc **out) {
    *version = 0;
    struct shmc *s = blank(path);
    if (!s)
        return SHMC_E_SYSTEM;
    struct stat st;
    s->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int r = s->fd < 0 || fstat(s->fd, &st) ? SHMC_E_SYSTEM : SHMC_OK;
    if (r == SHMC_OK)
        r = st.st_size < (off_t)(8192 + CHUNK) ? SHMC_E_CORRUPT : map(s, (uint64_t)st.st_size, kind);
    if (r == SHMC_OK) {
        s->header = (struct header *)(void *)s->base;
        r = validate(s, version);
    }
    if (r != SHMC_OK) {
        int error = errno;
        discard(s);
        errno = error;
        return r;
    }
    adopt_options(s);
    *out = s;
    return SHMC_OK;
}

int shmc_attach(const char *path, uint64_t *version, shmc **out) {
    int live = shmc_count_live(path);
    struct shmc *s = NULL;
    int r = open_segment(path, version, MAP_SHARED, &s);
    if (r != SHMC_OK)
        return r;
    if (live == 0)
        renew_mutexes(s);
    r = take_slot(s);
    if (r == SHMC_E_SLOTS && shmc_reap(s) > 0)
        r = take_slot(s);
    r = RESULT(s, r);
    if (r != SHMC_OK) {
        int error = errno;
        discard(s);
        errno = error;
        return r;
    }
    enlist(s);
    shmc_reap(s);
    *out = s;
    return SHMC_OK;
}

int shmc_examine(const char *path, uint64_t *version, shmc **out) {
    int r = open_segment(path, version, MAP_PRIVATE, out);
    if (r == SHMC_OK) {
        renew_mutexes(*out);
        enlist(*out);
    }
    return r;
}

static int anybody_else(struct shmc *s) {
    for (uint32_t i = 1; i < SLOTS; i++)
        if (i != s->slot && byte_lock(s->fd, F_OFD_GETLK, i, F_WRLCK) == 1)
            return 1;
    return 0;
}

/* Another thread may still be on its way out of a call: what was left is unmapped a while later, at the next
 * occasion. */
static void bury(struct shmc *s) {
    static struct shmc *graves;
    uint64_t now = now_ns();
    pthread_mutex_lock(&attachments_mutex);
    for (struct shmc **at = &graves; *at;) {
        struct shmc *old = *at;
        if (now - old->last_reap_ns < SECOND_NS / 4) {
            at = &old->next;
            continue;
        }
        *at = old->next;
        discard(old);
    }
    s->last_reap_ns = now;
    s->next = graves;
    graves = s;
    pthread_mutex_unlock(&attachments_mutex);
}

int shmc_detach(shmc *s, int *alone) {
    *alone = 0;
    pthread_mutex_lock(&attachments_mutex);
    for (struct shmc **at = &attachments; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    pthread_mutex_unlock(&attachments_mutex);
    int usable_ = usable(s);
    if (usable_ == SHMC_OK && s->slot)
        reap_slot(s, s->slot, s->slot_reference);
    s->detached = 1;
    if (usable_ != SHMC_E_FORKED) {
        bell_close_all(s);
        *alone = !anybody_else(s);
        byte_lock(s->fd, F_OFD_SETLK, s->slot, F_UNLCK); /* the mapping outlives close() */
        close(s->fd);
        s->fd = -1;
    }
    bury(s);
    return usable_ == SHMC_E_FORKED ? SHMC_E_FORKED : SHMC_OK;
}

int shmc_moved(shmc *s, const char *path) {
    REQUIRE(s);
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    if (!folder)
        return SHMC_E_SYSTEM;
    free(s->folder);
    s->folder = folder;
    return SHMC_OK;
}

void shmc_get_options(shmc *s, shmc_options *out) {
    *out = s->header->options;
}
