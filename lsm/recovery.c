/*
 * lsm/recovery.c -- from a folder, as a crash may have left it, to an engine that takes writes.
 *
 * Order matters; a crash at any step leaves a folder that opens to the same content:
 *  (1) lock the folder, read the manifest, open its tables;
 *  (2) read the log into memtables: damage of synced records ends the open, with nothing changed;
 *  (3) make a new segment, with a new nonce, of a file that has been one if there is any;
 *  (4) rewrite the manifest: it names the new segment and where its records begin, so whatever
 *      earlier segments hold from there on -- a torn tail -- is void for good. Positions of what
 *      was lost are given out again, so an excise that reached to them reaches less far in it;
 *  (5) remove files the manifest does not name.
 */
#include <stdio.h>

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"
#include "lsm/wal_recovery.h"

enum file_kind { FILE_OTHER, FILE_TABLE, FILE_SEGMENT, FILE_SPARE, FILE_TEMPORARY };

#define FILE_NAME_DIGITS 16u
#define DAMAGED_SUFFIX ".damaged"
#define REPLAY_AHEAD 16u /* Records whose places are looked for before they are merged. */

struct folder_file {
    uint64_t id;
    enum file_kind kind;
};

struct folder {
    struct folder_file *files;
    uint32_t count;
    uint32_t capacity;
    uint64_t id_max;
    enum status status;
};

static enum file_kind name_parse(const char *name, uint64_t *id)
{
    *id = 0;
    if (strcmp(name, MANIFEST_TEMPORARY_NAME) == 0) {
        return FILE_TEMPORARY;
    }
    if (strlen(name) <= FILE_NAME_DIGITS) {
        return FILE_OTHER;
    }
    for (size_t i = 0; i < FILE_NAME_DIGITS; i++) {
        char c = name[i];
        unsigned digit = 0;
        if (c >= '0' && c <= '9') {
            digit = (unsigned)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = (unsigned)(c - 'a') + 10;
        } else {
            return FILE_OTHER;
        }
        *id = *id << 4 | digit;
    }
    const char *end = name + FILE_NAME_DIGITS;
    if (strcmp(end, ".sst") == 0) {
        return FILE_TABLE;
    }
    if (strcmp(end, ".spare") == 0) {
        return FILE_SPARE;
    }
    return strcmp(end, ".wal") == 0 ? FILE_SEGMENT : FILE_OTHER;
}

static void folder_add(void *context, const char *name)
{
    struct folder *folder = context;
    uint64_t id = 0;
    enum file_kind kind = name_parse(name, &id);
    if (kind == FILE_OTHER || folder->status != STATUS_OK) {
        return;
    }
    if (folder->count == folder->capacity) {
        uint32_t capacity = folder->capacity == 0 ? 64 : folder->capacity * 2;
        struct folder_file *files = memory_resize(folder->files, capacity * sizeof(*files));
        if (files == NULL) {
            folder->status = STATUS_NO_MEMORY;
            return;
        }
        folder->files = files;
        folder->capacity = capacity;
    }
    folder->files[folder->count++] = (struct folder_file){.id = id, .kind = kind};
    if (id > folder->id_max) {
        folder->id_max = id;
    }
}

/* Makes the folder if need be, and its name durable: also if it is there, for whoever made it may
 * have ended before that. */
static enum status folder_make(struct lsm *lsm)
{
    enum status status = lsm->env->ops->dir_create(lsm->env, lsm->path);
    if (status != STATUS_OK && status != STATUS_EXISTS) {
        return status;
    }
    char *parent = memory_copy_string(lsm->path);
    if (parent == NULL) {
        return STATUS_NO_MEMORY;
    }
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        status = lsm->env->ops->dir_sync(lsm->env, ".");
    } else {
        slash[slash == parent ? 1 : 0] = '\0';
        status = lsm->env->ops->dir_sync(lsm->env, parent);
    }
    memory_free(parent);
    return status;
}

static char *file_path(const struct lsm *lsm, const struct folder_file *file)
{
    if (file->kind == FILE_TABLE) {
        return engine_table_path(lsm, file->id);
    }
    if (file->kind == FILE_SEGMENT) {
        return wal_segment_path(lsm->path, file->id);
    }
    if (file->kind == FILE_SPARE) {
        return wal_spare_path(lsm->path, file->id);
    }
    size_t size = strlen(lsm->path) + sizeof(MANIFEST_TEMPORARY_NAME) + 1;
    char *path = memory_allocate(size);
    if (path != NULL) {
        int length = snprintf(path, size, "%s/%s", lsm->path, MANIFEST_TEMPORARY_NAME);
        ASSERT(length > 0 && (size_t)length < size);
    }
    return path;
}

static bool is_named(const struct manifest_state *state, const struct folder_file *file)
{
    if (file->kind == FILE_TABLE) {
        for (uint32_t i = 0; i < state->table_count; i++) {
            if (state->tables[i].file_id == file->id) {
                return true;
            }
        }
    }
    if (file->kind == FILE_SEGMENT) {
        for (uint32_t i = 0; i < state->segment_count; i++) {
            if (state->segments[i].id == file->id) {
                return true;
            }
        }
    }
    return false;
}

/* A segment takes records only after the edit that names it, and that edit gives out its id. So one
 * with an id that was given out and that is not named was dropped on purpose: its records are in
 * tables, or it held a tail that an earlier recovery cut, perhaps with older segments still in use.
 * It is there because the end of its name was not durable. */
static bool is_spent(const struct manifest_state *state, const struct folder_file *file)
{
    return file->id < state->next_file_id;
}

/* Files no manifest names must hold nothing that was ever answered. */
static enum status orphans_check(struct lsm *lsm, const struct folder *folder, bool manifest_found)
{
    const struct manifest_state *state = &lsm->manifest.state;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < folder->count; i++) {
        const struct folder_file *file = &folder->files[i];
        if (is_named(state, file) || file->kind == FILE_TEMPORARY || file->kind == FILE_SPARE) {
            continue;
        }
        char *path = file_path(lsm, file);
        if (path == NULL) {
            return STATUS_NO_MEMORY;
        }
        if (file->kind == FILE_SEGMENT && is_spent(state, file)) {
            status = STATUS_OK;
        } else if (file->kind == FILE_SEGMENT) {
            status = wal_check_orphan(lsm->env, path, state->replay_position);
        } else if (!manifest_found) {
            log_error(lsm->env, "lsm.manifest_missing", "path=%s", path);
            status = STATUS_CORRUPT; /* Tables are only made once there is a manifest. */
        }
        memory_free(path);
    }
    return status;
}

/* A file that can be a segment again: log_begin() takes it. Others would wait for syncs that may
 * never come. */
static void spare_adopt(struct lsm *lsm, const struct folder *folder)
{
    struct segments *segments = &lsm->segments;
    for (uint32_t i = 0; i < folder->count && segments->kept_count == 0; i++) {
        if (folder->files[i].kind != FILE_SPARE) {
            continue;
        }
        struct wal_spare spare;
        uint64_t size = 0;
        enum status status = wal_spare_open(lsm->env, lsm->path, folder->files[i].id,
                                            lsm->options.wal_segment_size, &spare);
        if (status == STATUS_OK) {
            status = lsm->env->ops->file_size(spare.file, &size);
            lsm->env->ops->file_close(spare.file);
        }
        if (status == STATUS_OK && size == lsm->options.wal_segment_size) {
            segments->kept[segments->kept_count++] = folder->files[i].id;
        }
    }
}

static bool is_spare(const struct lsm *lsm, const struct folder_file *file)
{
    bool found = false;
    for (uint32_t i = 0; file->kind == FILE_SPARE && i < lsm->segments.kept_count; i++) {
        found = found || lsm->segments.kept[i] == file->id;
    }
    return found;
}

static bool is_damaged(const struct lsm *lsm, const struct folder_file *file)
{
    for (uint32_t i = 0; file->kind == FILE_TABLE && i < lsm->damaged_count; i++) {
        if (lsm->damaged_ids[i] == file->id) {
            return true;
        }
    }
    return false;
}

/* Under a name that is nobody's: somebody may want to look at it, or to save cells from it. */
static void damaged_keep(struct lsm *lsm, const char *path)
{
    size_t size = strlen(path) + sizeof(DAMAGED_SUFFIX);
    char *kept = memory_allocate(size);
    if (kept == NULL) {
        return; /* It stays where it is; the next open removes it. */
    }
    int length = snprintf(kept, size, "%s%s", path, DAMAGED_SUFFIX);
    ASSERT(length > 0 && (size_t)length < size);
    enum status status = lsm->env->ops->name_rename(lsm->env, path, kept);
    log_warn(lsm->env, "lsm.table_kept", "path=%s status=%s", kept, status_name(status));
    memory_free(kept);
}

static void orphans_remove(struct lsm *lsm, const struct folder *folder)
{
    for (uint32_t i = 0; i < folder->count; i++) {
        const struct folder_file *file = &folder->files[i];
        if (is_named(&lsm->manifest.state, file) || is_spare(lsm, file)) {
            continue;
        }
        char *path = file_path(lsm, file);
        if (path != NULL && is_damaged(lsm, file)) {
            damaged_keep(lsm, path);
        } else if (path != NULL) {
            enum status status = lsm->env->ops->name_remove(lsm->env, path);
            if (status != STATUS_OK && status != STATUS_NOT_FOUND) { /* Next time, then. */
                log_warn(lsm->env, "lsm.remove_failed", "path=%s status=%s", path,
                         status_name(status));
            }
        }
        memory_free(path);
    }
}

static enum status table_load(struct lsm *lsm, const struct manifest_table *listed,
                              struct table **table)
{
    char *path = engine_table_path(lsm, listed->file_id);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = table_open(lsm->env, path, listed->file_id, &listed->properties, table);
    if (status == STATUS_NOT_FOUND) {
        log_error(lsm->env, "lsm.table_missing", "path=%s", path);
    }
    memory_free(path);
    if (status != STATUS_OK) {
        return status;
    }
    engine_table_adopt(lsm, *table);
    if (version_compare(listed->properties.version_max, lsm->stats.version_max) > 0) {
        lsm->stats.version_max = listed->properties.version_max;
    }
    return STATUS_OK;
}

/* What counts of it may be lost; the file is kept aside. It costs its stretch, not the engine. */
static enum status table_give_up(struct lsm *lsm, const struct manifest_table *listed)
{
    const struct table_properties *properties = &listed->properties;
    uint64_t *ids =
        memory_resize(lsm->damaged_ids, (lsm->damaged_count + 1) * sizeof(*lsm->damaged_ids));
    if (ids == NULL) {
        return STATUS_NO_MEMORY;
    }
    lsm->damaged_ids = ids;
    ids[lsm->damaged_count++] = listed->file_id;
    for (uint32_t i = 0; i < listed->clip_count; i++) {
        quarantine_list_add_range(&lsm->damaged, properties->key_min, properties->key_max,
                                  &listed->clips[i], properties->version_max);
    }
    if (version_compare(properties->version_max, lsm->stats.version_max) > 0) {
        lsm->stats.version_max = properties->version_max;
    }
    log_error(lsm->env, "lsm.table_damaged", "path=%s file=%016llx", lsm->path,
              (unsigned long long)listed->file_id);
    return lsm->damaged.failed ? STATUS_NO_MEMORY : STATUS_OK;
}

/* Of tables that are open, or NULL, in the order of the manifest's. */
static enum status set_make(struct lsm *lsm, struct table *const *tables, struct table_set **set)
{
    const struct manifest_state *state = &lsm->manifest.state;
    uint32_t capacity = 1;
    for (uint32_t i = 0; i < state->table_count; i++) {
        capacity += state->tables[i].clip_count;
    }
    struct table_place *places = memory_allocate_zeroed(capacity, sizeof(*places));
    if (places == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < state->table_count; i++) {
        const struct manifest_table *listed = &state->tables[i];
        for (uint32_t j = 0; tables[i] != NULL && j < listed->clip_count; j++) {
            places[count++] = (struct table_place){.table = tables[i],
                                                   .run_id = listed->run_id,
                                                   .tier = listed->tier,
                                                   .clip = listed->clips[j]};
        }
    }
    enum status status = STATUS_OK;
    if (!table_places_sound(places, count)) {
        log_error(lsm->env, "lsm.tables_overlap", "path=%s", lsm->path);
        status = STATUS_CORRUPT;
    }
    if (status == STATUS_OK) {
        quarantine_list_add_all(&lsm->damaged, &state->quarantines);
        struct table_change change = {.added = places, .added_count = count, .lost = &lsm->damaged};
        *set = table_set_create(NULL, &change);
        status = *set == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    }
    memory_free(places);
    return status;
}

static enum status tables_load(struct lsm *lsm, struct table_set **set)
{
    const struct manifest_state *state = &lsm->manifest.state;
    struct table **tables = memory_allocate((state->table_count + 1) * sizeof(struct table *));
    if (tables == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = STATUS_OK;
    uint32_t count = 0;
    while (status == STATUS_OK && count < state->table_count) {
        status = table_load(lsm, &state->tables[count], &tables[count]);
        if (status == STATUS_CORRUPT) {
            tables[count] = NULL;
            status = table_give_up(lsm, &state->tables[count]);
        }
        count += status == STATUS_OK ? 1 : 0;
    }
    if (status == STATUS_OK) {
        status = set_make(lsm, tables, set);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (tables[i] != NULL && table_release(tables[i])) {
            table_close(tables[i]);
        }
    }
    memory_free(tables);
    return status;
}

/* Whether the record went with a stretch that was excised after it was written. */
static bool is_excised(const struct manifest_state *state, struct slice key, uint64_t end)
{
    for (uint32_t i = 0; i < state->excise_count && !LSM_MUTANT(REPLAY_IGNORES_EXCISE); i++) {
        const struct manifest_excise *excise = &state->excises[i];
        if (end <= excise->position && clip_holds(&excise->stretch, key)) {
            return true;
        }
    }
    return false;
}

/*
 * Records on their way into the memtable: where each goes is learned so many records ahead, and the
 * memory it touches arrives meanwhile. All of them go to the memtable that is active now.
 */
struct replay {
    struct lsm *lsm;
    struct version version_min; /* Of all records; with none, the greatest there is. */
    struct replay_record {
        struct slice key; /* As `cell` in the bytes of the segment. */
        struct slice cell;
        struct memtable_place place;
    } ahead[REPLAY_AHEAD];
    uint32_t first; /* Of those that wait, oldest first, in a ring. */
    uint32_t count;
};

static enum status first_merge(struct replay *replay)
{
    const struct replay_record *record = &replay->ahead[replay->first];
    replay->first = (replay->first + 1) % REPLAY_AHEAD;
    replay->count--;
    return commit_merge_at_locked(replay->lsm, &record->place, record->key, record->cell);
}

static enum status all_merge(void *context)
{
    struct replay *replay = context;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && replay->count > 0) {
        status = first_merge(replay);
    }
    return status;
}

/* Makes room for one more that waits. */
static enum status replay_advance(struct replay *replay)
{
    struct lsm *lsm = replay->lsm;
    const struct memtable *active = lsm->sources->active;
    if (atomic_load_explicit(&active->size, memory_order_relaxed) >= lsm->options.memtable_size) {
        enum status status = all_merge(replay); /* Their places are in it. */
        return status == STATUS_OK ? sources_freeze_locked(lsm) : status;
    }
    return replay->count == REPLAY_AHEAD ? first_merge(replay) : STATUS_OK;
}

static enum status record_replay(void *context, struct slice key, struct slice encoded,
                                 uint64_t end)
{
    struct replay *replay = context;
    struct lsm *lsm = replay->lsm;
    if (is_excised(&lsm->manifest.state, key, end)) {
        return STATUS_OK;
    }
    struct version version;
    bool has_version = cell_version_peek(encoded, &version);
    ASSERT(has_version); /* wal_recover() has decoded it. */
    if (version_compare(version, replay->version_min) < 0) {
        replay->version_min = version;
    }
    enum status status = replay_advance(replay);
    if (status != STATUS_OK) {
        return status;
    }
    struct replay_record *record = &replay->ahead[(replay->first + replay->count) % REPLAY_AHEAD];
    replay->count++;
    record->key = key;
    record->cell = encoded;
    memtable_locate(lsm->sources->active, key, &record->place);
    return STATUS_OK;
}

/* The segments found, without their files: they are only removed once their records are in
 * tables. */
static enum status segments_keep(struct lsm *lsm, const struct wal_recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->segment_count; i++) {
        const struct wal_recovery_segment *found = &recovery->segments[i];
        struct wal_segment *segment = memory_allocate_zeroed(1, sizeof(*segment));
        if (segment == NULL) {
            return STATUS_NO_MEMORY;
        }
        *segment = (struct wal_segment){
            .env = lsm->env,
            .id = found->id,
            .nonce = found->nonce,
            .capacity = found->file_size,
            .end_offset = found->file_size,
            .last_position = found->last_position,
        };
        wal_segment_add(&lsm->wal, segment);
    }
    return STATUS_OK;
}

static enum status log_replay(struct lsm *lsm)
{
    const struct manifest_state *state = &lsm->manifest.state;
    struct wal_recovery_segment *segments =
        memory_allocate_zeroed(state->segment_count + 1, sizeof(*segments));
    if (segments == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < state->segment_count; i++) {
        segments[i] = (struct wal_recovery_segment){
            .id = state->segments[i].id,
            .nonce = state->segments[i].nonce,
            .start_position = state->segments[i].start_position,
        };
    }
    struct replay replay = {.lsm = lsm, .version_min = {UINT64_MAX, UINT32_MAX, UINT32_MAX}};
    struct wal_recovery recovery = {
        .env = lsm->env,
        .folder = lsm->path,
        .segments = segments,
        .segment_count = state->segment_count,
        .replay_position = state->replay_position,
        .record = record_replay,
        .records_end = all_merge,
        .context = &replay,
    };
    lsm->applied_position = state->replay_position; /* For memtables frozen on the way. */
    enum status status = wal_recover(&recovery);
    if (status == STATUS_OK) {
        status =
            wal_init(&lsm->wal, lsm->env, lsm->options.wal_segment_size, recovery.end_position);
    }
    if (status == STATUS_OK) {
        lsm->applied_position = recovery.end_position;
        /* With nothing to replay the log begins anew: log_begin() says so in the manifest. */
        status = recovery.record_count > 0 ? segments_keep(lsm, &recovery) : STATUS_OK;
    }
    if (status == STATUS_OK && recovery.record_count > 0) {
        log_info(lsm->env, "lsm.replayed", "path=%s records=%llu position=%llu", lsm->path,
                 (unsigned long long)recovery.record_count,
                 (unsigned long long)recovery.end_position);
        purge_tail_add_locked(lsm, replay.version_min, recovery.end_position);
        status = sources_freeze_locked(lsm); /* To tables soon: the log is dropped with it. */
    }
    memory_free(segments);
    return status;
}

/* Each attempt has an id of its own: one that failed may have left a file of its name. */
static struct wal_segment_header segment_header_next(struct lsm *lsm)
{
    return (struct wal_segment_header){
        .id = lsm->next_file_id++,
        .nonce = env_random(lsm->env),
    };
}

/* A file that has been a segment, if there is one of that size, or a new one. */
static enum status segment_begin(struct lsm *lsm, uint64_t capacity, struct wal_segment **segment)
{
    struct wal_segment_header header = segment_header_next(lsm);
    if (lsm->segments.kept_count > 0 && capacity == lsm->options.wal_segment_size) {
        struct wal_spare spare;
        uint64_t id = lsm->segments.kept[--lsm->segments.kept_count];
        enum status status = wal_spare_open(lsm->env, lsm->path, id, capacity, &spare);
        if (status == STATUS_OK) {
            status = wal_spare_use(lsm->env, lsm->path, &header, &spare, segment);
        }
        if (status == STATUS_OK) {
            return STATUS_OK;
        }
        wal_spare_remove(lsm->env, lsm->path, &spare);
        header = segment_header_next(lsm);
    }
    return wal_segment_create(lsm->env, lsm->path, &header, capacity, segment);
}

/* Steps (3) and (4). */
static enum status log_begin(struct lsm *lsm)
{
    struct wal_segment *segment = NULL;
    enum status status = segment_begin(lsm, lsm->options.wal_segment_size, &segment);
    if (status == STATUS_NO_SPACE && space_release(lsm) == STATUS_OK) {
        status = segment_begin(lsm, segment_size_when_full(lsm), &segment);
    }
    if (status != STATUS_OK) {
        return status;
    }
    segment->last_position = lsm->wal.position;
    bool anew = list_empty(&lsm->wal.segments);
    wal_segment_add(&lsm->wal, segment);
    struct manifest_segment listed = {
        .id = segment->id, .nonce = segment->nonce, .start_position = lsm->wal.position};
    if (LSM_MUTANT(TORN_TAIL_NOT_VOIDED)) {
        listed.start_position = WAL_START_UNKNOWN;
    }
    struct buffer edit = {0};
    for (uint32_t i = 0; i < lsm->damaged_count; i++) {
        manifest_put_drop(&edit, lsm->damaged_ids[i]);
    }
    for (uint32_t i = 0; i < lsm->damaged.count; i++) {
        manifest_put_quarantine(&edit, &lsm->damaged.items[i]);
    }
    manifest_put_segment(&edit, &listed);
    manifest_put_next_file(&edit, lsm->next_file_id);
    if (anew) {
        manifest_put_replay(&edit, lsm->wal.position, segment->id);
    }
    if (!LSM_MUTANT(EXCISE_REACHES_ON)) {
        manifest_cut_log(&lsm->manifest, lsm->wal.position);
    }
    status = buffer_status(&edit);
    if (status == STATUS_OK) {
        status = manifest_rewrite(&lsm->manifest, buffer_slice(&edit));
    }
    if (status == STATUS_NO_SPACE && space_release(lsm) == STATUS_OK) {
        status = manifest_rewrite(&lsm->manifest, buffer_slice(&edit));
    }
    buffer_deinit(&edit);
    return status;
}

static enum status sources_begin(struct lsm *lsm, struct table_set *set)
{
    struct memtable *active = sources_memtable_create(lsm);
    if (active == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct sources *sources = sources_create(lsm, active, NULL, 0, set);
    sources_memtable_release(lsm, active);
    if (sources == NULL) {
        return STATUS_NO_MEMORY;
    }
    sources_publish_locked(lsm, sources);
    return STATUS_OK;
}

static enum status folder_open(struct lsm *lsm, const struct folder *folder)
{
    enum status status = manifest_open(&lsm->manifest, lsm->env, lsm->path);
    bool found = status != STATUS_NOT_FOUND;
    lsm->manifest.rewrite_size = lsm->options.manifest_size;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    status = orphans_check(lsm, folder, found);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t next = lsm->manifest.state.next_file_id;
    lsm->next_file_id = next > folder->id_max ? next : folder->id_max + 1;
    struct table_set *set = NULL;
    status = tables_load(lsm, &set);
    if (status == STATUS_NOT_FOUND) {
        status = STATUS_CORRUPT; /* No damage of a table: the manifest is another one's. */
    }
    if (status == STATUS_OK) {
        status = sources_begin(lsm, set);
    }
    if (set != NULL) {
        struct list_node garbage;
        list_init(&garbage);
        table_set_release(set, &garbage);
        struct list_node *node = NULL;
        while ((node = list_take_first(&garbage)) != NULL) {
            table_close(container_of(node, struct table, node));
        }
    }
    if (status == STATUS_OK) {
        status = log_replay(lsm);
    }
    if (status == STATUS_OK) {
        spare_adopt(lsm, folder);
        status = log_begin(lsm);
    }
    return status;
}

enum status recovery_run(struct lsm *lsm)
{
    enum status status = folder_make(lsm);
    if (status == STATUS_OK) {
        status = lsm->env->ops->dir_lock(lsm->env, lsm->path, &lsm->dir_lock);
    }
    if (status != STATUS_OK) {
        lsm->dir_lock = NULL;
        return status;
    }
    struct folder folder = {0};
    status = lsm->env->ops->dir_list(lsm->env, lsm->path, folder_add, &folder);
    if (status == STATUS_OK) {
        status = folder.status;
    }
    if (status == STATUS_OK) {
        status = folder_open(lsm, &folder);
    }
    if (status == STATUS_OK) {
        orphans_remove(lsm, &folder);
        quarantine_told_locked(lsm, &lsm->damaged); /* Nothing runs yet. */
        log_info(lsm->env, "lsm.opened", "path=%s tables=%u position=%llu", lsm->path,
                 lsm->manifest.state.table_count, (unsigned long long)lsm->wal.position);
    }
    memory_free(folder.files);
    return status;
}
