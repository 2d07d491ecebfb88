/*
 * tests/sim/lsmsim_life.h -- what the parts of an engine's run share: its state, and their calls.
 *
 *   lsmsim_run.c     a whole run of a seed: life after life
 *   lsmsim_life.c    one of them: opened, compared with the model, and ended
 *   lsmsim_read.c    gets and iterators
 *   lsmsim_write.c   writes, and what the engine counts
 *   lsmsim_ask.c     flushes, merges, scrubs, excises, the floor, faults
 *   lsmsim_files.c   what leaves and enters as files: exports, ingests, checkpoints
 *   lsmsim_script.c  the same short life, broken at each of its points
 */
#ifndef TESTS_SIM_LSMSIM_LIFE_H
#define TESTS_SIM_LSMSIM_LIFE_H

#include "tests/sim/lsmsim_run.h"

#define READER_COUNT 3u
#define READER_KEY_COUNT 6u
#define WALKER_COUNT 3u
#define REQUEST_COUNT 2u
#define STEPS_STUCK 400000u /* Events without an end: something waits for ever. */
#define CLOCK_STEP (UINT64_C(1) << 13)

struct run;

struct reader {
    struct env_job job;
    struct run *run;
    bool busy;
    bool many;
    uint32_t keys[READER_KEY_COUNT];
    uint32_t key_count;
};

struct walker {
    struct env_job job;
    struct run *run;
    bool busy; /* Its job is under way. */
    struct lsm_iterator *iterator;
    enum lsm_wait wait;
    bool reverse;
    uint32_t lower;
    uint32_t upper; /* Exclusive; keys in [lower, upper) may still come. */
    uint32_t step_count;
    struct model_cell *low; /* What had to be visible when it was opened. */
    uint32_t excise_number; /* The model's then; with another the iterator may show what is gone. */
    bool skip_dead;
    uint64_t now_ms;
};

#define INGEST_FILE_COUNT 3u
#define PATH_ROOM 24u

/* Cells that were written to files by a job, and then come in. */
struct ingester {
    struct lsm_ingest ingest;
    struct env_job job;
    struct run *run;
    bool busy;
    bool asked;                /* The engine has it; before that `write` is ours. */
    struct model_write *write; /* Its cells; keys [lower, upper) hold them all. */
    bool takes;
    uint32_t lower;
    uint32_t upper;
    uint32_t file_count;
    char paths[INGEST_FILE_COUNT][PATH_ROOM];
    const char *path_pointers[INGEST_FILE_COUNT];
    enum status made;
};

struct exporter {
    struct env_job job;
    struct run *run;
    bool busy;
    bool closes;
    struct lsm_export *export; /* NULL: none is open. */
    struct walker walk;        /* Over what the chunks hold. */
    uint64_t chunk_size;
};

struct keeper {
    struct lsm_checkpoint checkpoint;
    struct run *run;
    bool busy;
    bool whole; /* It was told so, and is to be looked at after this life. */
    char path[PATH_ROOM];
    uint32_t number;
    struct model_cell *low; /* What it must hold, */
    uint32_t excise_number; /* if the model's is still this. */
};

struct excise {
    struct lsm_excise excise;
    struct run *run;
    bool busy;
};

struct request {
    struct lsm_request request;
    struct run *run;
    bool busy;
    uint32_t flush_number;
    bool resumes;
};

enum opening { OPENING_NOT, OPENING_BUSY, OPENING_DONE };

struct run {
    struct plan plan;
    struct prng prng;
    struct model model;
    struct world *world;
    struct world_node *node;
    struct lsm *lsm; /* NULL while it is not open. */
    bool verbose;
    bool faulty;      /* The disk or the memory may fail in this life. */
    bool healed;      /* Since then it was resumed, and nothing fails any more. */
    bool quarantined; /* What looked cut was taken for damage: its stretch says so for good. */
    bool short_reads; /* A file may seem to be cut. */
    bool begun;       /* What it found was checked; the model's writes are of this life. */
    bool ending;
    uint64_t clock;
    uint32_t version_count;
    struct env_job open_job;
    enum opening opening;
    enum status open_status;
    struct env_job found_job;
    enum opening finding;
    struct model_cell *found;
    struct reader readers[READER_COUNT];
    struct walker walkers[WALKER_COUNT];
    struct request requests[REQUEST_COUNT];
    struct excise excise;
    struct ingester ingester;
    struct exporter exporter;
    struct keeper keeper;
    const char *path; /* Of the engine that is opened; NULL: the plan's. */
    struct lsm_stop stop;
    bool stopped;
    uint32_t crash_count;
    struct lsm_stats stats; /* At the last look. */
    uint64_t purged_count;
    uint64_t merged_size;
};

static inline bool run_is_over(const struct run *run)
{
    return model_failed(&run->model);
}

static inline bool run_is_alive(const struct run *run)
{
    return world_node_alive(run->node) && !run_is_over(run);
}

static inline struct env *run_env(const struct run *run)
{
    return world_node_env(run->node);
}

/* What only a fault may cause. */
bool run_is_fault(const struct run *run, enum status status);
/* Of what a resumed engine on a sound disk may not say. (That it was full it finds out itself.) */
bool run_is_unhealed(const struct run *run, enum status status);

/* Acts run on the loop. */
uint32_t key_draw(struct run *run);
void act_get(void *context);
void act_get_loop(void *context);
void act_walk(void *context);
void walker_close(struct walker *walker);
/* Keys [lower, upper) that a walk passed over, and one that it showed. */
void walker_skip(struct walker *walker, uint32_t lower, uint32_t upper);
void walker_found(struct walker *walker, struct slice key, const struct cell *cell);
/* The index of the first key of the model at or above this one. */
uint32_t walker_index(const struct walker *walker, struct slice key);

enum draw { DRAW_ANY, DRAW_DELETE, DRAW_OLD }; /* Which cell is written; ANY follows the plan. */
/* `count_max` cells at most, one after another from `first` on; not sent yet. Values are not in it.
 */
struct model_write *write_draw(struct run *run, uint32_t first, uint32_t count_max, enum draw draw);
void write_send(struct run *run, uint32_t first, enum draw draw);
void act_write(void *context);
void act_queued(void *context);
void act_stats(void *context);

void act_flush(void *context);
void act_compact(void *context);
void act_floor(void *context);
void act_forget(void *context);
void act_scrub(void *context);
/* The key is deleted, and may be forgotten as soon as nothing older is left. */
void forget_key(struct run *run, uint32_t key);
void act_excise(void *context);
void act_let_go(void *context);
void act_fault(void *context);
void act_resume(void *context);
bool requests_are_done(const struct run *run);

void act_ingest(void *context);
void act_export(void *context);
void act_checkpoint(void *context);
/* Whether the key lies where an ingest under way takes all there is. */
bool ingest_takes(const struct run *run, uint32_t key);
void files_close(struct run *run); /* In the engine's last moment. */
void files_forget(struct run *run);
/* Between two lives: a checkpoint that was told to be whole is opened, and compared. */
void checkpoint_look(struct run *run);

void life_start(struct run *run);
/* One try; false: the node died, or the open failed because of a fault. */
bool life_open(struct run *run);
/* What is there becomes the truth of the new life; false: the node died. */
bool life_check(struct run *run);
/* Reads all there is, without believing it. */
void life_look(struct run *run);
/* Ends the process in order; everything must be answered and freed. */
void life_close(struct run *run);
/* False: the node died on the way. */
bool life_stop(struct run *run);
void life_end(struct run *run, enum plan_end end);
void life_forget(struct run *run); /* What was the engine's is gone. */
void faults_end(struct run *run);

struct run *run_create(const struct plan *plan, enum world_plant plant, bool verbose);
void run_destroy(struct run *run, struct run_result *result);
void acts_run(struct run *run, uint32_t count);
/* The last life ends well: everything asked for is done, and nothing is left behind. */
void life_last(struct run *run);

#endif
