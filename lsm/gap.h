/*
 * lsm/gap.h -- stretches of keys in which nothing lives, remembered so that nobody walks them
 * again.
 *
 * Why: a queue deletes what it has read, and every look for its first entry then walks over all
 * that was ever deleted. What one iterator found out by walking, the next one jumps over.
 * Invariants:
 *  (1) While a gap is here, no key in it has a visible cell that lives: each is a tombstone, or
 *      expired at the gap's `dead_ms`, or absent. (A tombstone that is forgotten changes nothing.)
 *  (2) So whatever may live is cut out of all gaps *before* it becomes visible: by every merge into
 *      a memtable, by what publishes tables with new cells, and by what takes cells away that may
 *      have hidden others: an excise, and a merge of cells that the owner does not keep. Nor is
 *      there a gap where a stretch is quarantined, since a walk has to say so. A delete needs no
 *      cut: it leaves dead what is dead.
 *  (3) A gap is learnt under a *watch*, which is cut like a gap from its start on. What was read
 *      dead after the watch began, and was not cut since, is dead now. A watch begins under the
 *      write lock, with the sources that are current there: so no write is half-way visible, and
 *      what the walker reads from then on holds every write made before.
 *  (4) At most GAP_COUNT_MAX gaps; the one not used for the longest makes room.
 * Locks: gaps_cut and gaps_cut_range ask for the engine's write lock, which alone makes the count
 * rise from 0; so a writer without any gap pays for one relaxed load.
 */
#ifndef LSM_GAP_H
#define LSM_GAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/mutex.h"
#include "base/slice.h"

#define GAP_COUNT_MAX 16u
#define GAP_WATCH_COUNT_MAX 8u   /* Iterators that learn at one time. */
#define GAP_KEY_SIZE_MAX 1024u   /* A gap with a longer bound is not remembered. */
#ifndef GAP_DEAD_COUNT_MIN       /* The simulator has fewer keys than that. */
#define GAP_DEAD_COUNT_MIN 1024u /* Dead cells that make a new gap worth a place. */
#endif
#define GAP_WATCH_NONE UINT32_MAX

struct gap {
    bool used;
    struct buffer lower;
    struct buffer upper; /* Exclusive; empty: no bound. */
    uint64_t dead_ms;    /* From this time on all of it is dead; 0: at any time. */
    uint64_t used_at;    /* By gaps.clock. */
};

/* From where a walker began to watch, to where it may come. */
struct gap_watch {
    bool used;
    bool reverse;
    bool spoilt;     /* Cut at its start, or the cut found no memory. */
    struct gap span; /* Open in the direction of the walk, until something cuts it. */
};

struct gaps {
    struct mutex mutex;            /* Guards the rest but the counts. */
    _Atomic uint32_t count;        /* Gaps and watches: what a write looks at. */
    _Atomic uint32_t gap_count;    /* What an iterator looks at. */
    _Atomic uint64_t learnt_count; /* Gaps learnt or made larger. */
    _Atomic uint64_t jump_count;   /* Times one was jumped over. */
    uint64_t clock;
    struct buffer lower; /* Work space. */
    struct buffer upper;
    struct gap gaps[GAP_COUNT_MAX];
    struct gap_watch watches[GAP_WATCH_COUNT_MAX];
};

void gaps_init(struct gaps *gaps);
void gaps_deinit(struct gaps *gaps);

/* See (2). Under the write lock. */
void gaps_cut_range(struct gaps *gaps, struct slice lower, struct slice upper);
/* The same for [first, last]. */
void gaps_cut_span(struct gaps *gaps, struct slice first, struct slice last);
static inline void gaps_cut(struct gaps *gaps, struct slice key)
{
    if (atomic_load_explicit(&gaps->count, memory_order_relaxed) != 0) {
        gaps_cut_span(gaps, key, key);
    }
}

/*
 * Whether a gap that is dead at `now_ms` covers where a walk stands: `from` is the least key that
 * may follow, or in reverse the least that may not (empty: no bound). If so *to becomes the same
 * behind the gap; *ended tells that nothing follows. May be called from any thread.
 */
bool gaps_find(struct gaps *gaps, struct slice from, bool reverse, uint64_t now_ms,
               struct buffer *to, bool *ended);

/* Begins a watch at `from`, as above; see (3). Under the write lock. GAP_WATCH_NONE if there is no
 * place, or no memory. */
uint32_t gaps_watch(struct gaps *gaps, struct slice from, bool reverse);
/*
 * Ends a watch: `dead_count` cells, dead from `dead_ms` on, were walked over, and nothing else, up
 * to `to`, as above; `ended`: there was nothing more at all. Makes a gap of it, or makes one that
 * it touches larger, if it is worth it.
 */
void gaps_learn(struct gaps *gaps, uint32_t watch, struct slice to, bool ended, uint64_t dead_count,
                uint64_t dead_ms);

#endif
