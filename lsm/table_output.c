/*
 * lsm/table_output.c -- cells in, tables out.
 */
#include "lsm/table_output.h"

#include "base/contract.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"

/* Room for one more place. */
static enum status places_reserve(struct table_output *output)
{
    if (output->place_count == output->place_capacity) {
        uint32_t capacity = output->place_capacity == 0 ? 8 : output->place_capacity * 2;
        struct table_place *places =
            memory_resize(output->places, capacity * sizeof(*output->places));
        if (places == NULL) {
            return STATUS_NO_MEMORY;
        }
        output->places = places;
        output->place_capacity = capacity;
    }
    return STATUS_OK;
}

static enum status writer_begin(struct lsm *lsm, struct table_output *output)
{
    if (places_reserve(output) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    struct table_writer_options options = {
        .block_size = lsm->options.block_size,
        .bloom_bits_per_key =
            table_filter_bits(lsm->options.bloom_bits_per_key, output->tier == TABLE_SET_BOTTOM),
        .compress = true,
    };
    output->file_id = engine_file_id(lsm);
    char *path = engine_table_path(lsm, output->file_id);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = table_writer_open(lsm->env, path, &options, &output->writer);
    memory_free(path);
    if (status != STATUS_OK) {
        output->writer = NULL;
    }
    return status;
}

static void file_discard(struct lsm *lsm, uint64_t file_id)
{
    char *path = engine_table_path(lsm, file_id);
    enum status status =
        path == NULL ? STATUS_NO_MEMORY : lsm->env->ops->name_remove(lsm->env, path);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) { /* The next open removes it. */
        log_warn(lsm->env, "lsm.remove_failed", "path=%s status=%s", path == NULL ? "" : path,
                 status_name(status));
    }
    memory_free(path);
}

static enum status writer_end(struct lsm *lsm, struct table_output *output)
{
    struct table_properties properties;
    enum status status = table_writer_finish(output->writer, &properties);
    if (status != STATUS_OK) {
        return status;
    }
    char *path = engine_table_path(lsm, output->file_id);
    if (path == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct table *table = NULL;
    status = table_open(lsm->env, path, output->file_id, &properties, &table);
    memory_free(path);
    if (status != STATUS_OK) {
        return status;
    }
    engine_table_adopt(lsm, table);
    table_writer_close(output->writer);
    output->writer = NULL;
    output->size += table->properties.file_size;
    output->places[output->place_count++] =
        (struct table_place){.table = table, .run_id = output->run_id, .tier = output->tier};
    return STATUS_OK;
}

enum status table_output_add(struct lsm *lsm, struct table_output *output, struct slice key,
                             struct slice cell, bool *cut)
{
    *cut = false;
    enum status status = STATUS_OK;
    if (output->writer == NULL) {
        status = writer_begin(lsm, output);
    }
    if (status == STATUS_OK) {
        status = table_writer_add(output->writer, key, cell);
    }
    if (status == STATUS_OK && table_writer_size(output->writer) >= output->table_size_max) {
        status = writer_end(lsm, output);
        *cut = status == STATUS_OK;
    }
    return status;
}

enum status table_output_adopt(struct table_output *output, const struct table_place *place)
{
    enum status status = places_reserve(output);
    if (status == STATUS_OK) {
        table_acquire(place->table);
        output->places[output->place_count++] = *place;
    }
    return status;
}

enum status table_output_finish(struct lsm *lsm, struct table_output *output)
{
    enum status status = STATUS_OK;
    if (output->writer != NULL) {
        status = writer_end(lsm, output);
    }
    if (status == STATUS_OK && output->place_count > 0 && !LSM_MUTANT(FOLDER_NOT_SYNCED)) {
        status = lsm->env->ops->dir_sync(lsm->env, lsm->path);
    }
    return status;
}

/* The places keep their order: by key, and those of one file in a row. */
enum status table_output_cut(struct lsm *lsm, struct table_output *output,
                             const struct clip *stretch)
{
    for (uint32_t i = output->place_count; i > 0; i--) {
        struct table_place *place = &output->places[i - 1];
        struct table *table = place->table;
        const struct table_properties *properties = &table->properties;
        struct clip left[2];
        if (places_reserve(output) != STATUS_OK) {
            return STATUS_NO_MEMORY;
        }
        place = &output->places[i - 1];
        uint32_t count =
            clip_cut(&place->clip, properties->key_min, properties->key_max, stretch, left);
        struct table_place *behind = place + 1;
        size_t behind_size = (output->place_count - i) * sizeof(*behind);
        if (count == 2) {
            memmove(behind + 1, behind, behind_size);
            behind[0] = *place;
            behind[0].clip = left[1];
            table_acquire(table);
            output->place_count++;
        }
        if (count > 0) {
            place->clip = left[0];
            continue;
        }
        memmove(place, behind, behind_size);
        output->place_count--;
        if (table_release(table)) {
            file_discard(lsm, table->file_id);
            table_close(table);
        }
    }
    return STATUS_OK;
}

void table_output_reset(struct table_output *output)
{
    table_writer_close(output->writer);
    for (uint32_t i = 0; i < output->place_count; i++) {
        if (table_release(output->places[i].table)) {
            table_close(output->places[i].table);
        }
    }
    memory_free(output->places);
    *output = (struct table_output){0};
}

void table_output_discard(struct lsm *lsm, struct table_output *output)
{
    if (output->file_id != 0) { /* The last one that was begun, finished or not. */
        file_discard(lsm, output->file_id);
    }
    for (uint32_t i = 0; i < output->place_count; i++) {
        if (output->places[i].table->file_id != output->file_id) {
            file_discard(lsm, output->places[i].table->file_id);
        }
    }
    table_output_reset(output);
}
