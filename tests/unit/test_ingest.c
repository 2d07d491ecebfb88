/*
 * tests/unit/test_ingest.c -- a stretch leaves one engine as files and enters another: by version,
 * or in the place of what was there; whole or not at all; and never from a file with a wrong byte.
 */
#include "tests/unit/lsm_stretch_fixture.h"

#define LOWER 8u
#define UPPER 30u
#define CHUNK_COUNT_MAX 16u
#define SIZE_SENT 700u
#define SIZE_LOCAL 350u
#define SIZE_SWEPT 6000u /* So large that a sweep takes longer than an ingest. */

TestSuite(ingest, .init = sim_init, .fini = sim_deinit, .timeout = 300);

struct exported {
    struct env_job job;
    uint64_t chunk_size;
    uint32_t lower;
    uint32_t upper;
    char paths[CHUNK_COUNT_MAX][24];
    const char *path_pointers[CHUNK_COUNT_MAX];
    uint64_t checksums[CHUNK_COUNT_MAX];
    char next[CHUNK_COUNT_MAX][16];
    uint32_t count;
    uint32_t entry_count;
    uint32_t step_count;
    enum status status;
    bool done;
};

struct taken {
    struct lsm_ingest ingest;
    enum status accepted;
    bool answered;
    enum status status;
};

static struct exported sent;
static struct taken taken;

static void job_done(struct env_job *job, enum status status)
{
    (void)job;
    (void)status;
    sent.done = true;
}

static void export_run(struct env_job *job)
{
    (void)job;
    struct lsm_export *export = NULL;
    struct lsm_export_options options = {.lower = slice_text(key_name(sent.lower)),
                                         .upper = slice_text(key_name(sent.upper)),
                                         .chunk_size = sent.chunk_size};
    cr_assert_eq(lsm_export_open(sim.lsm, &options, &export), STATUS_OK);
    while (sent.count < CHUNK_COUNT_MAX) {
        char *path = sent.paths[sent.count];
        struct lsm_export_chunk chunk;
        snprintf(path, sizeof(sent.paths[0]), "chunk%02u.part", sent.count);
        sent.step_count++;
        sent.status = lsm_export_next(export, path, &chunk);
        if (sent.status == STATUS_OK) {
            sent.path_pointers[sent.count] = path;
            sent.checksums[sent.count] = chunk.checksum;
            sent.entry_count += (uint32_t)chunk.entry_count;
            snprintf(sent.next[sent.count++], sizeof(sent.next[0]), "%.*s", (int)chunk.next.size,
                     chunk.next.size == 0 ? "" : (const char *)chunk.next.data);
        } else if (sent.status != STATUS_BUDGET) {
            break;
        }
    }
    lsm_export_close(export);
    struct env *env = world_node_env(sim.node);
    cr_assert_eq(env->ops->dir_sync(env, "."), STATUS_OK);
}

static void job_call(void *context)
{
    env_submit(world_node_env(sim.node), ENV_LANE_POOL, context);
}

static void run_job(void (*run)(struct env_job *job))
{
    sent.done = false;
    sent.job = (struct env_job){.run = run, .done = job_done};
    world_node_call(sim.node, job_call, &sent.job);
    while (!sent.done) {
        cr_assert_gt(world_run_steps(sim.world, 1), 0);
    }
}

static void export_all(uint64_t chunk_size, uint32_t lower, uint32_t upper)
{
    sent = (struct exported){.chunk_size = chunk_size, .lower = lower, .upper = upper};
    run_job(export_run);
    cr_assert_eq(sent.status, STATUS_NOT_FOUND);
}

static void ingest_done(struct lsm_ingest *ingest, enum status status)
{
    struct taken *of = container_of(ingest, struct taken, ingest);
    cr_assert(!of->answered);
    of->answered = true;
    of->status = status;
}

static void ingest_call(void *context)
{
    struct taken *of = context;
    of->accepted = lsm_ingest(sim.lsm, &of->ingest);
}

static void ask_ingest(const char *const *paths, uint32_t count, bool excise)
{
    taken = (struct taken){.ingest = {.paths = paths,
                                      .count = count,
                                      .lower = slice_text("key"),
                                      .excise = excise,
                                      .done = ingest_done}};
    if (excise) {
        taken.ingest.lower = slice_text(key_name(LOWER));
        taken.ingest.upper = slice_text(key_name(UPPER));
    }
    world_node_call(sim.node, ingest_call, &taken);
}

static enum status ingest_all(bool excise)
{
    ask_ingest(sent.path_pointers, sent.count, excise);
    cr_assert_eq(taken.accepted, STATUS_OK);
    sim_pass(2000);
    cr_assert(taken.answered);
    return taken.status;
}

/* In the bottom, a tier and the memtable; every seventh key is deleted. */
static void prepare(void)
{
    put_all(SIZE_SENT, LSM_SYNCED);
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_compact, 500), STATUS_OK);
    for (uint32_t i = 0; i < KEY_COUNT; i += 3) {
        cr_assert_eq(sim_put(key_name(i), SIZE_SENT + 1, LSM_SYNCED), STATUS_OK);
    }
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_flush, 200), STATUS_OK);
    for (uint32_t i = 0; i < KEY_COUNT; i += 7) {
        cr_assert_eq(sim_put(key_name(i), SIM_DELETE, LSM_SYNCED), STATUS_OK);
    }
    sim_pass(50);
}

static uint32_t size_sent(uint32_t index)
{
    return index % 7 == 0 ? 0 : index % 3 == 0 ? SIZE_SENT + 1 : SIZE_SENT;
}

/* The same disk, another engine on it. */
static void engine_open(const char *path)
{
    world_node_crash(sim.node, WORLD_CRASH_PROCESS);
    sim.options.path = path;
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
}

static bool was_sent(uint32_t index)
{
    return index >= LOWER && index < UPPER;
}

Test(ingest, a_stretch_goes_from_one_engine_to_another)
{
    prepare();
    export_all(3000, LOWER, UPPER);
    cr_assert_gt(sent.count, 3);
    cr_assert_eq(sent.entry_count, UPPER - LOWER, "tombstones are sent too");
    for (uint32_t i = 0; i < sent.count; i++) {
        cr_assert_eq(sent.next[i][0] == '\0', i + 1 == sent.count);
        cr_assert(i == 0 || i + 1 == sent.count || strcmp(sent.next[i - 1], sent.next[i]) < 0);
    }
    engine_open("other");
    taken.ingest.checksums = sent.checksums;
    cr_assert_eq(ingest_all(false), STATUS_OK);
    for (int round = 0; round < 3; round++) {
        look();
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            uint32_t wanted = was_sent(i) ? size_sent(i) : 0;
            cr_assert_eq(found.sizes[i], wanted, "round %d key %u: %u", round, i, found.sizes[i]);
        }
        if (round == 0) {
            sim_power_cut();
            sim_start();
        } else {
            cr_assert_eq(sim_ask(lsm_compact, 2000), STATUS_OK);
        }
    }
    cr_assert_eq(sim_stats().tombstone_estimate, 3, "keys 14, 21 and 28");
}

Test(ingest, an_export_goes_on_from_where_a_chunk_ended)
{
    prepare();
    export_all(3000, LOWER, UPPER);
    struct exported whole = sent;
    for (uint32_t i = 0; i + 1 < whole.count; i++) {
        export_all(3000, (uint32_t)atoi(whole.next[i] + 3), UPPER);
        cr_assert_eq(sent.count, whole.count - i - 1);
        for (uint32_t j = 0; j < sent.count; j++) {
            cr_assert_str_eq(sent.next[j], whole.next[i + 1 + j]);
        }
    }
}

Test(ingest, cells_are_merged_by_version_and_an_excise_replaces_them)
{
    for (int excise = 0; excise < 2; excise++) {
        prepare();
        export_all(5000, LOWER, UPPER);
        /* Newer here: every fifth; and what is in no chunk. */
        for (uint32_t i = 0; i < KEY_COUNT; i += 5) {
            cr_assert_eq(sim_put(key_name(i), SIZE_LOCAL, LSM_SYNCED), STATUS_OK);
        }
        sim_pass(50);
        cr_assert_eq(ingest_all(excise == 1), STATUS_OK);
        look();
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            bool local = i % 5 == 0 && (excise == 0 || !was_sent(i));
            uint32_t wanted = local ? SIZE_LOCAL : size_sent(i);
            cr_assert_eq(found.sizes[i], wanted, "excise %d key %u: %u", excise, i, found.sizes[i]);
        }
    }
    cr_assert_eq(sim_stats().ingest_count, 2);
    cr_assert_eq(sim_stats().excise_count, 1);
}

/* Copies chunk 0 to "bad.part", with one byte changed, or cut. */
static struct {
    uint64_t at;
    uint64_t size; /* Of the copy; 0: whole. */
    uint64_t chunk_size;
} bad;

static void bad_run(struct env_job *job)
{
    (void)job;
    static uint8_t bytes[64 << 10];
    struct env *env = world_node_env(sim.node);
    struct env_file *file = NULL;
    size_t got = 0;
    cr_assert_eq(env->ops->file_open(env, sent.paths[0], ENV_OPEN_READ, &file), STATUS_OK);
    cr_assert_eq(env->ops->file_read(file, 0, bytes, sizeof(bytes), &got), STATUS_OK);
    env->ops->file_close(file);
    bad.chunk_size = got;
    bytes[bad.at] ^= 0x41;
    (void)!env->ops->name_remove(env, "bad.part");
    cr_assert_eq(env->ops->file_open(env, "bad.part", ENV_OPEN_CREATE, &file), STATUS_OK);
    size_t size = bad.size == 0 ? got : bad.size - 1;
    if (size > 0) {
        cr_assert_eq(env->ops->file_write(file, 0, slice_make(bytes, size)), STATUS_OK);
    }
    env->ops->file_close(file);
}

static const char *const bad_path[] = {"bad.part"};

static void refused(const char *const *paths, uint32_t count, enum status status, const char *why)
{
    uint32_t files = sim_file_count(".sst");
    uint64_t tables = sim_stats().table_count;
    ask_ingest(paths, count, false);
    cr_assert_eq(taken.accepted, STATUS_OK);
    sim_pass(300);
    cr_assert(taken.answered);
    cr_assert_eq(taken.status, status, "%s: %s", why, status_name(taken.status));
    cr_assert_not_null(taken.ingest.problem);
    cr_assert_eq(sim_file_count(".sst"), files, "%s", why);
    cr_assert_eq(sim_stats().table_count, tables, "%s", why);
}

Test(ingest, a_file_with_any_wrong_byte_is_refused)
{
    prepare();
    export_all(100 << 10, LOWER, LOWER + 4);
    cr_assert_eq(sent.count, 1);
    bad.size = 0;
    bad.at = 0;
    run_job(bad_run);
    for (uint64_t at = 0; at < bad.chunk_size; at++) {
        bad.at = at;
        run_job(bad_run);
        uint64_t version = bad.chunk_size - 80 + 8;
        bool newer = false; /* The footer has a checksum: even its version is only damaged. */
        (void)version;
        refused(bad_path, 1, newer ? STATUS_UNSUPPORTED : STATUS_CORRUPT, "a flipped byte");
    }
    for (uint64_t size = 1; size <= bad.chunk_size; size += 97) {
        bad.at = 60000; /* Beyond it. */
        bad.size = size;
        run_job(bad_run);
        refused(bad_path, 1, STATUS_CORRUPT, "a cut file");
    }
    look();
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(found.sizes[i], size_sent(i));
    }
}

Test(ingest, files_that_do_not_fit_are_refused)
{
    static const char *const missing[] = {"no.part"};
    prepare();
    export_all(4000, LOWER, UPPER);
    refused(missing, 1, STATUS_NOT_FOUND, "missing");
    const char *const twice[] = {sent.paths[0], sent.paths[1], sent.paths[0]};
    refused(twice, 3, STATUS_CORRUPT, "overlapping");
    cr_assert_eq(taken.ingest.problem_index, 2, "%u %s", taken.ingest.problem_index,
                 taken.ingest.problem);
    uint64_t checksums[] = {sent.checksums[0] ^ 1};
    taken = (struct taken){
        .ingest = {
            .paths = sent.path_pointers, .checksums = checksums, .count = 1, .done = ingest_done}};
    world_node_call(sim.node, ingest_call, &taken);
    sim_pass(300);
    cr_assert_eq(taken.status, STATUS_CORRUPT);
    taken = (struct taken){.ingest = {.paths = sent.path_pointers,
                                      .count = sent.count,
                                      .upper = slice_text(key_name(UPPER - 1)),
                                      .done = ingest_done}};
    world_node_call(sim.node, ingest_call, &taken);
    sim_pass(300);
    cr_assert_eq(taken.status, STATUS_CORRUPT);
    cr_assert_str_eq(taken.ingest.problem, "keys outside of the stretch");
    taken = (struct taken){.ingest = {.done = ingest_done}};
    world_node_call(sim.node, ingest_call, &taken);
    cr_assert_eq(taken.accepted, STATUS_INVALID);
}

/* Local cells everywhere, then what was sent in their place, in one edit. */
static bool crash_at(uint32_t point)
{
    sim_deinit();
    sim_init();
    prepare();
    export_all(4000, LOWER, UPPER);
    put_all(SIZE_LOCAL, LSM_SYNCED);
    sim_pass(50);
    world_node_crash_in_job(sim.node, WORLD_CRASH_POWER, point - 1);
    ask_ingest(sent.path_pointers, sent.count, true);
    sim_pass(1500);
    bool reached = !world_node_alive(sim.node);
    if (!reached) {
        cr_assert(taken.answered);
        sim_power_cut();
    }
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK, "point %u: %s", point, status_name(sim.open_status));
    return reached;
}

Test(ingest, is_whole_or_not_at_all_over_a_crash_at_any_point)
{
    uint32_t in_count = 0;
    uint32_t point = 1;
    for (bool reached = true; reached; point++) {
        cr_assert_lt(point, 300);
        reached = crash_at(point);
        look();
        bool in = found.sizes[LOWER + 1] != SIZE_LOCAL;
        cr_assert(in || !taken.answered, "point %u", point);
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            uint32_t wanted = in && was_sent(i) ? size_sent(i) : SIZE_LOCAL;
            cr_assert_eq(found.sizes[i], wanted, "point %u: key %u has %u", point, i,
                         found.sizes[i]);
        }
        cr_assert_eq(sim_file_count(".sst"), sim_stats().table_count, "point %u", point);
        in_count += in ? 1 : 0;
    }
    cr_assert(in_count > 0 && in_count < point - 1, "%u of %u", in_count, point);
}

Test(ingest, any_failed_call_or_allocation_refuses_it_or_is_made_good)
{
    prepare();
    export_all(4000, LOWER, UPPER);
    uint32_t ended = 0;
    for (uint32_t n = 1; ended < 2; n++) {
        bool memory = ended == 1;
        if (n > 400) {
            cr_assert_fail("no end");
        }
        put_all(SIZE_LOCAL, LSM_SYNCED);
        sim_pass(50);
        sim_faults()->error_countdown = memory ? 0 : n;
        world_node_heap(sim.node)->fail_countdown = memory ? n : 0;
        ask_ingest(sent.path_pointers, sent.count, true);
        sim_pass(3000);
        bool reached = memory ? world_node_heap(sim.node)->fail_countdown == 0
                              : sim_faults()->error_countdown == 0;
        sim_faults()->error_countdown = 0;
        world_node_heap(sim.node)->fail_countdown = 0;
        bool in = taken.accepted == STATUS_OK && taken.status == STATUS_OK;
        bool log_failed = sim_stats().read_only;
        if (taken.accepted == STATUS_OK && !log_failed) {
            cr_assert(taken.answered, "call %u", n);
        }
        if (log_failed) { /* The log itself was hit: until it is resumed the change waits. */
            sim_power_cut();
            sim_start();
        }
        look();
        if (log_failed && !taken.answered) {
            in = found.sizes[LOWER + 1] != SIZE_LOCAL;
        }
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            uint32_t wanted = in && was_sent(i) ? size_sent(i) : SIZE_LOCAL;
            cr_assert_eq(found.sizes[i], wanted, "call %u: key %u has %u", n, i, found.sizes[i]);
        }
        sim_writes_forget();
        if (!reached) {
            cr_assert(in);
            ended++;
            n = 0;
        }
    }
}

static bool floor_raised; /* Before that a store at rest must not forget its tombstones. */

static struct version floor_all(void *context, struct slice key)
{
    (void)context;
    (void)key;
    return (struct version){.time = floor_raised ? SIM_TIME_FIRST + LSM_SIM_WRITE_COUNT_MAX : 0};
}

/* A value is on its way in while a merge meets the tombstone that covers it. */
Test(ingest, a_tombstone_stays_while_what_it_covers_may_be_on_its_way_in)
{
    floor_raised = false;
    sim.options.floor = floor_all;
    engine_open("engine");
    put_all(SIZE_SENT, LSM_SYNCED);
    sim_pass(50);
    export_all(2000, LOWER, UPPER);
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(sim_put(key_name(i), SIM_DELETE, LSM_SYNCED), STATUS_OK);
    }
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_flush, 500), STATUS_OK);
    floor_raised = true;
    ask_ingest(sent.path_pointers, sent.count, false);
    ask_only(lsm_compact);
    sim_pass(3000);
    cr_assert_eq(taken.status, STATUS_OK);
    cr_assert(sim.request_answered);
    look();
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(found.sizes[i], 0, "key %u came back", i);
    }
    cr_assert_eq(sim_put("key", SIM_DELETE, LSM_SYNCED), STATUS_OK);
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_compact, 3000), STATUS_OK);
    cr_assert_gt(sim_stats().purged_count, 0, "now nothing is on its way");
    look();
    cr_assert_eq(found.sizes[LOWER], 0);
}

static void excise_done(struct lsm_excise *excise, enum status status)
{
    (void)excise;
    cr_assert_eq(status, STATUS_OK);
}

static void excise_call(void *context)
{
    cr_assert_eq(lsm_excise(sim.lsm, context), STATUS_OK);
}

/* A table of the bottom, half of it tombstones, with a gap where the stretch was that was sent. */
static void prepare_gap(void)
{
    static struct lsm_excise excise;
    floor_raised = false;
    sim.options.floor = floor_all;
    sim.options.slice_size = 4 << 10;
    engine_open("engine");
    put_all(SIZE_SENT, LSM_SYNCED);
    sim_pass(50);
    export_all(UINT64_C(1) << 20, LOWER, LOWER + 2);
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        size_t size = i % 2 == 0 ? SIM_DELETE : SIZE_SWEPT;
        cr_assert_eq(sim_put(key_name(i), size, LSM_SYNCED), STATUS_OK);
    }
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_compact, 2000), STATUS_OK);
    excise = (struct lsm_excise){.lower = slice_text(key_name(LOWER)),
                                 .upper = slice_text(key_name(UPPER)),
                                 .done = excise_done};
    world_node_call(sim.node, excise_call, &excise);
    sim_pass(500);
    floor_raised = true;
    cr_assert_eq(sim_put("z", SIZE_LOCAL, LSM_SYNCED), STATUS_OK); /* What is new is swept anew. */
    sim_pass(20);
    cr_assert_eq(sim_ask(lsm_flush, 20), STATUS_OK);
}

/* A sweep makes one table of the two sides of a gap: nothing may come in between to the bottom. */
Test(ingest, a_gap_that_a_sweep_closes_is_not_filled_meanwhile)
{
    uint32_t steps = 0;
    uint64_t purged_count = 0;
    while (purged_count == 0) { /* Until the sweep is over when the files are asked to come in. */
        sim_deinit();
        sim_init();
        prepare_gap();
        cr_assert_lt(steps, 400, "the sweep never comes");
        (void)world_run_steps(sim.world, steps++);
        purged_count = sim_stats().purged_count;
        cr_assert_eq(ingest_all(false), STATUS_OK);
        sim_power_cut();
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK, "after %u steps", steps);
        look();
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            bool came = i == LOWER || i == LOWER + 1;
            uint32_t wanted = was_sent(i) || i % 2 == 0 ? 0 : SIZE_SWEPT;
            wanted = came ? SIZE_SENT : wanted;
            cr_assert_eq(found.sizes[i], wanted, "after %u steps: key %u has %u", steps, i,
                         found.sizes[i]);
        }
    }
    cr_assert_gt(steps, 1);
}

/* Writes are answered, whatever an ingest is about. */
Test(ingest, writes_go_on_meanwhile)
{
    prepare();
    export_all(4000, LOWER, UPPER);
    ask_ingest(sent.path_pointers, sent.count, true);
    for (uint32_t i = 0; i < 100 && !taken.answered; i++) {
        cr_assert_eq(sim_write(key_name(i % KEY_COUNT), SIZE_LOCAL, 10), STATUS_OK);
    }
    cr_assert(taken.answered);
}
