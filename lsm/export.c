/*
 * lsm/export.c -- a stretch of the engine as files that another one ingests.
 *
 * Why merged, and not table by table: chunks are disjoint and ascend, so they enter the other
 * engine as one run, each key is sent once, and whoever lost the connection -- or the process --
 * goes on with the key the next chunk begins at, whatever became of the tables meanwhile.
 * Invariants:
 *  (1) A chunk holds the greatest visible cell of every key between its first key and `next`,
 *      tombstones too.
 *  (2) An unfinished chunk is never a valid table, and is written anew from its first key.
 */
#include "base/contract.h"
#include "base/memory.h"
#include "lsm/engine.h"
#include "lsm/mutant.h"
#include "lsm/table_writer.h"

struct lsm_export {
    struct lsm *lsm;
    struct lsm_iterator *iterator;
    uint64_t chunk_size;
    bool passing;
    struct table_writer *writer; /* NULL between chunks. */
    struct buffer key;           /* Read, not yet written: the next chunk begins with it. */
    struct buffer cell;
    bool pending; /* Key and cell hold one. */
    bool ended;
    enum status failure;
};

enum status lsm_export_open(struct lsm *lsm, const struct lsm_export_options *options,
                            struct lsm_export **export)
{
    ASSERT(lsm != NULL);
    ASSERT(options != NULL);
    if (!clip_is_stretch(&(struct clip){options->lower, options->upper})) {
        return STATUS_INVALID;
    }
    struct lsm_export *made = memory_allocate_zeroed(1, sizeof(*made));
    if (made == NULL) {
        return STATUS_NO_MEMORY;
    }
    made->lsm = lsm;
    made->passing = options->passing;
    made->chunk_size = options->chunk_size == 0 ? lsm->options.table_size_max : options->chunk_size;
    struct lsm_iterator_options walk = {.lower = options->lower, .upper = options->upper};
    enum status status = lsm_iterator_open(lsm, &walk, &made->iterator);
    if (status != STATUS_OK) {
        memory_free(made);
        return status;
    }
    *export = made;
    return STATUS_OK;
}

/* Reads on until a cell is pending. STATUS_NOT_FOUND: the end of the stretch. */
static enum status export_read(struct lsm_export *export)
{
    struct slice key;
    struct cell cell;
    enum status status = lsm_iterator_next(export->iterator, &key, &cell);
    if (status != STATUS_OK) {
        return status;
    }
    buffer_clear(&export->key);
    buffer_clear(&export->cell);
    buffer_append_slice(&export->key, key);
    cell_put(&export->cell, &cell);
    status = buffer_status(&export->key);
    if (status == STATUS_OK) {
        status = buffer_status(&export->cell);
    }
    export->pending = status == STATUS_OK;
    return status;
}

static enum status chunk_begin(struct lsm_export *export, const char *path)
{
    struct env *env = export->lsm->env;
    struct table_writer_options options = {
        .block_size = export->lsm->options.block_size,
        .bloom_bits_per_key = export->lsm->options.bloom_bits_per_key,
        .compress = true,
        .passing = export->passing,
    };
    enum status status = env->ops->name_remove(env, path); /* Of an attempt that a crash ended. */
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    return table_writer_open(env, path, &options, &export->writer);
}

static enum status chunk_end(struct lsm_export *export, struct lsm_export_chunk *chunk)
{
    struct table_properties properties;
    enum status status = table_writer_finish(export->writer, &properties);
    if (status == STATUS_OK) {
        *chunk = (struct lsm_export_chunk){
            .entry_count = properties.entry_count,
            .size = properties.file_size,
            .checksum = properties.file_checksum,
            .next = export->ended ? slice_make(NULL, 0) : buffer_slice(&export->key),
        };
        table_writer_close(export->writer);
        export->writer = NULL;
    }
    return status;
}

/* STATUS_OK: the chunk is complete, as far as it goes; STATUS_BUDGET: not yet. */
static enum status chunk_fill(struct lsm_export *export, const char *path)
{
    uint64_t taken = 0;
    while (taken < export->lsm->options.slice_size) {
        enum status status = export->pending ? STATUS_OK : export_read(export);
        if (status == STATUS_NOT_FOUND) {
            export->ended = true;
            return export->writer == NULL ? STATUS_NOT_FOUND : STATUS_OK;
        }
        if (status != STATUS_OK) {
            return status;
        }
        if (export->writer != NULL && table_writer_size(export->writer) >= export->chunk_size) {
            export->pending = !LSM_MUTANT(EXPORT_LOSES_EDGE);
            return STATUS_OK;
        }
        if (export->writer == NULL) {
            status = chunk_begin(export, path);
        }
        if (status == STATUS_OK) {
            status = table_writer_add(export->writer, buffer_slice(&export->key),
                                      buffer_slice(&export->cell));
        }
        if (status != STATUS_OK) {
            return status;
        }
        export->pending = false;
        taken += export->key.size + export->cell.size;
    }
    return STATUS_BUDGET;
}

enum status lsm_export_next(struct lsm_export *export, const char *path,
                            struct lsm_export_chunk *chunk)
{
    ASSERT(export != NULL);
    ASSERT(path != NULL);
    if (export->failure != STATUS_OK) {
        return export->failure;
    }
    enum status status = export->ended ? STATUS_NOT_FOUND : chunk_fill(export, path);
    if (status == STATUS_OK) {
        status = chunk_end(export, chunk);
    }
    if (status != STATUS_OK && status != STATUS_BUDGET && status != STATUS_NOT_FOUND) {
        export->failure = status;
        table_writer_close(export->writer); /* Removes the file. */
        export->writer = NULL;
    }
    return status;
}

void lsm_export_close(struct lsm_export *export)
{
    if (export == NULL) {
        return;
    }
    table_writer_close(export->writer);
    lsm_iterator_close(export->iterator);
    buffer_deinit(&export->key);
    buffer_deinit(&export->cell);
    memory_free(export);
}
