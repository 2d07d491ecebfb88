/*
 * tests/unit/test_wal_spare.c -- segments that follow one another over the same few files, with the
 * power lost at every single operation of it.
 */
#include "lsm/engine.h"
#include "tests/unit/lsm_sim_fixture.h"

#define KEY_COUNT 12u
#define ROUND_COUNT 14u
#define PAGE_SIZE 4096u /* Of the simulated disk. */

static void setup(void)
{
    sim_init();
    sim_bytes_fill(); /* Segments are to fill up. */
}

TestSuite(wal_spare, .init = setup, .fini = sim_deinit, .timeout = 300);

static const char *key_name(uint32_t index)
{
    static char name[16];
    snprintf(name, sizeof(name), "key%02u", index);
    return name;
}

/* The newest version of each key that was answered before the power went. */
static uint64_t durable[KEY_COUNT];

/* One round fills half a segment; keys take turns, so that lost rounds show. */
static void round_write(void)
{
    uint32_t first = sim.write_count;
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(sim_put(key_name(i), 2500, LSM_SYNCED), STATUS_OK);
    }
    for (uint32_t ms = 0; ms < 60; ms++) {
        sim_pass(1);
        if (!world_node_alive(sim.node)) {
            return;
        }
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            if (sim.answered[first + i] && sim.statuses[first + i] == STATUS_OK) {
                durable[i] = first + i + 1; /* As sim_put() counts versions. */
            }
        }
    }
}

struct look {
    struct env_job job;
    const char *when;
    uint64_t at;
};

static void look_run(struct env_job *job)
{
    const struct look *look = container_of(job, struct look, job);
    struct buffer scratch = {0};
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        struct cell cell;
        enum status status =
            lsm_get(sim.lsm, slice_text(key_name(i)), LSM_MAY_BLOCK, &scratch, &cell);
        uint64_t found = status == STATUS_OK ? cell.version.time : 0;
        cr_assert(status == STATUS_OK || status == STATUS_NOT_FOUND);
        cr_assert_geq(found, durable[i], "%s %llu: key %u is at %llu, not %llu", look->when,
                      (unsigned long long)look->at, i, (unsigned long long)found,
                      (unsigned long long)durable[i]);
    }
    buffer_deinit(&scratch);
}

static void look_call(void *context)
{
    struct look *look = context;
    env_submit(world_node_env(sim.node), ENV_LANE_POOL, &look->job);
}

static void keys_check(const char *when, uint64_t at)
{
    struct look look = {.job = {.run = look_run, .done = sim_open_done}, .when = when, .at = at};
    world_node_call(sim.node, look_call, &look);
    sim_pass(100);
}

/* Everything of one life up to its `operation`-th change on the disk; 0: all of it. How many
 * changes there were. */
static uint64_t life(uint64_t operation)
{
    memset(durable, 0, sizeof(durable));
    uint64_t before = disk_sim_operation_count(sim_disk());
    if (operation > 0) {
        world_node_crash_in_job(sim.node, WORLD_CRASH_POWER, operation - 1);
    }
    for (uint32_t i = 0; i < ROUND_COUNT && world_node_alive(sim.node); i++) {
        round_write();
    }
    return disk_sim_operation_count(sim_disk()) - before;
}

Test(wal_spare, segments_go_round_over_a_few_files)
{
    (void)life(0);
    struct lsm_stats stats = sim_stats();
    uint32_t files = sim_file_count(".wal") + sim_file_count(".spare");
    cr_assert_gt(sim_file_count(".spare"), 0);
    cr_assert_leq(sim_file_count(".spare"), 4);
    cr_assert_eq(stats.wal_size % (64 << 10), 0, "spare files count");
    cr_assert_leq(stats.wal_size, files * (64ull << 10));
    uint64_t used = disk_sim_used_size(sim_disk());
    (void)life(0);
    (void)life(0);
    cr_assert_leq(disk_sim_used_size(sim_disk()), used + (512 << 10), "no file is left behind");
    /* The next open takes them over, but for those of another size. */
    sim_power_cut();
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
    cr_assert_leq(sim_file_count(".spare"), 4);
    keys_check("opened", 0);
    sim_power_cut();
    sim.options.wal_segment_size = 128 << 10;
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
    cr_assert_eq(sim_file_count(".spare"), 0);
    keys_check("opened with larger segments", 0);
}

/* Several segments of one kind of write, each of them soon dead. How many were made. */
static uint64_t segments_use(enum lsm_durability durability, bool *filled, uint32_t *spares_max,
                             uint32_t *kept_max)
{
    uint64_t before = sim.lsm->wal.current->id;
    *filled = false;
    *spares_max = 0;
    *kept_max = 0;
    for (uint32_t i = 0; i < 12 * KEY_COUNT; i++) {
        cr_assert_eq(sim_put(key_name(i % KEY_COUNT), 2500, durability), STATUS_OK);
        sim_pass(5);
        *filled = *filled || sim.lsm->segments.fills;
        uint32_t spares = sim_file_count(".spare");
        *spares_max = spares > *spares_max ? spares : *spares_max;
        uint32_t kept = sim.lsm->segments.kept_count;
        *kept_max = kept > *kept_max ? kept : *kept_max;
    }
    return sim.lsm->wal.current->id - before;
}

Test(wal_spare, buffered_writes_alone_do_not_fill_segments_and_keep_them_for_a_while)
{
    bool filled = true;
    uint32_t spares_max = 0;
    uint32_t kept_max = 0;
    cr_assert_geq(segments_use(LSM_BUFFERED, &filled, &spares_max, &kept_max), 4);
    cr_assert(!filled);
    cr_assert_gt(kept_max, 0);
    cr_assert_leq(spares_max, WAL_SPARE_COUNT_MAX + 1);
    sim_pass(SEGMENT_REST_MS + 200);
    cr_assert_eq(sim_file_count(".spare"), 0, "at rest they go");
    cr_assert_geq(segments_use(LSM_SYNCED, &filled, &spares_max, &kept_max), 4);
    cr_assert(filled, "with syncs they are");
    cr_assert_gt(kept_max, 0);
    sim_pass(SEGMENT_REST_MS + 200);
    cr_assert_leq(sim_file_count(".spare"), 1, "at rest one is kept at most");
    sim_power_cut();
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
    cr_assert_eq(sim_get(key_name(0)), STATUS_OK);
}

/* What lies behind the last group goes at rest; if tables have it all, so does what lies before. */
Test(wal_spare, at_rest_the_log_is_one_segment_to_come)
{
    const struct wal *wal = &sim.lsm->wal;
    for (uint32_t round = 0; round < 6; round++) {
        uint32_t flushed = round % 2;
        uint64_t id = wal->current->id;
        do {
            cr_assert_eq(sim_put(key_name(round), 3000, LSM_BUFFERED), STATUS_OK);
            sim_pass(5);
        } while (wal->ready == NULL || wal->current->id == id);
        if (flushed) {
            cr_assert_eq(sim_ask(lsm_flush, 50), STATUS_OK);
        }
        sim_pass(200); /* Its watermark is written. */
        id = wal->current->id;
        uint64_t end = flushed ? WAL_SEGMENT_HEADER_SIZE : wal->current->end_offset;
        uint64_t before = disk_sim_used_size(sim_disk()) - sim.lsm->space.size;
        sim_pass(SEGMENT_REST_MS + 200);
        cr_assert_eq(wal->current->id, id, "no write came");
        cr_assert_eq(wal->current->capacity, end, "round %u: %llu", round,
                     (unsigned long long)wal->current->capacity);
        uint64_t given_back = before - (disk_sim_used_size(sim_disk()) - sim.lsm->space.size);
        cr_assert_geq(given_back + PAGE_SIZE, (64 << 10) - end, "round %u", round);
        if (round >= 2) {
            sim_power_cut();
            sim_start();
            cr_assert_eq(sim.open_status, STATUS_OK, "round %u: %s", round,
                         status_name(sim.open_status));
            wal = &sim.lsm->wal;
        }
        for (uint32_t i = 0; i <= round; i++) {
            cr_assert_eq(sim_get(key_name(i)), STATUS_OK, "round %u: key %u", round, i);
        }
    }
}

/* Each switch to the next segment, each segment made or dropped, each name changed. */
Test(wal_spare, a_loss_of_power_at_any_operation_loses_nothing_that_was_synced)
{
    uint64_t operation_count = life(0);
    cr_assert_gt(operation_count, 120, "%u operations", (unsigned)operation_count);
    uint32_t spares_seen = 0;
    for (uint64_t operation = 1; operation <= operation_count; operation++) {
        sim_deinit();
        sim_init();
        (void)life(operation);
        if (world_node_alive(sim.node)) {
            sim_power_cut();
        }
        spares_seen += sim_file_count(".spare");
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK, "operation %llu: %s",
                     (unsigned long long)operation, status_name(sim.open_status));
        keys_check("operation", operation);
        /* And what is left behind does no harm to the next life. */
        cr_assert_eq(sim_write("key00", 3000, 50), STATUS_OK);
        sim_power_cut();
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK);
        keys_check("again, operation", operation);
    }
    cr_assert_gt(spares_seen, 20, "%u", spares_seen);
}
