/*
 * tests/sim/lsmsim_plan.h -- what the seed of an engine's run draws: sizes, and what is on.
 *
 * Swarm testing (Groce et al., ISSTA 2012): each kind of operation and of trouble is left out of a
 * part of the seeds, so that the rest meet each other more often.
 */
#ifndef TESTS_SIM_LSMSIM_PLAN_H
#define TESTS_SIM_LSMSIM_PLAN_H

#include "tests/sim/env_sim.h"
#include "tests/sim/lsmsim_model.h"

enum plan_act {
    ACT_WRITE,
    ACT_GET,      /* Some keys in a job. */
    ACT_GET_LOOP, /* One on the loop, that may not wait. */
    ACT_WALK,     /* Opens an iterator, or moves one on. */
    ACT_QUEUED,   /* What is not visible yet must be known of. */
    ACT_STATS,
    ACT_FLUSH,
    ACT_COMPACT,
    ACT_FLOOR,
    ACT_FORGET, /* Deletes a key in a way that makes the purge rule count. */
    ACT_EXCISE, /* A stretch goes. */
    ACT_INGEST, /* Files come in, perhaps in the place of a stretch. */
    ACT_EXPORT, /* A stretch leaves as files, a chunk or a part of one at a time. */
    ACT_CHECKPOINT,
    ACT_SCRUB,
    ACT_LET_GO, /* What there is of some keys need not be kept. */
    ACT_FAULT,  /* The disk begins to fail, in seeds where it may. */
    ACT_RESUME, /* It ends, and the engine is told to go on. */
    ACT_PAUSE,  /* A long stretch without anything asked. */
    ACT_COUNT,
};

enum plan_floor {
    FLOOR_NONE,
    FLOOR_SETTLED, /* Raised when all that was accepted is durable. */
    FLOOR_EAGER,   /* Raised above all that was accepted, durable or not. */
};

enum plan_end {
    END_POWER,
    END_POWER_IN_JOB,
    END_PROCESS,
    END_PROCESS_IN_JOB,
    END_STOP,      /* lsm_stop, then lsm_close. */
    END_CANCELLED, /* lsm_close alone. */
    END_COUNT,
};

struct plan_options {
    uint32_t operation_count; /* About so many of each life. */
    uint32_t life_count;
};

struct plan {
    uint64_t seed;
    struct plan_options options;
    uint32_t key_count;
    uint32_t key_hot_count;
    enum model_shape shape;
    uint32_t value_size_max;
    uint32_t value_huge_max;
    uint32_t batch_count_max;
    uint32_t durability_weights[3]; /* By enum lsm_durability. */
    uint32_t delete_percent;
    uint32_t expiry_percent;
    uint32_t restamp_percent; /* A known version again, with a greater stamp. */
    uint32_t version_spread;  /* How far arrival order may be from version order. */
    uint32_t act_weights[ACT_COUNT];
    uint32_t end_weights[END_COUNT];
    uint32_t steps_max; /* Events between two acts. */
    enum plan_floor floor;
    bool faults;        /* I/O errors and a full disk may come. */
    bool crash_at_open; /* Power may go while it recovers. */
    struct disk_faults fault;
    struct lsm_options lsm;
    struct world_options world;
};

void plan_draw(struct plan *plan, uint64_t seed, const struct plan_options *options);
/* Small, without chance in what is on, so that every point of it can be visited. */
void plan_scripted(struct plan *plan, uint64_t seed);
void plan_print(const struct plan *plan);
/* An index, by weight. */
uint32_t plan_choose(struct prng *prng, const uint32_t *weights, uint32_t count);

#endif
