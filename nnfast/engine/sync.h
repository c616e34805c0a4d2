/* What the engine needs from the operating system and the processor: threads for the duration of a call, a barrier, atomics, the
 * clock, aligned memory and the floating-point mode. Threads are plain C threads that never touch Python. */
#ifndef NNFAST_SYNC_H
#define NNFAST_SYNC_H

#include <stdint.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MAX_THREADS = 64, SPINS = 64 /* some 2 to 5 us of pauses */ };

/* ---- places: a new thread often starts on the processor of the one that started it, and both take turns there for
 * milliseconds, sometimes for seconds, while another processor is idle. So a team's threads begin apart: not on the caller's
 * processor, and not on one that another thread of the team has taken. At once each may go where the system wants it, so that
 * none stays beside another program. */
#if defined(__linux__) && defined(__GLIBC__)
#include <pthread.h>
#include <sched.h>
enum { PROCESSORS = CPU_SETSIZE, MOVES = 3 };
typedef struct {
    cpu_set_t all; /* that the caller may use */
    uint64_t taken[PROCESSORS / 64];
    int known; /* whether `all` is */
} places;

static inline int take_place(places *p, int cpu) { /* whether it was free */
    if (cpu < 0 || cpu >= PROCESSORS) return 1;
    uint64_t bit = (uint64_t)1 << cpu % 64;
    return !(__atomic_fetch_or(&p->taken[cpu / 64], bit, __ATOMIC_RELAXED) & bit);
}
static inline int free_places(places *p, cpu_set_t *free) { /* how many there are */
    *free = p->all;
    for (int cpu = 0; cpu < PROCESSORS; cpu++)
        if (__atomic_load_n(&p->taken[cpu / 64], __ATOMIC_RELAXED) >> cpu % 64 & 1) CPU_CLR(cpu, free);
    return CPU_COUNT(free);
}
static inline void find_places(places *p) { /* by the caller */
    p->known = sched_getaffinity(0, sizeof p->all, &p->all) == 0;
    take_place(p, sched_getcpu());
}
static inline int begin_apart(places *p, pthread_attr_t *thread) { /* whether there is a free place */
    cpu_set_t free;
    return p->known && free_places(p, &free) && pthread_attr_setaffinity_np(thread, sizeof free, &free) == 0;
}
static inline void let_go(places *p, pthread_t thread) { /* it has begun where it should */
    if (p->known) (void)pthread_setaffinity_np(thread, sizeof p->all, &p->all);
}
static inline void move_apart(places *p) { /* by a new thread */
    cpu_set_t free;
    if (!p->known) return;
    for (int move = 0; !take_place(p, sched_getcpu()) && move < MOVES && free_places(p, &free); move++) {
        (void)sched_setaffinity(0, sizeof free, &free);
        (void)sched_setaffinity(0, sizeof p->all, &p->all);
    }
}
static inline int usable_processors(void) {
    cpu_set_t all;
    return sched_getaffinity(0, sizeof all, &all) == 0 ? CPU_COUNT(&all) : MAX_THREADS;
}
#else
typedef struct {
    int known;
} places;
#define find_places(places) ((void)(places))
#define begin_apart(places, attributes) ((void)(places), 0)
#define let_go(places, thread) ((void)(places))
#define move_apart(places) ((void)(places))
static inline int usable_processors(void) { return MAX_THREADS; }
#endif

/* ---- the operating system: POSIX, or Windows */
#ifdef _WIN32
#include <malloc.h>
#include <windows.h>
typedef HANDLE os_thread;
typedef DWORD os_result;
#define OS_CALL WINAPI
static inline int os_start(os_thread *t, os_result(OS_CALL *f)(void *), void *argument, places *p) {
    (void)p;
    *t = CreateThread(NULL, 0, f, argument, 0, NULL);
    return *t != NULL;
}
static inline void os_join(os_thread t) {
    WaitForSingleObject(t, INFINITE);
    CloseHandle(t);
}
static inline void os_yield(void) { SwitchToThread(); }
static inline void nap(void) { Sleep(1); }
static inline void *aligned_memory(size_t bytes) { return _aligned_malloc(bytes, 64); }
static inline void free_memory(void *p) { _aligned_free(p); }
static inline double seconds_now(void) {
    LARGE_INTEGER ticks, rate;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    return (double)ticks.QuadPart / (double)rate.QuadPart;
}
#else
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
enum { HUGE_PAGE = 1 << 21, HUGE_FROM = 1 << 22 /* bytes; a column of a large matrix visits a page for each row */ };
typedef pthread_t os_thread;
typedef void *os_result;
#define OS_CALL
static inline int os_start_at(os_thread *t, os_result (*f)(void *), void *argument, places *p) { /* NULL: anywhere */
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return 0;
    pthread_attr_setstacksize(&attributes, 1 << 20); /* kernels use some 300 KB, and some systems default to 128 */
    int started = (!p || begin_apart(p, &attributes)) && pthread_create(t, &attributes, f, argument) == 0;
    if (started && p) let_go(p, *t);
    pthread_attr_destroy(&attributes);
    return started;
}
static inline int os_start(os_thread *t, os_result (*f)(void *), void *argument, places *p) {
    return os_start_at(t, f, argument, p) || os_start_at(t, f, argument, NULL); /* a sandbox may forbid to choose */
}
static inline void os_join(os_thread t) { pthread_join(t, NULL); }
static inline void os_yield(void) { sched_yield(); }
static inline void nap(void) {
    const struct timespec t = {0, 50000}; /* 50 us */
    nanosleep(&t, NULL);
}
static inline void *aligned_memory(size_t bytes) {
    void *p = NULL;
    const size_t huge = bytes >= HUGE_FROM ? HUGE_PAGE : 64;
    if (posix_memalign(&p, huge, bytes) != 0) return NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (huge == HUGE_PAGE) (void)madvise(p, bytes, MADV_HUGEPAGE); /* a hint; without it there are more TLB misses */
#endif
    return p;
}
static inline void free_memory(void *p) { free(p); }
static inline double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
#endif

/* ---- the floating-point mode: subnormal numbers are flushed to zero, since they cost a hundred times as much as normal ones */
static inline uint64_t flush_subnormals(void) {
#if defined(__x86_64__)
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040);
    return mode;
#elif defined(__aarch64__)
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | (1ULL << 24)));
    return mode;
#else
    return 0;
#endif
}
static inline uint64_t subnormals_kept(void) { /* while Python code runs in the middle of a call */
#if defined(__x86_64__)
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode & ~0x8040u);
    return mode;
#elif defined(__aarch64__)
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode & ~(1ULL << 24)));
    return mode;
#else
    return 0;
#endif
}
static inline void restore_subnormals(uint64_t mode) {
#if defined(__x86_64__)
    _mm_setcsr((unsigned)mode);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

/* ---- waiting */
static inline int pause_for(int turn) { /* pauses, or yields from turn SPINS on; returns the next turn */
    if (turn >= SPINS) {
        os_yield();
        return turn;
    }
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
    return turn + 1;
}

typedef struct { /* each on its own cache line, wherever the struct lies */
    char before[64];
    int arrived;
    char between[64];
    int generation;
    char behind[64];
} barrier;

static inline void barrier_wait(barrier *b, int n) {
    if (n == 1) return;
    int generation = __atomic_load_n(&b->generation, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&b->arrived, 1, __ATOMIC_ACQ_REL) == n) {
        __atomic_store_n(&b->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&b->generation, generation + 1, __ATOMIC_RELEASE);
        return;
    }
    int turn = 0;
    while (__atomic_load_n(&b->generation, __ATOMIC_ACQUIRE) == generation) turn = pause_for(turn);
}

/* ---- a team: work(job, id, n) on n threads, the caller being number 0; on fewer if the system provides fewer. */
typedef void (*team_work)(void *job, int id, int n);
typedef struct {
    team_work work;
    void *job;
    int size; /* 0 until all threads have been started */
    places apart;
} team;
typedef struct {
    team *of;
    int id;
} member;

static inline void team_member(team *of, int id, int n) {
    uint64_t mode = flush_subnormals();
    of->work(of->job, id, n);
    restore_subnormals(mode);
}

static inline os_result OS_CALL team_entry(void *argument) {
    member *m = (member *)argument;
    int n, turn = 0;
    move_apart(&m->of->apart);
    while ((n = __atomic_load_n(&m->of->size, __ATOMIC_ACQUIRE)) == 0) turn = pause_for(turn);
    team_member(m->of, m->id, n);
    return 0;
}

static inline void run_team(int n, team_work work, void *job) {
    team of = {.work = work, .job = job};
    os_thread threads[MAX_THREADS];
    member members[MAX_THREADS];
    int size = 1;
    if (n > MAX_THREADS) n = MAX_THREADS;
    if (n > 1) find_places(&of.apart);
    while (size < n) {
        members[size].of = &of;
        members[size].id = size;
        if (!os_start(&threads[size], team_entry, &members[size], &of.apart)) break;
        size++;
    }
    __atomic_store_n(&of.size, size, __ATOMIC_RELEASE);
    team_member(&of, 0, size);
    for (int id = 1; id < size; id++) os_join(threads[id]);
}

/* ---- memory that will be read soon: several requests at once instead of one after the other */
static inline void ask_for(const char *p, size_t bytes) {
#if defined(__GNUC__)
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
#else
    (void)p, (void)bytes;
#endif
}

/* ---- atomics */
static inline int64_t fetch_add(int64_t *p, int64_t n) { return __atomic_fetch_add(p, n, __ATOMIC_RELAXED); }
static inline int try_lock(int *p) { return __atomic_exchange_n(p, 1, __ATOMIC_ACQUIRE) == 0; }
static inline int is_locked(int *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void unlock(int *p) { __atomic_store_n(p, 0, __ATOMIC_RELEASE); }
static inline void *exchange(void **p, void *value) { return __atomic_exchange_n(p, value, __ATOMIC_ACQ_REL); }

#endif
