/*
 * lsm/compaction_pick.c -- which merge is due.
 *
 * Invariants:
 *  (1) It depends on the set, the options and what goes down already alone: asked again of the same
 *      set, it says the same.
 *  (2) What it says brings the set nearer to its shape, so that asking and doing comes to an end.
 *
 * Source: Dayan, Idreos, "Dostoevsky: Better Space-Time Trade-Offs for LSM-Tree Based Key-Value
 * Stores", SIGMOD 2018 (lazy leveling). Changed: the largest level is merged into once the others
 * weigh a share of it, be they full or not.
 */
#include "lsm/compaction_pick.h"

#include "base/contract.h"
#include "lsm/engine.h"

/* What the runs of a set amount to. */
struct shape {
    const struct run *bottom;
    uint32_t tier_run_counts[TABLE_SET_BOTTOM]; /* Without those that go down. */
    uint64_t size;
    uint64_t tiers_size;
    uint64_t entry_count;
    uint64_t tiers_tombstone_count;
};

const struct run *compaction_bottom(const struct table_set *set)
{
    for (uint32_t i = 0; i < set->run_count; i++) {
        if (set->runs[i].tier == TABLE_SET_BOTTOM) {
            return &set->runs[i];
        }
    }
    return NULL;
}

bool compaction_is_over_much(const struct table_set *set)
{
    const struct run *bottom = compaction_bottom(set);
    uint64_t size = 0;
    for (uint32_t i = 0; i < set->run_count; i++) {
        size += set->runs[i].size;
    }
    return bottom != NULL && bottom->size >= size / COMPACTION_MUCH_SHARE;
}

static struct shape shape_of(const struct lsm *lsm, const struct table_set *set)
{
    struct shape shape = {.bottom = compaction_bottom(set)};
    for (uint32_t i = 0; i < set->run_count; i++) {
        const struct run *run = &set->runs[i];
        shape.size += run->size;
        shape.entry_count += run->entry_count;
        if (run->tier != TABLE_SET_BOTTOM) {
            shape.tiers_size += run->size;
            shape.tiers_tombstone_count += run->tombstone_count;
            shape.tier_run_counts[run->tier] +=
                compaction_takes_down(&lsm->compaction, run->id) ? 0 : 1;
        }
    }
    return shape;
}

/* What the tiers may hold before they all go down. */
static uint64_t tiers_aim(const struct lsm *lsm, const struct shape *shape, bool idle)
{
    uint64_t divisor = idle ? COMPACTION_IDLE_SHARE : COMPACTION_BOTTOM_SHARE;
    uint64_t share = shape->bottom == NULL ? 0 : shape->bottom->size / divisor;
    uint64_t least = lsm->options.memtable_size * (idle ? 1 : COMPACTION_TIERS_MEMTABLE_COUNT);
    return share > least ? share : least;
}

/* Whether so many tombstones have much to take away of what lies in tables, in all or in part. */
static bool takes_much(const struct lsm *lsm, const struct shape *shape, uint64_t tombstone_count,
                       uint64_t share)
{
    if (shape->entry_count == 0) {
        return false;
    }
    uint64_t dead_size = shape->size / shape->entry_count * tombstone_count;
    return dead_size > shape->size / share &&
           dead_size > lsm->options.memtable_size / COMPACTION_DEAD_SHARE;
}

static bool is_dying(const struct lsm *lsm, const struct shape *shape)
{
    uint64_t share = lsm->compaction.idle ? COMPACTION_IDLE_SHARE : COMPACTION_DEAD_SHARE;
    return takes_much(lsm, shape, shape->tiers_tombstone_count, share);
}

bool compaction_memory_takes_much_locked(const struct lsm *lsm, const struct table_set *set)
{
    struct shape shape = shape_of(lsm, set);
    const struct memtable *active = lsm->sources->active;
    uint64_t count = atomic_load_explicit(&active->tombstone_count, memory_order_relaxed);
    return takes_much(lsm, &shape, shape.tiers_tombstone_count + count, COMPACTION_IDLE_SHARE);
}

/* So little that runs of the first tier go down at once: a merge between would save nothing. */
static bool is_small(const struct lsm *lsm, const struct shape *shape)
{
    uint64_t least = lsm->options.memtable_size * COMPACTION_TIERS_MEMTABLE_COUNT;
    uint64_t size = least * COMPACTION_BOTTOM_SHARE;
    return shape->size < (size > COMPACTION_SMALL_SIZE ? size : COMPACTION_SMALL_SIZE);
}

/* So little in the tiers that it would weigh nothing beside what a merge into the bottom writes. */
static bool is_slight(const struct shape *shape)
{
    return shape->bottom != NULL &&
           shape->tiers_size < shape->bottom->size / COMPACTION_SLIGHT_SHARE;
}

static uint32_t tier_limit(const struct lsm *lsm, const struct shape *shape, uint32_t tier,
                           bool idle)
{
    return tier == 0 && !idle && is_small(lsm, shape) ? COMPACTION_SMALL_TIER_RUN_COUNT
                                                      : COMPACTION_TIER_RUN_COUNT;
}

static uint64_t debt_of(const struct lsm *lsm, const struct shape *shape,
                        const struct table_set *set, bool idle)
{
    uint64_t aim = tiers_aim(lsm, shape, idle);
    uint64_t debt = shape->tiers_size > aim ? shape->tiers_size - aim : 0;
    for (uint32_t i = 0; i < set->run_count; i++) {
        const struct run *run = &set->runs[i];
        if (run->tier != TABLE_SET_BOTTOM &&
            shape->tier_run_counts[run->tier] > tier_limit(lsm, shape, run->tier, idle)) {
            debt += run->size;
        }
    }
    return debt;
}

uint64_t compaction_debt_locked(const struct lsm *lsm, const struct table_set *set)
{
    struct shape shape = shape_of(lsm, set);
    return debt_of(lsm, &shape, set, lsm->compaction.idle);
}

uint64_t compaction_burden_locked(const struct lsm *lsm, const struct table_set *set,
                                  uint64_t *unit)
{
    struct shape shape = shape_of(lsm, set);
    uint64_t aim = tiers_aim(lsm, &shape, false);
    *unit = aim > COMPACTION_SMALL_SIZE ? aim : COMPACTION_SMALL_SIZE;
    return debt_of(lsm, &shape, set, false);
}

/* The first tier that is full, or TABLE_SET_BOTTOM. */
static uint32_t full_tier(const struct lsm *lsm, const struct shape *shape)
{
    for (uint32_t tier = 0; tier + 1 < TABLE_SET_BOTTOM; tier++) {
        if (shape->tier_run_counts[tier] >= tier_limit(lsm, shape, tier, lsm->compaction.idle)) {
            return tier;
        }
    }
    return TABLE_SET_BOTTOM;
}

/* Whether place `index` of `run` has a key between the first and last of a place of `other`. */
static bool place_meets_run(const struct run *run, uint32_t index, const struct run *other)
{
    uint32_t at = run_lower_bound(other, run_place_first(run, index));
    return at < other->table_count &&
           !clip_ends_before(&run->clips[index], run->tables[index]->properties.key_max,
                             run_place_first(other, at));
}

/* What may be forgotten one day stays where a merge is sure to come. */
static bool run_may_move(const struct run *run, const struct run *bottom)
{
    if (run->tier == TABLE_SET_BOTTOM || run->tombstone_count > 0 || run->expiring_count > 0) {
        return false;
    }
    for (uint32_t i = 0; i < run->table_count; i++) {
        const struct clip *clip = &run->clips[i];
        bool whole = clip->lower.size == 0 && clip->upper.size == 0; /* No dead bytes go along. */
        if (!whole || (bottom != NULL && place_meets_run(run, i, bottom))) {
            return false;
        }
    }
    return true;
}

static bool is_worth_a_sweep(const struct table_properties *properties)
{
    uint64_t count = properties->tombstone_count + properties->expiring_count;
    return count > 0 && count >= properties->entry_count / COMPACTION_SWEEP_SHARE;
}

/* The next table in order of file ids: each is swept once at most before the range is set anew. */
static struct compaction_pick sweep_pick(const struct lsm *lsm, const struct table_set *set)
{
    const struct compaction *compaction = &lsm->compaction;
    struct compaction_pick pick = {.kind = COMPACTION_NOTHING};
    uint64_t least = compaction->sweep_end;
    for (uint32_t i = 0; lsm->options.floor != NULL && i < set->run_count; i++) {
        const struct run *run = &set->runs[i];
        for (uint32_t j = 0; j < run->table_count; j++) {
            uint64_t id = run->tables[j]->file_id;
            if (id >= compaction->sweep_next && id < least && !run_place_is_further(run, j) &&
                is_worth_a_sweep(&run->tables[j]->properties)) {
                least = id;
                pick = (struct compaction_pick){
                    .kind = COMPACTION_SWEEP, .run_id = run->id, .place = j};
            }
        }
    }
    return pick;
}

struct compaction_pick compaction_pick_locked(const struct lsm *lsm, const struct table_set *set)
{
    struct shape shape = shape_of(lsm, set);
    for (uint32_t i = 0; i < set->run_count; i++) {
        if (run_may_move(&set->runs[i], shape.bottom)) {
            return (struct compaction_pick){.kind = COMPACTION_MOVE, .run_id = set->runs[i].id};
        }
    }
    bool idle = lsm->compaction.idle;
    bool heavy = shape.tiers_size > tiers_aim(lsm, &shape, idle) || is_dying(lsm, &shape);
    uint32_t full = full_tier(lsm, &shape);
    bool under_way = lsm->compaction.merging_count > 0;
    /* Of little data a full tier goes down with all others; at rest it need not. Nor if it is next
     * to nothing: runs of a few records each would have whole tables of the bottom written anew. */
    bool between = under_way || !is_small(lsm, &shape) || (!heavy && (idle || is_slight(&shape)));
    if (full != TABLE_SET_BOTTOM && between) {
        return (struct compaction_pick){.kind = COMPACTION_TIER, .tier = full};
    }
    if (under_way || heavy || full != TABLE_SET_BOTTOM) {
        return (struct compaction_pick){.kind = COMPACTION_DOWN};
    }
    return sweep_pick(lsm, set);
}
