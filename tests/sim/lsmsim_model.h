/*
 * tests/sim/lsmsim_model.h -- what an engine may answer: a plain account of what it was told.
 *
 * A life is one open engine, from the check after its open to its end. Of every key the model knows
 * a cell that must be there, and the cells that may be.
 * Rules:
 *  (1) A read gives a cell that was accepted in this life, or the one found when it began: nothing
 *      that a crash took, and nothing that was forgotten, ever comes back.
 *  (2) A read gives at least what is visible: buffered and unlogged writes from their acceptance,
 *      synced ones from their answer. What was read once is never read older again.
 *  (3) A key is unknown only if nothing visible was ever accepted for it, or if the least that must
 *      be there may have been forgotten: a tombstone or expired cell at or below the floor.
 *  (4) After a crash a key holds at least the greatest durable cell. Durable is: a synced write
 *      that was answered or read; every logged write before it in the log; what was visible when a
 *      flush was asked for that ended well.
 *  (5) If a logged write is found after a crash, so are all buffered ones before it in the log, and
 *      if it is a synced one, all synced ones before it too. A batch is found whole, or not at all.
 *  (6) Of a stretch that was excised no cell that was accepted before the call is seen after its
 *      answer, nor after a read that showed it gone, nor after any crash that follows. A crash
 *      before that leaves all of it or nothing.
 *  (7) What comes in as files is visible all at once, and durable from then on; where it takes the
 *      place of a stretch, that goes in the same moment. If the answer is a failure, nothing came.
 *  (8) A key whose owner lets it go, up to a version, may give any cell up to there that was ever
 *      accepted, or none; what is above is held to all the other rules.
 *  (9) A walk that passes over the dead passes over a key only if a cell that could be its newest
 *      is dead at the time it was told, and shows none that is.
 */
#ifndef TESTS_SIM_LSMSIM_MODEL_H
#define TESTS_SIM_LSMSIM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "lsm/lsm.h"

#define MODEL_BATCH_COUNT_MAX 6u
#define MODEL_KEY_SIZE_MAX 256u
#define MODEL_VIOLATION_SIZE 400u

struct model_cell {
    bool any;
    enum cell_kind kind;
    struct version version;
    uint64_t stamp;
    uint64_t expiry_ms;
};

enum model_shape {
    MODEL_SHAPE_SHORT,
    MODEL_SHAPE_PREFIX, /* A long part that all share. */
    MODEL_SHAPE_SUFFIX, /* Of many lengths. */
    MODEL_SHAPE_BINARY, /* Zero bytes and 0xff. */
    MODEL_SHAPE_NESTED, /* Each is the beginning of the next. */
    MODEL_SHAPE_COUNT,
};

/* A stretch that goes; one at a time. */
struct model_excise {
    bool pending;
    uint32_t lower; /* Keys [lower, upper). */
    uint32_t upper;
    uint32_t order;           /* Of the first write that stays. */
    struct model_write *with; /* What comes in its place in the same moment; NULL: nothing. */
};

/* A batch from its making to the end of the life it was accepted in. */
struct model_write {
    struct lsm_write write;
    struct lsm_record records[MODEL_BATCH_COUNT_MAX];
    uint32_t keys[MODEL_BATCH_COUNT_MAX];
    struct model_cell cells[MODEL_BATCH_COUNT_MAX]; /* Not `any`: it was excised. */
    struct model *model;
    uint32_t order; /* Among the accepted. */
    bool answered;
    bool seen;             /* A read gave it, or one of its records: */
    uint32_t seen_records; /* a bit for each. Memory may have ended in the midst of them. */
    bool ingested;         /* It comes as files, and is in no log; durability is LSM_SYNCED. */
    enum status status;
};

struct model_key {
    uint8_t bytes[MODEL_KEY_SIZE_MAX];
    uint32_t size;
    struct model_cell base;      /* Found when the life began. */
    struct model_cell low;       /* Of (2). */
    struct model_cell forgotten; /* Durably gone up to here. */
    struct version let_go;       /* See (8); stays for ever. */
    uint32_t *entries;           /* Of this life: write * MODEL_BATCH_COUNT_MAX + record. */
    uint32_t entry_count;
    uint32_t entry_capacity;
};

struct model {
    uint64_t seed;
    uint32_t life;
    struct model_key *keys;
    uint32_t key_count;
    uint32_t value_size_max;
    uint32_t value_huge_max;
    struct version floor;
    /* Memory may be short: a buffered write whose place in the memtable failed is INDETERMINATE, so
     * only the answer tells that it is visible. */
    bool shown_by_answer;
    struct model_write **writes; /* Accepted in this life. */
    uint32_t write_count;
    uint32_t write_capacity;
    uint64_t durable_position; /* Every logged write up to here is. */
    uint32_t flushed_order;    /* Every visible write up to here is. */
    uint8_t *value;            /* Room for one. */
    struct model_excise excise;
    uint32_t
        excise_number; /* Of excises asked for and seen: a read that began at another is old. */
    uint64_t read_count;
    uint64_t write_total;
    uint64_t forgotten_count;             /* Reads that found nothing where something had been. */
    char violation[MODEL_VIOLATION_SIZE]; /* The first; "" if none. */
};

void model_init(struct model *model, uint64_t seed, uint32_t key_count, enum model_shape shape);
void model_deinit(struct model *model);
bool model_failed(const struct model *model);
void model_fail(struct model *model, const char *format, ...) PRINTF_LIKE(2, 3);

struct slice model_key(const struct model *model, uint32_t index);
/* UINT32_MAX: no such key. */
uint32_t model_key_find(const struct model *model, struct slice key);
/* The one value of that version; borrows until the next call. */
struct slice model_value(struct model *model, uint32_t key, struct version version);

/* Takes the write over once the engine accepted it. */
void model_accept(struct model *model, struct model_write *write);
void model_answer(struct model_write *write, enum status status);
/* A flush is asked for now; the number goes to model_flushed() when it ended well. */
uint32_t model_flush_begin(const struct model *model);
void model_flushed(struct model *model, uint32_t number);

/* Whether no crash could take anything that was accepted. */
bool model_all_durable(const struct model *model);

/* The engine accepted an excise of keys [lower, upper); later it said that it is done. */
void model_excise_begin(struct model *model, uint32_t lower, uint32_t upper);
void model_excised(struct model *model);

/* Takes a write over that the engine accepted as files; `takes`: keys [lower, upper) go with it. */
void model_ingest(struct model *model, struct model_write *write, bool takes, uint32_t lower,
                  uint32_t upper);
/* The owner of the key keeps no cell of it up to this version any more. */
void model_let_go(struct model *model, uint32_t key, struct version version);

/* A walk passed over the key as dead at `now_ms`; `low` as for model_read. */
void model_passed(struct model *model, uint32_t key, const struct model_cell *low, uint64_t now_ms);
/* Whether a key that was found so holds `cell`, or what came after it. */
bool model_holds(const struct model *model, uint32_t key, const struct model_cell *found,
                 const struct model_cell *cell);
/* `low`: what had to be visible when the read began; NULL: now. *cell only with STATUS_OK. */
void model_read(struct model *model, uint32_t key, const struct model_cell *low, enum status status,
                const struct cell *cell);
/* The life is over; `found` holds what the next one finds for every key, read by `model_found`. */
void model_found(struct model *model, uint32_t key, enum status status, const struct cell *cell,
                 struct model_cell *found);
void model_next_life(struct model *model, const struct model_cell *found);

int model_cell_compare(const struct model_cell *a, const struct model_cell *b);

#endif
