/*
 * tests/integration/stress_lsm.c -- one engine used by all threads at once, closed and reopened.
 *
 * Threads and the loop write, get, iterate and ask at once; memtables, segments and slices are so
 * small that flushes and merges never end, and lsm_stop comes in the middle of it. Work is counted,
 * not timed.
 * Checked:
 *  (1) What was told done, or what a reader has seen, that reader never finds older or gone.
 *  (2) What was accepted is queued or visible, a buffered write visible at once.
 *  (3) A cell holds the bytes of its version; a key may be unknown only if it was once deleted.
 *  (4) Iterators keep their order and bounds and leave no key out.
 *  (5) Every accepted write is answered OK, once; counters never go back.
 *  (6) Stopped, and again when reopened, the engine holds the greatest accepted cell of each key.
 * A thread looks at what others were told only now and then: each look orders it after them, and
 * the thread sanitizer finds no race between what is ordered.
 * Exit 0 if so, 1 if not. Run it under the thread sanitizer for the rest.
 * As in a node nothing is ever forgotten; with the argument `purge` tombstones are, as early as the
 * engine's contract lets them be.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env_uv.h"
#include "base/prng.h"
#include "lsm/lsm.h"

#define ROUND_COUNT 3
#define STEP_COUNT 40000u /* Of all threads together, in one round. */
#define THREAD_COUNT 3
#define USER_COUNT (THREAD_COUNT + 1) /* The last is the loop. */
#define KEY_COUNT 2000u
#define KEY_SIZE 8
#define VALUE_SIZE_MAX 500u
#define BATCH_COUNT_MAX 4u
#define FLIGHT_COUNT 32u
#define RANGE_COUNT_MAX 200u /* Keys between the bounds of an iterator. */
#define BUDGET_SMALL 16u
#define LOOP_STEP_COUNT 8u /* In one tick. */
#define TICK_MS 1
#define DELETE_SHARE 8u /* One of so many cells is a tombstone. */
#define LOOK_SHARE 4u   /* One of so many reads looks at what others were told. */

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(bool held, const char *condition, int line)
{
    if (!held) {
        (void)fprintf(stderr, "stress_lsm: line %d: %s\n", line, condition);
        exit(1);
    }
}

/* Times of versions; each is drawn once, so it says what a cell of a key holds. */
struct key {
    _Atomic uint64_t told;     /* The greatest that was answered OK. */
    _Atomic uint64_t accepted; /* The greatest that the engine took. */
    _Atomic uint64_t deleted;  /* The greatest tombstone that it may have taken. */
};

/* A batch from lsm_write to its answer. */
struct flight {
    struct lsm_write write;
    struct user *user;
    atomic_bool busy;
    uint64_t time;
    uint32_t count;
    uint32_t keys[BATCH_COUNT_MAX];
};

struct user {
    struct stress *stress;
    pthread_t thread;
    bool is_loop; /* Never blocks. */
    struct prng prng;
    struct buffer scratch;
    _Atomic uint64_t drawn_above; /* Every version not accepted yet is greater. */
    uint64_t accepted;            /* The last version. */
    uint64_t seen[KEY_COUNT];     /* Times this user may not find older. */
    struct lsm_stats stats;       /* When it last looked. */
    uint64_t write_count;         /* Accepted. */
    uint64_t answer_count;        /* The loop's. */
    struct flight flights[FLIGHT_COUNT];
};

struct stress {
    struct env *env;
    struct lsm *lsm;
    char root[64];
    char path[80];
    struct lsm_options options;
    _Atomic uint64_t time_last; /* Versions drawn so far. */
    atomic_uint steps;
    atomic_bool ended; /* Stopped: threads may go. */
    struct key keys[KEY_COUNT];
    struct user users[USER_COUNT];
    /* The loop's. */
    struct env_timer tick;
    struct lsm_request flush;
    struct lsm_request compact;
    bool flush_running;
    bool compact_running;
    unsigned flush_count;
    unsigned compact_count;
    struct lsm_stop stop;
    bool stopping;
    bool stopped;
};

static void raise_to(_Atomic uint64_t *highest, uint64_t value, memory_order order)
{
    uint64_t old = atomic_load_explicit(highest, memory_order_relaxed);
    while (old < value && !atomic_compare_exchange_weak_explicit(highest, &old, value, order,
                                                                 memory_order_relaxed)) {
    }
}

/* --- what a key and a version hold ------------------------------------------------------------ */

static struct slice key_make(uint32_t index, char text[KEY_SIZE])
{
    (void)snprintf(text, KEY_SIZE, "key%04u", (unsigned)index);
    return slice_make(text, KEY_SIZE - 1);
}

static uint32_t key_index(struct slice key)
{
    char text[KEY_SIZE] = {0};
    CHECK(key.size == KEY_SIZE - 1);
    memcpy(text, key.data, key.size);
    uint32_t index = (uint32_t)strtoul(text + 3, NULL, 10);
    CHECK(index < KEY_COUNT);
    CHECK(slice_equal(key_make(index, text), key));
    return index;
}

static struct cell cell_make(uint32_t index, uint64_t time, uint8_t value[VALUE_SIZE_MAX])
{
    uint64_t drawn = prng_mix(prng_mix(time) ^ index);
    struct cell cell = {.version = {.time = time, .node = 1}};
    if (drawn % DELETE_SHARE == 0) {
        cell.kind = CELL_DELETE;
        return cell;
    }
    size_t size = (drawn >> 8) % VALUE_SIZE_MAX;
    for (size_t at = 0; at < size; at += sizeof(drawn)) { /* Bytes that no block compresses. */
        drawn = prng_mix(drawn);
        memcpy(value + at, &drawn, size - at < sizeof(drawn) ? size - at : sizeof(drawn));
    }
    cell.value = slice_make(value, size);
    return cell;
}

static void cell_check(uint32_t index, const struct cell *cell)
{
    uint8_t value[VALUE_SIZE_MAX];
    struct cell wanted = cell_make(index, cell->version.time, value);
    CHECK(cell_compare(cell, &wanted) == 0);
    CHECK(slice_equal(cell->value, wanted.value));
    CHECK(cell->window.size == 0);
}

/* As the node promises: versions accepted after this call are greater. */
static struct version stress_floor(void *context, struct slice key)
{
    struct stress *stress = context;
    (void)key_index(key);
    uint64_t least = UINT64_MAX;
    for (unsigned index = 0; index < USER_COUNT; index++) {
        uint64_t above =
            atomic_load_explicit(&stress->users[index].drawn_above, memory_order_acquire);
        least = above < least ? above : least;
    }
    return (struct version){.time = least, .node = UINT32_MAX};
}

static void stress_failed(void *context, enum status status)
{
    (void)context;
    (void)fprintf(stderr, "stress_lsm: read-only: %s\n", status_name(status));
    CHECK(false);
}

/* --- reads ------------------------------------------------------------------------------------ */

static void user_look(struct user *user, uint32_t index)
{
    uint64_t told = atomic_load_explicit(&user->stress->keys[index].told, memory_order_acquire);
    if (user->seen[index] < told) {
        user->seen[index] = told;
    }
}

/* Nothing at or above `time` was found of a key that once had it. */
static void check_forgotten(const struct user *user, uint32_t index, uint64_t time)
{
    const struct key *key = &user->stress->keys[index];
    CHECK(time <= atomic_load_explicit(&key->deleted, memory_order_relaxed));
}

static void user_found(struct user *user, uint32_t index, const struct cell *cell)
{
    cell_check(index, cell);
    if (cell->version.time < user->seen[index]) {
        (void)fprintf(stderr, "stress_lsm: key %u: %" PRIu64 " after %" PRIu64 ", of %" PRIu64 "\n",
                      (unsigned)index, cell->version.time, user->seen[index],
                      atomic_load(&user->stress->keys[index].deleted));
    }
    CHECK(cell->version.time >= user->seen[index]);
    user->seen[index] = cell->version.time;
}

static enum lsm_wait user_wait(struct user *user)
{
    return user->is_loop || prng_chance(&user->prng, 1, 2) ? LSM_NOWAIT : LSM_MAY_BLOCK;
}

static void user_get(struct user *user, uint32_t index)
{
    char text[KEY_SIZE];
    struct slice key = key_make(index, text);
    struct cell cell;
    enum lsm_wait wait = user_wait(user);
    enum status status = lsm_get(user->stress->lsm, key, wait, &user->scratch, &cell);
    if (status == STATUS_WOULD_BLOCK) {
        CHECK(wait == LSM_NOWAIT);
        if (user->is_loop) {
            return;
        }
        status = lsm_get(user->stress->lsm, key, LSM_MAY_BLOCK, &user->scratch, &cell);
    }
    if (status == STATUS_NOT_FOUND) {
        check_forgotten(user, index, user->seen[index]);
    } else {
        CHECK(status == STATUS_OK);
        user_found(user, index, &cell);
    }
}

/* One iterator, and the key at which the next one found may be. */
struct walk {
    struct lsm_iterator *iterator;
    bool reverse;
    uint32_t lower;
    uint32_t upper; /* Exclusive. */
};

static void walk_skip(const struct user *user, struct walk *walk, uint32_t lower, uint32_t upper)
{
    for (uint32_t index = lower; index < upper; index++) {
        check_forgotten(user, index, user->seen[index]);
    }
    if (walk->reverse) {
        walk->upper = lower;
    } else {
        walk->lower = upper;
    }
}

/* Whether there may be more. */
static bool walk_step(struct user *user, struct walk *walk)
{
    struct slice key;
    struct cell cell;
    enum status status = lsm_iterator_next(walk->iterator, &key, &cell);
    if (status == STATUS_NOT_FOUND) {
        walk_skip(user, walk, walk->lower, walk->upper);
    }
    if (status != STATUS_OK) {
        CHECK(status == STATUS_NOT_FOUND || status == STATUS_BUDGET ||
              status == STATUS_WOULD_BLOCK);
        return status == STATUS_BUDGET;
    }
    uint32_t index = key_index(key);
    CHECK(index >= walk->lower);
    CHECK(index < walk->upper);
    user_found(user, index, &cell);
    if (walk->reverse) {
        walk_skip(user, walk, index + 1, walk->upper);
        walk->upper = index;
    } else {
        walk_skip(user, walk, walk->lower, index);
        walk->lower = index + 1;
    }
    return true;
}

static void user_walk(struct user *user)
{
    struct walk walk = {.reverse = prng_chance(&user->prng, 1, 2),
                        .lower = (uint32_t)prng_below(&user->prng, KEY_COUNT)};
    walk.upper = walk.lower + 1 + (uint32_t)prng_below(&user->prng, RANGE_COUNT_MAX);
    char lower[KEY_SIZE];
    char upper[KEY_SIZE];
    struct lsm_iterator_options options = {
        .lower = key_make(walk.lower, lower),
        .reverse = walk.reverse,
        .wait = user_wait(user),
        .work_budget = prng_chance(&user->prng, 1, 2) ? BUDGET_SMALL : 0,
    };
    if (walk.upper < KEY_COUNT) {
        options.upper = key_make(walk.upper, upper);
    } else {
        walk.upper = KEY_COUNT;
    }
    if (prng_chance(&user->prng, 1, LOOK_SHARE)) {
        for (uint32_t index = walk.lower; index < walk.upper; index++) {
            user_look(user, index);
        }
    }
    enum status status = lsm_iterator_open(user->stress->lsm, &options, &walk.iterator);
    CHECK(status == STATUS_OK);
    while (walk_step(user, &walk)) {
    }
    lsm_iterator_close(walk.iterator);
}

static void user_stats(struct user *user)
{
    struct lsm_stats old = user->stats;
    struct lsm_stats *stats = &user->stats;
    lsm_stats(user->stress->lsm, stats);
    CHECK(!stats->read_only);
    CHECK(stats->version_max.time >= user->accepted);
    CHECK(version_compare(stats->version_max, old.version_max) >= 0);
    CHECK(stats->user_written >= old.user_written);
    CHECK(stats->wal_written >= old.wal_written);
    CHECK(stats->flush_written >= old.flush_written);
    CHECK(stats->compaction_written >= old.compaction_written);
    CHECK(stats->sync_count >= old.sync_count);
    CHECK(stats->write_count >= old.write_count);
    CHECK(stats->write_count >= user->write_count);
    CHECK(stats->get_count >= old.get_count);
}

/* --- writes ----------------------------------------------------------------------------------- */

static void flight_done(struct lsm_write *write, enum status status)
{
    struct flight *flight = container_of(write, struct flight, write);
    CHECK(status == STATUS_OK);
    CHECK(atomic_load_explicit(&flight->busy, memory_order_relaxed));
    for (uint32_t at = 0; at < flight->count; at++) {
        struct key *key = &flight->user->stress->keys[flight->keys[at]];
        raise_to(&key->told, flight->time, memory_order_release);
    }
    flight->user->answer_count++;
    atomic_store_explicit(&flight->busy, false, memory_order_release);
}

static struct flight *flight_free(struct user *user)
{
    for (uint32_t at = 0; at < FLIGHT_COUNT; at++) {
        if (!atomic_load_explicit(&user->flights[at].busy, memory_order_acquire)) {
            return &user->flights[at];
        }
    }
    return NULL;
}

/* Of the batch just accepted; it may be answered before this looks. */
static void user_check_accepted(struct user *user, enum lsm_durability durability, uint32_t index)
{
    char text[KEY_SIZE];
    struct slice key = key_make(index, text);
    uint64_t time = user->accepted;
    if (durability == LSM_SYNCED) {
        /* Asked first: what leaves the queue after that is found by the get. */
        struct version queued = lsm_queued_version(user->stress->lsm, key);
        if (queued.time >= time) {
            return;
        }
    }
    if (user->seen[index] < time) {
        user->seen[index] = time;
    }
    user_get(user, index);
}

static void user_write(struct user *user)
{
    struct stress *stress = user->stress;
    struct flight *flight = flight_free(user);
    if (flight == NULL) {
        return;
    }
    uint64_t above = atomic_load_explicit(&stress->time_last, memory_order_relaxed);
    atomic_store_explicit(&user->drawn_above, above, memory_order_release);
    uint64_t time = atomic_fetch_add_explicit(&stress->time_last, 1, memory_order_relaxed) + 1;
    uint32_t count = 1 + (uint32_t)prng_below(&user->prng, BATCH_COUNT_MAX);
    enum lsm_durability durability = prng_chance(&user->prng, 1, 2) ? LSM_SYNCED : LSM_BUFFERED;
    struct lsm_record records[BATCH_COUNT_MAX];
    uint32_t keys[BATCH_COUNT_MAX];
    char texts[BATCH_COUNT_MAX][KEY_SIZE];
    uint8_t values[BATCH_COUNT_MAX][VALUE_SIZE_MAX];
    for (uint32_t at = 0; at < count; at++) {
        keys[at] = (uint32_t)prng_below(&user->prng, KEY_COUNT);
        records[at].key = key_make(keys[at], texts[at]);
        records[at].cell = cell_make(keys[at], time, values[at]);
        if (records[at].cell.kind == CELL_DELETE) {
            raise_to(&stress->keys[keys[at]].deleted, time, memory_order_relaxed);
        }
    }
    flight->write = (struct lsm_write){
        .records = records, .record_count = count, .durability = durability, .done = flight_done};
    flight->time = time;
    flight->count = count;
    memcpy(flight->keys, keys, sizeof(keys));
    atomic_store_explicit(&flight->busy, true, memory_order_relaxed);
    enum status status = lsm_write(stress->lsm, &flight->write);
    if (status != STATUS_OK) {
        CHECK(status == STATUS_OVERLOADED || status == STATUS_CLOSED);
        atomic_store_explicit(&flight->busy, false, memory_order_relaxed);
        return;
    }
    user->accepted = time;
    user->write_count++;
    for (uint32_t at = 0; at < count; at++) {
        raise_to(&stress->keys[keys[at]].accepted, time, memory_order_relaxed);
        user_check_accepted(user, durability, keys[at]);
    }
}

/* --- users and the loop ----------------------------------------------------------------------- */

static void user_step(struct user *user)
{
    uint64_t drawn = prng_below(&user->prng, 100);
    if (drawn < 50) {
        user_write(user);
    } else if (drawn < 95) {
        uint32_t index = (uint32_t)prng_below(&user->prng, KEY_COUNT);
        if (prng_chance(&user->prng, 1, LOOK_SHARE)) {
            user_look(user, index);
        }
        user_get(user, index);
    } else if (drawn < 98) {
        user_walk(user);
    } else {
        user_stats(user);
    }
    (void)atomic_fetch_add_explicit(&user->stress->steps, 1, memory_order_relaxed);
}

static void *user_run(void *argument)
{
    struct user *user = argument;
    while (!atomic_load_explicit(&user->stress->ended, memory_order_relaxed)) {
        user_step(user);
    }
    return NULL;
}

static void stress_flushed(struct lsm_request *request, enum status status)
{
    struct stress *stress = container_of(request, struct stress, flush);
    CHECK(status == STATUS_OK || (stress->stopping && status == STATUS_CANCELLED));
    CHECK(stress->flush_running);
    stress->flush_running = false;
    stress->flush_count += status == STATUS_OK ? 1 : 0;
}

static void stress_compacted(struct lsm_request *request, enum status status)
{
    struct stress *stress = container_of(request, struct stress, compact);
    CHECK(status == STATUS_OK || (stress->stopping && status == STATUS_CANCELLED));
    CHECK(stress->compact_running);
    stress->compact_running = false;
    stress->compact_count += status == STATUS_OK ? 1 : 0;
}

static void stress_stopped(struct lsm_stop *stop)
{
    struct stress *stress = container_of(stop, struct stress, stop);
    CHECK(!stress->stopped);
    stress->stopped = true;
}

/* All steps were made, and what they are to meet came about, however busy the machine is. */
static bool stress_has_enough(const struct stress *stress)
{
    if (atomic_load_explicit(&stress->steps, memory_order_relaxed) < STEP_COUNT ||
        stress->flush_count == 0 || stress->compact_count == 0) {
        return false;
    }
    struct lsm_stats stats;
    lsm_stats(stress->lsm, &stats);
    return stats.flush_written > 0 && stats.compaction_written > 0;
}

static void stress_tick(struct env_timer *timer)
{
    struct stress *stress = container_of(timer, struct stress, tick);
    if (stress->stopped) {
        return;
    }
    for (unsigned step = 0; step < LOOP_STEP_COUNT; step++) {
        user_step(&stress->users[THREAD_COUNT]);
    }
    if (!stress->stopping && stress_has_enough(stress)) {
        stress->stopping = true;
        stress->stop.stopped = stress_stopped;
        lsm_stop(stress->lsm, &stress->stop);
    }
    if (!stress->stopping && !stress->flush_running) {
        stress->flush_running = true;
        CHECK(lsm_flush(stress->lsm, &stress->flush) == STATUS_OK);
    }
    if (!stress->stopping && !stress->compact_running) {
        stress->compact_running = true;
        CHECK(lsm_compact(stress->lsm, &stress->compact) == STATUS_OK);
    }
    env_timer_start_ms(stress->env, timer, TICK_MS);
}

/* --- rounds ----------------------------------------------------------------------------------- */

/* With nobody else at work. */
static void stress_compare(struct stress *stress)
{
    struct user *user = &stress->users[0];
    for (uint32_t index = 0; index < KEY_COUNT; index++) {
        char text[KEY_SIZE];
        uint8_t value[VALUE_SIZE_MAX];
        uint64_t time = atomic_load(&stress->keys[index].accepted);
        struct cell wanted = cell_make(index, time, value);
        struct cell cell;
        enum status status =
            lsm_get(stress->lsm, key_make(index, text), LSM_MAY_BLOCK, &user->scratch, &cell);
        if (status == STATUS_NOT_FOUND) {
            CHECK(time == 0 || wanted.kind == CELL_DELETE);
            continue;
        }
        CHECK(status == STATUS_OK);
        CHECK(cell.version.time == time);
        cell_check(index, &cell);
    }
}

static void stress_open(struct stress *stress)
{
    enum status status = lsm_open(stress->env, &stress->options, &stress->lsm);
    CHECK(status == STATUS_OK);
    stress_compare(stress);
}

static void stress_begin(struct stress *stress)
{
    stress->flush_count = 0;
    stress->compact_count = 0;
    stress->stopping = false;
    stress->stopped = false;
    atomic_store(&stress->steps, 0);
    atomic_store(&stress->ended, false);
    for (unsigned index = 0; index < USER_COUNT; index++) {
        memset(&stress->users[index].stats, 0, sizeof(stress->users[index].stats));
        stress->users[index].accepted = 0;
        stress->users[index].write_count = 0;
        stress->users[index].answer_count = 0;
    }
    stress->tick.fired = stress_tick;
    env_timer_start_ms(stress->env, &stress->tick, TICK_MS);
}

static void stress_report(struct stress *stress, unsigned number)
{
    struct lsm_stats stats;
    lsm_stats(stress->lsm, &stats);
    uint64_t writes = 0;
    for (unsigned index = 0; index < USER_COUNT; index++) {
        CHECK(stress->users[index].answer_count == stress->users[index].write_count);
        writes += stress->users[index].write_count;
    }
    CHECK(stats.write_count == writes);
    CHECK(stats.wal_queue_size == 0);
    CHECK(stats.flush_written > 0);
    CHECK(stats.compaction_written > 0);
    CHECK(stats.sync_count > 0);
    (void)printf("round %u: %u steps, %" PRIu64 " writes (%" PRIu64 " refused), %" PRIu64
                 " gets, %" PRIu64 " blocked, %" PRIu64 " syncs, %" PRIu64 " KiB flushed, %" PRIu64
                 " KiB merged, %" PRIu64 " purged, %u flushes and %u compactions asked for\n",
                 number, atomic_load(&stress->steps), writes, stats.overloaded_count,
                 stats.get_count, stats.would_block_count, stats.sync_count,
                 stats.flush_written >> 10, stats.compaction_written >> 10, stats.purged_count,
                 stress->flush_count, stress->compact_count);
}

static void stress_round(struct stress *stress, unsigned number)
{
    stress_open(stress);
    stress_begin(stress);
    for (unsigned index = 0; index < THREAD_COUNT; index++) {
        struct user *user = &stress->users[index];
        CHECK(pthread_create(&user->thread, NULL, user_run, user) == 0);
    }
    while (!stress->stopped) {
        env_uv_run_once(stress->env);
    }
    atomic_store(&stress->ended, true);
    for (unsigned index = 0; index < THREAD_COUNT; index++) {
        CHECK(pthread_join(stress->users[index].thread, NULL) == 0);
    }
    stress->env->ops->timer_stop(stress->env, &stress->tick);
    CHECK(!stress->flush_running);
    CHECK(!stress->compact_running);
    stress_compare(stress);
    stress_report(stress, number);
    lsm_close(stress->lsm);
}

static void stress_init(struct stress *stress, bool purge)
{
    (void)strcpy(stress->root, "/tmp/stress_lsm.XXXXXX");
    CHECK(mkdtemp(stress->root) != NULL);
    (void)snprintf(stress->path, sizeof(stress->path), "%s/engine", stress->root);
    stress->options = (struct lsm_options){
        .path = stress->path,
        .memory_size = 8 << 20,
        .memtable_size = 64 << 10,
        .wal_segment_size = 64 << 10,
        .slice_size = 16 << 10,
        .table_size_max = 64 << 10,
        .block_size = 1 << 10,
        .open_files_max = 2, /* Files close under readers all the time. */
        .floor = purge ? stress_floor : NULL,
        .failed = stress_failed,
        .context = stress,
    };
    stress->flush.done = stress_flushed;
    stress->compact.done = stress_compacted;
    for (unsigned index = 0; index < USER_COUNT; index++) {
        struct user *user = &stress->users[index];
        user->stress = stress;
        user->is_loop = index == THREAD_COUNT;
        prng_init(&user->prng, index + 1);
        for (uint32_t at = 0; at < FLIGHT_COUNT; at++) {
            user->flights[at].user = user;
        }
    }
    struct env_uv_options options = {.log_level = LOG_WARN};
    CHECK(env_uv_open(&options, &stress->env) == STATUS_OK);
}

/* After a failed check the folder stays, to be looked at. */
static void stress_deinit(struct stress *stress)
{
    for (unsigned index = 0; index < USER_COUNT; index++) {
        buffer_deinit(&stress->users[index].scratch);
    }
    env_uv_close(stress->env);
    char command[96];
    (void)snprintf(command, sizeof(command), "rm -r %s", stress->root);
    CHECK(system(command) == 0);
}

int main(int argc, char **argv)
{
    struct stress *stress = calloc(1, sizeof(*stress));
    CHECK(stress != NULL);
    stress_init(stress, argc == 2 && strcmp(argv[1], "purge") == 0);
    for (unsigned number = 0; number < ROUND_COUNT; number++) {
        stress_round(stress, number);
    }
    stress_open(stress);
    env_uv_end(stress->env); /* As a process that is killed: the engine is not stopped. */
    lsm_close(stress->lsm);
    stress_deinit(stress);
    free(stress);
    return 0;
}
