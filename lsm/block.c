/*
 * lsm/block.c -- blocks of sorted entries: built, sealed, opened, searched.
 *
 * Invariants:
 *  (1) A search compares keys where they lie in the block and never puts one together.
 *  (2) A tag is never wrong about a key that is there: it may only send a search to a run of
 *      entries that turns out not to hold the key.
 *  (3) Every offset and size of a raw block is checked before it is followed, on top of the
 *      checksum: a bug that sealed nonsense must not become a wild read.
 *
 * Source: the block of LevelDB (Dean, Ghemawat 2011). Changed: the trailer carries the raw size
 * and a checksum seeded by file and offset; within a run of entries a search skips by the length
 * of the match so far; a byte of each key's hash, kept outside what is compressed, leads a get to
 * the one run that may hold its key, before anything is decompressed.
 */
#include "lsm/block.h"

#include <limits.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "lsm/block_parts.h"
#include "lsm/pack.h"

enum block_codec {
    BLOCK_CODEC_NONE = 0,
    BLOCK_CODEC_LZ4 = 1,         /* Of the whole raw block. */
    BLOCK_CODEC_LZ4_ENTRIES = 2, /* Of the entries of a tagged block; its head stays as it is. */
};

/* Compression must save more than this share, or reads would pay for nothing. */

/* The first byte of a tagged block. Others begin with an entry that shares nothing: 0. */
#define HEAD_MARK 1u
#define HEAD_COUNT_SIZE 4u /* The mark, and three bytes of entry count. */
#define ENTRY_COUNT_MAX UINT32_C(0xffffff)
#define TAG_BYTES UINT64_C(0x0101010101010101)
STATIC_ASSERT(BLOCK_RESTART_INTERVAL == sizeof(uint64_t), "the tags of a run are one word");
#define TRAILER_CHECKSUM_OFFSET 5 /* Codec and raw size lie before it. */
STATIC_ASSERT(TRAILER_CHECKSUM_OFFSET + 8 == BLOCK_TRAILER_SIZE, "trailer layout");

void block_builder_deinit(struct block_builder *builder)
{
    buffer_deinit(&builder->entries);
    buffer_deinit(&builder->restarts);
    buffer_deinit(&builder->tags);
    buffer_deinit(&builder->raw);
    buffer_deinit(&builder->last_key);
    *builder = (struct block_builder){0};
}

void block_builder_clear(struct block_builder *builder)
{
    buffer_clear(&builder->entries);
    buffer_clear(&builder->restarts);
    buffer_clear(&builder->tags);
    buffer_clear(&builder->last_key);
    builder->entry_count = 0;
}

static size_t head_size(size_t entry_count)
{
    size_t run_count = (entry_count + BLOCK_RESTART_INTERVAL - 1) / BLOCK_RESTART_INTERVAL;
    return HEAD_COUNT_SIZE + run_count * (BLOCK_RESTART_INTERVAL + BLOCK_RESTART_SIZE);
}

size_t block_builder_size(const struct block_builder *builder)
{
    return builder->entries.size + (builder->tags.size > 0
                                        ? head_size(builder->tags.size)
                                        : builder->restarts.size + BLOCK_RESTART_SIZE);
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
        shared = block_common_prefix(last, key);
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

/* Which byte of the hash is of no matter, as long as filters choose lines and bits by others. */
static uint8_t tag_of(uint64_t key_hash)
{
    return (uint8_t)(key_hash >> 32);
}

void block_builder_add_tagged(struct block_builder *builder, struct slice key, uint64_t key_hash,
                              struct slice cell)
{
    ASSERT(builder->tags.size == builder->entry_count || builder->tags.failed);
    block_builder_add(builder, key, cell);
    codec_put_u8(&builder->tags, tag_of(key_hash));
}

/* Head and entries, in a buffer of their own. */
static void tagged_put(struct block_builder *builder, struct buffer *raw)
{
    ASSERT(builder->entry_count <= ENTRY_COUNT_MAX);
    buffer_clear(raw);
    codec_put_u32(raw, HEAD_MARK | builder->entry_count << 8);
    buffer_append_slice(raw, buffer_slice(&builder->tags));
    while ((raw->size - HEAD_COUNT_SIZE) % BLOCK_RESTART_INTERVAL != 0 && !raw->failed) {
        codec_put_u8(raw, 0);
    }
    buffer_append_slice(raw, buffer_slice(&builder->restarts));
    buffer_append_slice(raw, buffer_slice(&builder->entries));
}

enum status block_builder_finish(struct block_builder *builder, struct slice *raw)
{
    ASSERT(builder->entry_count > 0);
    struct buffer *whole = &builder->entries;
    if (builder->tags.size > 0) {
        whole = &builder->raw;
        tagged_put(builder, whole);
    } else {
        buffer_append_slice(whole, buffer_slice(&builder->restarts));
        codec_put_u32(whole, (uint32_t)(builder->restarts.size / BLOCK_RESTART_SIZE));
    }
    if (buffer_status(whole) != STATUS_OK || buffer_status(&builder->entries) != STATUS_OK ||
        buffer_status(&builder->restarts) != STATUS_OK ||
        buffer_status(&builder->tags) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    ASSERT(builder->tags.size == 0 || builder->tags.size == builder->entry_count);
    ASSERT(whole->size <= BLOCK_RAW_SIZE_MAX);
    *raw = buffer_slice(whole);
    return STATUS_OK;
}

/* The head of a tagged block, of which `bytes` are the first ones; false if it makes no sense. */
static bool head_open(struct slice bytes, struct block_view *view, size_t *size)
{
    if (bytes.size < HEAD_COUNT_SIZE || bytes.data[0] != HEAD_MARK) {
        return false;
    }
    uint32_t count = codec_load_u32(bytes.data) >> 8;
    size_t wanted = head_size(count);
    if (count == 0 || wanted > bytes.size) {
        return false;
    }
    view->tag_count = count;
    view->restart_count = (count + BLOCK_RESTART_INTERVAL - 1) / BLOCK_RESTART_INTERVAL;
    view->tags = bytes.data + HEAD_COUNT_SIZE;
    view->restarts = view->tags + (size_t)view->restart_count * BLOCK_RESTART_INTERVAL;
    *size = wanted;
    return codec_load_u32(view->restarts) == 0;
}

bool block_view_open(struct slice raw, struct block_view *view)
{
    if (raw.size < (size_t)2 * BLOCK_RESTART_SIZE || raw.size > BLOCK_RAW_SIZE_MAX) {
        return false;
    }
    if (raw.data[0] == HEAD_MARK) {
        size_t size;
        if (!head_open(raw, view, &size)) {
            return false;
        }
        view->entries = slice_make(raw.data + size, raw.size - size);
        return view->entries.size > 0;
    }
    uint32_t restart_count = codec_load_u32(raw.data + raw.size - BLOCK_RESTART_SIZE);
    size_t room =
        raw.size / BLOCK_RESTART_SIZE - 1; /* Restarts that would fit without any entry. */
    if (restart_count == 0 || restart_count > room) {
        return false;
    }
    size_t entries_size = raw.size - BLOCK_RESTART_SIZE * ((size_t)restart_count + 1);
    *view = (struct block_view){
        .entries = slice_make(raw.data, entries_size),
        .restarts = raw.data + entries_size,
        .restart_count = restart_count,
    };
    return entries_size > 0 && codec_load_u32(view->restarts) == 0;
}

static uint64_t place_seed(struct block_place place)
{
    return place.nonce + place.offset;
}

/* Appends `from` packed, or nothing where that does not save enough. */
static bool pack_append(struct buffer *to, struct slice from)
{
    uint8_t *room = buffer_reserve(to, pack_size_max(from.size) + BLOCK_TRAILER_SIZE);
    size_t size = room != NULL ? pack(from, room) : 0;
    buffer_commit(to, size);
    return size > 0;
}

void block_seal(struct buffer *to, struct slice raw, bool compress, struct block_place place)
{
    ASSERT(raw.size <= BLOCK_RAW_SIZE_MAX);
    size_t start = to->size;
    enum block_codec codec = BLOCK_CODEC_NONE;
    if (compress) {
        struct block_view view;
        bool tagged = block_view_open(raw, &view) && raw.data[0] == HEAD_MARK;
        if (tagged) {
            buffer_append(to, raw.data, raw.size - view.entries.size);
        }
        if (pack_append(to, tagged ? view.entries : raw)) {
            codec = tagged ? BLOCK_CODEC_LZ4_ENTRIES : BLOCK_CODEC_LZ4;
        } else {
            to->size = start;
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

/* A sealed block whose checksum holds. */
struct block_sealed {
    struct slice head;      /* Of a tagged block whose entries alone are packed; else empty. */
    struct slice packed;    /* What the codec was applied to. */
    uint32_t unpacked_size; /* Of what `packed` holds. */
    uint8_t codec;
    struct block_view view; /* Of the head; no entries yet. */
};

static enum status sealed_open(struct slice bytes, struct block_place place,
                               struct block_sealed *sealed)
{
    if (bytes.size < BLOCK_TRAILER_SIZE || bytes.size > BLOCK_SEALED_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    size_t payload_size = bytes.size - BLOCK_TRAILER_SIZE;
    const uint8_t *trailer = bytes.data + payload_size;
    uint64_t checksum = checksum64(slice_make(bytes.data, payload_size + TRAILER_CHECKSUM_OFFSET),
                                   place_seed(place));
    if (checksum != codec_load_u64(trailer + TRAILER_CHECKSUM_OFFSET)) {
        return STATUS_CORRUPT;
    }
    uint32_t raw_size = codec_load_u32(trailer + 1);
    if (raw_size > BLOCK_RAW_SIZE_MAX) {
        return STATUS_CORRUPT;
    }
    *sealed = (struct block_sealed){
        .packed = slice_make(bytes.data, payload_size),
        .codec = trailer[0],
        .unpacked_size = raw_size,
    };
    if (sealed->codec == BLOCK_CODEC_NONE) {
        return raw_size == payload_size ? STATUS_OK : STATUS_CORRUPT;
    }
    if (sealed->codec == BLOCK_CODEC_LZ4_ENTRIES) {
        size_t size;
        if (!head_open(sealed->packed, &sealed->view, &size) || size >= raw_size) {
            return STATUS_CORRUPT;
        }
        sealed->head = slice_make(bytes.data, size);
        sealed->packed = slice_make(bytes.data + size, payload_size - size);
        sealed->unpacked_size -= (uint32_t)size;
    } else if (sealed->codec != BLOCK_CODEC_LZ4) {
        return STATUS_CORRUPT;
    }
    return pack_may_hold(sealed->packed.size, sealed->unpacked_size) ? STATUS_OK : STATUS_CORRUPT;
}

/* Room for `size` bytes behind those of the block, which may move by that. */
static uint8_t *sealed_reserve(struct block_sealed *sealed, struct buffer *bytes, size_t size)
{
    uint8_t *room = buffer_reserve(bytes, size);
    if (room != NULL && sealed->head.size > 0) {
        sealed->head.data = bytes->data;
        size_t head_size_again;
        bool sound = head_open(sealed->head, &sealed->view, &head_size_again);
        ASSERT(sound);
    }
    sealed->packed.data = bytes->data + sealed->head.size;
    return room;
}

/* The raw block of an opened one, unpacked behind it in `bytes` if it is packed. */
static enum status sealed_raw(struct block_sealed *sealed, struct buffer *bytes, struct slice *raw)
{
    if (sealed->codec == BLOCK_CODEC_NONE) {
        *raw = sealed->packed;
        return STATUS_OK;
    }
    size_t raw_size = sealed->head.size + sealed->unpacked_size;
    uint8_t *room = sealed_reserve(sealed, bytes, raw_size);
    if (room == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (sealed->head.size > 0) {
        memcpy(room, sealed->head.data, sealed->head.size);
    }
    if (!unpack(sealed->packed, room + sealed->head.size, sealed->unpacked_size)) {
        return STATUS_CORRUPT;
    }
    buffer_commit(bytes, raw_size);
    *raw = slice_make(room, raw_size);
    return STATUS_OK;
}

enum status block_unseal(struct buffer *bytes, struct block_place place, struct slice *raw)
{
    struct block_sealed sealed;
    enum status status = sealed_open(buffer_slice(bytes), place, &sealed);
    return status == STATUS_OK ? sealed_raw(&sealed, bytes, raw) : status;
}

size_t block_sealed_raw_size(struct slice sealed)
{
    return sealed.size < BLOCK_TRAILER_SIZE
               ? 0
               : codec_load_u32(sealed.data + sealed.size - BLOCK_TRAILER_SIZE + 1);
}

bool block_restart_search(const struct block_view *view, struct slice key, uint32_t *offset)
{
    uint32_t lower = 0;
    uint32_t upper = view->restart_count;
    while (upper - lower > 1) {
        uint32_t middle = lower + (upper - lower) / 2;
        struct block_entry entry;
        if (!block_entry_parse(view->entries, block_restart_offset(view, middle), &entry) ||
            entry.shared != 0) {
            return false;
        }
        if (slice_compare(entry.suffix, key) <= 0) {
            lower = middle;
        } else {
            upper = middle;
        }
    }
    *offset = block_restart_offset(view, lower);
    return true;
}

/* The cell of `key` among the entries from `offset`, a restart, to `end`. */
static enum status entries_search(struct slice entries, uint32_t offset, uint32_t end,
                                  struct slice key, struct slice *cell)
{
    /* Of the entry before, which is below `key`: how many bytes agree with it, and its key size. */
    size_t matched = 0;
    size_t previous_size = 0;
    while (offset < end) {
        struct block_entry entry;
        if (!block_entry_parse(entries, offset, &entry) || entry.shared > previous_size) {
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
        matched += block_common_prefix(entry.suffix, rest);
    }
    return STATUS_NOT_FOUND;
}

/* The first run from `run` on in which an entry has this tag; restart_count if there is none. */
static uint32_t tags_search(const struct block_view *view, uint32_t run, uint64_t key_hash)
{
    uint64_t pattern = TAG_BYTES * tag_of(key_hash);
    for (; run < view->restart_count; run++) {
        uint32_t first = run * BLOCK_RESTART_INTERVAL;
        /* Bytes that agree become 0, and are found by what subtracting 1 borrows. */
        uint64_t word = codec_load_u64(view->tags + first) ^ pattern;
        if (view->tag_count - first < BLOCK_RESTART_INTERVAL) {
            word |= UINT64_MAX << (8 * (view->tag_count - first));
        }
        if (((word - TAG_BYTES) & ~word & (TAG_BYTES << 7)) != 0) {
            return run;
        }
    }
    return run;
}

bool block_sealed_excludes(struct slice sealed, uint64_t key_hash)
{
    if (sealed.size < BLOCK_TRAILER_SIZE) {
        return false;
    }
    struct slice payload = slice_make(sealed.data, sealed.size - BLOCK_TRAILER_SIZE);
    struct block_view view = {0};
    size_t size;
    return payload.data[payload.size] == BLOCK_CODEC_LZ4_ENTRIES &&
           head_open(payload, &view, &size) &&
           tags_search(&view, 0, key_hash) == view.restart_count;
}

/* The entries of a run lie in [*start, *end) of the entries; false if malformed. */
static bool run_bounds(const struct block_view *view, uint32_t run, size_t entries_size,
                       uint32_t *start, uint32_t *end)
{
    *start = block_restart_offset(view, run);
    *end = run + 1 < view->restart_count ? block_restart_offset(view, run + 1)
                                         : (uint32_t)entries_size;
    return *start < *end && *end <= entries_size;
}

enum status block_get(struct slice raw, struct slice key, uint64_t key_hash, struct slice *cell)
{
    struct block_view view;
    uint32_t offset;
    if (!block_view_open(raw, &view)) {
        return STATUS_CORRUPT;
    }
    if (view.tag_count == 0) {
        return block_restart_search(&view, key, &offset)
                   ? entries_search(view.entries, offset, (uint32_t)view.entries.size, key, cell)
                   : STATUS_CORRUPT;
    }
    uint32_t run = tags_search(&view, 0, key_hash);
    while (run < view.restart_count) {
        uint32_t end;
        if (!run_bounds(&view, run, view.entries.size, &offset, &end)) {
            return STATUS_CORRUPT;
        }
        block_lines_prefetch(view.entries.data + offset, view.entries.data + end);
        struct slice entries = slice_make(view.entries.data, end);
        enum status status = entries_search(entries, offset, end, key, cell);
        if (status != STATUS_NOT_FOUND) {
            return status;
        }
        run = tags_search(&view, run + 1, key_hash);
    }
    return STATUS_NOT_FOUND;
}

/* block_get() in a block whose entries alone are packed: unpacks up to the end of the run that may
 * hold the key, or nothing. */
static enum status packed_get(struct buffer *bytes, struct block_sealed *sealed, struct slice key,
                              uint64_t key_hash, struct slice *cell)
{
    uint32_t run = tags_search(&sealed->view, 0, key_hash);
    if (run == sealed->view.restart_count) {
        return STATUS_NOT_FOUND;
    }
    uint8_t *room = sealed_reserve(sealed, bytes, sealed->unpacked_size);
    if (room == NULL) {
        return STATUS_NO_MEMORY;
    }
    while (run < sealed->view.restart_count) {
        uint32_t start;
        uint32_t end;
        if (!run_bounds(&sealed->view, run, sealed->unpacked_size, &start, &end)) {
            return STATUS_CORRUPT;
        }
        if (!unpack_first(sealed->packed, room, end, sealed->unpacked_size)) {
            return STATUS_CORRUPT;
        }
        enum status status = entries_search(slice_make(room, end), start, end, key, cell);
        if (status != STATUS_NOT_FOUND) {
            return status;
        }
        run = tags_search(&sealed->view, run + 1, key_hash);
    }
    return STATUS_NOT_FOUND;
}

enum status block_get_sealed(struct buffer *bytes, struct block_place place, struct slice key,
                             uint64_t key_hash, struct slice *cell)
{
    struct block_sealed sealed;
    enum status status = sealed_open(buffer_slice(bytes), place, &sealed);
    if (status != STATUS_OK) {
        return status;
    }
    if (sealed.codec == BLOCK_CODEC_LZ4_ENTRIES) {
        return packed_get(bytes, &sealed, key, key_hash, cell);
    }
    struct slice raw;
    status = sealed_raw(&sealed, bytes, &raw);
    return status == STATUS_OK ? block_get(raw, key, key_hash, cell) : status;
}
