/*
 * lsm/block.c -- blocks of sorted entries: built, sealed, opened, searched.
 *
 * Invariants:
 *  (1) A search compares keys where they lie in the block and never puts one together.
 *  (2) Every offset and size of a raw block is checked before it is followed, on top of the
 *      checksum: a bug that sealed nonsense must not become a wild read.
 *
 * Source: the block of LevelDB (Dean, Ghemawat 2011). Changed: the trailer carries the raw size
 * and a checksum seeded by file and offset; within a run of entries a search skips by the length
 * of the match so far.
 */
#include "lsm/block.h"

#include <limits.h>

#include <lz4.h>

#include "base/checksum.h"
#include "base/codec.h"

enum block_codec { BLOCK_CODEC_NONE = 0, BLOCK_CODEC_LZ4 = 1 };

/* Compression must save more than this share, or reads would pay for nothing. */
#define COMPRESS_SAVING_PERCENT 12

#define RESTART_SIZE 4u
#define TRAILER_CHECKSUM_OFFSET 5 /* Codec and raw size lie before it. */
STATIC_ASSERT(TRAILER_CHECKSUM_OFFSET + 8 == BLOCK_TRAILER_SIZE, "trailer layout");
STATIC_ASSERT(BLOCK_SEALED_SIZE_MAX < LZ4_MAX_INPUT_SIZE, "lz4 takes any block whole");

/* A raw block, split into its parts and checked as far as that goes without walking it. */
struct block_view {
    struct slice entries;
    const uint8_t *restarts;
    uint32_t restart_count;
};

struct block_entry {
    uint32_t shared; /* Bytes of the key taken from the one before. */
    struct slice suffix;
    struct slice cell;
    uint32_t end; /* Offset of the entry after it. */
};

void block_builder_deinit(struct block_builder *builder)
{
    buffer_deinit(&builder->entries);
    buffer_deinit(&builder->restarts);
    buffer_deinit(&builder->last_key);
    *builder = (struct block_builder){0};
}

void block_builder_clear(struct block_builder *builder)
{
    buffer_clear(&builder->entries);
    buffer_clear(&builder->restarts);
    buffer_clear(&builder->last_key);
    builder->entry_count = 0;
}

size_t block_builder_size(const struct block_builder *builder)
{
    return builder->entries.size + builder->restarts.size + RESTART_SIZE;
}

static size_t common_prefix(struct slice a, struct slice b)
{
    size_t limit = a.size < b.size ? a.size : b.size;
    size_t common = 0;
    while (common < limit && a.data[common] == b.data[common]) {
        common++;
    }
    return common;
}

void block_builder_add(struct block_builder *builder, struct slice key, struct slice cell)
{
    ASSERT(key.size >= 1);
    ASSERT(key.size <= LSM_KEY_SIZE_MAX);
    ASSERT(cell.size <= LSM_VALUE_SIZE_MAX);
    ASSERT(builder->entries.size <= BLOCK_RAW_SIZE_MAX);
    struct slice last = buffer_slice(&builder->last_key);
    size_t shared = 0;
    if (builder->entry_count > 0) {
        shared = common_prefix(last, key);
        /* Above the last: it goes on where the last ended, or is greater at the first difference.
         */
        bool above = shared == last.size
                         ? key.size > shared
                         : shared < key.size && key.data[shared] > last.data[shared];
        ASSERT(above);
    }
    if (builder->entry_count % BLOCK_RESTART_INTERVAL == 0) {
        shared = 0;
        codec_put_u32(&builder->restarts, (uint32_t)builder->entries.size);
    }
    codec_put_varint(&builder->entries, shared);
    codec_put_varint(&builder->entries, key.size - shared);
    codec_put_varint(&builder->entries, cell.size);
    buffer_append(&builder->entries, key.data + shared, key.size - shared);
    buffer_append_slice(&builder->entries, cell);
    /* If this finds no memory, the next key shares nothing: finish need not know. */
    buffer_clear(&builder->last_key);
    buffer_append_slice(&builder->last_key, key);
    builder->entry_count++;
}

enum status block_builder_finish(struct block_builder *builder, struct slice *raw)
{
    ASSERT(builder->entry_count > 0);
    uint32_t restart_count = (uint32_t)(builder->restarts.size / RESTART_SIZE);
    buffer_append_slice(&builder->entries, buffer_slice(&builder->restarts));
    codec_put_u32(&builder->entries, restart_count);
    if (buffer_status(&builder->entries) != STATUS_OK ||
        buffer_status(&builder->restarts) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    ASSERT(builder->entries.size <= BLOCK_RAW_SIZE_MAX);
    *raw = buffer_slice(&builder->entries);
    return STATUS_OK;
}

static uint64_t place_seed(struct block_place place)
{
    return place.nonce + place.offset;
}

void block_seal(struct buffer *to, struct slice raw, bool compress, struct block_place place)
{
    ASSERT(raw.size <= BLOCK_RAW_SIZE_MAX);
    size_t start = to->size;
    enum block_codec codec = BLOCK_CODEC_NONE;
    if (compress) {
        /* The most it may take and still save more than the share; lz4 gives up beyond. */
        size_t most = raw.size - raw.size * COMPRESS_SAVING_PERCENT / 100;
        most -= most > 0 ? 1 : 0;
        uint8_t *room = buffer_reserve(to, most + BLOCK_TRAILER_SIZE);
        if (room == NULL) {
            return;
        }
        int size =
            LZ4_compress_default((const char *)raw.data, (char *)room, (int)raw.size, (int)most);
        if (size > 0) {
            codec = BLOCK_CODEC_LZ4;
            buffer_commit(to, (size_t)size);
        }
    }
    if (codec == BLOCK_CODEC_NONE) {
        buffer_append_slice(to, raw);
    }
    codec_put_u8(to, (uint8_t)codec);
    codec_put_u32(to, (uint32_t)raw.size);
    if (buffer_status(to) == STATUS_OK) {
        codec_put_u64(
            to, checksum64(slice_make(to->data + start, to->size - start), place_seed(place)));
    }
}

enum status block_unseal(struct buffer *sealed, struct block_place place, struct slice *raw)
{
    size_t size = sealed->size;
    if (size < BLOCK_TRAILER_SIZE || size > BLOCK_SEALED_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    size_t payload_size = size - BLOCK_TRAILER_SIZE;
    const uint8_t *trailer = sealed->data + payload_size;
    uint64_t checksum = checksum64(slice_make(sealed->data, payload_size + TRAILER_CHECKSUM_OFFSET),
                                   place_seed(place));
    if (checksum != codec_load_u64(trailer + TRAILER_CHECKSUM_OFFSET)) {
        return STATUS_CORRUPT;
    }
    uint8_t codec = trailer[0];
    uint32_t raw_size = codec_load_u32(trailer + 1);
    if (raw_size > BLOCK_RAW_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    if (codec == BLOCK_CODEC_NONE) {
        if (raw_size != payload_size) {
            return STATUS_CORRUPT;
        }
        *raw = slice_make(sealed->data, payload_size);
        return STATUS_OK;
    }
    /* Lz4 gains at most a factor of 255, so a lie about the size cannot make us take much memory.
     */
    if (codec != BLOCK_CODEC_LZ4 || raw_size / 255 > payload_size) {
        return STATUS_CORRUPT;
    }
    uint8_t *room = buffer_reserve(sealed, raw_size);
    if (room == NULL) {
        return STATUS_NO_MEMORY;
    }
    int got = LZ4_decompress_safe((const char *)sealed->data, (char *)room, (int)payload_size,
                                  (int)raw_size);
    if (got < 0 || (uint32_t)got != raw_size) {
        return STATUS_CORRUPT;
    }
    buffer_commit(sealed, raw_size);
    *raw = slice_make(room, raw_size);
    return STATUS_OK;
}

static bool view_open(struct slice raw, struct block_view *view)
{
    if (raw.size < (size_t)2 * RESTART_SIZE || raw.size > BLOCK_RAW_SIZE_MAX) {
        return false;
    }
    uint32_t restart_count = codec_load_u32(raw.data + raw.size - RESTART_SIZE);
    size_t room = raw.size / RESTART_SIZE - 1; /* Restarts that would fit without any entry. */
    if (restart_count == 0 || restart_count > room) {
        return false;
    }
    size_t entries_size = raw.size - RESTART_SIZE * ((size_t)restart_count + 1);
    *view = (struct block_view){
        .entries = slice_make(raw.data, entries_size),
        .restarts = raw.data + entries_size,
        .restart_count = restart_count,
    };
    return entries_size > 0 && codec_load_u32(view->restarts) == 0;
}

static uint32_t restart_offset(const struct block_view *view, uint32_t index)
{
    return codec_load_u32(view->restarts + (size_t)index * RESTART_SIZE);
}

/* Advances *at; false if malformed or beyond 32 bits. Nearly all are one byte. */
static inline bool varint_take(const uint8_t **at, const uint8_t *end, uint32_t *value)
{
    uint32_t result = 0;
    for (unsigned shift = 0; shift < 32; shift += 7) {
        if (*at == end) {
            return false;
        }
        uint8_t byte = *(*at)++;
        if (shift == 28 && byte > 0x0f) {
            return false;
        }
        result |= (uint32_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *value = result;
            return true;
        }
    }
    return false;
}

static inline bool entry_parse(struct slice entries, uint32_t offset, struct block_entry *entry)
{
    if (offset >= entries.size) {
        return false;
    }
    const uint8_t *at = entries.data + offset;
    const uint8_t *end = entries.data + entries.size;
    uint32_t suffix_size;
    uint32_t cell_size;
    if (!varint_take(&at, end, &entry->shared) || !varint_take(&at, end, &suffix_size) ||
        !varint_take(&at, end, &cell_size)) {
        return false;
    }
    size_t rest = (size_t)(end - at);
    if (suffix_size > rest || cell_size > rest - suffix_size) {
        return false;
    }
    uint64_t key_size = (uint64_t)entry->shared + suffix_size;
    if (key_size < 1 || key_size > LSM_KEY_SIZE_MAX) {
        return false;
    }
    entry->suffix = slice_make(at, suffix_size);
    entry->cell = slice_make(at + suffix_size, cell_size);
    entry->end = (uint32_t)(at + suffix_size + cell_size - entries.data);
    return true;
}

/* The last restart whose key is at or below `key`, or the first restart; false if malformed. */
static bool restart_search(const struct block_view *view, struct slice key, uint32_t *offset)
{
    uint32_t lower = 0;
    uint32_t upper = view->restart_count;
    while (upper - lower > 1) {
        uint32_t middle = lower + (upper - lower) / 2;
        struct block_entry entry;
        if (!entry_parse(view->entries, restart_offset(view, middle), &entry) ||
            entry.shared != 0) {
            return false;
        }
        if (slice_compare(entry.suffix, key) <= 0) {
            lower = middle;
        } else {
            upper = middle;
        }
    }
    *offset = restart_offset(view, lower);
    return true;
}

enum status block_get(struct slice raw, struct slice key, struct slice *cell)
{
    struct block_view view;
    uint32_t offset;
    if (!view_open(raw, &view) || !restart_search(&view, key, &offset)) {
        return STATUS_CORRUPT;
    }
    /* Of the entry before, which is below `key`: how many bytes agree with it, and its key size. */
    size_t matched = 0;
    size_t previous_size = 0;
    while (offset < view.entries.size) {
        struct block_entry entry;
        if (!entry_parse(view.entries, offset, &entry) || entry.shared > previous_size) {
            return STATUS_CORRUPT;
        }
        previous_size = entry.shared + entry.suffix.size;
        offset = entry.end;
        if (entry.shared > matched) {
            continue; /* Differs from `key` in the same byte as the entry before. */
        }
        if (entry.shared < matched) {
            return STATUS_NOT_FOUND; /* Grew above the one before where that one still agreed. */
        }
        struct slice rest = slice_make(key.data + matched, key.size - matched);
        int order = slice_compare(entry.suffix, rest);
        if (order == 0) {
            *cell = entry.cell;
            return STATUS_OK;
        }
        if (order > 0) {
            return STATUS_NOT_FOUND;
        }
        matched += common_prefix(entry.suffix, rest);
    }
    return STATUS_NOT_FOUND;
}

static struct block_view cursor_view(const struct block_cursor *cursor)
{
    return (struct block_view){.entries = cursor->entries,
                               .restarts = cursor->restarts,
                               .restart_count = cursor->restart_count};
}

enum status block_cursor_reset(struct block_cursor *cursor, struct slice raw)
{
    struct block_view view;
    if (!view_open(raw, &view)) {
        return STATUS_CORRUPT;
    }
    cursor->entries = view.entries;
    cursor->restarts = view.restarts;
    cursor->restart_count = view.restart_count;
    cursor->offset = 0;
    cursor->next_offset = 0;
    buffer_clear(&cursor->key_buffer);
    return STATUS_OK;
}

void block_cursor_deinit(struct block_cursor *cursor)
{
    buffer_deinit(&cursor->key_buffer);
    *cursor = (struct block_cursor){0};
}

/* Makes the entry at `offset`, a restart, the next one. */
static void cursor_jump(struct block_cursor *cursor, uint32_t offset)
{
    cursor->next_offset = offset;
    buffer_clear(&cursor->key_buffer);
}

enum status block_cursor_next(struct block_cursor *cursor)
{
    if (cursor->next_offset == cursor->entries.size) {
        return STATUS_NOT_FOUND;
    }
    struct block_entry entry;
    if (!entry_parse(cursor->entries, cursor->next_offset, &entry) ||
        entry.shared > cursor->key_buffer.size) {
        return STATUS_CORRUPT;
    }
    cursor->key_buffer.size = entry.shared;
    buffer_append_slice(&cursor->key_buffer, entry.suffix);
    if (buffer_status(&cursor->key_buffer) != STATUS_OK) {
        buffer_deinit(&cursor->key_buffer);
        return STATUS_NO_MEMORY;
    }
    cursor->key = buffer_slice(&cursor->key_buffer);
    cursor->cell = entry.cell;
    cursor->offset = cursor->next_offset;
    cursor->next_offset = entry.end;
    return STATUS_OK;
}

enum status block_cursor_first(struct block_cursor *cursor)
{
    cursor_jump(cursor, 0);
    return block_cursor_next(cursor);
}

/* From a restart below `end` to the entry that ends there. */
static enum status cursor_walk_to(struct block_cursor *cursor, uint32_t restart, uint32_t end)
{
    cursor_jump(cursor, restart);
    while (cursor->next_offset < end) {
        enum status status = block_cursor_next(cursor);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return cursor->next_offset == end ? STATUS_OK : STATUS_CORRUPT;
}

enum status block_cursor_last(struct block_cursor *cursor)
{
    struct block_view view = cursor_view(cursor);
    uint32_t restart = restart_offset(&view, view.restart_count - 1);
    if (restart >= cursor->entries.size) {
        return STATUS_CORRUPT;
    }
    return cursor_walk_to(cursor, restart, (uint32_t)cursor->entries.size);
}

enum status block_cursor_seek(struct block_cursor *cursor, struct slice bound)
{
    struct block_view view = cursor_view(cursor);
    uint32_t offset;
    if (!restart_search(&view, bound, &offset)) {
        return STATUS_CORRUPT;
    }
    cursor_jump(cursor, offset);
    enum status status;
    do {
        status = block_cursor_next(cursor);
    } while (status == STATUS_OK && slice_compare(cursor->key, bound) < 0);
    return status;
}

enum status block_cursor_seek_before(struct block_cursor *cursor, struct slice bound)
{
    if (bound.size == 0) {
        return block_cursor_last(cursor);
    }
    enum status status = block_cursor_seek(cursor, bound);
    if (status == STATUS_NOT_FOUND) {
        return block_cursor_last(cursor);
    }
    return status == STATUS_OK ? block_cursor_previous(cursor) : status;
}

enum status block_cursor_previous(struct block_cursor *cursor)
{
    uint32_t end = cursor->offset;
    if (end == 0) {
        return STATUS_NOT_FOUND;
    }
    /* The last restart below the entry; the first one, at 0, is. */
    struct block_view view = cursor_view(cursor);
    uint32_t lower = 0;
    uint32_t upper = view.restart_count;
    while (upper - lower > 1) {
        uint32_t middle = lower + (upper - lower) / 2;
        if (restart_offset(&view, middle) < end) {
            lower = middle;
        } else {
            upper = middle;
        }
    }
    return cursor_walk_to(cursor, restart_offset(&view, lower), end);
}
