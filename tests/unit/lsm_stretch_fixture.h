/*
 * tests/unit/lsm_stretch_fixture.h -- a few keys on a simulated disk, told apart by the size of
 * their values, and a look at all of them.
 */
#ifndef TESTS_UNIT_LSM_STRETCH_FIXTURE_H
#define TESTS_UNIT_LSM_STRETCH_FIXTURE_H

#include "base/prng.h"
#include "tests/unit/lsm_sim_fixture.h"

#define KEY_COUNT 40u

struct found {
    struct env_job job;
    uint32_t sizes[KEY_COUNT]; /* 0: not found, or a tombstone. */
    uint32_t scanned[KEY_COUNT];
    bool done;
};

static struct found found;

static inline const char *key_name(uint32_t index)
{
    static char names[4][16];
    static uint32_t next;
    char *name = names[next++ % 4];
    snprintf(name, 16, "key%03u", index);
    return name;
}

static inline void scan_all(struct found *into)
{
    struct lsm_iterator_options options = {0};
    struct lsm_iterator *iterator = NULL;
    struct slice key;
    struct cell cell;
    cr_assert_eq(lsm_iterator_open(sim.lsm, &options, &iterator), STATUS_OK);
    while (lsm_iterator_next(iterator, &key, &cell) == STATUS_OK) {
        for (uint32_t i = 0; i < KEY_COUNT; i++) {
            if (slice_equal(key, slice_text(key_name(i)))) {
                into->scanned[i] = (uint32_t)cell.value.size;
            }
        }
    }
    lsm_iterator_close(iterator);
}

static inline void found_run(struct env_job *job)
{
    struct found *into = container_of(job, struct found, job);
    struct buffer scratch = {0};
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        struct cell cell;
        enum status status =
            lsm_get(sim.lsm, slice_text(key_name(i)), LSM_MAY_BLOCK, &scratch, &cell);
        cr_assert(status == STATUS_OK || status == STATUS_NOT_FOUND, "%s", status_name(status));
        into->sizes[i] = status == STATUS_OK ? (uint32_t)cell.value.size : 0;
    }
    buffer_deinit(&scratch);
    scan_all(into);
}

static inline void found_done(struct env_job *job, enum status status)
{
    (void)status;
    container_of(job, struct found, job)->done = true;
}

static inline void found_call(void *context)
{
    (void)context;
    env_submit(world_node_env(sim.node), ENV_LANE_POOL, &found.job);
}

/* What every key has, by gets and by a walk, which must agree. */
static inline void look(void)
{
    found = (struct found){.job = {.run = found_run, .done = found_done}};
    world_node_call(sim.node, found_call, NULL);
    while (!found.done) {
        cr_assert_gt(world_run_steps(sim.world, 1), 0);
    }
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(found.sizes[i], found.scanned[i], "key %u: get %u, scan %u", i, found.sizes[i],
                     found.scanned[i]);
    }
}

static inline void put_all(uint32_t size, enum lsm_durability durability)
{
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        cr_assert_eq(sim_put(key_name(i), size, durability), STATUS_OK);
    }
}

static inline void pump_ask_call(void *context)
{
    struct sim_ask *call = context;
    call->status = call->ask(sim.lsm, &sim.request);
}

/* Asks and does not wait. */
static inline void ask_only(enum status (*ask)(struct lsm *lsm, struct lsm_request *request))
{
    struct sim_ask call = {.ask = ask};
    sim.request_answered = false;
    sim.request = (struct lsm_request){.done = sim_request_done};
    world_node_call(sim.node, pump_ask_call, &call);
    cr_assert_eq(call.status, STATUS_OK);
}

#endif
