/* tests/sim/lsmsim_plan.c -- see lsmsim_plan.h. */
#include "tests/sim/lsmsim_plan.h"

#include <inttypes.h>
#include <stdio.h>

#define KIB UINT64_C(1024)

static uint32_t between(struct prng *prng, uint32_t least, uint32_t greatest)
{
    return least + (uint32_t)prng_below(prng, (uint64_t)greatest - least + 1);
}

uint32_t plan_choose(struct prng *prng, const uint32_t *weights, uint32_t count)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += weights[i];
    }
    ASSERT(sum > 0);
    uint32_t drawn = (uint32_t)prng_below(prng, sum);
    for (uint32_t i = 0; i < count; i++) {
        if (drawn < weights[i]) {
            return i;
        }
        drawn -= weights[i];
    }
    UNREACHABLE("weights sum up");
}

/* A weight, or nothing in one of three seeds. */
static uint32_t weight(struct prng *prng, uint32_t greatest)
{
    return prng_chance(prng, 1, 3) ? 0 : between(prng, 1, greatest);
}

static void lsm_draw(struct lsm_options *lsm, struct prng *prng)
{
    *lsm = (struct lsm_options){
        .path = "engine",
        .memory_size = (uint64_t)KIB << between(prng, 8, 13),
        .memtable_size = (uint64_t)(16 * KIB) << between(prng, 0, 3),
        .wal_segment_size = (uint64_t)(64 * KIB) << between(prng, 0, 1),
        .wal_buffer_size = (uint64_t)(64 * KIB) << between(prng, 0, 5),
        .slice_size = (uint64_t)KIB << between(prng, 0, 6),
        .table_size_max = (uint64_t)(4 * KIB) << between(prng, 0, 6),
        .manifest_size = UINT64_C(64) << between(prng, 0, 8),
        .block_size = 512u << between(prng, 0, 3),
        .bloom_bits_per_key = between(prng, 1, 12),
    };
    /* Few files, or many; not drawn, so that every seed draws the rest as before. */
    lsm->open_files_max = (uint32_t)(lsm->slice_size / KIB);
}

static void world_draw(struct world_options *world, uint64_t seed, struct prng *prng)
{
    if (prng_chance(prng, 1, 4)) {
        world_options_calm(world);
    } else {
        world_options_draw(world, seed);
    }
    if (prng_chance(prng, 1, 2)) {
        /* One lane far behind the others. */
        world->job_slow_ppm = between(prng, 1, 300000);
        world->job_slow_ns = prng_below(prng, UINT64_C(1000000000));
    }
    world->disk.faults = (struct disk_faults){.capacity_size = UINT64_C(1) << 40};
    if (prng_chance(prng, 1, 2)) {
        world->disk.faults.would_block_ppm = between(prng, 1, 600000);
    }
}

static void acts_draw(struct plan *plan, struct prng *prng)
{
    plan->act_weights[ACT_WRITE] = between(prng, 20, 80);
    plan->act_weights[ACT_GET] = between(prng, 1, 12);
    plan->act_weights[ACT_GET_LOOP] = weight(prng, 12);
    plan->act_weights[ACT_WALK] = weight(prng, 12);
    plan->act_weights[ACT_QUEUED] = weight(prng, 6);
    plan->act_weights[ACT_STATS] = 1;
    plan->act_weights[ACT_FLUSH] = weight(prng, 4);
    plan->act_weights[ACT_COMPACT] = weight(prng, 4);
    plan->act_weights[ACT_PAUSE] = weight(prng, 2);
    plan->floor = (enum plan_floor)prng_below(prng, 3);
    plan->act_weights[ACT_FLOOR] = plan->floor == FLOOR_NONE ? 0 : between(prng, 1, 6);
    plan->act_weights[ACT_EXCISE] = prng_chance(prng, 1, 2) ? between(prng, 1, 6) : 0;
    plan->act_weights[ACT_FORGET] = plan->floor == FLOOR_EAGER ? weight(prng, 30) : 0;
    for (uint32_t end = 0; end < END_COUNT; end++) {
        plan->end_weights[end] = weight(prng, 4);
    }
    plan->end_weights[END_POWER] += 1;
    plan->act_weights[ACT_INGEST] = weight(prng, 5);
    plan->act_weights[ACT_EXPORT] = weight(prng, 5);
    plan->act_weights[ACT_CHECKPOINT] = prng_chance(prng, 1, 2) ? between(prng, 1, 2) : 0;
    plan->act_weights[ACT_SCRUB] = prng_chance(prng, 1, 2) ? 1 : 0;
    plan->act_weights[ACT_LET_GO] = prng_chance(prng, 1, 3) ? between(prng, 1, 4) : 0;
}

static void faults_draw(struct plan *plan, struct prng *prng)
{
    plan->faults = prng_chance(prng, 1, 4);
    if (!plan->faults) {
        return;
    }
    plan->act_weights[ACT_FAULT] = 1;
    plan->act_weights[ACT_RESUME] = prng_chance(prng, 1, 2) ? 2 : 0;
    plan->fault = plan->world.disk.faults;
    if (prng_chance(prng, 1, 2)) {
        plan->fault.read_error_ppm = between(prng, 1, 100000);
    }
    if (prng_chance(prng, 1, 2)) {
        plan->fault.write_error_ppm = between(prng, 1, 100000);
    }
    if (prng_chance(prng, 1, 2)) {
        plan->fault.sync_error_ppm = between(prng, 1, 200000);
    }
    if (prng_chance(prng, 1, 2)) {
        plan->fault.name_error_ppm = between(prng, 1, 100000);
    }
    if (prng_chance(prng, 1, 3)) {
        plan->fault.capacity_size = (uint64_t)between(prng, 0, 512) * KIB;
    }
}

/* Lives so short that what counts is in the log alone, and torn when power goes. */
static void log_draw(struct plan *plan, struct prng *prng)
{
    static const enum plan_act left_out[] = {ACT_FLUSH,  ACT_COMPACT, ACT_EXCISE,
                                             ACT_FORGET, ACT_PAUSE,   ACT_FAULT,
                                             ACT_RESUME, ACT_INGEST,  ACT_CHECKPOINT};
    for (size_t i = 0; i < ARRAY_COUNT(left_out); i++) {
        plan->act_weights[left_out[i]] = 0;
    }
    plan->faults = false;
    plan->options.operation_count = between(prng, 2, 20);
    plan->options.life_count *= 3;
    plan->value_size_max = 4000;
    plan->value_huge_max = 0;
    plan->durability_weights[LSM_BUFFERED] = 6;
    plan->durability_weights[LSM_SYNCED] = 1;
    plan->end_weights[END_POWER] = 8;
    plan->end_weights[END_POWER_IN_JOB] = 4;
    plan->lsm.memtable_size = 256 * KIB;
    if (prng_chance(prng, 1, 2)) { /* The log may be cut before where an excise was asked for. */
        plan->act_weights[ACT_EXCISE] = between(prng, 2, 8);
        plan->options.operation_count = between(prng, 8, 20);
        plan->steps_max = between(prng, 2, 16);
    }
}

void plan_draw(struct plan *plan, uint64_t seed, const struct plan_options *options)
{
    struct prng prng;
    prng_init(&prng, prng_mix(seed ^ UINT64_C(0x6c736d73696d)));
    *plan = (struct plan){
        .seed = seed,
        .options = *options,
        .key_count = between(&prng, 3, prng_chance(&prng, 1, 3) ? 250 : 40),
        .shape = (enum model_shape)prng_below(&prng, MODEL_SHAPE_COUNT),
        .value_size_max = 16u << between(&prng, 0, 6),
        .batch_count_max = prng_chance(&prng, 1, 3) ? 1 : MODEL_BATCH_COUNT_MAX,
        .delete_percent = prng_chance(&prng, 1, 4) ? 0 : between(&prng, 1, 60),
        .expiry_percent = prng_chance(&prng, 1, 3) ? 0 : between(&prng, 1, 40),
        .restamp_percent = prng_chance(&prng, 1, 3) ? 0 : between(&prng, 1, 40),
        .version_spread = prng_chance(&prng, 1, 3) ? 0 : 1u << between(&prng, 0, 24),
        .steps_max = 1u << between(&prng, 0, 6),
        .crash_at_open = prng_chance(&prng, 1, 2),
    };
    plan->key_hot_count = between(&prng, 1, plan->key_count);
    plan->value_huge_max = prng_chance(&prng, 1, 2) ? 5000u << between(&prng, 0, 5) : 0;
    plan->durability_weights[LSM_NONE] = weight(&prng, 3);
    plan->durability_weights[LSM_BUFFERED] = weight(&prng, 6);
    plan->durability_weights[LSM_SYNCED] = between(&prng, 1, 6);
    lsm_draw(&plan->lsm, &prng);
    world_draw(&plan->world, seed, &prng);
    acts_draw(plan, &prng);
    faults_draw(plan, &prng);
    if (prng_chance(&prng, 1, 5)) {
        log_draw(plan, &prng);
    }
}

void plan_scripted(struct plan *plan, uint64_t seed)
{
    *plan = (struct plan){
        .seed = seed,
        .options = {.operation_count = 150, .life_count = 1},
        .key_count = 24,
        .key_hot_count = 8,
        .shape = MODEL_SHAPE_SUFFIX,
        .value_size_max = 2400,
        .batch_count_max = MODEL_BATCH_COUNT_MAX,
        .durability_weights = {1, 3, 4},
        .delete_percent = 20,
        .expiry_percent = 10,
        .restamp_percent = 10,
        .version_spread = 1u << 18,
        .act_weights = {[ACT_WRITE] = 30,
                        [ACT_GET] = 3,
                        [ACT_WALK] = 2,
                        [ACT_QUEUED] = 1,
                        [ACT_FLUSH] = 2,
                        [ACT_COMPACT] = 1,
                        [ACT_EXCISE] = 1,
                        [ACT_INGEST] = 2,
                        [ACT_EXPORT] = 2,
                        [ACT_CHECKPOINT] = 1,
                        [ACT_SCRUB] = 1,
                        [ACT_FLOOR] = 2},
        .end_weights = {[END_STOP] = 1},
        .steps_max = 12,
        .floor = FLOOR_SETTLED,
        .lsm = {.path = "engine",
                .memtable_size = 16 * KIB,
                .wal_segment_size = 64 * KIB,
                .slice_size = 8 * KIB,
                .table_size_max = 16 * KIB,
                .manifest_size = 1 * KIB,
                .block_size = 1 * KIB},
    };
    world_options_calm(&plan->world);
}

void plan_print(const struct plan *plan)
{
    (void)fprintf(stderr,
                  "seed %" PRIu64 ": keys=%u hot=%u shape=%u value=%u huge=%u batch=%u "
                  "durability=%u/%u/%u delete=%u%% expiry=%u%% restamp=%u%% spread=%u floor=%u "
                  "faults=%u memtable=%" PRIu64 " segment=%" PRIu64 " slice=%" PRIu64
                  " table=%" PRIu64 " block=%u bits=%u steps=%u\n",
                  plan->seed, plan->key_count, plan->key_hot_count, (unsigned)plan->shape,
                  plan->value_size_max, plan->value_huge_max, plan->batch_count_max,
                  plan->durability_weights[0], plan->durability_weights[1],
                  plan->durability_weights[2], plan->delete_percent, plan->expiry_percent,
                  plan->restamp_percent, plan->version_spread, (unsigned)plan->floor, plan->faults,
                  plan->lsm.memtable_size, plan->lsm.wal_segment_size, plan->lsm.slice_size,
                  plan->lsm.table_size_max, plan->lsm.block_size, plan->lsm.bloom_bits_per_key,
                  plan->steps_max);
}
