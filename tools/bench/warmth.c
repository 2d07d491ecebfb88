/* tools/bench/warmth.c -- a thread that maps and locks tables; free memory, touched. */
#include "tools/bench/warmth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/contract.h"
#include "base/memory.h"
#include "tools/bench/folder.h"

#define HELD_COUNT_MAX 4096u
#define LOOK_NS 200000000L
#define NAME_SIZE 64
#define TOUCHED_SIZE (UINT64_C(2) << 30)
#define TOUCHED_SHARE 4u /* Of what is free, at most. */

struct held {
    char name[NAME_SIZE];
    void *pages;
    size_t size;
    bool seen; /* In the look that goes on. */
};

struct warmth {
    const char *path;
    pthread_t thread;
    atomic_bool over;
    size_t size;
    size_t size_max;
    int refusal; /* errno of the first lock that failed. */
    uint32_t count;
    struct held held[HELD_COUNT_MAX];
};

static void held_drop(struct warmth *warmth, uint32_t at)
{
    struct held *held = &warmth->held[at];
    (void)munmap(held->pages, held->size);
    warmth->size -= held->size;
    *held = warmth->held[--warmth->count];
}

static void table_hold(struct warmth *warmth, const char *name)
{
    uint32_t at = 0;
    while (at < warmth->count && strcmp(warmth->held[at].name, name) != 0) {
        at++;
    }
    char path[FOLDER_PATH_SIZE];
    folder_path(path, warmth->path, name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat found = {0};
    if (file < 0 || fstat(file, &found) != 0 || found.st_size == 0) {
        found.st_size = 0; /* It went meanwhile, or is not begun. */
    }
    size_t size = (size_t)found.st_size;
    if (at < warmth->count && warmth->held[at].size == size) {
        warmth->held[at].seen = true;
    } else if (size > 0 && at < HELD_COUNT_MAX && warmth->size + size <= warmth->size_max) {
        if (at < warmth->count) { /* It has grown. */
            held_drop(warmth, at);
        }
        void *pages = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
        if (pages == MAP_FAILED || mlock(pages, size) != 0) {
            warmth->refusal = warmth->refusal == 0 ? errno : warmth->refusal;
        }
        if (pages != MAP_FAILED) {
            struct held *held = &warmth->held[warmth->count++];
            *held = (struct held){.pages = pages, .size = size, .seen = true};
            (void)snprintf(held->name, sizeof(held->name), "%s", name);
            warmth->size += size;
        }
    }
    if (file >= 0) {
        (void)close(file);
    }
}

static void look(struct warmth *warmth)
{
    for (uint32_t i = 0; i < warmth->count; i++) {
        warmth->held[i].seen = false;
    }
    DIR *dir = opendir(warmth->path);
    struct dirent *entry;
    /* No other thread reads this folder. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (folder_is_table(entry->d_name) && strlen(entry->d_name) < NAME_SIZE) {
            table_hold(warmth, entry->d_name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    for (uint32_t i = warmth->count; i-- > 0;) {
        if (!warmth->held[i].seen) {
            held_drop(warmth, i);
        }
    }
}

static void *warmth_thread(void *argument)
{
    struct warmth *warmth = argument;
    while (!atomic_load(&warmth->over)) {
        look(warmth);
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    return NULL;
}

static void memory_touch(void)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t spare = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * page / TOUCHED_SHARE;
    size_t size = (size_t)(spare < TOUCHED_SIZE ? spare : TOUCHED_SIZE);
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t at = 0; memory != MAP_FAILED && at < size; at += page) {
        memory[at] = 1;
    }
    _exit(0);
}

void warmth_touch(void)
{
    pid_t child = fork();
    if (child == 0) {
        memory_touch();
    }
    int status = 0;
    (void)waitpid(child, &status, 0); /* Without it memory is as it is. */
}

struct warmth *warmth_begin(const char *path)
{
    struct warmth *warmth = memory_allocate_zeroed(1, sizeof(*warmth));
    ASSERT(warmth != NULL);
    warmth->path = path;
    warmth->size_max = (size_t)sysconf(_SC_PHYS_PAGES) / 2 * (size_t)sysconf(_SC_PAGESIZE);
    int rc = pthread_create(&warmth->thread, NULL, warmth_thread, warmth);
    ASSERT(rc == 0);
    return warmth;
}

void warmth_end(struct warmth *warmth)
{
    static bool told;
    atomic_store(&warmth->over, true);
    int rc = pthread_join(warmth->thread, NULL);
    ASSERT(rc == 0);
    if (warmth->refusal != 0 && !told) {
        told = true;
        (void)fprintf(stderr,
                      "bench_lsm: tables are not held in memory (%s); figures may include reads "
                      "from the disk\n",
                      strerror(warmth->refusal));
    }
    while (warmth->count > 0) {
        held_drop(warmth, warmth->count - 1);
    }
    memory_free(warmth);
}
