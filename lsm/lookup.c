/*
 * lsm/lookup.c -- lsm_get, lsm_get_many: the greatest cell of a key among all sources.
 *
 * Invariants:
 *  (1) The active memtable is asked first, the frozen ones from the youngest, then runs by greatest
 *      version. A source is passed over when what was found is greater than -- not equal to -- the
 *      greatest version in it: at equal versions the expiry stamp still decides.
 *  (2) From the load of the sources to the copy of the cell the get is inside the epoch, and so
 *      takes no reference and no lock. The cell returned lies in the caller's buffer.
 */
#include "base/checksum.h"
#include "base/contract.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

struct finding {
    bool any;
    struct cell cell;
    struct buffer *in;    /* The buffer a table's cell lies in; NULL: it lies in a memtable. */
    struct slice encoded; /* Of a memtable's cell. */
};

/* One more. A counter of a slot is that of one reader: no locked instruction. */
static void count(_Atomic uint64_t *counter, bool shared)
{
    if (shared) {
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
        return;
    }
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + 1, memory_order_relaxed);
}

static bool is_empty(const struct memtable *memtable)
{
    return atomic_load_explicit(&memtable->key_count, memory_order_relaxed) == 0;
}

/* Of what a memtable said. */
static enum status finding_take(struct finding *found, enum status status,
                                const struct memtable_record *record)
{
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    struct cell cell;
    status = cell_decode(memtable_record_cell(record), &cell);
    ASSERT(status == STATUS_OK);
    if (!found->any || cell_compare(&cell, &found->cell) > 0) {
        *found =
            (struct finding){.any = true, .cell = cell, .encoded = memtable_record_cell(record)};
    }
    return STATUS_OK;
}

static enum status memtable_look(const struct memtable *memtable, struct slice key,
                                 enum lsm_wait wait, struct finding *found)
{
    if (is_empty(memtable)) {
        return STATUS_OK;
    }
    const struct memtable_record *record = NULL;
    enum status status = memtable_get(memtable, key, wait, &record);
    return finding_take(found, status, record);
}

/* See (1). A frozen memtable's greatest version stands still. */
static enum status memtables_look(const struct sources *sources, struct slice key,
                                  enum lsm_wait wait, struct finding *found)
{
    enum status status = memtable_look(sources->active, key, wait, found);
    for (uint32_t i = sources->frozen_count; i > 0 && status == STATUS_OK; i--) {
        const struct memtable *memtable = sources->frozen[i - 1];
        if (!found->any || version_compare(found->cell.version, memtable->version_max) <= 0) {
            status = memtable_look(memtable, key, wait, found);
        }
    }
    return status;
}

struct lookup {
    struct read_counters *counters;
    bool counters_shared;
    struct slice key;
    bool hashed;
    uint64_t hash; /* checksum64(key, 0), once a table is asked. */
    enum lsm_wait wait;
    struct lsm *lsm;
    bool damaged;                   /* A cell of the key may be lost, */
    struct version damaged_version; /* up to this version. */
    struct buffer *buffers[2];      /* The caller's, and one more for the rare second table. */
};

/* The block that may hold the key is damaged: go on, something greater may be found elsewhere. */
static void damage_note(struct lookup *lookup, const struct table *table, uint32_t block_index)
{
    lookup->damaged = true;
    if (version_compare(table->properties.version_max, lookup->damaged_version) > 0) {
        lookup->damaged_version = table->properties.version_max;
    }
    quarantine_note(lookup->lsm, table->file_id, block_index);
}

/* See (1). */
static bool found_is_newer(const struct finding *found, struct version version_max)
{
    int order = version_compare(found->cell.version, version_max);
    return order > 0 || (order == 0 && LSM_MUTANT(GET_STOPS_AT_EQUAL));
}

/* A table that may hold the key, by the bounds of its place in a run. */
struct candidate {
    const struct run *run;
    const struct table *table;
    struct table_probe probe;
    bool located; /* By its own bounds too. */
};

static enum status table_look(struct lookup *lookup, struct candidate *candidate,
                              struct finding *found)
{
    struct read_counters *counters = lookup->counters;
    bool shared = lookup->counters_shared;
    const struct table *table = candidate->table;
    struct table_probe *probe = &candidate->probe;
    if (!candidate->located || !table_filter_passes(table, probe, lookup->wait)) {
        count(&counters->filter_skip_count, shared);
        return STATUS_OK;
    }
    struct buffer *into = found->in == lookup->buffers[0] ? lookup->buffers[1] : lookup->buffers[0];
    struct cell cell;
    enum status status = table_get(table, probe, lookup->wait, into, &cell);
    if (probe->cached) {
        count(&counters->cache_hit_count, shared);
    }
    if (status == STATUS_NOT_FOUND) {
        count(&counters->table_count, shared);
        count(&counters->filter_false_count, shared);
        return STATUS_OK;
    }
    if (status == STATUS_CORRUPT) {
        damage_note(lookup, table, probe->block_index);
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    count(&counters->table_count, shared);
    if (!found->any || cell_compare(&cell, &found->cell) > 0) {
        *found = (struct finding){.any = true, .cell = cell, .in = into};
    }
    return STATUS_OK;
}

/* How many candidates are found before the first is asked: their filters' memory, mostly in no
 * cache of the processor's, is waited for once. */
#define CANDIDATE_COUNT 8u

/* The next candidates from run *at on; their filters' memory is on its way. */
static uint32_t candidates_find(struct lookup *lookup, const struct table_set *set, uint32_t *at,
                                struct candidate *candidates)
{
    uint32_t count = 0;
    for (; *at < set->run_count && count < CANDIDATE_COUNT; (*at)++) {
        const struct run *run = &set->runs[*at];
        const struct table *table = run_find(run, lookup->key);
        if (table == NULL) {
            continue;
        }
        if (!lookup->hashed) { /* Most of what is in memory needs none. */
            lookup->hash = checksum64(lookup->key, 0);
            lookup->hashed = true;
        }
        struct candidate *found = &candidates[count++];
        found->run = run;
        found->table = table;
        found->probe = (struct table_probe){.key = lookup->key, .hash = lookup->hash};
        found->located = table_locate(table, &found->probe);
        if (found->located) {
            table_filter_prefetch(table, &found->probe);
        }
    }
    return count;
}

static enum status tables_look(struct lookup *lookup, const struct table_set *set,
                               struct finding *found)
{
    struct candidate candidates[CANDIDATE_COUNT];
    for (uint32_t at = 0; at < set->run_count;) {
        /* See (1): behind a run that holds nothing as new, none does. */
        if (found->any && found_is_newer(found, set->runs[at].version_max)) {
            return STATUS_OK;
        }
        uint32_t count = candidates_find(lookup, set, &at, candidates);
        for (uint32_t i = 0; i < count; i++) {
            const struct candidate *candidate = &candidates[i];
            if (found->any && found_is_newer(found, candidate->run->version_max)) {
                return STATUS_OK;
            }
            if (found->any && version_compare(found->cell.version,
                                              candidate->table->properties.version_max) > 0) {
                continue;
            }
            enum status status = table_look(lookup, &candidates[i], found);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

/* Moves the finding into the caller's buffer. */
static enum status finding_settle(struct finding *found, struct buffer *scratch,
                                  struct buffer *second, struct cell *cell)
{
    if (found->in == NULL) {
        buffer_clear(scratch);
        buffer_append_slice(scratch, found->encoded);
        enum status status = buffer_status(scratch);
        scratch->failed = false;
        return status == STATUS_OK ? cell_decode(buffer_slice(scratch), cell) : status;
    }
    if (found->in == second) {
        struct buffer swapped = *scratch;
        *scratch = *second;
        *second = swapped;
    }
    *cell = found->cell;
    return STATUS_OK;
}

/* After the memtables; inside the epoch. */
static enum status lookup_end(struct lookup *lookup, const struct sources *sources,
                              struct finding *found, struct cell *cell)
{
    enum status status = STATUS_OK;
    if (sources->tables->run_count > 0) {
        status = tables_look(lookup, sources->tables, found);
    }
    const struct quarantine_list *lost = &sources->tables->lost;
    if (lost->count > 0 && quarantine_list_find(lost, lookup->key, &lookup->damaged_version)) {
        lookup->damaged = true;
    }
    if (status == STATUS_OK && lookup->damaged &&
        (!found->any || version_compare(found->cell.version, lookup->damaged_version) <= 0)) {
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        status = found->any ? finding_settle(found, lookup->buffers[0], lookup->buffers[1], cell)
                            : STATUS_NOT_FOUND;
    }
    if (status == STATUS_WOULD_BLOCK) {
        count(&lookup->counters->would_block_count, lookup->counters_shared);
    }
    return status;
}

enum status lsm_get(struct lsm *lsm, struct slice key, enum lsm_wait wait, struct buffer *scratch,
                    struct cell *cell)
{
    ASSERT(lsm != NULL);
    ASSERT(scratch != NULL);
    if (key.size == 0 || key.size > LSM_KEY_SIZE_MAX) {
        return STATUS_NOT_FOUND; /* No such key can be written. */
    }
    struct buffer second = {0};
    unsigned slot = epoch_enter(&lsm->epoch);
    struct lookup lookup = {
        .counters = &lsm->reads[slot],
        .lsm = lsm,
        .counters_shared = slot >= EPOCH_SLOT_COUNT,
        .key = key,
        .wait = wait,
        .buffers = {scratch, &second},
    };
    count(&lookup.counters->get_count, lookup.counters_shared);
    const struct sources *sources = atomic_load(&lsm->sources);
    struct finding found = {0};
    enum status status = memtables_look(sources, key, wait, &found);
    if (status == STATUS_OK) {
        status = lookup_end(&lookup, sources, &found, cell);
    } else if (status == STATUS_WOULD_BLOCK) {
        count(&lookup.counters->would_block_count, lookup.counters_shared);
    }
    epoch_leave(&lsm->epoch, slot);
    buffer_deinit(&second);
    return status;
}

/* Several gets at once: so many that the memory they wait for arrives side by side. */
#define WAVE_SIZE 16u

struct wave {
    struct lsm_get_many_item *items;
    uint32_t count;
    enum lsm_wait wait;
    struct finding found[WAVE_SIZE];
};

static bool wave_asks(const struct wave *wave, uint32_t index, const struct memtable *memtable,
                      bool active)
{
    const struct finding *found = &wave->found[index];
    return wave->items[index].status == STATUS_OK &&
           (active || !found->any ||
            version_compare(found->cell.version, memtable->version_max) <= 0);
}

static void wave_memtable_look(struct wave *wave, const struct memtable *memtable, bool active)
{
    struct memtable_lookup lookups[WAVE_SIZE];
    bool asks[WAVE_SIZE];
    if (is_empty(memtable)) {
        return;
    }
    for (uint32_t i = 0; i < wave->count; i++) {
        asks[i] = wave_asks(wave, i, memtable, active);
        if (asks[i]) {
            memtable_lookup_begin(&lookups[i], memtable, wave->items[i].key);
        }
    }
    for (uint32_t i = 0; i < wave->count; i++) {
        if (asks[i]) {
            memtable_lookup_touch(&lookups[i]);
        }
    }
    for (uint32_t i = 0; i < wave->count; i++) {
        if (asks[i]) {
            const struct memtable_record *record = NULL;
            enum status status = memtable_lookup_end(&lookups[i], wave->wait, &record);
            wave->items[i].status = finding_take(&wave->found[i], status, record);
        }
    }
}

/* Inside the epoch. */
static void wave_run(struct wave *wave, const struct sources *sources, struct lookup *lookup)
{
    for (uint32_t i = 0; i < wave->count; i++) {
        struct slice key = wave->items[i].key;
        bool possible = key.size > 0 && key.size <= LSM_KEY_SIZE_MAX;
        wave->items[i].status = possible ? STATUS_OK : STATUS_NOT_FOUND;
        wave->found[i] = (struct finding){0};
        count(&lookup->counters->get_count, lookup->counters_shared);
    }
    wave_memtable_look(wave, sources->active, true);
    for (uint32_t i = sources->frozen_count; i > 0; i--) {
        wave_memtable_look(wave, sources->frozen[i - 1], false);
    }
    for (uint32_t i = 0; i < wave->count; i++) {
        struct lsm_get_many_item *item = &wave->items[i];
        lookup->key = item->key;
        lookup->hashed = false;
        lookup->buffers[0] = &item->scratch;
        lookup->damaged = false;
        lookup->damaged_version = (struct version){0};
        if (item->status == STATUS_OK) {
            item->status = lookup_end(lookup, sources, &wave->found[i], &item->cell);
        } else if (item->status == STATUS_WOULD_BLOCK) {
            count(&lookup->counters->would_block_count, lookup->counters_shared);
        }
    }
}

void lsm_get_many(struct lsm *lsm, struct lsm_get_many_item *items, uint32_t count,
                  enum lsm_wait wait)
{
    ASSERT(lsm != NULL);
    ASSERT(items != NULL || count == 0);
    struct buffer second = {0};
    unsigned slot = epoch_enter(&lsm->epoch);
    const struct sources *sources = atomic_load(&lsm->sources);
    struct lookup lookup = {
        .counters = &lsm->reads[slot],
        .lsm = lsm,
        .counters_shared = slot >= EPOCH_SLOT_COUNT,
        .wait = wait,
        .buffers = {NULL, &second},
    };
    struct wave wave = {.wait = wait};
    for (uint32_t done = 0; done < count; done += wave.count) {
        wave.items = items + done;
        wave.count = count - done < WAVE_SIZE ? count - done : WAVE_SIZE;
        wave_run(&wave, sources, &lookup);
    }
    epoch_leave(&lsm->epoch, slot);
    buffer_deinit(&second);
}
