/*
 * lsm/table_writer.c -- data blocks and filters as they fill, then index, properties and footer.
 *
 * Bytes leave in writes of several chunks of TABLE_CHUNK_SIZE, over each of which the file checksum
 * is taken on the way: a large write finds large pages for the file, which cost less to take.
 * Invariants:
 *  (1) `offset` is where the next emitted byte lies in the file; blocks are sealed for it.
 *  (2) A separator is the shortest prefix of a block's first key that is above the last key of the
 *      block before, so the index stays small whatever the keys.
 *  (3) After a failure nothing more is written.
 */
#include "lsm/table_writer.h"

#include "base/checksum.h"
#include "base/codec.h"
#include "base/memory.h"
#include "lsm/table_format.h"

/* One bit from four fifths of the keys is four more for the last fifth. */
#define FILTER_BITS_MOVED_DOWN 1u
#define FILTER_BITS_MOVED_UP 4u
/* Most bytes an entry takes beside its key and cell: three sizes of 32 bits. */
#define ENTRY_HEADER_SIZE_MAX 15u
#define WRITE_SIZE ((size_t)4 * TABLE_CHUNK_SIZE)

struct table_writer {
    struct env *env;
    char *path;
    struct env_file *file;
    struct table_writer_options options;
    enum status failure; /* STATUS_OK while it may go on. */
    bool finished;

    uint64_t offset;      /* Of the next byte emitted. */
    struct buffer chunks; /* Emitted, not yet written. */
    struct buffer sealed;
    struct block_builder block;
    struct buffer fences; /* Per block: separator as bytes, then its handle. */
    uint32_t block_count;

    struct buffer hashes; /* u64 each: keys of the filter being collected. */
    struct buffer directory_entries;
    uint32_t filter_count;
    uint32_t filter_block_first;

    struct buffer separator; /* Of the block being filled. */
    struct buffer key_first;
    struct buffer key_last;
    struct table_properties properties;
};

uint32_t table_filter_bits(uint32_t average, bool bottom)
{
    ASSERT(average >= 1);
    if (bottom) {
        return average > FILTER_BITS_MOVED_DOWN ? average - FILTER_BITS_MOVED_DOWN : 1;
    }
    uint32_t bits = average + FILTER_BITS_MOVED_UP;
    return bits < BLOOM_BITS_PER_KEY_MAX ? bits : BLOOM_BITS_PER_KEY_MAX;
}

enum status table_writer_open(struct env *env, const char *path,
                              const struct table_writer_options *options,
                              struct table_writer **writer)
{
    ASSERT(env != NULL);
    ASSERT(options->bloom_bits_per_key <= BLOOM_BITS_PER_KEY_MAX);
    struct table_writer *result = memory_allocate_zeroed(1, sizeof(*result));
    if (result == NULL) {
        return STATUS_NO_MEMORY;
    }
    result->env = env;
    result->options = *options;
    if (result->options.block_size == 0) {
        result->options.block_size = TABLE_BLOCK_SIZE_DEFAULT;
    }
    ASSERT(result->options.block_size >= TABLE_BLOCK_SIZE_MIN);
    ASSERT(result->options.block_size <= TABLE_BLOCK_SIZE_MAX);
    result->properties.nonce = options->nonce != 0 ? options->nonce : env_random(env);
    enum status status = STATUS_NO_MEMORY;
    result->path = memory_copy_string(path);
    if (result->path == NULL || buffer_reserve(&result->chunks, WRITE_SIZE) == NULL) {
        goto fail;
    }
    status = env->ops->file_open(env, path, ENV_OPEN_CREATE, &result->file);
    if (status != STATUS_OK) {
        goto fail;
    }
    *writer = result;
    return STATUS_OK;
fail:
    table_writer_close(result);
    return status;
}

static enum status chunks_write(struct table_writer *writer)
{
    struct slice chunks = buffer_slice(&writer->chunks);
    if (chunks.size == 0) {
        return STATUS_OK;
    }
    enum status status =
        writer->env->ops->file_write(writer->file, writer->offset - chunks.size, chunks);
    if (status != STATUS_OK) {
        return status;
    }
    while (chunks.size > 0) {
        size_t size = chunks.size < TABLE_CHUNK_SIZE ? chunks.size : TABLE_CHUNK_SIZE;
        writer->properties.file_checksum =
            table_checksum_step(writer->properties.file_checksum, slice_make(chunks.data, size));
        chunks = slice_make(chunks.data + size, chunks.size - size);
    }
    buffer_clear(&writer->chunks);
    return STATUS_OK;
}

static enum status bytes_emit(struct table_writer *writer, struct slice bytes)
{
    while (bytes.size > 0) {
        size_t room = WRITE_SIZE - writer->chunks.size;
        size_t part = bytes.size < room ? bytes.size : room;
        buffer_append(&writer->chunks, bytes.data, part);
        ASSERT(buffer_status(&writer->chunks) == STATUS_OK); /* Reserved at open. */
        writer->offset += part;
        bytes = slice_make(bytes.data + part, bytes.size - part);
        if (writer->chunks.size == WRITE_SIZE) {
            enum status status = chunks_write(writer);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

/* Seals and emits; *handle says where. */
static enum status block_emit(struct table_writer *writer, struct slice raw, bool compress,
                              struct table_handle *handle)
{
    struct block_place place = {.nonce = writer->properties.nonce, .offset = writer->offset};
    buffer_clear(&writer->sealed);
    block_seal(&writer->sealed, raw, compress, place);
    enum status status = buffer_status(&writer->sealed);
    if (status != STATUS_OK) {
        return status;
    }
    ASSERT(writer->sealed.size <= BLOCK_SEALED_SIZE_MAX);
    *handle = (struct table_handle){.offset = place.offset, .size = (uint32_t)writer->sealed.size};
    return bytes_emit(writer, buffer_slice(&writer->sealed));
}

static enum status filter_end(struct table_writer *writer)
{
    size_t hash_count = writer->hashes.size / sizeof(uint64_t);
    if (hash_count == 0) {
        return STATUS_OK;
    }
    size_t size = bloom_size(hash_count, writer->options.bloom_bits_per_key);
    uint8_t *lines = memory_allocate(size);
    if (lines == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* A buffer's memory comes from the heap, so it is aligned for any type. */
    const uint64_t *hashes = (const uint64_t *)(const void *)writer->hashes.data;
    bloom_build(hashes, hash_count, writer->options.bloom_bits_per_key, lines);
    struct table_filter_entry entry = {.block_first = writer->filter_block_first};
    enum status status = block_emit(writer, slice_make(lines, size), false, &entry.handle);
    memory_free(lines);
    if (status != STATUS_OK) {
        return status;
    }
    table_filter_entry_put(&writer->directory_entries, &entry);
    writer->filter_count++;
    writer->filter_block_first = writer->block_count;
    buffer_clear(&writer->hashes);
    return buffer_status(&writer->directory_entries);
}

static enum status block_end(struct table_writer *writer)
{
    struct slice raw;
    enum status status = block_builder_finish(&writer->block, &raw);
    if (status != STATUS_OK) {
        return status;
    }
    struct table_handle handle;
    status = block_emit(writer, raw, writer->options.compress, &handle);
    if (status != STATUS_OK) {
        return status;
    }
    block_builder_clear(&writer->block);
    codec_put_bytes(&writer->fences, buffer_slice(&writer->separator));
    table_handle_put(&writer->fences, handle);
    ASSERT(writer->block_count < TABLE_BLOCK_COUNT_MAX);
    writer->block_count++;
    if (writer->hashes.size / sizeof(uint64_t) >= TABLE_FILTER_KEY_COUNT) {
        status = filter_end(writer);
    }
    return status == STATUS_OK ? buffer_status(&writer->fences) : status;
}

/* Of a block whose first key is `key`; see (2). */
static void separator_set(struct table_writer *writer, struct slice key)
{
    struct slice last = buffer_slice(&writer->key_last);
    size_t common = 0;
    while (common < last.size && common < key.size && last.data[common] == key.data[common]) {
        common++;
    }
    ASSERT(common < key.size);
    buffer_clear(&writer->separator);
    buffer_append(&writer->separator, key.data, common + 1);
}

static void properties_note(struct table_writer *writer, struct slice key, struct slice bytes,
                            const struct cell *cell)
{
    struct table_properties *properties = &writer->properties;
    if (properties->entry_count == 0) {
        properties->version_min = cell->version;
        properties->version_max = cell->version;
    } else if (version_compare(cell->version, properties->version_min) < 0) {
        properties->version_min = cell->version;
    } else if (version_compare(cell->version, properties->version_max) > 0) {
        properties->version_max = cell->version;
    }
    properties->entry_count++;
    properties->tombstone_count += cell->kind == CELL_DELETE;
    properties->raw_size += key.size + bytes.size;
    if (cell->stamp > properties->stamp_max) {
        properties->stamp_max = cell->stamp;
    }
    if (cell->expiry_ms != 0) {
        if (properties->expiring_count == 0 || cell->expiry_ms < properties->expiry_min_ms) {
            properties->expiry_min_ms = cell->expiry_ms;
        }
        if (cell->expiry_ms > properties->expiry_max_ms) {
            properties->expiry_max_ms = cell->expiry_ms;
        }
        properties->expiring_count++;
    }
}

static enum status entry_add(struct table_writer *writer, struct slice key, struct slice bytes)
{
    struct cell cell;
    enum status status = cell_decode(bytes, &cell);
    if (status != STATUS_OK) {
        return status;
    }
    size_t size_after =
        block_builder_size(&writer->block) + ENTRY_HEADER_SIZE_MAX + key.size + bytes.size;
    if (writer->block.entry_count > 0 && size_after > writer->options.block_size) {
        status = block_end(writer);
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (writer->block.entry_count == 0) {
        separator_set(writer, key);
    }
    uint64_t hash = checksum64(key, 0);
    block_builder_add_tagged(&writer->block, key, hash, bytes);
    if (writer->options.bloom_bits_per_key > 0) {
        buffer_append(&writer->hashes, &hash, sizeof(hash));
    }
    if (writer->properties.entry_count == 0) {
        buffer_append_slice(&writer->key_first, key);
    }
    buffer_clear(&writer->key_last);
    buffer_append_slice(&writer->key_last, key);
    properties_note(writer, key, bytes, &cell);
    bool fits = buffer_status(&writer->hashes) == STATUS_OK &&
                buffer_status(&writer->separator) == STATUS_OK &&
                buffer_status(&writer->key_first) == STATUS_OK &&
                buffer_status(&writer->key_last) == STATUS_OK;
    return fits ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status table_writer_add(struct table_writer *writer, struct slice key, struct slice cell)
{
    ASSERT(writer != NULL);
    ASSERT(writer->failure == STATUS_OK);
    ASSERT(!writer->finished);
    ASSERT(key.size >= 1);
    ASSERT(key.size <= LSM_KEY_SIZE_MAX);
    ASSERT(slice_compare(buffer_slice(&writer->key_last), key) < 0);
    writer->failure = entry_add(writer, key, cell);
    return writer->failure;
}

uint64_t table_writer_entry_count(const struct table_writer *writer)
{
    return writer->properties.entry_count;
}

uint64_t table_writer_size(const struct table_writer *writer)
{
    uint64_t filter =
        writer->hashes.size / sizeof(uint64_t) * writer->options.bloom_bits_per_key / 8;
    return writer->offset + block_builder_size(&writer->block) + filter + writer->fences.size +
           writer->directory_entries.size + TABLE_FOOTER_SIZE;
}

/* Ends an index part: emits it, and enters it in the root under its first separator. */
static enum status part_end(struct table_writer *writer, struct block_builder *part,
                            struct block_builder *root, struct slice first)
{
    struct slice raw;
    enum status status = block_builder_finish(part, &raw);
    if (status != STATUS_OK) {
        return status;
    }
    struct table_handle handle;
    status = block_emit(writer, raw, false, &handle);
    if (status != STATUS_OK) {
        return status;
    }
    block_builder_clear(part);
    struct buffer value = {0};
    table_handle_put(&value, handle);
    status = buffer_status(&value);
    if (status == STATUS_OK) {
        block_builder_add(root, first, buffer_slice(&value));
    }
    buffer_deinit(&value);
    return status;
}

/* All index parts, then the root. */
static enum status index_emit(struct table_writer *writer, struct table_footer *footer)
{
    struct block_builder part = {0};
    struct block_builder root = {0};
    struct codec_reader reader = codec_reader_make(buffer_slice(&writer->fences));
    struct slice first = {0};
    enum status status = STATUS_OK;
    footer->index_offset = writer->offset;
    while (status == STATUS_OK && reader.rest.size > 0) {
        struct slice separator = codec_get_bytes(&reader);
        const uint8_t *value = reader.rest.data;
        (void)codec_get_varint(&reader);
        (void)codec_get_varint(&reader);
        ASSERT(codec_reader_ok(&reader));
        if (part.entry_count == 0) {
            first = separator;
        }
        block_builder_add(&part, separator, slice_make(value, (size_t)(reader.rest.data - value)));
        if (block_builder_size(&part) >= TABLE_INDEX_PART_SIZE || reader.rest.size == 0) {
            status = part_end(writer, &part, &root, first);
        }
    }
    struct slice raw;
    footer->root_offset = writer->offset;
    if (status == STATUS_OK) {
        status = block_builder_finish(&root, &raw);
    }
    if (status == STATUS_OK) {
        struct table_handle handle;
        status = block_emit(writer, raw, false, &handle);
    }
    block_builder_deinit(&part);
    block_builder_deinit(&root);
    return status;
}

static enum status directory_emit(struct table_writer *writer, struct table_footer *footer)
{
    struct buffer raw = {0};
    uint32_t bits_per_key = writer->options.bloom_bits_per_key;
    table_directory_put(&raw, writer->filter_count,
                        bits_per_key == 0 ? 0 : bloom_probe_count(bits_per_key));
    buffer_append_slice(&raw, buffer_slice(&writer->directory_entries));
    footer->directory_offset = writer->offset;
    enum status status = buffer_status(&raw);
    if (status == STATUS_OK) {
        struct table_handle handle;
        status = block_emit(writer, buffer_slice(&raw), false, &handle);
    }
    buffer_deinit(&raw);
    return status;
}

static enum status properties_emit(struct table_writer *writer, struct table_footer *footer)
{
    struct buffer raw = {0};
    writer->properties.key_min = buffer_slice(&writer->key_first);
    writer->properties.key_max = buffer_slice(&writer->key_last);
    table_properties_put(&raw, &writer->properties);
    footer->properties_offset = writer->offset;
    enum status status = buffer_status(&raw);
    if (status == STATUS_OK) {
        struct table_handle handle;
        status = block_emit(writer, buffer_slice(&raw), false, &handle);
    }
    buffer_deinit(&raw);
    return status;
}

static enum status file_end(struct table_writer *writer)
{
    struct table_footer footer = {.nonce = writer->properties.nonce};
    enum status status = block_end(writer);
    if (status == STATUS_OK) {
        status = filter_end(writer);
    }
    if (status == STATUS_OK) {
        status = index_emit(writer, &footer);
    }
    if (status == STATUS_OK) {
        status = directory_emit(writer, &footer);
    }
    if (status == STATUS_OK) {
        status = properties_emit(writer, &footer);
    }
    if (status == STATUS_OK) {
        uint8_t bytes[TABLE_FOOTER_SIZE];
        table_footer_encode(&footer, writer->offset, bytes);
        status = bytes_emit(writer, slice_make(bytes, sizeof(bytes)));
    }
    if (status == STATUS_OK) {
        status = chunks_write(writer);
    }
    if (status == STATUS_OK && !writer->options.passing) {
        status = writer->env->ops->file_sync(writer->file);
    }
    return status;
}

enum status table_writer_finish(struct table_writer *writer, struct table_properties *properties)
{
    ASSERT(writer != NULL);
    ASSERT(writer->failure == STATUS_OK);
    ASSERT(!writer->finished);
    ASSERT(writer->properties.entry_count > 0);
    writer->failure = file_end(writer);
    if (writer->failure != STATUS_OK) {
        return writer->failure;
    }
    writer->finished = true;
    writer->properties.file_size = writer->offset;
    *properties = writer->properties;
    return STATUS_OK;
}

void table_writer_close(struct table_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    if (writer->file != NULL) {
        writer->env->ops->file_close(writer->file);
        if (!writer->finished) {
            /* Best effort: whoever opens the folder next removes files that no manifest names. */
            enum status status = writer->env->ops->name_remove(writer->env, writer->path);
            (void)status;
        }
    }
    buffer_deinit(&writer->chunks);
    buffer_deinit(&writer->sealed);
    block_builder_deinit(&writer->block);
    buffer_deinit(&writer->fences);
    buffer_deinit(&writer->hashes);
    buffer_deinit(&writer->directory_entries);
    buffer_deinit(&writer->separator);
    buffer_deinit(&writer->key_first);
    buffer_deinit(&writer->key_last);
    memory_free(writer->path);
    memory_free(writer);
}
