/*
 * tests/sim/lsmsim_script.c -- a short life without chance in what is on, broken at a point.
 *
 * Points are counted in calls of the disk or in allocations, so that a sweep visits each of them;
 * a second life then finds what is left.
 */
#include "tests/sim/lsmsim_life.h"

#define REOPEN_STEPS 300u /* Of the engine that is opened to be crashed. */
#define REOPEN_FIRST 30u  /* The call of the script after which power goes first: */
#define REOPEN_LAST 400u  /* up to so many later. */

const char *run_trouble_name(enum run_trouble trouble)
{
    static const char *const names[TROUBLE_COUNT] = {
        [TROUBLE_NONE] = "none",   [TROUBLE_RECOVERY] = "recovery", [TROUBLE_CRASH] = "crash",
        [TROUBLE_ERROR] = "error", [TROUBLE_ERRORS] = "errors",     [TROUBLE_NO_SPACE] = "no-space",
        [TROUBLE_SHORT] = "short", [TROUBLE_MEMORY] = "memory",
    };
    return names[trouble];
}

static void trouble_arm(struct run *run, enum run_trouble trouble, uint64_t n)
{
    static const enum disk_trouble troubles[TROUBLE_COUNT] = {
        [TROUBLE_ERROR] = DISK_TROUBLE_ERROR,
        [TROUBLE_ERRORS] = DISK_TROUBLE_ERRORS,
        [TROUBLE_NO_SPACE] = DISK_TROUBLE_NO_SPACE,
        [TROUBLE_SHORT] = DISK_TROUBLE_SHORT,
    };
    if (trouble == TROUBLE_CRASH || trouble == TROUBLE_RECOVERY) {
        world_node_crash_in_job(run->node, WORLD_CRASH_POWER, n - 1);
    } else if (trouble == TROUBLE_MEMORY) {
        world_node_heap(run->node)->fail_countdown = n;
    } else if (trouble != TROUBLE_NONE) {
        disk_sim_fail_in(world_node_disk(run->node), troubles[trouble], n);
    }
    run->faulty = trouble > TROUBLE_RECOVERY;
    run->short_reads = trouble == TROUBLE_SHORT;
    run->model.shown_by_answer = trouble == TROUBLE_MEMORY;
}

static uint64_t trouble_points(const struct run *run, enum run_trouble trouble)
{
    const struct disk_sim *disk = world_node_disk(run->node);
    if (trouble == TROUBLE_CRASH || trouble == TROUBLE_RECOVERY) {
        return disk_sim_operation_count(disk);
    }
    if (trouble == TROUBLE_MEMORY) {
        return world_node_heap(run->node)->request_count;
    }
    return trouble == TROUBLE_SHORT ? disk_sim_read_count(disk) : disk_sim_call_count(disk);
}

/* The script, and its end; true if the engine was stopped. */
static bool script_play(struct run *run)
{
    if (!life_open(run) || (!run->faulty && !life_check(run))) {
        return false;
    }
    run->begun = true; /* If it was not checked: there was nothing to be found. */
    acts_run(run, run->plan.options.operation_count);
    return run_is_alive(run) && life_stop(run);
}

/* What the script left is opened for a while, and meets a loss of power at its n-th call; returns
 * how many calls there were. */
static uint64_t script_reopen(struct run *run, uint64_t n)
{
    uint64_t before = disk_sim_operation_count(world_node_disk(run->node));
    life_start(run);
    if (n > 0) {
        world_node_crash_in_job(run->node, WORLD_CRASH_POWER, n - 1);
    }
    if (life_open(run) && life_check(run)) {
        (void)world_run_steps(run->world, REOPEN_STEPS);
    }
    uint64_t after = disk_sim_operation_count(world_node_disk(run->node));
    if (run_is_alive(run)) {
        world_node_crash(run->node, WORLD_CRASH_POWER);
    }
    if (!run_is_over(run)) {
        life_forget(run);
    }
    return after - before;
}

/* Whether something was quarantined; then every other key must still be one that was written. */
static void quarantine_look(struct run *run)
{
    life_start(run);
    if (life_open(run)) {
        life_look(run);
    }
    if (run_is_alive(run)) {
        (void)life_stop(run);
    }
    if (!run_is_over(run)) {
        life_forget(run);
    }
}

void run_script(uint64_t seed, enum run_trouble trouble, uint64_t n, bool verbose, uint64_t *points,
                struct run_result *result)
{
    struct plan plan;
    plan_scripted(&plan, seed);
    struct run *run = run_create(&plan, WORLD_PLANT_NONE, verbose);
    bool reopens = trouble == TROUBLE_RECOVERY;
    uint64_t first = reopens ? REOPEN_FIRST + prng_mix(seed) % REOPEN_LAST : n;
    life_start(run);
    trouble_arm(run, first == 0 ? TROUBLE_NONE : trouble, first);
    (void)script_play(run);
    *points = trouble_points(run, trouble);
    if (!run_is_over(run)) {
        life_forget(run);
        faults_end(run);
        run->model.shown_by_answer = false;
    }
    if (!run_is_over(run) && run->short_reads) {
        quarantine_look(run);
    }
    if (!run_is_over(run) && reopens) {
        *points = script_reopen(run, n);
    }
    run->short_reads = false;
    if (!run_is_over(run) && !run->quarantined) {
        life_last(run);
    }
    run_destroy(run, result);
}
