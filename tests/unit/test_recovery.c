/*
 * tests/unit/test_recovery.c -- an engine on a simulated disk, crashed at any file operation and
 * compared with a model.
 *
 * The model of one life: every key has a cell known to be durable (`truth`), and this life's
 * writes. A read must give the greatest of what is visible for certain, or a greater one whose
 * sync is under way. A crash may take what was not synced; what is found after it is the truth of
 * the next life, so whatever is missing must never come back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "lsm/lsm.h"
#include "tests/sim/env_sim.h"

#define KEY_COUNT 48u
#define WRITE_COUNT_MAX 4096u
#define BATCH_COUNT_MAX 4u
#define LIFE_COUNT 6u
#define VALUE_SIZE_MAX 30000u
#define STEPS_MAX 200000u

struct planned {
    struct lsm_write write;
    struct lsm_record records[BATCH_COUNT_MAX];
    uint32_t keys[BATCH_COUNT_MAX];
    bool accepted;
    bool answered;
    bool durable; /* Known to be, by a later sync. */
    enum status status;
    enum lsm_durability durability;
    uint32_t life;
};

struct truth {
    bool any;
    struct version version;
    bool deleted;
};

struct harness {
    uint64_t seed;
    struct prng prng;
    struct world *world;
    struct world_node *node;
    struct lsm_options options;
    struct env_job open_job;
    struct lsm *lsm; /* NULL while it is not open. */
    enum status open_status;
    struct lsm_request request;
    bool request_busy;
    uint32_t life;
    uint64_t clock;
    struct version floor;
    struct truth truth[KEY_COUNT];
    struct planned *writes;
    uint32_t write_count;
    uint32_t done_count;
    uint64_t purged_count;
    uint64_t merged_size;
};

static struct harness harness;
static uint8_t value_bytes[VALUE_SIZE_MAX];

static struct slice key_of(uint32_t index)
{
    static char names[KEY_COUNT][32];
    snprintf(names[index], sizeof(names[index]), "key/%02u/%s", index % 7,
             index % 3 == 0 ? "x" : "long-enough-to-differ");
    size_t size = strlen(names[index]);
    names[index][size] = (char)('A' + (int)index % 26);
    names[index][size + 1] = (char)('0' + (int)index / 26);
    return slice_make(names[index], size + 2);
}

/* Every version has one value: its size and bytes follow from it. */
static struct slice value_of(struct version version)
{
    size_t size =
        version.sequence == 1 ? VALUE_SIZE_MAX - version.node % 1000 : 20 + version.node % 300;
    memset(value_bytes, (int)(version.node % 251), size);
    return slice_make(value_bytes, size);
}

static struct version harness_floor(void *context, struct slice key)
{
    (void)context;
    (void)key;
    return harness.floor;
}

static void open_run(struct env_job *job)
{
    (void)job;
    harness.open_status = lsm_open(world_node_env(harness.node), &harness.options, &harness.lsm);
}

static void open_done(struct env_job *job, enum status status)
{
    (void)job;
    (void)status;
}

static void boot(void *context)
{
    (void)context;
    harness.lsm = NULL;
    harness.open_status = STATUS_WOULD_BLOCK;
    harness.open_job = (struct env_job){.run = open_run, .done = open_done};
    env_submit(world_node_env(harness.node), ENV_LANE_POOL, &harness.open_job);
}

static void write_done(struct lsm_write *write, enum status status)
{
    struct planned *planned = container_of(write, struct planned, write);
    cr_assert(planned->accepted && !planned->answered, "seed %llu",
              (unsigned long long)harness.seed);
    planned->answered = true;
    planned->status = status;
    harness.done_count++;
}

static void request_done(struct lsm_request *request, enum status status)
{
    (void)request;
    cr_assert(status == STATUS_OK || status == STATUS_CANCELLED);
    harness.request_busy = false;
}

static void plan_write(struct planned *planned)
{
    struct prng *prng = &harness.prng;
    uint32_t count = 1 + (uint32_t)prng_below(prng, BATCH_COUNT_MAX);
    planned->durability = prng_chance(prng, 1, 2)   ? LSM_SYNCED
                          : prng_chance(prng, 3, 4) ? LSM_BUFFERED
                                                    : LSM_NONE;
    uint32_t first = (uint32_t)prng_below(prng, KEY_COUNT);
    for (uint32_t i = 0; i < count; i++) {
        harness.clock++;
        bool huge = prng_chance(prng, 1, 60);
        struct version version = {
            /* Arrival order is not version order. */
            .time =
                harness.floor.time + 1 + prng_below(prng, harness.clock + 20 - harness.floor.time),
            .node = (uint32_t)harness.clock,
            .sequence = huge ? 1 : 0,
        };
        bool deletes = planned->durability != LSM_NONE && prng_chance(prng, 1, 3);
        planned->keys[i] = (first + i * 5) % KEY_COUNT;
        planned->records[i] = (struct lsm_record){
            .key = key_of(planned->keys[i]),
            .cell = {.version = version, .kind = deletes ? CELL_DELETE : CELL_VALUE},
        };
    }
    planned->write = (struct lsm_write){
        .records = planned->records,
        .record_count = count,
        .durability = planned->durability,
        .done = write_done,
    };
    planned->life = harness.life;
}

static void act_write(void *context)
{
    (void)context;
    static uint8_t values[BATCH_COUNT_MAX][VALUE_SIZE_MAX];
    cr_assert(harness.write_count < WRITE_COUNT_MAX);
    struct planned *planned = &harness.writes[harness.write_count];
    memset(planned, 0, sizeof(*planned));
    plan_write(planned);
    for (uint32_t i = 0; i < planned->write.record_count; i++) {
        struct cell *cell = &planned->records[i].cell;
        if (cell->kind == CELL_VALUE) {
            struct slice value = value_of(cell->version);
            memcpy(values[i], value.data, value.size);
            cell->value = slice_make(values[i], value.size);
        }
    }
    enum status status = lsm_write(harness.lsm, &planned->write);
    cr_assert(status == STATUS_OK || status == STATUS_OVERLOADED, "seed %llu: %s",
              (unsigned long long)harness.seed, status_name(status));
    planned->accepted = status == STATUS_OK;
    harness.write_count += planned->accepted ? 1 : 0;
}

static void act_request(void *context)
{
    (void)context;
    if (harness.request_busy) {
        return;
    }
    harness.request = (struct lsm_request){.done = request_done};
    enum status status = prng_chance(&harness.prng, 2, 3)
                             ? lsm_flush(harness.lsm, &harness.request)
                             : lsm_compact(harness.lsm, &harness.request);
    cr_assert_eq(status, STATUS_OK);
    harness.request_busy = true;
}

static bool version_above(struct version a, const struct truth *truth)
{
    return !truth->any || version_compare(a, truth->version) > 0;
}

static const struct lsm_record *record_find(uint32_t key, struct version version)
{
    for (uint32_t i = 0; i < harness.write_count; i++) {
        const struct planned *planned = &harness.writes[i];
        for (uint32_t j = 0; j < planned->write.record_count; j++) {
            if (planned->keys[j] == key &&
                version_compare(planned->records[j].cell.version, version) == 0) {
                return &planned->records[j];
            }
        }
    }
    return NULL;
}

enum certainty { VISIBLE_NOW, DURABLE };

/* The greatest cell that must be there. */
static struct truth least_of(uint32_t key, enum certainty certainty)
{
    struct truth least = harness.truth[key];
    for (uint32_t i = 0; i < harness.write_count; i++) {
        const struct planned *planned = &harness.writes[i];
        bool synced =
            planned->durability == LSM_SYNCED && planned->answered && planned->status == STATUS_OK;
        bool visible = planned->durability != LSM_SYNCED || synced;
        if (planned->life != harness.life ||
            !(certainty == DURABLE ? synced || planned->durable : visible)) {
            continue;
        }
        for (uint32_t j = 0; j < planned->write.record_count; j++) {
            const struct cell *cell = &planned->records[j].cell;
            if (planned->keys[j] == key && version_above(cell->version, &least)) {
                least = (struct truth){
                    .any = true, .version = cell->version, .deleted = cell->kind == CELL_DELETE};
            }
        }
    }
    return least;
}

static void check_cell(uint32_t key, enum status status, const struct cell *cell,
                       enum certainty certainty, struct truth *read)
{
    struct truth least = least_of(key, certainty);
    unsigned long long seed = (unsigned long long)harness.seed;
    *read = (struct truth){0};
    if (status == STATUS_NOT_FOUND) {
        bool purged = least.deleted && version_compare(least.version, harness.floor) <= 0;
        cr_assert(!least.any || purged, "seed %llu life %u: key %u is lost", seed, harness.life,
                  key);
        return;
    }
    cr_assert_eq(status, STATUS_OK, "seed %llu: %s", seed, status_name(status));
    cr_assert(!least.any || version_compare(cell->version, least.version) >= 0,
              "seed %llu life %u: key %u went back", seed, harness.life, key);
    const struct lsm_record *record = record_find(key, cell->version);
    cr_assert(record != NULL, "seed %llu: key %u was never written so", seed, key);
    const struct planned *planned =
        &harness.writes[(size_t)((const uint8_t *)record - (const uint8_t *)harness.writes) /
                        sizeof(struct planned)];
    bool old = planned->life != harness.life;
    cr_assert(!old || (harness.truth[key].any &&
                       version_compare(cell->version, harness.truth[key].version) == 0),
              "seed %llu life %u: key %u came back from an earlier life", seed, harness.life, key);
    cr_assert_eq(cell->kind, record->cell.kind);
    if (cell->kind == CELL_VALUE) {
        cr_assert(slice_equal(cell->value, value_of(cell->version)), "seed %llu: bytes", seed);
    }
    *read =
        (struct truth){.any = true, .version = cell->version, .deleted = cell->kind == CELL_DELETE};
}

static void read_all(enum certainty certainty, struct truth *read)
{
    struct buffer scratch = {0};
    for (uint32_t key = 0; key < KEY_COUNT; key++) {
        struct cell cell;
        enum status status = lsm_get(harness.lsm, key_of(key), LSM_MAY_BLOCK, &scratch, &cell);
        check_cell(key, status, &cell, certainty, &read[key]);
    }
    buffer_deinit(&scratch);
}

/* A scan shows what gets show, in order, forwards and backwards. */
static void check_scan(const struct truth *read, bool reverse)
{
    struct lsm_iterator_options options = {.reverse = reverse};
    struct lsm_iterator *iterator = NULL;
    cr_assert_eq(lsm_iterator_open(harness.lsm, &options, &iterator), STATUS_OK);
    uint32_t expected = 0;
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        expected += read[i].any ? 1 : 0;
    }
    struct buffer last = {0};
    struct slice key;
    struct cell cell;
    enum status status = STATUS_OK;
    uint32_t count = 0;
    while ((status = lsm_iterator_next(iterator, &key, &cell)) == STATUS_OK) {
        int order = slice_compare(key, buffer_slice(&last));
        cr_assert(count == 0 || (reverse ? order < 0 : order > 0), "order");
        buffer_clear(&last);
        buffer_append_slice(&last, key);
        uint32_t index = 0;
        while (index < KEY_COUNT && !slice_equal(key_of(index), key)) {
            index++;
        }
        cr_assert(index < KEY_COUNT && read[index].any &&
                      version_compare(read[index].version, cell.version) == 0,
                  "seed %llu: scan and get differ", (unsigned long long)harness.seed);
        count++;
    }
    cr_assert_eq(status, STATUS_NOT_FOUND);
    cr_assert_eq(count, expected, "seed %llu: scan %u of %u", (unsigned long long)harness.seed,
                 count, expected);
    lsm_iterator_close(iterator);
    buffer_deinit(&last);
}

/* Reads are file calls, so they run in a job of their own; see act_check(). */
static struct env_job check_job;
static bool check_busy;

static void check_run(struct env_job *job)
{
    (void)job;
    struct truth read[KEY_COUNT];
    read_all(VISIBLE_NOW, read);
    check_scan(read, false);
    check_scan(read, true);
}

static void check_done(struct env_job *job, enum status status)
{
    (void)job;
    (void)status;
    check_busy = false;
}

static void act_check(void *context)
{
    (void)context;
    if (!check_busy) {
        check_busy = true;
        check_job = (struct env_job){.run = check_run, .done = check_done};
        env_submit(world_node_env(harness.node), ENV_LANE_POOL, &check_job);
    }
}

/* If all that was written is durable, older versions may be forgotten from now on. */
static void act_floor(void *context)
{
    (void)context;
    bool last_synced = false;
    for (uint32_t i = 0; i < harness.write_count; i++) {
        const struct planned *planned = &harness.writes[i];
        if (planned->life == harness.life && !planned->answered) {
            return;
        }
        last_synced = planned->durability == LSM_SYNCED;
    }
    for (uint32_t i = 0; last_synced && i < harness.write_count; i++) {
        struct planned *planned = &harness.writes[i];
        planned->durable = planned->life == harness.life && planned->durability != LSM_NONE;
    }
    if (last_synced) {
        harness.floor = (struct version){.time = harness.clock, .node = UINT32_MAX};
    }
}

/* After a crash: what is there is the truth of the new life. */
static void recovered_run(struct env_job *job)
{
    (void)job;
    struct truth read[KEY_COUNT];
    read_all(DURABLE, read);
    /* A batch survives as a whole or not at all. */
    for (uint32_t i = 0; i < harness.write_count; i++) {
        const struct planned *planned = &harness.writes[i];
        bool any = false;
        for (uint32_t j = 0; j < planned->write.record_count; j++) {
            any = any || (read[planned->keys[j]].any &&
                          version_compare(read[planned->keys[j]].version,
                                          planned->records[j].cell.version) == 0);
        }
        for (uint32_t j = 0; any && j < planned->write.record_count; j++) {
            const struct truth *other = &read[planned->keys[j]];
            const struct cell *cell = &planned->records[j].cell;
            bool forgotten = !other->any && version_compare(cell->version, harness.floor) <= 0;
            cr_assert(forgotten ||
                          (other->any && version_compare(other->version, cell->version) >= 0),
                      "seed %llu: half a batch", (unsigned long long)harness.seed);
        }
    }
    memcpy(harness.truth, read, sizeof(read));
    harness.life++;
}

static void call_job(void *context)
{
    env_submit(world_node_env(harness.node), ENV_LANE_POOL, context);
}

static void run_until_open(void)
{
    uint64_t steps = 0;
    while (world_node_alive(harness.node) && harness.open_status == STATUS_WOULD_BLOCK) {
        cr_assert(world_run_steps(harness.world, 1) > 0 && ++steps < STEPS_MAX);
    }
    if (world_node_alive(harness.node)) {
        cr_assert_eq(harness.open_status, STATUS_OK, "seed %llu life %u: %s",
                     (unsigned long long)harness.seed, harness.life,
                     status_name(harness.open_status));
    }
}

static void crash(void)
{
    struct prng *prng = &harness.prng;
    enum world_crash kind = prng_chance(prng, 1, 3) ? WORLD_CRASH_PROCESS : WORLD_CRASH_POWER;
    if (prng_chance(prng, 1, 2)) {
        world_node_crash_in_job(harness.node, kind, prng_below(prng, 12));
        for (uint32_t i = 0; i < 200 && world_node_alive(harness.node); i++) {
            world_node_call(harness.node, prng_chance(prng, 1, 4) ? act_request : act_write, NULL);
            (void)world_run_steps(harness.world, 8);
        }
    }
    if (world_node_alive(harness.node)) {
        world_node_crash(harness.node, kind);
    }
    harness.request_busy = false;
    check_busy = false;
}

static void life(void)
{
    struct prng *prng = &harness.prng;
    do {                                          /* A crash may come while it opens, too. */
        harness.open_status = STATUS_WOULD_BLOCK; /* Other events may come before boot(). */
        world_node_start(harness.node, boot, NULL);
        (void)world_run_steps(harness.world, 1);
        if (prng_chance(prng, 1, 3)) {
            world_node_crash_in_job(harness.node, WORLD_CRASH_POWER, prng_below(prng, 12));
        }
        run_until_open();
        if (world_node_alive(harness.node)) {
            check_job = (struct env_job){.run = recovered_run, .done = check_done};
            uint32_t before = harness.life;
            check_busy = true;
            world_node_call(harness.node, call_job, &check_job);
            while (world_node_alive(harness.node) && harness.life == before) {
                cr_assert(world_run_steps(harness.world, 1) > 0);
            }
            while (world_node_alive(harness.node) && check_busy) {
                cr_assert(world_run_steps(harness.world, 1) > 0);
            }
        }
    } while (!world_node_alive(harness.node));
    uint32_t count = 20 + (uint32_t)prng_below(prng, 150);
    for (uint32_t i = 0; i < count && world_node_alive(harness.node); i++) {
        uint64_t kind = prng_below(prng, 20);
        world_node_call(harness.node,
                        kind == 0   ? act_request
                        : kind == 1 ? act_check
                        : kind == 2 ? act_floor
                                    : act_write,
                        NULL);
        (void)world_run_steps(harness.world, prng_below(prng, 12));
    }
    struct lsm_stats stats;
    if (world_node_alive(harness.node)) {
        lsm_stats(harness.lsm, &stats);
        harness.purged_count += stats.purged_count;
        harness.merged_size += stats.compaction_written;
    }
    crash();
}

static uint64_t run_seed(uint64_t seed, uint64_t *purged, uint64_t *merged)
{
    struct world_options options;
    memset(&harness, 0, sizeof(harness));
    check_busy = false;
    harness.seed = seed;
    prng_init(&harness.prng, seed);
    world_options_calm(&options);
    harness.world = world_create(seed, &options);
    harness.node = world_node_add(harness.world);
    harness.writes = calloc(WRITE_COUNT_MAX, sizeof(struct planned));
    harness.options = (struct lsm_options){
        .path = "engine",
        .memtable_size = (16u << 10) << prng_below(&harness.prng, 4),
        .wal_segment_size = 64 << 10,
        .slice_size = 4 << 10,
        .table_size_max = 16 << 10,
        .block_size = 512,
        .floor = harness_floor,
    };
    for (uint32_t i = 0; i < LIFE_COUNT; i++) {
        life();
    }
    uint64_t hash = world_hash(harness.world);
    *purged += harness.purged_count;
    *merged += harness.merged_size;
    world_destroy(harness.world);
    free(harness.writes);
    return hash;
}

Test(recovery, crashes_lose_nothing_that_was_synced, .timeout = 200)
{
    const char *first = getenv("SEED");
    uint64_t from = first == NULL ? 1 : strtoull(first, NULL, 10);
    uint64_t to = first == NULL ? 150 : from;
    uint64_t purged = 0;
    uint64_t merged = 0;
    for (uint64_t seed = from; seed <= to; seed++) {
        (void)run_seed(seed, &purged, &merged);
    }
    if (first == NULL) { /* The runs went where they were meant to go. */
        cr_assert_gt(purged, 100);
        cr_assert_gt(merged, 1 << 20);
    }
}

Test(recovery, a_seed_replays_exactly, .timeout = 60)
{
    uint64_t unused = 0;
    cr_assert_eq(run_seed(7, &unused, &unused), run_seed(7, &unused, &unused));
    cr_assert_neq(run_seed(7, &unused, &unused), run_seed(8, &unused, &unused));
}
