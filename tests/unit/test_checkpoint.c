/* tests/unit/test_checkpoint.c -- a second engine from links; whole when it is told, else no
 * engine.
 */
#include "tests/unit/lsm_stretch_fixture.h"

#define SIZE_OLD 800u
#define SIZE_TIER 900u
#define SIZE_MEMORY 300u
#define SIZE_LATER 100u
#define HOLE_LOWER 10u
#define HOLE_UPPER 15u

TestSuite(checkpoint, .init = sim_init, .fini = sim_deinit, .timeout = 200);

static struct {
    struct lsm_checkpoint checkpoint;
    enum status accepted;
    bool answered;
    enum status status;
} asked;

static struct lsm_excise hole;

static void checkpoint_done(struct lsm_checkpoint *checkpoint, enum status status)
{
    (void)checkpoint;
    cr_assert(!asked.answered);
    asked.answered = true;
    asked.status = status;
}

static void checkpoint_call(void *context)
{
    (void)context;
    asked.accepted = lsm_checkpoint(sim.lsm, &asked.checkpoint);
}

static void ask_checkpoint(const char *path)
{
    memset(&asked, 0, sizeof(asked));
    asked.checkpoint = (struct lsm_checkpoint){.path = path, .done = checkpoint_done};
    world_node_call(sim.node, checkpoint_call, NULL);
}

static void hole_done(struct lsm_excise *excise, enum status status)
{
    (void)excise;
    cr_assert_eq(status, STATUS_OK);
}

static void hole_call(void *context)
{
    (void)context;
    cr_assert_eq(lsm_excise(sim.lsm, &hole), STATUS_OK);
}

/* In the bottom with a hole, in a tier, and in memory. */
static void prepare(void)
{
    put_all(SIZE_OLD, LSM_SYNCED);
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_compact, 500), STATUS_OK);
    hole = (struct lsm_excise){.lower = slice_text(key_name(HOLE_LOWER)),
                               .upper = slice_text(key_name(HOLE_UPPER)),
                               .done = hole_done};
    world_node_call(sim.node, hole_call, NULL);
    sim_pass(100);
    for (uint32_t i = 0; i < KEY_COUNT; i += 3) {
        cr_assert_eq(sim_put(key_name(i), SIZE_TIER, LSM_SYNCED), STATUS_OK);
    }
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_flush, 200), STATUS_OK);
    for (uint32_t i = 0; i < KEY_COUNT; i += 4) {
        cr_assert_eq(sim_put(key_name(i), SIZE_MEMORY, LSM_BUFFERED), STATUS_OK);
    }
}

static uint32_t size_wanted(uint32_t index)
{
    return index % 4 == 0                              ? SIZE_MEMORY
           : index % 3 == 0                            ? SIZE_TIER
           : index >= HOLE_LOWER && index < HOLE_UPPER ? 0
                                                       : SIZE_OLD;
}

static void check(const char *when, uint32_t point)
{
    look();
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(found.sizes[i], size_wanted(i), "%s %u: key %u has %u", when, point, i,
                     found.sizes[i]);
    }
}

static enum status engine_open(const char *path)
{
    if (world_node_alive(sim.node)) {
        world_node_crash(sim.node, WORLD_CRASH_POWER);
    }
    sim.options.path = path;
    sim_start();
    return sim.open_status;
}

static uint32_t copy_file_count(const char *end)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < disk_sim_file_count(sim_disk()); i++) {
        const char *path = disk_sim_path(sim_disk(), i);
        count += strncmp(path, "copy/", 5) == 0 && strstr(path, end) != NULL ? 1 : 0;
    }
    return count;
}

Test(checkpoint, opens_as_an_engine_of_its_own)
{
    prepare();
    ask_checkpoint("copy");
    sim_pass(500);
    cr_assert(asked.answered);
    cr_assert_eq(asked.status, STATUS_OK);
    cr_assert_eq(copy_file_count(".wal"), 0);
    cr_assert_gt(copy_file_count(".sst"), 1);
    check("the first", 0);
    /* The two go different ways. */
    put_all(SIZE_LATER, LSM_SYNCED);
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_compact, 1000), STATUS_OK);
    cr_assert_eq(engine_open("copy"), STATUS_OK);
    check("the copy", 0);
    cr_assert_eq(sim_ask(lsm_compact, 1000), STATUS_OK);
    check("the copy, merged", 0);
    cr_assert_eq(sim_write(key_name(1), SIZE_LATER + 1, 50), STATUS_OK);
    cr_assert_eq(engine_open("engine"), STATUS_OK);
    look();
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(found.sizes[i], SIZE_LATER);
    }
    ask_checkpoint("copy");
    sim_pass(500);
    cr_assert_eq(asked.status, STATUS_EXISTS, "what is there stays as it is");
    cr_assert_eq(engine_open("copy"), STATUS_OK);
}

Test(checkpoint, is_whole_once_it_is_told_over_a_crash_at_any_point)
{
    uint32_t told = 0;
    for (uint32_t point = 1;; point++) {
        cr_assert_lt(point, 200);
        sim_deinit();
        sim_init();
        prepare();
        world_node_crash_in_job(sim.node, WORLD_CRASH_POWER, point - 1);
        ask_checkpoint("copy");
        sim_pass(500);
        bool reached = !world_node_alive(sim.node);
        told += asked.answered ? 1 : 0;
        if (asked.answered) {
            cr_assert_eq(asked.status, STATUS_OK);
            cr_assert_eq(engine_open("copy"), STATUS_OK, "point %u", point);
            check("the copy", point);
        }
        cr_assert_eq(engine_open("engine"), STATUS_OK, "point %u", point);
        look();
        for (uint32_t i = 1; i < KEY_COUNT; i += 2) { /* What was durable before. */
            cr_assert_eq(found.sizes[i], size_wanted(i), "point %u key %u", point, i);
        }
        if (!reached) {
            cr_assert_gt(point, 6);
            break;
        }
    }
    cr_assert_gt(told, 0);
}

Test(checkpoint, any_failed_call_leaves_nothing_or_is_made_good)
{
    uint32_t failed = 0;
    for (uint32_t n = 1;; n++) {
        cr_assert_lt(n, 100);
        sim_deinit();
        sim_init();
        prepare();
        sim_faults()->error_path_part = "copy";
        sim_faults()->error_countdown = n;
        ask_checkpoint("copy");
        sim_pass(1000);
        bool reached = sim_faults()->error_countdown == 0;
        sim_faults()->error_countdown = 0;
        cr_assert(asked.answered);
        if (asked.status != STATUS_OK) {
            failed++;
            cr_assert_eq(copy_file_count(""), 0, "call %u", n);
            ask_checkpoint("copy");
            sim_pass(1000);
            cr_assert_eq(asked.status, STATUS_OK, "call %u: %s", n, status_name(asked.status));
        }
        check("the first", n);
        cr_assert_eq(engine_open("copy"), STATUS_OK);
        check("the copy", n);
        if (!reached) {
            break;
        }
    }
    cr_assert_gt(failed, 4);
}
