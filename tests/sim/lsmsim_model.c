/* tests/sim/lsmsim_model.c -- see lsmsim_model.h. */
#include "tests/sim/lsmsim_model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hlc.h"
#include "base/prng.h"
#include "tests/sim/heap_sim.h"

#define VALUE_HUGE_SHARE 61u /* One of so many versions has a huge value. */

/* --- keys and values -------------------------------------------------------------------------- */

static void key_make(struct model_key *key, uint32_t index, enum model_shape shape)
{
    char *text = (char *)key->bytes;
    size_t room = sizeof(key->bytes);
    int size = 0;
    switch (shape) {
    case MODEL_SHAPE_PREFIX:
        size = snprintf(text, room, "a/part/that/every/key/has/in/common/%05u", index);
        break;
    case MODEL_SHAPE_SUFFIX:
        size = snprintf(text, room, "%04u%.*s", index, (int)(prng_mix(index) % 48),
                        "................................................");
        break;
    case MODEL_SHAPE_BINARY:
        key->bytes[0] = 0xff;
        key->bytes[1] = (uint8_t)(index >> 8);
        key->bytes[2] = (uint8_t)index;
        memset(key->bytes + 3, index % 2 == 0 ? 0 : 0xff, 8);
        size = 3 + (int)(prng_mix(index) % 8);
        break;
    case MODEL_SHAPE_NESTED:
        memset(text, 'n', room);
        size = (int)(index % room) + 1;
        break;
    case MODEL_SHAPE_SHORT:
        size = snprintf(text, room, "k%04u", index);
        break;
    case MODEL_SHAPE_COUNT:
        break;
    }
    ASSERT(size > 0 && (size_t)size <= room);
    key->size = (uint32_t)size;
}

void model_init(struct model *model, uint64_t seed, uint32_t key_count, enum model_shape shape)
{
    ASSERT(shape != MODEL_SHAPE_NESTED || key_count <= MODEL_KEY_SIZE_MAX);
    *model = (struct model){.seed = seed, .key_count = key_count};
    model->keys = heap_sim_take(key_count * sizeof(struct model_key));
    for (uint32_t i = 0; i < key_count; i++) {
        key_make(&model->keys[i], i, shape);
        ASSERT(i == 0 || slice_compare(model_key(model, i - 1), model_key(model, i)) < 0);
    }
}

static void writes_drop(struct model *model)
{
    for (uint32_t i = 0; i < model->write_count; i++) {
        heap_sim_give(model->writes[i]);
    }
    model->write_count = 0;
    for (uint32_t i = 0; i < model->key_count; i++) {
        model->keys[i].entry_count = 0;
    }
}

void model_deinit(struct model *model)
{
    writes_drop(model);
    for (uint32_t i = 0; i < model->key_count; i++) {
        heap_sim_give(model->keys[i].entries);
    }
    heap_sim_give(model->writes);
    heap_sim_give(model->keys);
    heap_sim_give(model->value);
}

bool model_failed(const struct model *model)
{
    return model->violation[0] != '\0';
}

void model_fail(struct model *model, const char *format, ...)
{
    if (model_failed(model)) {
        return;
    }
    int size = snprintf(model->violation, sizeof(model->violation), "life %u: ", model->life);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(model->violation + size, sizeof(model->violation) - (size_t)size, format,
                    arguments);
    va_end(arguments);
}

struct slice model_key(const struct model *model, uint32_t index)
{
    ASSERT(index < model->key_count);
    return slice_make(model->keys[index].bytes, model->keys[index].size);
}

uint32_t model_key_find(const struct model *model, struct slice key)
{
    uint32_t lower = 0;
    uint32_t upper = model->key_count;
    while (lower < upper) {
        uint32_t middle = (lower + upper) / 2;
        int order = slice_compare(model_key(model, middle), key);
        if (order == 0) {
            return middle;
        }
        if (order < 0) {
            lower = middle + 1;
        } else {
            upper = middle;
        }
    }
    return UINT32_MAX;
}

struct slice model_value(struct model *model, uint32_t key, struct version version)
{
    uint64_t drawn = prng_mix(version.time ^ prng_mix(version.node) ^ key);
    bool huge = model->value_huge_max > 0 && drawn % VALUE_HUGE_SHARE == 0;
    uint32_t bound = huge ? model->value_huge_max : model->value_size_max;
    size_t size = (size_t)((drawn >> 16) % (bound + 1));
    if (model->value == NULL) {
        uint32_t room = model->value_size_max > model->value_huge_max ? model->value_size_max
                                                                      : model->value_huge_max;
        model->value = heap_sim_take(room + 8);
    }
    /* A half that compresses and one that does not. */
    memset(model->value, (int)(drawn % 251), size);
    for (size_t at = 0; at < size / 2; at += sizeof(drawn)) {
        drawn = prng_mix(drawn);
        memcpy(model->value + at, &drawn, sizeof(drawn));
    }
    return slice_make(model->value, size);
}

/* --- cells ------------------------------------------------------------------------------------ */

static struct cell cell_of(const struct model_cell *cell)
{
    return (struct cell){.version = cell->version,
                         .stamp = cell->stamp,
                         .expiry_ms = cell->expiry_ms,
                         .kind = cell->kind};
}

int model_cell_compare(const struct model_cell *a, const struct model_cell *b)
{
    if (!a->any || !b->any) {
        return (int)a->any - (int)b->any;
    }
    struct cell left = cell_of(a);
    struct cell right = cell_of(b);
    return cell_compare(&left, &right);
}

static void raise_to(struct model_cell *cell, const struct model_cell *to)
{
    if (model_cell_compare(to, cell) > 0) {
        *cell = *to;
    }
}

/* Whether the floor lets the engine forget it. */
static bool is_forgettable(const struct model *model, const struct model_cell *cell)
{
    if (!cell->any || version_compare(cell->version, model->floor) > 0) {
        return false;
    }
    return cell->kind == CELL_DELETE || (cell->expiry_ms != 0 && cell->stamp <= model->floor.time &&
                                         cell->expiry_ms <= hlc_unix_ms(model->floor.time));
}

/* Rule (8). */
static bool is_let_go(const struct model *model, uint32_t key, const struct model_cell *cell)
{
    return cell->any && version_compare(cell->version, model->keys[key].let_go) <= 0;
}

static const struct model_write *entry_write(const struct model *model, uint32_t entry)
{
    return model->writes[entry / MODEL_BATCH_COUNT_MAX];
}

static const struct model_cell *entry_cell(const struct model *model, uint32_t entry)
{
    return &entry_write(model, entry)->cells[entry % MODEL_BATCH_COUNT_MAX];
}

/* The least cell at or above `low` that may have been forgotten; without one `any` is false. */
static struct model_cell least_forgettable(const struct model *model, uint32_t index,
                                           const struct model_cell *low)
{
    const struct model_key *key = &model->keys[index];
    struct model_cell least = {0};
    const struct model_cell *known[] = {&key->base, &key->forgotten};
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        bool fits = is_forgettable(model, known[i]) && model_cell_compare(known[i], low) >= 0;
        if (fits && (!least.any || model_cell_compare(known[i], &least) < 0)) {
            least = *known[i];
        }
    }
    for (uint32_t i = 0; i < key->entry_count; i++) {
        const struct model_cell *cell = entry_cell(model, key->entries[i]);
        if (is_forgettable(model, cell) && model_cell_compare(cell, low) >= 0 &&
            (!least.any || model_cell_compare(cell, &least) < 0)) {
            least = *cell;
        }
    }
    return least;
}

/* --- writes ----------------------------------------------------------------------------------- */

static void entry_add(struct model_key *key, uint32_t entry)
{
    if (key->entry_count == key->entry_capacity) {
        key->entry_capacity = key->entry_capacity == 0 ? 16 : key->entry_capacity * 2;
        key->entries = heap_sim_retake(key->entries, key->entry_capacity * sizeof(uint32_t));
    }
    key->entries[key->entry_count++] = entry;
}

/* Whether that write of the key goes with the excise under way. */
static bool is_leaving(const struct model *model, uint32_t key, const struct model_write *write)
{
    const struct model_excise *excise = &model->excise;
    ASSERT(write != NULL);
    return excise->pending && key >= excise->lower && key < excise->upper &&
           write->order < excise->order;
}

/* What leaves may be passed over when its group is synced. */
static void write_show(struct model *model, const struct model_write *write)
{
    for (uint32_t i = 0; i < write->write.record_count; i++) {
        if (is_leaving(model, write->keys[i], write)) {
            continue;
        }
        raise_to(&model->keys[write->keys[i]].low, &write->cells[i]);
    }
}

void model_accept(struct model *model, struct model_write *write)
{
    if (model->write_count == model->write_capacity) {
        model->write_capacity = model->write_capacity == 0 ? 256 : model->write_capacity * 2;
        model->writes =
            heap_sim_retake(model->writes, model->write_capacity * sizeof(struct model_write *));
    }
    write->order = model->write_count;
    model->writes[model->write_count++] = write;
    model->write_total++;
    for (uint32_t i = 0; i < write->write.record_count; i++) {
        entry_add(&model->keys[write->keys[i]], write->order * MODEL_BATCH_COUNT_MAX + i);
    }
    if (write->write.durability != LSM_SYNCED && !model->shown_by_answer) {
        write_show(model, write);
    }
}

/* Rule (7): nothing came, and nothing went. */
static void ingest_undo(struct model *model, struct model_write *write)
{
    if (write->seen) {
        model_fail(model, "an ingest failed after its cells were read");
    }
    for (uint32_t i = 0; i < write->write.record_count; i++) {
        write->cells[i].any = false;
    }
    if (model->excise.with == write) {
        model->excise.pending = false;
        model->excise.with = NULL;
    }
}

void model_answer(struct model_write *write, enum status status)
{
    struct model *model = write->model;
    if (write->answered) {
        model_fail(model, "a write was answered twice");
    }
    write->answered = true;
    write->status = status;
    if (status == STATUS_OK) {
        if (model->excise.with == write) {
            model_excised(model);
        }
        write_show(model, write);
    } else if (write->ingested && status != STATUS_CANCELLED) {
        ingest_undo(model, write);
    }
    bool synced = status == STATUS_OK && write->write.durability == LSM_SYNCED && !write->ingested;
    if (synced && write->write.position > model->durable_position) {
        model->durable_position = write->write.position;
    }
}

uint32_t model_flush_begin(const struct model *model)
{
    return model->write_count;
}

void model_flushed(struct model *model, uint32_t number)
{
    if (number > model->flushed_order) {
        model->flushed_order = number;
    }
}

/* Its answer promises nothing, and no read gave it: a log that failed may hold it or not. */
static bool is_unknown(const struct model_write *write)
{
    return write->answered && write->status != STATUS_OK && !write->seen;
}

static bool is_durable(const struct model *model, const struct model_write *write)
{
    if (is_unknown(write)) {
        return write->write.durability != LSM_SYNCED && write->order < model->flushed_order;
    }
    bool synced = write->write.durability == LSM_SYNCED;
    if (synced && ((write->answered && write->status == STATUS_OK) || write->seen)) {
        return true;
    }
    bool logged = write->write.durability != LSM_NONE && !write->ingested;
    if (logged && write->write.position <= model->durable_position) {
        return true;
    }
    return !synced && write->order < model->flushed_order;
}

bool model_all_durable(const struct model *model)
{
    for (uint32_t i = 0; i < model->write_count; i++) {
        if (!is_durable(model, model->writes[i])) {
            return false;
        }
    }
    return true;
}

static struct model_cell model_cell_of(const struct cell *cell)
{
    return (struct model_cell){
        .any = true,
        .kind = cell->kind,
        .version = cell->version,
        .stamp = cell->stamp,
        .expiry_ms = cell->expiry_ms,
    };
}

/* --- excise ----------------------------------------------------------------------------------- */

void model_excise_begin(struct model *model, uint32_t lower, uint32_t upper)
{
    ASSERT(!model->excise.pending);
    model->excise = (struct model_excise){
        .pending = true, .lower = lower, .upper = upper, .order = model->write_count};
    model->excise_number++;
}

/* Whether record `index` of it has to be. Of a synced write that failed for want of memory the
 * first records may be visible, and no others. */
static bool is_visible(const struct model_write *write, uint32_t index)
{
    bool seen = write->ingested ? write->seen : (write->seen_records >> index & 1) != 0;
    return write->write.durability != LSM_SYNCED || seen ||
           (write->answered && write->status == STATUS_OK);
}

/* What of a key must be visible although the stretch it lies in is gone. */
static struct model_cell low_without(const struct model *model, uint32_t index)
{
    const struct model_key *key = &model->keys[index];
    struct model_cell low = {0};
    for (uint32_t i = 0; i < key->entry_count; i++) {
        const struct model_write *write = entry_write(model, key->entries[i]);
        bool comes = write == model->excise.with;
        if (!is_leaving(model, index, write) &&
            (comes || is_visible(write, key->entries[i] % MODEL_BATCH_COUNT_MAX))) {
            raise_to(&low, entry_cell(model, key->entries[i]));
        }
    }
    return low;
}

void model_excised(struct model *model)
{
    if (!model->excise.pending) {
        return; /* A read has shown it. */
    }
    struct model_write *with = model->excise.with;
    if (with != NULL) {
        with->seen = true;
    }
    for (uint32_t i = model->excise.lower; i < model->excise.upper; i++) {
        struct model_key *key = &model->keys[i];
        key->low = low_without(model, i);
        key->base = (struct model_cell){0};
        key->forgotten = (struct model_cell){0};
        for (uint32_t j = 0; j < key->entry_count; j++) {
            struct model_write *write = model->writes[key->entries[j] / MODEL_BATCH_COUNT_MAX];
            if (is_leaving(model, i, write)) {
                write->cells[key->entries[j] % MODEL_BATCH_COUNT_MAX].any = false;
            }
        }
    }
    model->excise.pending = false;
    model->excise.with = NULL;
    model->excise_number++;
    if (with != NULL) {
        write_show(model, with);
    }
}

void model_ingest(struct model *model, struct model_write *write, bool takes, uint32_t lower,
                  uint32_t upper)
{
    ASSERT(write->ingested);
    if (takes) {
        model_excise_begin(model, lower, upper);
        model->excise.with = write;
    }
    model_accept(model, write);
}

void model_let_go(struct model *model, uint32_t key, struct version version)
{
    struct version *let_go = &model->keys[key].let_go;
    if (version_compare(version, *let_go) > 0) {
        *let_go = version;
    }
}

/* The write of this life that made this cell; NULL if none did. */
static struct model_write *write_of(const struct model *model, uint32_t key,
                                    const struct model_cell *cell)
{
    for (uint32_t i = model->keys[key].entry_count; i > 0; i--) {
        uint32_t entry = model->keys[key].entries[i - 1];
        if (model_cell_compare(entry_cell(model, entry), cell) == 0) {
            return model->writes[entry / MODEL_BATCH_COUNT_MAX];
        }
    }
    return NULL;
}

/* A read under an excise that is not done, of what was at least `least` when it began: whether it
 * shows the stretch without what leaves. What itself leaves is only old, in a walk from before. */
static bool shows_excised(const struct model *model, uint32_t key, const struct model_cell *found,
                          const struct model_cell *least)
{
    const struct model_excise *excise = &model->excise;
    if (!excise->pending || key < excise->lower || key >= excise->upper ||
        is_let_go(model, key, least) || model_cell_compare(found, least) >= 0) {
        return false;
    }
    const struct model_write *write = write_of(model, key, found);
    if (found->any && (write == NULL || is_leaving(model, key, write))) {
        return false;
    }
    struct model_cell low = low_without(model, key);
    return model_cell_compare(found, &low) >= 0;
}

/* --- reads ------------------------------------------------------------------------------------ */

#define CELL_FORMAT "%" PRIu64 ".%u stamp %" PRIu64 "%s"
#define CELL_VALUES(cell)                                      \
    (cell)->version.time, (cell)->version.node, (cell)->stamp, \
        !(cell)->any                  ? " (none)"              \
        : (cell)->kind == CELL_DELETE ? " deleted"             \
                                      : ""

/* Rules (1) and the bytes; sets *write to who made it, NULL for the base. */
static bool cell_check(struct model *model, uint32_t key, const struct cell *cell,
                       struct model_write **write)
{
    struct model_cell found = model_cell_of(cell);
    *write = write_of(model, key, &found);
    if (*write == NULL && model_cell_compare(&found, &model->keys[key].base) != 0 &&
        !is_let_go(model, key, &found)) {
        model_fail(model,
                   "key %u: " CELL_FORMAT " is of an earlier life or of none; base " CELL_FORMAT,
                   key, CELL_VALUES(&found), CELL_VALUES(&model->keys[key].base));
        return false;
    }
    bool right = cell->kind == CELL_DELETE
                     ? cell->value.size == 0
                     : slice_equal(cell->value, model_value(model, key, cell->version));
    if (!right) {
        model_fail(model, "key %u: " CELL_FORMAT " has other bytes", key, CELL_VALUES(&found));
    }
    return right;
}

static void write_seen(struct model *model, struct model_write *write, uint32_t key)
{
    write->seen = true;
    for (uint32_t i = 0; i < write->write.record_count; i++) {
        write->seen_records |= write->keys[i] == key ? 1u << i : 0;
    }
    if (write == model->excise.with) {
        model_excised(model);
    }
    if (write->ingested) {
        write_show(model, write); /* All of it came in one moment. */
    }
}

/* Whether a walk at `now_ms` passes over this cell, which is not older than what it must see. */
static bool is_dead(const struct model_cell *cell, const struct model_cell *low, uint64_t now_ms)
{
    struct cell of = cell_of(cell);
    return cell->any && model_cell_compare(cell, low) >= 0 && !cell_is_live(&of, now_ms);
}

void model_read(struct model *model, uint32_t key, const struct model_cell *low, enum status status,
                const struct cell *cell)
{
    struct model_key *known = &model->keys[key];
    bool now = low == NULL;
    model->read_count++;
    struct model_cell given = status == STATUS_OK ? model_cell_of(cell) : (struct model_cell){0};
    struct model_cell least = now ? known->low : *low;
    if (shows_excised(model, key, &given, &least) && !least_forgettable(model, key, &least).any) {
        model_excised(model); /* One edit, one set: all of it is gone, and durably so. */
        now = true;
    }
    least = now ? known->low : *low;
    if (is_let_go(model, key, &least)) {
        least = (struct model_cell){0};
    }
    if (status == STATUS_NOT_FOUND) {
        if (shows_excised(model, key, &given, &least)) {
            return; /* It was forgotten, or it is excised. */
        }
        struct model_cell forgotten = least_forgettable(model, key, &least);
        if (least.any && !forgotten.any) {
            model_fail(model, "key %u: not found, but " CELL_FORMAT " was visible", key,
                       CELL_VALUES(&least));
        } else if (least.any) {
            /* Only tables forget, so this is durable. */
            model->forgotten_count++;
            raise_to(&known->forgotten, &forgotten);
            raise_to(&known->low, &forgotten);
        }
        return;
    }
    struct model_cell found = model_cell_of(cell);
    struct model_write *write = NULL;
    if (!cell_check(model, key, cell, &write)) {
        return;
    }
    if (model_cell_compare(&found, &least) < 0) {
        model_fail(model, "key %u went back: " CELL_FORMAT " after " CELL_FORMAT, key,
                   CELL_VALUES(&found), CELL_VALUES(&least));
    }
    if (write != NULL) {
        write_seen(model, write, key);
    }
    raise_to(&known->low, &found);
}

void model_passed(struct model *model, uint32_t key, const struct model_cell *low, uint64_t now_ms)
{
    const struct model_key *known = &model->keys[key];
    const struct model_cell none = {0};
    model->read_count++;
    if (!low->any || is_let_go(model, key, low) || shows_excised(model, key, &none, low) ||
        least_forgettable(model, key, low).any) {
        return;
    }
    bool dead = is_dead(&known->base, low, now_ms);
    for (uint32_t i = 0; i < known->entry_count && !dead; i++) {
        dead = is_dead(entry_cell(model, known->entries[i]), low, now_ms);
    }
    if (!dead) {
        model_fail(model, "key %u was passed over, but " CELL_FORMAT " lives", key,
                   CELL_VALUES(low));
    }
}

/* --- between two lives ------------------------------------------------------------------------ */

/* What rule (4) asks for. */
static struct model_cell durable_of(const struct model *model, uint32_t index)
{
    const struct model_key *key = &model->keys[index];
    struct model_cell least = key->base;
    raise_to(&least, &key->forgotten);
    for (uint32_t i = 0; i < key->entry_count; i++) {
        if (is_durable(model, entry_write(model, key->entries[i]))) {
            raise_to(&least, entry_cell(model, key->entries[i]));
        }
    }
    return least;
}

bool model_holds(const struct model *model, uint32_t key, const struct model_cell *found,
                 const struct model_cell *cell)
{
    if (is_let_go(model, key, cell)) {
        return true;
    }
    if (found->any) {
        return model_cell_compare(found, cell) >= 0;
    }
    return least_forgettable(model, key, cell).any;
}

void model_found(struct model *model, uint32_t key, enum status status, const struct cell *cell,
                 struct model_cell *found)
{
    *found = (struct model_cell){0};
    struct model_write *write = NULL;
    model->read_count++;
    if (status == STATUS_OK) {
        if (!cell_check(model, key, cell, &write)) {
            return;
        }
        *found = model_cell_of(cell);
    }
}

/* Rule (4). */
static void durable_check(struct model *model, const struct model_cell *found)
{
    for (uint32_t i = 0; i < model->key_count; i++) {
        struct model_cell least = durable_of(model, i);
        if (least.any && !model_holds(model, i, &found[i], &least)) {
            model_fail(model,
                       "key %u after the crash: " CELL_FORMAT ", but " CELL_FORMAT " was durable",
                       i, CELL_VALUES(&found[i]), CELL_VALUES(&least));
        }
        bool known = !found[i].any || write_of(model, i, &found[i]) != NULL ||
                     model_cell_compare(&found[i], &model->keys[i].base) == 0 ||
                     is_let_go(model, i, &found[i]);
        if (!known) {
            model_fail(model, "key %u after the crash: " CELL_FORMAT " was excised with others", i,
                       CELL_VALUES(&found[i]));
        }
    }
}

static bool write_is_found(const struct model_write *write, const struct model_cell *found)
{
    for (uint32_t i = 0; i < write->write.record_count; i++) {
        if (found[write->keys[i]].any &&
            model_cell_compare(&found[write->keys[i]], &write->cells[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void write_must_hold(struct model *model, const struct model_write *write,
                            const struct model_cell *found, const char *why)
{
    for (uint32_t i = 0; i < write->write.record_count; i++) {
        uint32_t key = write->keys[i];
        if (write->cells[i].any && !model_holds(model, key, &found[key], &write->cells[i])) {
            model_fail(model,
                       "key %u after the crash: " CELL_FORMAT " is missing: %s (durability %u, "
                       "position %" PRIu64 ", found " CELL_FORMAT ")",
                       key, CELL_VALUES(&write->cells[i]), why, (unsigned)write->write.durability,
                       write->write.position, CELL_VALUES(&found[key]));
        }
    }
}

/* Rule (5). */
static void log_check(struct model *model, const struct model_cell *found)
{
    uint64_t buffered = 0;
    uint64_t synced = 0;
    for (uint32_t i = 0; i < model->write_count; i++) {
        const struct model_write *write = model->writes[i];
        if (!write_is_found(write, found)) {
            continue;
        }
        write_must_hold(model, write, found, "half a batch");
        if (write->write.durability == LSM_NONE || write->ingested) {
            continue;
        }
        uint64_t position = write->write.position;
        buffered = position > buffered ? position : buffered;
        bool is_synced = write->write.durability == LSM_SYNCED;
        synced = is_synced && position > synced ? position : synced;
    }
    for (uint32_t i = 0; i < model->write_count; i++) {
        const struct model_write *write = model->writes[i];
        uint64_t reach = write->write.durability == LSM_SYNCED ? synced : buffered;
        bool logged = write->write.durability != LSM_NONE && !write->ingested && !is_unknown(write);
        if (logged && write->write.position <= reach) {
            write_must_hold(model, write, found, "a later one of the log is there");
        }
    }
}

/* Whether a pending excise must have come to its end: something of it is missing, or what comes
 * with it is there. */
static bool is_excised(struct model *model, const struct model_cell *found)
{
    const struct model_write *with = model->excise.with;
    if (model->excise.pending && with != NULL && write_is_found(with, found)) {
        return true;
    }
    for (uint32_t i = model->excise.lower; model->excise.pending && i < model->excise.upper; i++) {
        struct model_cell least = durable_of(model, i);
        if (least.any && !model_holds(model, i, &found[i], &least)) {
            return true;
        }
    }
    if (!model->excise.pending || model_failed(model)) {
        return false;
    }
    log_check(model,
              found); /* Or a batch, or the order of the log, is broken by what is missing. */
    bool broken = model_failed(model);
    model->violation[0] = '\0';
    return broken;
}

void model_next_life(struct model *model, const struct model_cell *found)
{
    if (is_excised(model, found)) {
        model_excised(model);
    }
    model->excise.pending = false;
    model->excise.with = NULL;
    durable_check(model, found);
    log_check(model, found);
    writes_drop(model);
    for (uint32_t i = 0; i < model->key_count; i++) {
        struct model_key *key = &model->keys[i];
        key->base = found[i];
        key->low = found[i];
        key->forgotten = (struct model_cell){0};
    }
    model->durable_position = 0;
    model->flushed_order = 0;
    model->life++;
}
