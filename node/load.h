/*
 * node/load.h -- what this node's ranges cost it: reads and writes a second, keys, bytes.
 *
 * Reads and writes are counted where they are carried out (replica.h), each with one increment.
 * Once a second the counts become decayed averages. What ranges hold is estimated by the engine, in
 * a pool job, the survey: now and then, and when somebody asks and the last one is old.
 * Which keys clients ask for most is sampled where clients are served, on the coordinator, so that
 * an operation counts once and not for each replica.
 * Contract:
 *  (1) All calls are on the loop.
 *  (2) Memory is bounded by the number of ranges, and by HOT_KEYS_COUNT.
 */
#ifndef NODE_LOAD_H
#define NODE_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/list.h"
#include "base/status.h"
#include "node/config.h"
#include "node/decay.h"
#include "node/hot_keys.h"
#include "node/replica.h"

/* A survey this young is as good as another one. */
#define LOAD_SURVEY_FRESH_MS 1000u

struct lsm;

struct load_average {
    struct replica_count seen; /* What of the counts is in the averages. */
    double reads;
    double writes;
};

/* What a range costs this node, or a node in all. */
struct load_view {
    uint64_t keys;  /* Cells, roughly, by the last survey; see lsm_estimate(). */
    uint64_t bytes; /* Likewise. */
    double reads;   /* A second. */
    double writes;
};

struct load_survey;

/* Waits for a survey; the load's from load_survey_wait() to done. */
struct load_wait {
    void (*done)(struct load_wait *wait, enum status status);
    struct list_node node;
};

struct load {
    struct env *env;
    struct lsm *lsm;
    const struct config *config;
    struct env_timer timer;
    uint64_t stepped_ms; /* Averages are of before this. */
    uint64_t surveyed_ms;
    uint64_t survey_begun_ms;
    bool surveyed; /* There was one. */
    bool stopping;
    uint32_t range_count;               /* 0 before bootstrap. */
    const struct replica_count *counts; /* Per range; the replica's. */
    struct load_average *averages;      /* Likewise. */
    struct load_survey *survey;         /* Its memory; at work while `surveying`. */
    bool surveying;
    struct list_node waits;
    uint64_t space_free;  /* Of the disk; by the last survey. */
    struct load_view sum; /* Of all ranges; keys and bytes by the last survey. */
    struct decay decay;
    struct hot_keys hot_keys;
};

void load_init(struct load *load, struct env *env, struct lsm *lsm, const struct config *config);
/* The replica has sized its counts: begins, once there are any. STATUS_NO_MEMORY */
MUST_USE enum status load_resize(struct load *load, const struct replica *replica);
/* Ends the timer; those that wait are told STATUS_CANCELLED. */
void load_stop(struct load *load);
bool load_stopped(const struct load *load); /* No job of it runs. */
void load_close(struct load *load);

/* Answers once there is a survey no older than LOAD_SURVEY_FRESH_MS, perhaps before it returns.
 * STATUS_CANCELLED: stopping. STATUS_BEHIND: there are no ranges yet. */
void load_survey_wait(struct load *load, struct load_wait *wait);
/* Waits no more; `done` is not called. Of one that waits. */
void load_survey_leave(struct load *load, struct load_wait *wait);

struct load_view load_range_view(const struct load *load, uint32_t range);

#endif
