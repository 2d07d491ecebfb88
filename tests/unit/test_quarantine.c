/*
 * tests/unit/test_quarantine.c -- damage costs the keys that lay in it, says so, and costs nothing
 * else; whatever byte of whatever file it comes to.
 */
#include "tests/unit/lsm_stretch_fixture.h"

#define SIZE_OLD 150u
#define SIZE_NEW 90u
#define FILE_SIZE_MAX (256u << 10)

TestSuite(quarantine, .init = sim_init, .fini = sim_deinit, .timeout = 600);

/* What reads say: STATUS_OK or STATUS_NOT_FOUND as written, or STATUS_CORRUPT. */
static struct {
    struct env_job job;
    enum status gets[KEY_COUNT];
    uint32_t sizes[KEY_COUNT];
    bool shown[2][KEY_COUNT];
    bool lost[2][KEY_COUNT]; /* A walk said CORRUPT between the shown neighbours of the key. */
    uint32_t corrupt_count[2];
    bool done;
} seen;

static uint32_t told_count;

static void corrupted_told(void *context, struct slice lower, struct slice upper)
{
    (void)context;
    cr_assert(upper.size == 0 || slice_compare(lower, upper) < 0);
    told_count++;
}

static uint32_t index_of(struct slice key)
{
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        if (slice_equal(key, slice_text(key_name(i)))) {
            return i;
        }
    }
    cr_assert_fail("a key that was never written");
    return 0;
}

static void walk(bool reverse)
{
    struct lsm_iterator_options options = {.reverse = reverse};
    struct lsm_iterator *iterator = NULL;
    struct slice key;
    struct cell cell;
    enum status status;
    int32_t at = reverse ? (int32_t)KEY_COUNT : -1;
    bool corrupt = false;
    cr_assert_eq(lsm_iterator_open(sim.lsm, &options, &iterator), STATUS_OK);
    for (uint32_t calls = 0;; calls++) {
        cr_assert_lt(calls, 1000u, "a walk without an end");
        status = lsm_iterator_next(iterator, &key, &cell);
        if (status == STATUS_CORRUPT) {
            corrupt = true;
            seen.corrupt_count[reverse]++;
            continue;
        }
        int32_t next = status == STATUS_OK ? (int32_t)index_of(key)
                       : reverse           ? -1
                                           : (int32_t)KEY_COUNT;
        for (int32_t i = at + (reverse ? -1 : 1); i != next; i += reverse ? -1 : 1) {
            seen.lost[reverse][i] = corrupt;
        }
        if (status != STATUS_OK) {
            break;
        }
        seen.shown[reverse][next] = true;
        corrupt = false;
        at = next;
    }
    cr_assert_eq(status, STATUS_NOT_FOUND, "%s", status_name(status));
    lsm_iterator_close(iterator);
}

static void seen_run(struct env_job *job)
{
    (void)job;
    struct buffer scratch = {0};
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        struct cell cell;
        seen.gets[i] = lsm_get(sim.lsm, slice_text(key_name(i)), LSM_MAY_BLOCK, &scratch, &cell);
        seen.sizes[i] = seen.gets[i] == STATUS_OK ? (uint32_t)cell.value.size : 0;
    }
    buffer_deinit(&scratch);
    walk(false);
    walk(true);
}

static void seen_done(struct env_job *job, enum status status)
{
    (void)job;
    (void)status;
    seen.done = true;
}

static void job_call(void *context)
{
    env_submit(world_node_env(sim.node), ENV_LANE_POOL, context);
}

static void see(void)
{
    memset(&seen, 0, sizeof(seen));
    seen.job = (struct env_job){.run = seen_run, .done = seen_done};
    world_node_call(sim.node, job_call, &seen.job);
    while (!seen.done) {
        cr_assert_gt(world_run_steps(sim.world, 1), 0);
    }
    sim_pass(50); /* For second looks. */
}

/* Turns bits of one byte of a file over. */
static struct {
    struct env_job job;
    char path[64];
    uint64_t at;
    uint64_t size;
    bool done;
} flip;

static void flip_run(struct env_job *job)
{
    (void)job;
    struct env *env = world_node_env(sim.node);
    struct env_file *file = NULL;
    uint8_t byte = 0;
    size_t got = 0;
    cr_assert_eq(env->ops->file_open(env, flip.path, ENV_OPEN_WRITE, &file), STATUS_OK);
    cr_assert_eq(env->ops->file_size(file, &flip.size), STATUS_OK);
    if (flip.at < flip.size) {
        cr_assert_eq(env->ops->file_read(file, flip.at, &byte, 1, &got), STATUS_OK);
        byte ^= 0x5a;
        cr_assert_eq(env->ops->file_write(file, flip.at, slice_make(&byte, 1)), STATUS_OK);
        cr_assert_eq(env->ops->file_sync(file), STATUS_OK);
    }
    env->ops->file_close(file);
}

static void flip_done(struct env_job *job, enum status status)
{
    (void)job;
    (void)status;
    flip.done = true;
}

static void boot_nothing(void *context)
{
    (void)context;
}

static void flip_byte(const char *path, uint64_t at)
{
    snprintf(flip.path, sizeof(flip.path), "%s", path);
    flip.at = at;
    flip.done = false;
    flip.job = (struct env_job){.run = flip_run, .done = flip_done};
    world_node_call(sim.node, job_call, &flip.job);
    while (!flip.done) {
        cr_assert_gt(world_run_steps(sim.world, 1), 0);
    }
}

static const char *file_path(const char *end)
{
    for (uint32_t i = 0; i < disk_sim_file_count(sim_disk()); i++) {
        const char *path = disk_sim_path(sim_disk(), i);
        size_t size = strlen(path);
        if (size >= strlen(end) && strcmp(path + size - strlen(end), end) == 0) {
            return path;
        }
    }
    return NULL;
}

/* One table of several blocks: even keys. Or all of it in the log. */
static void prepare_in(bool log)
{
    sim.options.block_size = 512;
    sim.options.corrupted = corrupted_told;
    sim_power_cut();
    sim_start();
    told_count = 0;
    for (uint32_t i = 0; i < KEY_COUNT; i += 2) {
        cr_assert_eq(sim_put(key_name(i), SIZE_OLD, LSM_SYNCED), STATUS_OK);
    }
    sim_pass(300); /* And the watermark. */
    if (!log) {
        cr_assert_eq(sim_ask(lsm_compact, 500), STATUS_OK);
        cr_assert_eq(sim_file_count(".sst"), 1);
    }
}

static void prepare(void)
{
    prepare_in(false);
}

/* Never a wrong answer: as written, or CORRUPT; and walks agree with gets. Returns the lost. */
static uint32_t check_reads(const char *when, uint64_t at)
{
    uint32_t lost = 0;
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        bool written = i % 2 == 0;
        if (seen.gets[i] == STATUS_CORRUPT) {
            lost++;
        } else {
            cr_assert_eq(seen.gets[i], written ? STATUS_OK : STATUS_NOT_FOUND,
                         "%s %llu: key %u says %s", when, (unsigned long long)at, i,
                         status_name(seen.gets[i]));
            cr_assert(!written || seen.sizes[i] == SIZE_OLD);
        }
        for (int reverse = 0; reverse < 2; reverse++) {
            cr_assert(written || !seen.shown[reverse][i]);
            cr_assert(!written || seen.shown[reverse][i] || seen.lost[reverse][i],
                      "%s %llu: key %u is left out of a walk", when, (unsigned long long)at, i);
            cr_assert(seen.shown[reverse][i] || seen.gets[i] != STATUS_OK);
        }
    }
    cr_assert_eq(seen.corrupt_count[0] > 0, seen.corrupt_count[1] > 0);
    return lost;
}

Test(quarantine, a_damaged_block_costs_its_keys_until_they_are_excised)
{
    prepare();
    char path[64];
    snprintf(path, sizeof(path), "%s", file_path(".sst"));
    flip_byte(path, 700); /* In the second block. */
    sim_power_cut();
    sim_start(); /* With nothing cached. */
    cr_assert_eq(sim.open_status, STATUS_OK);
    see();
    uint32_t lost = check_reads("flipped", 700);
    cr_assert(lost > 0 && lost < KEY_COUNT / 3, "%u", lost);
    cr_assert_eq(told_count, 1);
    cr_assert_eq(sim_stats().quarantine_count, 1);
    bool gone[KEY_COUNT];
    uint32_t first = KEY_COUNT;
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        gone[i] = seen.gets[i] == STATUS_CORRUPT;
        first = gone[i] && first == KEY_COUNT && i % 2 == 0 ? i : first;
    }
    /* A merge passes over it; then the block is no more, but what was lost is still known. */
    cr_assert_eq(sim_put(key_name(KEY_COUNT - 1), SIM_DELETE, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(sim_put(key_name(0), SIZE_OLD, LSM_SYNCED), STATUS_OK);
    cr_assert_eq(sim_put(key_name(first), SIZE_NEW, LSM_SYNCED), STATUS_OK);
    sim_pass(50);
    cr_assert_eq(sim_ask(lsm_compact, 1000), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        see();
        for (uint32_t i = 0; i < KEY_COUNT - 1; i++) {
            if (i % 2 == 1 && seen.gets[i] == STATUS_CORRUPT) {
                continue; /* The filter that knew better went with the table. */
            }
            enum status wanted = i == first   ? STATUS_OK
                                 : gone[i]    ? STATUS_CORRUPT
                                 : i % 2 == 0 ? STATUS_OK
                                              : STATUS_NOT_FOUND;
            cr_assert_eq(seen.gets[i], wanted, "round %d key %u: %s", round, i,
                         status_name(seen.gets[i]));
        }
        cr_assert_eq(seen.sizes[first], SIZE_NEW, "what is newer counts");
        cr_assert_gt(seen.corrupt_count[0], 0);
        sim_power_cut();
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK);
    }
    cr_assert_geq(told_count, 3, "it is told at each open");
}

struct asked {
    struct lsm_excise excise;
    bool answered;
};

static void excise_done(struct lsm_excise *excise, enum status status)
{
    cr_assert_eq(status, STATUS_OK);
    container_of(excise, struct asked, excise)->answered = true;
}

static void excise_call(void *context)
{
    struct asked *of = context;
    cr_assert_eq(lsm_excise(sim.lsm, &of->excise), STATUS_OK);
}

/* Every byte of the table, of the log and of the manifest, one at a time. */
static uint32_t flip_all(const char *end, uint32_t *lost_some, uint32_t *refused)
{
    bool log = strcmp(end, ".wal") == 0;
    char path[64];
    uint64_t size = 1;
    /* Far into a segment there is nothing yet: a sample. (test_wal.c turns each byte over.) */
    for (uint64_t at = 0; at < size; at += log && at > 6000 ? 997 : 1) {
        sim_deinit();
        sim_init();
        prepare_in(log);
        snprintf(path, sizeof(path), "%s", file_path(end));
        /* Between two processes. */
        world_node_crash(sim.node, WORLD_CRASH_PROCESS);
        world_node_start(sim.node, boot_nothing, NULL);
        flip_byte(path, at);
        size = flip.size;
        world_node_crash(sim.node, WORLD_CRASH_PROCESS);
        told_count = 0;
        sim_start();
        if (sim.open_status != STATUS_OK) {
            cr_assert(strcmp(end, ".sst") != 0, "byte %u of a table refuses the engine",
                      (unsigned)at);
            cr_assert(sim.open_status == STATUS_CORRUPT || sim.open_status == STATUS_UNSUPPORTED);
            ++*refused;
            continue;
        }
        see();
        uint32_t lost = check_reads(end, at);
        cr_assert_eq(lost > 0, sim_stats().quarantine_count > 0, "byte %u", (unsigned)at);
        cr_assert_eq(lost > 0, told_count > 0, "byte %u", (unsigned)at);
        *lost_some += lost > 0 ? 1 : 0;
        cr_assert_eq(sim_write("key001", 10, 50), STATUS_OK, "it stays writable");
    }
    return (uint32_t)size;
}

Test(quarantine, any_wrong_byte_of_a_table_costs_its_stretch)
{
    uint32_t lost_some = 0;
    uint32_t refused = 0;
    uint32_t size = flip_all(".sst", &lost_some, &refused);
    cr_assert_gt(lost_some, size / 2, "%u of %u", lost_some, size);
    cr_assert_lt(lost_some, size, "a filter costs nothing");
    cr_assert_eq(refused, 0);
}

Test(quarantine, any_wrong_byte_of_the_manifest_is_refused_or_harmless)
{
    uint32_t lost_some = 0;
    uint32_t refused = 0;
    (void)flip_all("MANIFEST", &lost_some, &refused);
    cr_assert_eq(lost_some, 0);
    cr_assert_gt(refused, 100);
}

/* All of it was synced, and a watermark says so. */
Test(quarantine, any_wrong_byte_of_the_log_is_refused_or_harmless)
{
    uint32_t lost_some = 0;
    uint32_t refused = 0;
    (void)flip_all(".wal", &lost_some, &refused);
    cr_assert_eq(lost_some, 0);
    cr_assert_gt(refused, 150, "%u: of one packed group", refused);
}

Test(quarantine, an_excise_makes_a_stretch_sound_again)
{
    prepare();
    char path[64];
    snprintf(path, sizeof(path), "%s", file_path(".sst"));
    flip_byte(path, 700);
    sim_power_cut();
    sim_start();
    see();
    cr_assert_eq(sim_stats().quarantine_count, 1);
    struct asked asked = {.excise = {.lower = slice_text("key"), .done = excise_done}};
    world_node_call(sim.node, excise_call, &asked);
    sim_pass(300);
    cr_assert(asked.answered);
    cr_assert_eq(sim_stats().quarantine_count, 0);
    for (int round = 0; round < 2; round++) {
        see();
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            cr_assert_eq(seen.gets[i], STATUS_NOT_FOUND);
        }
        cr_assert_eq(seen.corrupt_count[0], 0);
        sim_power_cut();
        sim_start();
    }
}

struct scrubbed {
    struct lsm_request request;
    bool answered;
    enum status status;
};

static void scrub_done(struct lsm_request *request, enum status status)
{
    struct scrubbed *of = container_of(request, struct scrubbed, request);
    of->answered = true;
    of->status = status;
}

static void scrub_call(void *context)
{
    struct scrubbed *of = context;
    cr_assert_eq(lsm_scrub(sim.lsm, &of->request), STATUS_OK);
}

static enum status scrub(void)
{
    struct scrubbed of = {.request.done = scrub_done};
    world_node_call(sim.node, scrub_call, &of);
    sim_pass(1000);
    cr_assert(of.answered);
    return of.status;
}

/* Nobody has read the block, and it is found. */
Test(quarantine, a_scrub_finds_damage_that_nobody_met)
{
    prepare();
    cr_assert_eq(scrub(), STATUS_OK);
    cr_assert_eq(told_count, 0);
    see(); /* All of it is in the cache now, where it is not damaged. */
    flip_byte(file_path(".sst"), 700);
    cr_assert_eq(scrub(), STATUS_CORRUPT);
    cr_assert_eq(told_count, 1);
    cr_assert_eq(sim_stats().quarantine_count, 1);
    cr_assert_gt(sim_stats().scrub_size, 0);
    sim_power_cut();
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
    see();
    cr_assert_gt(check_reads("scrubbed", 700), 0);
}

/* Nobody has read the block before the merge that drops its table. */
Test(quarantine, what_a_merge_could_not_read_is_known_to_be_lost)
{
    prepare();
    flip_byte(file_path(".sst"), 700);
    sim_power_cut();
    sim_start();
    cr_assert_eq(sim_put(key_name(0), SIZE_OLD, LSM_SYNCED), STATUS_OK);
    sim_pass(50);
    cr_assert_eq(told_count, 0);
    cr_assert_eq(sim_ask(lsm_compact, 1000), STATUS_OK);
    cr_assert_geq(told_count, 1);
    for (int round = 0; round < 2; round++) {
        see();
        uint32_t lost = check_reads("merged", 700);
        cr_assert(lost > 0 && lost < KEY_COUNT / 2, "%u", lost);
        cr_assert_eq(scrub(), STATUS_OK, "the block itself is no more");
        sim_power_cut();
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK);
    }
}

/* A walk that passes over dead cells. */
static struct {
    struct env_job job;
    uint32_t corrupt_count;
    bool done;
} passed;

static void passed_run(struct env_job *job)
{
    (void)job;
    struct lsm_iterator_options options = {.skip_dead = true};
    struct lsm_iterator *iterator = NULL;
    struct slice key;
    struct cell cell;
    enum status status = STATUS_OK;
    cr_assert_eq(lsm_iterator_open(sim.lsm, &options, &iterator), STATUS_OK);
    while (status != STATUS_NOT_FOUND) {
        status = lsm_iterator_next(iterator, &key, &cell);
        cr_assert(status == STATUS_BUDGET || status == STATUS_CORRUPT || status == STATUS_NOT_FOUND,
                  "%s", status_name(status));
        passed.corrupt_count += status == STATUS_CORRUPT ? 1 : 0;
    }
    lsm_iterator_close(iterator);
}

static void passed_done(struct env_job *job, enum status status)
{
    (void)job;
    passed.done = status == STATUS_OK;
}

/* How often it said CORRUPT. */
static uint32_t pass_over(void)
{
    memset(&passed, 0, sizeof(passed));
    passed.job = (struct env_job){.run = passed_run, .done = passed_done};
    world_node_call(sim.node, job_call, &passed.job);
    sim_pass(1000);
    cr_assert(passed.done);
    return passed.corrupt_count;
}

/* A row of deletes, all in one memtable, that a walk has learnt as a gap. */
static void gap_prepare(void)
{
    sim_power_cut();
    sim.options.memtable_size = 1 << 20;
    sim_start();
    for (uint32_t i = 0; i < 1500; i++) {
        char name[16];
        snprintf(name, sizeof(name), "dead%05u", i);
        cr_assert_eq(sim_put(name, SIM_DELETE, LSM_BUFFERED), STATUS_OK);
    }
    sim_pass(100);
    cr_assert_eq(pass_over(), 0);
    cr_assert_eq(sim_stats().gap_count, 1);
    cr_assert_eq(sim_ask(lsm_flush, 1000), STATUS_OK);
    flip_byte(file_path(".sst"), 5000); /* In the second block. */
    cr_assert_eq(pass_over(), 0, "it was dead before it was lost");
}

Test(quarantine, of_what_a_scrub_finds_is_told_by_a_walk_that_jumped_over_it)
{
    gap_prepare();
    cr_assert_eq(scrub(), STATUS_CORRUPT);
    cr_assert_eq(sim_stats().quarantine_count, 1);
    cr_assert_eq(pass_over(), 1);
}

Test(quarantine, of_what_a_merge_finds_is_told_by_a_walk_that_jumped_over_it)
{
    gap_prepare();
    cr_assert_eq(sim_ask(lsm_compact, 2000), STATUS_OK);
    cr_assert_eq(sim_stats().quarantine_count, 1);
    cr_assert_eq(pass_over(), 1);
}
