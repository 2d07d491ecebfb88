/*
 * tests/integration/stress_scan.c -- iterators that pass over dead cells, while others write.
 *
 * Each writer owns a share of the keys, deletes long stretches of them, and writes keys into
 * stretches that are dead; so gaps (lsm/gap.h) are learnt, jumped over and cut all the time, while
 * memtables are flushed and merged beneath.
 * Per key two counters tell its history: `begun` is raised before a write is handed to the engine,
 * `told` after it is visible; an odd number is a value, an even one a delete or nothing yet.
 * Checked:
 *  (1) A walk that saw `told` before and `begun` after finds the key alive or dead only as one of
 *      the states in between, and no older cell than the first of them.
 *  (2) Iterators keep their order and bounds, also over budgets, resume keys and reopening.
 *  (3) Gaps were learnt and jumped over; otherwise nothing was shown.
 * Exit 0 if so, 1 if not. Run it under the thread sanitizer for the rest.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env_uv.h"
#include "base/prng.h"
#include "lsm/lsm.h"

#define WRITER_COUNT 2u
#define READER_COUNT 2u
#define KEY_COUNT 12000u
#define KEY_SIZE 9
#define BATCH_COUNT 64u
#define FLIGHT_COUNT 16u
#define STRETCH_COUNT 3000u /* Keys that are deleted in one go. */
#define STEP_COUNT 20u      /* Of each writer to one walk. */
#define WALK_COUNT 300u     /* Of all readers together. */

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(bool held, const char *condition, int line)
{
    if (!held) {
        (void)fprintf(stderr, "stress_scan: line %d: %s\n", line, condition);
        exit(1);
    }
}

struct key {
    _Atomic uint64_t begun;
    _Atomic uint64_t told;
};

struct flight {
    struct lsm_write write;
    atomic_bool busy;
};

struct user {
    struct stress *stress;
    pthread_t thread;
    uint32_t index;
    struct prng prng;
    struct flight flights[FLIGHT_COUNT]; /* Writers. */
    struct lsm_iterator *kept;           /* Readers: reopened, again and again. */
    uint64_t told[KEY_COUNT];            /* Readers: before the walk. */
};

struct stress {
    struct env *env;
    struct lsm *lsm;
    atomic_uint walks;
    atomic_bool ended;
    _Atomic uint64_t shown;
    struct key keys[KEY_COUNT];
    struct user users[WRITER_COUNT + READER_COUNT];
};

static struct slice key_make(uint32_t index, char text[KEY_SIZE])
{
    (void)snprintf(text, KEY_SIZE, "key%05u", (unsigned)(index % 100000));
    return slice_make(text, KEY_SIZE - 1);
}

static uint32_t key_index(struct slice key)
{
    char text[KEY_SIZE] = {0};
    CHECK(key.size == KEY_SIZE - 1);
    memcpy(text, key.data, key.size);
    uint32_t index = (uint32_t)strtoul(text + 3, NULL, 10);
    CHECK(index < KEY_COUNT);
    return index;
}

/* --- writers ---------------------------------------------------------------------------------- */

static void flight_done(struct lsm_write *write, enum status status)
{
    CHECK(status == STATUS_OK);
    atomic_store_explicit(&container_of(write, struct flight, write)->busy, false,
                          memory_order_release);
}

static struct flight *flight_free(struct user *user)
{
    for (uint32_t i = 0;; i = (i + 1) % FLIGHT_COUNT) {
        if (!atomic_load_explicit(&user->flights[i].busy, memory_order_acquire)) {
            return &user->flights[i];
        }
        if (atomic_load_explicit(&user->stress->ended, memory_order_relaxed)) {
            return NULL;
        }
    }
}

/* Every key of [lower, upper) that is not as wanted becomes so. */
static void stretch_write(struct user *user, uint32_t lower, uint32_t upper, bool alive)
{
    struct stress *stress = user->stress;
    struct flight *flight = flight_free(user);
    if (flight == NULL) {
        return;
    }
    struct lsm_record records[BATCH_COUNT];
    char texts[BATCH_COUNT][KEY_SIZE];
    uint32_t indexes[BATCH_COUNT];
    uint32_t count = 0;
    for (uint32_t i = lower; i < upper && count < BATCH_COUNT; i++) {
        uint64_t state = atomic_load_explicit(&stress->keys[i].begun, memory_order_relaxed);
        if ((state % 2 == 1) == alive) {
            continue;
        }
        indexes[count] = i;
        atomic_store_explicit(&stress->keys[i].begun, state + 1, memory_order_release);
        records[count] = (struct lsm_record){
            .key = key_make(i, texts[count]),
            .cell = {.version = {.time = state + 1, .node = 1},
                     .kind = alive ? CELL_VALUE : CELL_DELETE,
                     .value = alive ? slice_text("some value") : slice_make(NULL, 0)},
        };
        count++;
    }
    if (count == 0) {
        return;
    }
    flight->write = (struct lsm_write){
        .records = records, .record_count = count, .durability = LSM_BUFFERED, .done = flight_done};
    atomic_store_explicit(&flight->busy, true, memory_order_relaxed);
    enum status status = lsm_write(stress->lsm, &flight->write);
    while (status == STATUS_OVERLOADED) {
        (void)sched_yield();
        status = lsm_write(stress->lsm, &flight->write);
    }
    CHECK(status == STATUS_OK);
    for (uint32_t i = 0; i < count; i++) { /* Visible at once. */
        atomic_store_explicit(&stress->keys[indexes[i]].told, records[i].cell.version.time,
                              memory_order_release);
    }
}

static void *writer_run(void *argument)
{
    struct user *user = argument;
    uint32_t share = KEY_COUNT / WRITER_COUNT;
    uint32_t first = user->index * share;
    for (uint32_t step = 0; !atomic_load_explicit(&user->stress->ended, memory_order_relaxed);) {
        if (step >
            STEP_COUNT * (1 + atomic_load_explicit(&user->stress->walks, memory_order_relaxed))) {
            (void)sched_yield(); /* Readers come first. */
            continue;
        }
        step++;
        uint32_t at = (uint32_t)prng_below(&user->prng, share);
        if (prng_chance(&user->prng, 1, 10)) { /* Much dies at once... */
            uint32_t upper = at + STRETCH_COUNT < share ? at + STRETCH_COUNT : share;
            for (uint32_t i = at; i < upper; i += BATCH_COUNT) {
                uint32_t end = i + BATCH_COUNT < upper ? i + BATCH_COUNT : upper;
                stretch_write(user, first + i, first + end, false);
            }
        } else if (prng_chance(&user->prng, 1, 8)) { /* ... and little comes back. */
            uint32_t upper = at + BATCH_COUNT < share ? at + BATCH_COUNT : share;
            stretch_write(user, first + at, first + upper, true);
        } else if (prng_chance(&user->prng, 1, 4)) {
            stretch_write(user, first + at, first + at + 1, true);
        }
    }
    return NULL;
}

/* --- readers ---------------------------------------------------------------------------------- */

struct walk {
    struct lsm_iterator_options options;
    struct buffer bound; /* A resume key. */
    uint32_t lower;      /* What is left: [lower, upper). */
    uint32_t upper;
};

/* Key `index` was passed over: one of its states since the walk began is dead. */
static void key_passed(struct user *user, uint32_t index)
{
    uint64_t told = user->told[index];
    uint64_t begun = atomic_load_explicit(&user->stress->keys[index].begun, memory_order_acquire);
    CHECK(begun > told || told % 2 == 0);
}

static void walk_shown(struct user *user, struct walk *walk, struct slice key,
                       const struct cell *cell)
{
    uint32_t index = key_index(key);
    CHECK(index >= walk->lower);
    CHECK(index < walk->upper);
    CHECK(cell->kind == CELL_VALUE);
    CHECK(cell->version.time % 2 == 1);
    CHECK(cell->version.time >= user->told[index]);
    if (walk->options.reverse) {
        for (uint32_t i = index + 1; i < walk->upper; i++) {
            key_passed(user, i);
        }
        walk->upper = index;
    } else {
        for (uint32_t i = walk->lower; i < index; i++) {
            key_passed(user, i);
        }
        walk->lower = index + 1;
    }
}

static void walk_resume(struct user *user, struct walk *walk)
{
    struct slice resume;
    CHECK(lsm_iterator_resume_key(user->kept, &resume) == STATUS_OK);
    buffer_clear(&walk->bound);
    buffer_append_slice(&walk->bound, resume);
    CHECK(buffer_status(&walk->bound) == STATUS_OK);
    struct slice *bound = walk->options.reverse ? &walk->options.upper : &walk->options.lower;
    *bound = buffer_slice(&walk->bound);
    CHECK(lsm_iterator_reopen(user->kept, &walk->options) == STATUS_OK);
}

static void reader_walk(struct user *user)
{
    struct stress *stress = user->stress;
    struct walk walk = {.upper = KEY_COUNT};
    char lower[KEY_SIZE];
    walk.lower = (uint32_t)prng_below(&user->prng, KEY_COUNT / 2);
    walk.options = (struct lsm_iterator_options){
        .lower = key_make(walk.lower, lower),
        .reverse = prng_chance(&user->prng, 1, 2),
        .wait = prng_chance(&user->prng, 1, 2) ? LSM_NOWAIT : LSM_MAY_BLOCK,
        .work_budget = prng_chance(&user->prng, 1, 2) ? 100 : 0,
        .skip_dead = true,
    };
    for (uint32_t i = walk.lower; i < KEY_COUNT; i++) {
        user->told[i] = atomic_load_explicit(&stress->keys[i].told, memory_order_acquire);
    }
    CHECK(lsm_iterator_reopen(user->kept, &walk.options) == STATUS_OK);
    struct slice key;
    struct cell cell;
    uint64_t shown = 0;
    enum status status = STATUS_OK;
    while ((status = lsm_iterator_next(user->kept, &key, &cell)) != STATUS_NOT_FOUND) {
        if (status == STATUS_OK) {
            walk_shown(user, &walk, key, &cell);
            shown++;
        } else if (status == STATUS_WOULD_BLOCK) {
            walk.options.wait = LSM_MAY_BLOCK;
            walk_resume(user, &walk);
        } else {
            CHECK(status == STATUS_BUDGET);
            if (prng_chance(&user->prng, 1, 20)) {
                walk_resume(user, &walk);
            }
        }
    }
    for (uint32_t i = walk.lower; i < walk.upper; i++) {
        key_passed(user, i);
    }
    (void)atomic_fetch_add_explicit(&stress->shown, shown, memory_order_relaxed);
    buffer_deinit(&walk.bound);
}

static void *reader_run(void *argument)
{
    struct user *user = argument;
    struct stress *stress = user->stress;
    struct lsm_iterator_options options = {0};
    CHECK(lsm_iterator_open(stress->lsm, &options, &user->kept) == STATUS_OK);
    while (!atomic_load_explicit(&stress->ended, memory_order_relaxed)) {
        reader_walk(user);
        (void)atomic_fetch_add_explicit(&stress->walks, 1, memory_order_relaxed);
    }
    lsm_iterator_close(user->kept);
    return NULL;
}

/* --- all of it -------------------------------------------------------------------------------- */

struct stopping {
    struct lsm_stop stop;
    bool stopped;
};

static void stress_stopped(struct lsm_stop *stop)
{
    container_of(stop, struct stopping, stop)->stopped = true;
}

static void tick(struct env_timer *timer)
{
    (void)timer; /* So that the loop looks whether it is done. */
}

/* All walks were made, and what they are to meet came about: on a machine with much else to do,
 * stretches may be walked before they are long dead. (The program's time limit ends the wait.) */
static bool stress_enough(struct stress *stress)
{
    if (atomic_load_explicit(&stress->walks, memory_order_relaxed) < WALK_COUNT) {
        return false;
    }
    struct lsm_stats stats;
    lsm_stats(stress->lsm, &stats);
    return stats.gap_learnt_count > 0 && stats.gap_jump_count > 0 && stats.flush_written > 0;
}

static void stress_run(struct stress *stress)
{
    for (uint32_t i = 0; i < WRITER_COUNT + READER_COUNT; i++) {
        struct user *user = &stress->users[i];
        user->stress = stress;
        user->index = i;
        prng_init(&user->prng, i + 1);
        CHECK(pthread_create(&user->thread, NULL, i < WRITER_COUNT ? writer_run : reader_run,
                             user) == 0);
    }
    struct env_timer timer = {.fired = tick};
    while (!stress_enough(stress)) {
        env_timer_start_ms(stress->env, &timer, 1);
        env_uv_run_once(stress->env);
        stress->env->ops->timer_stop(stress->env, &timer);
    }
    atomic_store(&stress->ended, true);
    for (uint32_t i = 0; i < WRITER_COUNT + READER_COUNT; i++) {
        CHECK(pthread_join(stress->users[i].thread, NULL) == 0);
    }
    struct lsm_stats stats;
    lsm_stats(stress->lsm, &stats);
    (void)printf("%u walks, %" PRIu64 " cells shown, %" PRIu64 " writes, %" PRIu64
                 " gaps learnt, %" PRIu64 " jumped over\n",
                 atomic_load(&stress->walks), atomic_load(&stress->shown), stats.write_count,
                 stats.gap_learnt_count, stats.gap_jump_count);
    CHECK(stats.gap_learnt_count > 0);
    CHECK(stats.gap_jump_count > 0);
    CHECK(stats.flush_written > 0);
    struct stopping stopping = {.stop.stopped = stress_stopped};
    lsm_stop(stress->lsm, &stopping.stop);
    while (!stopping.stopped) {
        env_uv_run_once(stress->env);
    }
}

int main(void)
{
    char root[] = "/tmp/stress_scan.XXXXXX";
    CHECK(mkdtemp(root) != NULL);
    char path[sizeof(root) + 8];
    (void)snprintf(path, sizeof(path), "%s/engine", root);
    struct stress *stress = calloc(1, sizeof(*stress));
    CHECK(stress != NULL);
    struct env_uv_options env_options = {.log_level = LOG_WARN};
    CHECK(env_uv_open(&env_options, &stress->env) == STATUS_OK);
    struct lsm_options options = {
        .path = path,
        .memory_size = 8 << 20,
        .memtable_size = 512 << 10,
        .wal_segment_size = 256 << 10,
        .slice_size = 64 << 10,
        .table_size_max = 128 << 10,
        .block_size = 1 << 10,
    };
    CHECK(lsm_open(stress->env, &options, &stress->lsm) == STATUS_OK);
    stress_run(stress);
    lsm_close(stress->lsm);
    env_uv_close(stress->env);
    free(stress);
    char command[64];
    (void)snprintf(command, sizeof(command), "rm -r %s", root);
    CHECK(system(command) == 0);
    return 0;
}
