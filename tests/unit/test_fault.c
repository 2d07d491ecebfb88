/*
 * tests/unit/test_fault.c -- disk and memory fail under background work, and it goes on after.
 *
 * Each test plants failures at chosen calls, looks at what the engine still does meanwhile, lets
 * them end, and then compares with what was written; with a loss of power in between wherever the
 * failed call may have left something behind.
 */
#include "lsm/engine.h"
#include "tests/unit/lsm_sim_fixture.h"

#define KEY_COUNT 40u

static void setup(void)
{
    sim_bytes_fill();
    sim_init();
}

TestSuite(fault, .init = setup, .fini = sim_deinit, .timeout = 120);

static const char *key_name(uint32_t index)
{
    static char name[16];
    snprintf(name, sizeof(name), "key%03u", index);
    return name;
}

/* Odd keys are deleted at the end of each round. */
static void keys_write(uint32_t round)
{
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        enum status status = sim_write(key_name(i), 3000 + round, 20);
        cr_assert_eq(status, STATUS_OK, "round %u key %u: %s", round, i, status_name(status));
    }
    for (uint32_t i = 1; i < KEY_COUNT; i += 2) {
        cr_assert_eq(sim_write(key_name(i), SIM_DELETE, 20), STATUS_OK);
    }
}

static void keys_check(const char *when)
{
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        enum status status = sim_get(key_name(i));
        enum status wanted = i % 2 == 0 ? STATUS_OK : STATUS_NOT_FOUND;
        cr_assert_eq(status, wanted, "%s: key %u: %s", when, i, status_name(status));
    }
}

static void power_cut_and_check(const char *when)
{
    sim_power_cut();
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK, "%s: %s", when, status_name(sim.open_status));
    keys_check(when);
}

Test(fault, tables_that_cannot_be_written_are_written_later_and_writes_go_on)
{
    sim_faults()->error_path_part = ".sst";
    sim_faults()->write_error_ppm = 1000000;
    keys_write(1); /* Freezes two memtables; neither can be flushed. */
    cr_assert_eq(sim_ask(lsm_flush, 30000), STATUS_WOULD_BLOCK);
    struct lsm_stats stats = sim_stats();
    cr_assert(!stats.read_only);
    cr_assert_gt(stats.job_failure_count, 3);
    cr_assert_lt(stats.job_failure_count, 40, "it rests longer and longer");
    cr_assert_eq(sim.told_count, 0);
    cr_assert_eq(sim_file_count(".sst"), 0, "what was given up is removed");
    keys_check("meanwhile");
    sim_faults()->write_error_ppm = 0;
    sim_pass(20000);
    cr_assert(sim.request_answered);
    cr_assert_eq(sim.request_status, STATUS_OK);
    cr_assert_gt(sim_file_count(".sst"), 0);
    power_cut_and_check("after");
}

/* The log falls silent while a flush still has to be done: what is merged at rest counts it. */
Test(fault, what_a_failed_flush_brings_late_is_merged_at_rest)
{
    const uint32_t last = 4; /* The first becomes the bottom, four are too many for a tier. */
    for (uint32_t run = 0; run <= last; run++) {
        cr_assert_eq(sim_write("a", 100, 10), STATUS_OK);
        cr_assert_eq(sim_write("z", 100, 10), STATUS_OK);
        sim_faults()->error_path_part = ".sst";
        sim_faults()->write_error_ppm = run == last ? 1000000 : 0;
        enum status wanted = run == last ? STATUS_WOULD_BLOCK : STATUS_OK;
        cr_assert_eq(sim_ask(lsm_flush, run == last ? 300 : 20), wanted);
    }
    sim_faults()->write_error_ppm = 0;
    sim_pass(5000);
    cr_assert(sim.request_answered);
    struct lsm_stats stats = sim_stats();
    cr_assert_eq(stats.run_count, 1 + 1 + 1, "memtable, tier and bottom, not %u",
                 (unsigned)stats.run_count);
}

/* Every call that changes a table or the manifest fails once, one after the other. */
static void sweep(const char *path_part, uint32_t *failures)
{
    *failures = 0;
    for (uint64_t n = 1; n < 400; n++) {
        sim_faults()->error_path_part = path_part;
        sim_faults()->error_countdown = n;
        keys_write((uint32_t)n % 3);
        enum status status = sim_ask(lsm_compact, 8000);
        cr_assert_eq(status, STATUS_OK, "%s call %u: %s", path_part, (unsigned)n,
                     status_name(status));
        bool reached = sim_faults()->error_countdown == 0;
        sim_faults()->error_countdown = 0;
        struct lsm_stats stats = sim_stats();
        cr_assert(!stats.read_only);
        /* One removal may have failed; the next open makes up for it. */
        cr_assert_geq(sim_file_count(".sst"), stats.table_count);
        cr_assert_leq(sim_file_count(".sst"), stats.table_count + 1, "%s call %u", path_part,
                      (unsigned)n);
        *failures += stats.job_failure_count > 0 ? 1 : 0;
        power_cut_and_check(path_part);
        if (!reached) {
            return;
        }
        sim.write_count = 0;
    }
    cr_assert_fail("%s: never done", path_part);
}

Test(fault, any_failed_call_on_a_table_is_made_good)
{
    uint32_t failures = 0;
    sweep(".sst", &failures);
    cr_assert_gt(failures, 10);
}

Test(fault, any_failed_call_on_the_manifest_is_made_good)
{
    uint32_t failures = 0;
    sweep("MANIFEST", &failures);
    cr_assert_gt(failures, 5);
}

/* The failed edit is on disk, or a part of it, or not; then the power goes. */
Test(fault, a_crash_after_a_failed_manifest_write_finds_the_edit_or_not)
{
    for (uint32_t round = 1; round <= 30; round++) {
        keys_write(round);
        sim_faults()->error_path_part = "MANIFEST";
        sim_faults()->write_error_ppm = round % 2 == 0 ? 1000000 : 0;
        sim_faults()->sync_error_ppm = round % 2 == 0 ? 0 : 1000000;
        cr_assert_eq(sim_ask(lsm_flush, 1000), STATUS_WOULD_BLOCK);
        cr_assert_gt(sim_stats().job_failure_count, 0);
        sim_power_cut();
        *sim_faults() = (struct disk_faults){.capacity_size = UINT64_MAX};
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK, "round %u: %s", round,
                     status_name(sim.open_status));
        keys_check("after the crash");
        sim_writes_forget();
    }
}

/* The n-th allocation fails while a flush and a merge run, for every n. */
Test(fault, any_failed_allocation_of_a_job_is_made_good)
{
    uint32_t failures = 0;
    for (uint64_t n = 1; n < 3000; n++) {
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            cr_assert_eq(sim_put(key_name(i), i % 2 == 0 ? 200 : SIM_DELETE, LSM_SYNCED),
                         STATUS_OK);
        }
        sim_pass(50);
        struct sim_ask call = {.ask = lsm_compact};
        world_node_call(sim.node, sim_ask_call, &call);
        cr_assert_eq(call.status, STATUS_OK);
        world_node_heap(sim.node)->fail_countdown = n;
        sim_pass(3000);
        bool reached = world_node_heap(sim.node)->fail_countdown == 0;
        world_node_heap(sim.node)->fail_countdown = 0;
        cr_assert(sim.request_answered, "n %u", (unsigned)n);
        cr_assert_eq(sim.request_status, STATUS_OK);
        struct lsm_stats stats = sim_stats();
        cr_assert(!stats.read_only, "n %u", (unsigned)n);
        failures = (uint32_t)stats.job_failure_count;
        sim_writes_forget();
        if (!reached) {
            break;
        }
    }
    keys_check("in the end");
    cr_assert_gt(failures, 20);
}

/* Writes that are visible at once: each allocation within the call fails once, and then none. */
static uint32_t write_without_memory(enum lsm_durability durability, uint32_t index)
{
    struct heap_sim *heap = world_node_heap(sim.node);
    uint32_t refused = 0;
    char name[16];
    size_t size = index % 7 == 0 ? 3000 : 30;
    snprintf(name, sizeof(name), "key%05u", index * 7919 % 4000);
    for (uint64_t n = 1; n < 10; n++) {
        heap->fail_countdown = n;
        enum status status = sim_put(name, size, durability);
        bool reached = heap->fail_countdown == 0;
        heap->fail_countdown = 0;
        cr_assert(!sim_stats().read_only, "write %u, allocation %u", index, (unsigned)n);
        if (status == STATUS_OK) { /* It may do without, as when a memtable is to freeze. */
            return refused;
        }
        cr_assert_eq(status, STATUS_NO_MEMORY, "%s", status_name(status));
        cr_assert(reached);
        refused++;
        if (refused % 16 == 1) {
            cr_assert_eq(sim_get(name), STATUS_NOT_FOUND, "what is refused is not there");
        }
    }
    cr_assert_fail("never taken");
    return refused;
}

Test(fault, a_write_that_is_visible_at_once_is_refused_for_want_of_memory_and_changes_nothing)
{
    static const enum lsm_durability durabilities[] = {LSM_BUFFERED, LSM_NONE};
    for (uint32_t d = 0; d < 2; d++) {
        uint32_t refused = 0;
        for (uint32_t i = 0; i < 1500; i++) {
            refused += write_without_memory(durabilities[d], d * 1500 + i);
            if (i % 32 == 0) {
                sim_pass(20);
            }
        }
        cr_assert_gt(refused, 100);
        sim_pass(1000);
        sim.write_count = 0;
    }
}

/* Leaves `rest` bytes free. */
static void disk_fill(uint64_t rest)
{
    sim_faults()->capacity_size = disk_sim_used_size(sim_disk()) + rest;
}

static void write_until_full(void)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < 400 && status == STATUS_OK; i++) {
        char name[16];
        snprintf(name, sizeof(name), "more%03u", i);
        status = sim_write(name, 20000, 30);
    }
    cr_assert_eq(status, STATUS_NO_SPACE, "%s", status_name(status));
    cr_assert(sim_stats().full);
    cr_assert(!sim_stats().read_only);
}

Test(fault, a_full_disk_refuses_values_takes_deletes_and_resumes_by_itself)
{
    keys_write(1);
    cr_assert_eq(sim_ask(lsm_flush, 2000), STATUS_OK);
    cr_assert_eq(sim_file_count("BALLAST"), 1);
    disk_fill(300000);
    write_until_full();
    sim_pass(5000);
    cr_assert_eq(sim_file_count("BALLAST"), 0);
    for (uint32_t i = 0; i < sim.write_count; i++) {
        cr_assert(sim.answered[i], "what was accepted is written, into the room of the ballast");
        cr_assert_eq(sim.statuses[i], STATUS_OK);
    }
    cr_assert_eq(sim_put("small", 1, LSM_SYNCED), STATUS_NO_SPACE);
    cr_assert_eq(sim_put("small", 1, LSM_BUFFERED), STATUS_NO_SPACE);
    cr_assert_eq(sim_put("small", 1, LSM_NONE), STATUS_NO_SPACE);
    cr_assert_eq(sim_write("key001", SIM_DELETE, 50), STATUS_OK);
    keys_check("full");
    sim_pass(10000);
    cr_assert_eq(sim_write("small", 1, 50), STATUS_NO_SPACE, "it does not flutter");
    sim_faults()->capacity_size += 2 << 20;
    sim_pass(2000);
    cr_assert(!sim_stats().full);
    cr_assert_eq(sim_write("small", 1, 50), STATUS_OK);
    cr_assert_eq(sim_file_count("BALLAST"), 1);
    cr_assert_eq(sim.told_count, 0);
    power_cut_and_check("after");
}

/* What a flush of all that is in memory takes is kept free, and no more for long. */
Test(fault, the_ballast_grows_with_the_memtable_and_shrinks_at_rest)
{
    const struct space *space = &sim.lsm->space;
    sim_pass(100);
    uint64_t least = space->size;
    uint64_t segment = sim.options.wal_segment_size / 2;
    cr_assert_geq(least, sim.options.slice_size, "nothing is held");
    uint64_t greatest = 0;
    for (uint32_t i = 0; i < 60; i++) {
        cr_assert_eq(sim_write(key_name(i % KEY_COUNT), 3000, 50), STATUS_OK);
        uint64_t held = sim.lsm->sources->active->size;
        uint64_t wanted = held < sim.options.memtable_size ? held : sim.options.memtable_size;
        cr_assert_geq(space->size, least + wanted, "write %u", i);
        greatest = space->size > greatest ? space->size : greatest;
    }
    cr_assert_geq(greatest, least + sim.options.memtable_size);
    cr_assert_leq(greatest, least + sim.options.memtable_size + segment);
    cr_assert_eq(sim_ask(lsm_flush, 500), STATUS_OK);
    cr_assert_eq(space->size, greatest, "not while the log is in use");
    uint64_t used = disk_sim_used_size(sim_disk());
    sim_pass(SEGMENT_REST_MS + 500);
    cr_assert_eq(space->size, least);
    cr_assert_leq(disk_sim_used_size(sim_disk()), used - (greatest - least));
    for (uint32_t i = 0; i < 5; i++) { /* It does not follow each write. */
        cr_assert_eq(sim_write(key_name(0), 10, 2000), STATUS_OK);
        cr_assert_eq(space->size, least + sim.options.memtable_size / 4);
    }
}

Test(fault, deletes_alone_make_the_room_to_go_on)
{
    for (uint32_t i = 0; i < 60; i++) {
        char name[16];
        snprintf(name, sizeof(name), "room%03u", i);
        cr_assert_eq(sim_write(name, 20000, 30), STATUS_OK);
    }
    cr_assert_eq(sim_ask(lsm_compact, 3000), STATUS_OK);
    disk_fill(300000);
    write_until_full();
    for (uint32_t i = 0; i < 60; i++) {
        char name[16];
        snprintf(name, sizeof(name), "room%03u", i);
        enum status status = sim_write(name, SIM_DELETE, 100);
        cr_assert_eq(status, STATUS_OK, "%u: %s", i, status_name(status));
    }
    sim_pass(30000);
    cr_assert(!sim_stats().full);
    cr_assert_eq(sim_write("small", 1, 50), STATUS_OK);
    cr_assert_eq(sim_get("room001"), STATUS_NOT_FOUND);
    cr_assert_eq(sim_get("more000"), STATUS_OK);
}

Test(fault, an_engine_opens_on_a_full_disk)
{
    keys_write(1);
    sim_pass(100);
    for (uint32_t round = 0; round < 3; round++) {
        sim_power_cut();
        if (round == 0) {
            cr_assert_eq(sim_file_count("BALLAST"), 1);
            disk_fill(0); /* By somebody else. */
        }
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK, "round %u: %s", round,
                     status_name(sim.open_status));
        sim_pass(1500);
        keys_check("opened");
        cr_assert_eq(sim_write("key001", SIM_DELETE, 50), STATUS_OK);
    }
    sim_faults()->capacity_size += 8 << 20;
    sim_pass(15000);
    cr_assert_eq(sim_write("small", 1, 50), STATUS_OK);
    keys_check("in the end");
}

/* The log fails; what is under way is told INDETERMINATE. */
static void log_break(bool sync)
{
    cr_assert_eq(sim_write("before", 100, 50), STATUS_OK);
    sim_faults()->write_error_ppm = sync ? 0 : 1000000;
    sim_faults()->sync_error_ppm = sync ? 1000000 : 0;
    cr_assert_eq(sim_put("buffered", 100, LSM_BUFFERED), STATUS_OK);
    cr_assert_eq(sim_write("lost", 100, 200), STATUS_INDETERMINATE);
    cr_assert(sim_stats().read_only);
    cr_assert_eq(sim_put("later", 100, LSM_SYNCED), STATUS_READ_ONLY);
}

static void faults_end(void)
{
    sim_faults()->write_error_ppm = 0;
    sim_faults()->sync_error_ppm = 0;
}

static void expect_resumed(const char *when)
{
    cr_assert_eq(sim_get("before"), STATUS_OK, "%s", when);
    cr_assert_eq(sim_get("buffered"), STATUS_OK, "%s: it was visible", when);
    cr_assert_eq(sim_get("lost"), STATUS_NOT_FOUND, "%s: it was not, and never is", when);
}

static void resume_and_check(bool sync)
{
    log_break(sync);
    cr_assert_neq(sim_ask(lsm_resume, 1000), STATUS_OK);
    cr_assert(sim_stats().read_only, "the disk still fails");
    faults_end();
    cr_assert_eq(sim_ask(lsm_resume, 1000), STATUS_OK);
    cr_assert(!sim_stats().read_only);
    expect_resumed("resumed");
    cr_assert_eq(sim_write("after", 100, 50), STATUS_OK);
    keys_write(1); /* Over several segments and memtables. */
    sim_power_cut();
    sim_start();
    cr_assert_eq(sim.open_status, STATUS_OK);
    expect_resumed("after the power cut");
    cr_assert_eq(sim_get("after"), STATUS_OK);
    keys_check("after the power cut");
    cr_assert_eq(sim.told_count, 1);
}

Test(fault, writing_resumes_after_a_failed_sync)
{
    resume_and_check(true);
}

Test(fault, writing_resumes_after_a_failed_write)
{
    resume_and_check(false);
}

/* Wherever it comes: most of a log's space is reserved, but not what holds the file system's own
 * notes of it. */
Test(fault, a_log_that_failed_for_want_of_space_resumes_by_itself)
{
    for (uint32_t round = 0; round < 6; round++) {
        cr_assert_eq(sim_write("before", 100, 50), STATUS_OK);
        sim_faults()->error_path_part = round % 2 == 0 ? NULL : ".spare";
        sim_faults()->write_error_no_space = true;
        sim_faults()->write_error_ppm = 1000000;
        cr_assert_eq(sim_put("buffered", 100, LSM_BUFFERED), STATUS_OK);
        cr_assert_eq(sim_write("lost", 100, 200), STATUS_INDETERMINATE);
        cr_assert(sim_stats().read_only);
        cr_assert(sim_stats().full);
        sim_pass(5000 * (round / 2));
        cr_assert(sim_stats().read_only, "the disk is still full");
        faults_end();
        sim_faults()->write_error_no_space = false;
        sim_faults()->error_path_part = NULL;
        sim_pass(15000);
        cr_assert(!sim_stats().read_only);
        cr_assert(!sim_stats().full);
        expect_resumed("resumed");
        cr_assert_eq(sim_write("after", 100, 50), STATUS_OK);
        sim_power_cut();
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK);
        expect_resumed("after the power cut");
        cr_assert_eq(sim_write("lost", SIM_DELETE, 50), STATUS_OK);
    }
}

/* Who is told that it works again is not refused for a shortage that is over. */
Test(fault, a_resume_looks_whether_there_is_space_before_it_says_so)
{
    cr_assert_eq(sim_write("before", 100, 50), STATUS_OK);
    sim_faults()->write_error_no_space = true;
    sim_faults()->write_error_ppm = 1000000;
    cr_assert_eq(sim_put("buffered", 100, LSM_BUFFERED), STATUS_OK);
    cr_assert_eq(sim_write("lost", 100, 200), STATUS_INDETERMINATE);
    faults_end();
    sim_faults()->write_error_no_space = false;
    cr_assert_eq(sim_ask(lsm_resume, 900), STATUS_OK);
    cr_assert_eq(sim_put("after", 100, LSM_SYNCED), STATUS_OK);
    sim_pass(100);
    cr_assert_eq(sim_get("after"), STATUS_OK);
}

Test(fault, a_resume_of_what_works_says_so)
{
    cr_assert_eq(sim_ask(lsm_resume, 1000), STATUS_OK);
    cr_assert_eq(sim_write("a", 100, 50), STATUS_OK);
}

/* The power goes at each operation of a resume; then the old log is found, or the new one. */
Test(fault, a_crash_within_a_resume_loses_nothing)
{
    for (uint64_t operation = 0; operation < 60; operation++) {
        sim_deinit();
        sim_init();
        log_break(operation % 2 == 0);
        faults_end();
        world_node_crash_in_job(sim.node, WORLD_CRASH_POWER, operation);
        struct sim_ask call = {.ask = lsm_resume};
        world_node_call(sim.node, sim_ask_call, &call);
        cr_assert_eq(call.status, STATUS_OK);
        sim_pass(1000);
        bool ended = world_node_alive(sim.node);
        if (ended) {
            cr_assert(sim.request_answered);
            cr_assert_eq(sim.request_status, STATUS_OK);
            sim_power_cut();
        }
        sim_start();
        cr_assert_eq(sim.open_status, STATUS_OK, "operation %u: %s", (unsigned)operation,
                     status_name(sim.open_status));
        cr_assert_eq(sim_get("before"), STATUS_OK);
        if (ended) {
            expect_resumed("resumed, and the power gone");
            return;
        }
        cr_assert_eq(sim_write("after", 100, 50), STATUS_OK);
    }
    cr_assert_fail("a resume never ended");
}

/* Every call on the log fails once; whoever was told INDETERMINATE writes again. */
Test(fault, any_failed_call_on_the_log_is_made_good_by_a_resume)
{
    uint32_t resumed = 0;
    for (uint64_t n = 1; n < 400; n++) {
        sim_faults()->error_path_part = ".spare"; /* As segments are called when opened. */
        sim_faults()->error_countdown = n;
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            enum status status = sim_write(key_name(i), i % 2 == 0 ? 3000 : SIM_DELETE, 300);
            if (status != STATUS_OK) {
                /* READ_ONLY: it was an idle log's watermark. */
                cr_assert(status == STATUS_INDETERMINATE || status == STATUS_READ_ONLY, "n %u: %s",
                          (unsigned)n, status_name(status));
                cr_assert_eq(sim_ask(lsm_resume, 1000), STATUS_OK);
                resumed++;
                i--; /* Once more. */
            }
        }
        bool reached = sim_faults()->error_countdown == 0;
        sim_faults()->error_countdown = 0;
        power_cut_and_check("log");
        if (!reached) {
            cr_assert_gt(resumed, 20);
            return;
        }
        sim.write_count = 0;
    }
    cr_assert_fail("never done");
}
