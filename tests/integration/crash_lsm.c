/*
 * tests/integration/crash_lsm.c -- a process with one engine in it, killed again and again.
 *
 * Each round a child opens the engine, compares what it finds with what was ever promised, then
 * writes as fast as it can until its parent kills it with SIGKILL, at a moment drawn from the seed:
 * while it opens, replays, flushes, merges or rewrites the manifest. The promises lie in memory
 * that both share, so they outlive the child. The last child is not killed. Checked at every open:
 *  (1) A write that was answered is there, or a newer one: a buffered one too, for a killed process
 *      takes nothing with it that it had written to a file.
 *  (2) What the last open found is not older now.
 *  (3) A cell was accepted once, and holds the bytes of its version.
 *  (4) Iterators of both directions show what gets show.
 *  (5) The engine opens: no kill leaves a folder that looks damaged.
 *  (6) Enough lives came so far that they looked, wrote, flushed and merged; otherwise nothing was
 *      shown. Lives are counted in answers, for on a busy machine a time is too short for any.
 * Exit 0 if so; 1 if not, and the folder stays.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/env_uv.h"
#include "base/prng.h"
#include "lsm/lsm.h"

#define KEY_COUNT 3000u
#define KEY_SIZE 8
#define VALUE_SIZE_MAX 600u
#define BATCH_COUNT_MAX 4u
#define FLIGHT_COUNT 48u
#define DELETE_SHARE 6u    /* One of so many cells is a tombstone. */
#define REQUEST_SHARE 400u /* One of so many answers asks for a flush or a merge. */
#define LIFE_MS_MAX 250u
#define LIFE_ANSWERS_MAX 4000u
#define LIFE_SECONDS_MAX 60u /* However little was answered. */
#define SHOWN_ROUNDS 20u     /* So many rounds must show something; a third of them looked. */
#define ROUNDS_MAX 100000u

enum { EXIT_HELD = 0, EXIT_LOST = 1, EXIT_USAGE = 2 };

/* Outlives every child. Times of versions; each is drawn once. */
struct promises {
    _Atomic uint64_t time_last;
    _Atomic uint64_t told[KEY_COUNT];     /* The greatest that was answered OK. */
    _Atomic uint64_t accepted[KEY_COUNT]; /* The greatest that any engine may have taken. */
    _Atomic uint64_t found[KEY_COUNT];    /* By the last open that looked. */
    _Atomic uint64_t check_count;
    _Atomic uint64_t answer_count;
    _Atomic uint64_t flush_count;
};

struct flight {
    struct lsm_write write;
    struct child *child;
    uint64_t time;
    uint32_t count;
    uint32_t keys[BATCH_COUNT_MAX];
};

struct child {
    struct env *env;
    struct lsm *lsm;
    struct promises *promises;
    struct prng prng;
    struct buffer scratch;
    struct flight flights[FLIGHT_COUNT];
    struct lsm_request request;
    bool request_busy;
    uint32_t refused_count;
};

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(bool held, const char *condition, int line)
{
    if (!held) {
        (void)fprintf(stderr, "crash_lsm: line %d: %s\n", line, condition);
        _exit(EXIT_LOST);
    }
}

/* --- what a key and a version hold ------------------------------------------------------------ */

static struct slice key_make(uint32_t index, char text[KEY_SIZE])
{
    (void)snprintf(text, KEY_SIZE, "key%04u", (unsigned)index);
    return slice_make(text, KEY_SIZE - 1);
}

static struct cell cell_make(uint32_t index, uint64_t time, uint8_t value[VALUE_SIZE_MAX])
{
    uint64_t drawn = prng_mix(prng_mix(time) ^ index);
    struct cell cell = {.version = {.time = time, .node = 1}};
    if (drawn % DELETE_SHARE == 0) {
        cell.kind = CELL_DELETE;
        return cell;
    }
    size_t size = (size_t)((drawn >> 8) % VALUE_SIZE_MAX);
    for (size_t at = 0; at < size; at += sizeof(drawn)) {
        drawn = prng_mix(drawn);
        memcpy(value + at, &drawn, size - at < sizeof(drawn) ? size - at : sizeof(drawn));
    }
    cell.value = slice_make(value, size);
    return cell;
}

/* --- the check -------------------------------------------------------------------------------- */

static uint64_t found_check(struct child *child, uint32_t index)
{
    char text[KEY_SIZE];
    uint8_t value[VALUE_SIZE_MAX];
    struct cell cell;
    struct promises *promises = child->promises;
    enum status status =
        lsm_get(child->lsm, key_make(index, text), LSM_MAY_BLOCK, &child->scratch, &cell);
    CHECK(status == STATUS_OK || status == STATUS_NOT_FOUND);
    uint64_t time = status == STATUS_OK ? cell.version.time : 0;
    uint64_t told = atomic_load(&promises->told[index]);
    uint64_t found = atomic_load(&promises->found[index]);
    if (time < told || time < found) {
        (void)fprintf(stderr,
                      "crash_lsm: key %u: found %" PRIu64 ", told %" PRIu64
                      ", found before %" PRIu64 "\n",
                      (unsigned)index, time, told, found);
    }
    CHECK(time >= told);
    CHECK(time >= found);
    CHECK(time <= atomic_load(&promises->accepted[index]));
    if (status == STATUS_OK) {
        struct cell wanted = cell_make(index, time, value);
        CHECK(cell_compare(&cell, &wanted) == 0);
        CHECK(slice_equal(cell.value, wanted.value));
    }
    return time;
}

static void scan_check(const struct child *child, const uint64_t *found, bool reverse)
{
    struct lsm_iterator_options options = {.reverse = reverse};
    struct lsm_iterator *iterator = NULL;
    CHECK(lsm_iterator_open(child->lsm, &options, &iterator) == STATUS_OK);
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        uint32_t index = reverse ? KEY_COUNT - 1 - i : i;
        if (found[index] == 0) {
            continue;
        }
        char text[KEY_SIZE];
        struct slice key;
        struct cell cell;
        CHECK(lsm_iterator_next(iterator, &key, &cell) == STATUS_OK);
        CHECK(slice_equal(key, key_make(index, text)));
        CHECK(cell.version.time == found[index]);
    }
    struct slice key;
    struct cell cell;
    CHECK(lsm_iterator_next(iterator, &key, &cell) == STATUS_NOT_FOUND);
    lsm_iterator_close(iterator);
}

static void all_check(struct child *child)
{
    uint64_t found[KEY_COUNT];
    for (uint32_t index = 0; index < KEY_COUNT; index++) {
        found[index] = found_check(child, index);
    }
    scan_check(child, found, false);
    scan_check(child, found, true);
    for (uint32_t index = 0; index < KEY_COUNT; index++) {
        atomic_store(&child->promises->found[index], found[index]);
    }
    atomic_fetch_add(&child->promises->check_count, 1);
}

/* --- the load --------------------------------------------------------------------------------- */

static void raise_to(_Atomic uint64_t *highest, uint64_t value)
{
    if (atomic_load(highest) < value) { /* One process at a time, and one thread in it. */
        atomic_store(highest, value);
    }
}

static void flight_send(struct flight *flight);

static void request_done(struct lsm_request *request, enum status status)
{
    struct child *child = container_of(request, struct child, request);
    CHECK(status == STATUS_OK);
    child->request_busy = false;
    atomic_fetch_add(&child->promises->flush_count, 1);
}

static void request_maybe(struct child *child)
{
    if (child->request_busy || !prng_chance(&child->prng, 1, REQUEST_SHARE)) {
        return;
    }
    child->request = (struct lsm_request){.done = request_done};
    child->request_busy = true;
    enum status status = prng_chance(&child->prng, 1, 2) ? lsm_flush(child->lsm, &child->request)
                                                         : lsm_compact(child->lsm, &child->request);
    CHECK(status == STATUS_OK);
}

static void flight_done(struct lsm_write *write, enum status status)
{
    struct flight *flight = container_of(write, struct flight, write);
    struct promises *promises = flight->child->promises;
    CHECK(status == STATUS_OK);
    for (uint32_t at = 0; at < flight->count; at++) {
        raise_to(&promises->told[flight->keys[at]], flight->time);
    }
    atomic_fetch_add(&promises->answer_count, 1);
    request_maybe(flight->child);
    flight_send(flight);
}

static void flight_send(struct flight *flight)
{
    struct child *child = flight->child;
    struct lsm_record records[BATCH_COUNT_MAX];
    char texts[BATCH_COUNT_MAX][KEY_SIZE];
    uint8_t values[BATCH_COUNT_MAX][VALUE_SIZE_MAX];
    flight->time = atomic_fetch_add(&child->promises->time_last, 1) + 1;
    flight->count = 1 + (uint32_t)prng_below(&child->prng, BATCH_COUNT_MAX);
    for (uint32_t at = 0; at < flight->count; at++) {
        uint32_t index = (uint32_t)prng_below(&child->prng, KEY_COUNT);
        flight->keys[at] = index;
        records[at].key = key_make(index, texts[at]);
        records[at].cell = cell_make(index, flight->time, values[at]);
        raise_to(&child->promises->accepted[index], flight->time);
    }
    flight->write = (struct lsm_write){
        .records = records,
        .record_count = flight->count,
        .durability = prng_chance(&child->prng, 1, 2) ? LSM_SYNCED : LSM_BUFFERED,
        .done = flight_done,
    };
    enum status status = lsm_write(child->lsm, &flight->write);
    CHECK(status == STATUS_OK || status == STATUS_OVERLOADED);
    flight->count = status == STATUS_OK ? flight->count : 0;
    child->refused_count += status == STATUS_OK ? 0 : 1;
}

static void child_failed(void *context, enum status status)
{
    (void)context;
    (void)fprintf(stderr, "crash_lsm: read-only: %s\n", status_name(status));
    _exit(EXIT_LOST);
}

/* Never returns while it is to be killed. */
static void child_load(struct child *child)
{
    for (uint32_t i = 0; i < FLIGHT_COUNT; i++) {
        child->flights[i].child = child;
        flight_send(&child->flights[i]);
    }
    for (;;) {
        env_uv_run_once(child->env);
        if (child->refused_count == 0) {
            continue;
        }
        child->refused_count = 0;
        for (uint32_t i = 0; i < FLIGHT_COUNT; i++) {
            if (child->flights[i].count == 0) {
                flight_send(&child->flights[i]);
            }
        }
    }
}

/* The whole life of one child. */
static int child_run(struct promises *promises, const char *path, uint64_t seed, bool last)
{
    struct child *child = calloc(1, sizeof(*child));
    CHECK(child != NULL);
    child->promises = promises;
    prng_init(&child->prng, seed);
    struct env_uv_options env_options = {.log_level = LOG_WARN};
    CHECK(env_uv_open(&env_options, &child->env) == STATUS_OK);
    struct lsm_options options = {
        .path = path,
        .memory_size = 8 << 20,
        .memtable_size = 64 << 10,
        .wal_segment_size = 128 << 10,
        .slice_size = 32 << 10,
        .table_size_max = 128 << 10,
        .block_size = 1 << 10,
        .failed = child_failed,
    };
    enum status status = lsm_open(child->env, &options, &child->lsm);
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "crash_lsm: open says %s\n", status_name(status));
    }
    CHECK(status == STATUS_OK);
    all_check(child);
    if (!last) {
        child_load(child);
    }
    env_uv_end(child->env);
    lsm_close(child->lsm);
    env_uv_close(child->env);
    buffer_deinit(&child->scratch);
    free(child);
    return EXIT_HELD;
}

/* --- the parent ------------------------------------------------------------------------------- */

static void pause_ms(uint64_t ms)
{
    struct timespec wait = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&wait, &wait) != 0 && errno == EINTR) {
    }
}

/* Until so many checks were made and writes answered, or the child is gone, or it takes too long.
 */
static void answers_wait(const struct promises *promises, uint64_t checks, uint64_t answers,
                         pid_t pid)
{
    siginfo_t ended = {0};
    for (uint64_t ms = 0; ms < LIFE_SECONDS_MAX * UINT64_C(1000) && ended.si_pid == 0; ms++) {
        if (atomic_load(&promises->check_count) >= checks &&
            atomic_load(&promises->answer_count) >= answers) {
            return;
        }
        pause_ms(1);
        (void)waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT);
    }
}

/* One child; whether all it looked at held. */
static bool round_run(struct promises *promises, const char *path, struct prng *prng, bool last)
{
    uint64_t seed = prng_next(prng);
    /* Half of the lives are so short that many end while the engine opens. */
    bool opens = prng_chance(prng, 1, 2);
    uint64_t life_ms = prng_below(prng, prng_chance(prng, 1, 2) ? LIFE_MS_MAX : LIFE_MS_MAX / 8);
    uint64_t answers = atomic_load(&promises->answer_count) + prng_below(prng, LIFE_ANSWERS_MAX);
    uint64_t checks = atomic_load(&promises->check_count) + 1;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        perror("crash_lsm: fork");
        return false;
    }
    if (pid == 0) {
        _exit(child_run(promises, path, seed, last));
    }
    if (!last) {
        if (opens) {
            pause_ms(life_ms);
        } else {
            answers_wait(promises, checks, answers, pid);
        }
        (void)kill(pid, SIGKILL);
    }
    int state = 0;
    if (waitpid(pid, &state, 0) != pid) {
        perror("crash_lsm: waitpid");
        return false;
    }
    bool killed = WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL;
    return (!last && killed) || (WIFEXITED(state) && WEXITSTATUS(state) == EXIT_HELD);
}

static bool number_parse(const char *text, uint64_t *number)
{
    char *end = NULL;
    *number = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

int main(int argc, char **argv)
{
    uint64_t rounds = 20;
    uint64_t seed = 1;
    if (argc > 3 || (argc > 1 && (!number_parse(argv[1], &rounds) || rounds > ROUNDS_MAX)) ||
        (argc > 2 && !number_parse(argv[2], &seed))) {
        (void)fprintf(stderr, "usage: crash_lsm [rounds [seed]]\n");
        return EXIT_USAGE;
    }
    struct promises *promises =
        mmap(NULL, sizeof(*promises), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char root[] = "/tmp/crash_lsm.XXXXXX";
    if (promises == MAP_FAILED || mkdtemp(root) == NULL) {
        perror("crash_lsm");
        return EXIT_USAGE;
    }
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/engine", root);
    struct prng prng;
    prng_init(&prng, seed);
    for (uint64_t round = 0; round <= rounds; round++) {
        if (!round_run(promises, path, &prng, round == rounds)) {
            (void)fprintf(stderr, "crash_lsm: seed %" PRIu64 ", round %" PRIu64 "; see %s\n", seed,
                          round, path);
            return EXIT_LOST;
        }
    }
    (void)printf("%" PRIu64 " kills: %" PRIu64 " opens were checked, %" PRIu64
                 " writes answered, %" PRIu64 " flushes and merges asked for ended\n",
                 rounds, atomic_load(&promises->check_count), atomic_load(&promises->answer_count),
                 atomic_load(&promises->flush_count));
    bool shown = rounds < SHOWN_ROUNDS || (atomic_load(&promises->check_count) > rounds / 3 &&
                                           atomic_load(&promises->flush_count) > 0);
    if (!shown) {
        (void)fprintf(stderr, "crash_lsm: too few lives came so far that anything was shown\n");
    }
    char command[64];
    (void)snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command) == 0 && shown ? EXIT_HELD : EXIT_LOST;
}
