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

#include <lz4.h>

#include "base/checksum.h"
#include "base/codec.h"

enum block_codec {
    BLOCK_CODEC_NONE = 0,
    BLOCK_CODEC_LZ4 = 1,         /* Of the whole raw block. */
    BLOCK_CODEC_LZ4_ENTRIES = 2, /* Of the entries of a tagged block; its head stays as it is. */
};

/* Compression must save more than this share, or reads would pay for nothing. */
#define COMPRESS_SAVING_PERCENT 12

#define RESTART_SIZE 4u
/* The first byte of a tagged block. Others begin with an entry that shares nothing: 0. */
#define HEAD_MARK 1u
#define HEAD_COUNT_SIZE 4u /* The mark, and three bytes of entry count. */
#define ENTRY_COUNT_MAX UINT32_C(0xffffff)
#define PREFETCH_LINES 20u
#define PREFETCH_LINE_SIZE 64u
#define TAG_BYTES UINT64_C(0x0101010101010101)
STATIC_ASSERT(BLOCK_RESTART_INTERVAL == sizeof(uint64_t), "the tags of a run are one word");
#define TRAILER_CHECKSUM_OFFSET 5 /* Codec and raw size lie before it. */
STATIC_ASSERT(TRAILER_CHECKSUM_OFFSET + 8 == BLOCK_TRAILER_SIZE, "trailer layout");
STATIC_ASSERT(BLOCK_SEALED_SIZE_MAX < LZ4_MAX_INPUT_SIZE, "lz4 takes any block whole");

/* A raw block, split into its parts and checked as far as that goes without walking it. */
struct block_view {
    struct slice entries;
    const uint8_t *restarts;
    uint32_t restart_count;
    uint32_t tag_count;  /* 0: not tagged. */
    const uint8_t *tags; /* One per entry, filled up to whole words. */
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
    return HEAD_COUNT_SIZE + run_count * (BLOCK_RESTART_INTERVAL + RESTART_SIZE);
}

size_t block_builder_size(const struct block_builder *builder)
{
    return builder->entries.size + (builder->tags.size > 0 ? head_size(builder->tags.size)
                                                           : builder->restarts.size + RESTART_SIZE);
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
        codec_put_u32(whole, (uint32_t)(builder->restarts.size / RESTART_SIZE));
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

static bool view_open(struct slice raw, struct block_view *view)
{
    if (raw.size < (size_t)2 * RESTART_SIZE || raw.size > BLOCK_RAW_SIZE_MAX) {
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

static uint64_t place_seed(struct block_place place)
{
    return place.nonce + place.offset;
}

/* Appends lz4 of `from`, or nothing where it does not save enough. */
static bool lz4_append(struct buffer *to, struct slice from)
{
    /* The most it may take and still save more than the share; lz4 gives up beyond. */
    size_t most = from.size - from.size * COMPRESS_SAVING_PERCENT / 100;
    most -= most > 0 ? 1 : 0;
    uint8_t *room = buffer_reserve(to, most + BLOCK_TRAILER_SIZE);
    if (room == NULL) {
        return false;
    }
    int size =
        LZ4_compress_default((const char *)from.data, (char *)room, (int)from.size, (int)most);
    if (size <= 0) {
        return false;
    }
    buffer_commit(to, (size_t)size);
    return true;
}

void block_seal(struct buffer *to, struct slice raw, bool compress, struct block_place place)
{
    ASSERT(raw.size <= BLOCK_RAW_SIZE_MAX);
    size_t start = to->size;
    enum block_codec codec = BLOCK_CODEC_NONE;
    if (compress) {
        struct block_view view;
        bool tagged = view_open(raw, &view) && raw.data[0] == HEAD_MARK;
        if (tagged) {
            buffer_append(to, raw.data, raw.size - view.entries.size);
        }
        if (lz4_append(to, tagged ? view.entries : raw)) {
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
    /* Lz4 gains at most a factor of 255, so a lie about the size cannot make us take much memory.
     */
    return sealed->unpacked_size / 255 > sealed->packed.size ? STATUS_CORRUPT : STATUS_OK;
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
    int got =
        LZ4_decompress_safe((const char *)sealed->packed.data, (char *)room + sealed->head.size,
                            (int)sealed->packed.size, (int)sealed->unpacked_size);
    if (got < 0 || (uint32_t)got != sealed->unpacked_size) {
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
    /* Nearly all headers are three sizes of one byte, or the last of two: they are loaded at once.
     */
    uint32_t header = end - at >= 4 ? codec_load_u32(at) : UINT32_MAX;
    if ((header & UINT32_C(0x808080)) == 0) {
        entry->shared = header & 0x7f;
        suffix_size = header >> 8 & 0x7f;
        cell_size = header >> 16 & 0x7f;
        at += 3;
    } else if ((header & UINT32_C(0x80808080)) == UINT32_C(0x800000)) {
        entry->shared = header & 0x7f;
        suffix_size = header >> 8 & 0x7f;
        cell_size = (header >> 16 & 0x7f) | (header >> 24) << 7;
        at += 4;
    } else if (!varint_take(&at, end, &entry->shared) || !varint_take(&at, end, &suffix_size) ||
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

/* The cell of `key` among the entries from `offset`, a restart, to `end`. */
static enum status entries_search(struct slice entries, uint32_t offset, uint32_t end,
                                  struct slice key, struct slice *cell)
{
    /* Of the entry before, which is below `key`: how many bytes agree with it, and its key size. */
    size_t matched = 0;
    size_t previous_size = 0;
    while (offset < end) {
        struct block_entry entry;
        if (!entry_parse(entries, offset, &entry) || entry.shared > previous_size) {
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

/* The entries of a run lie in [*start, *end) of the entries; false if malformed. */
static bool run_bounds(const struct block_view *view, uint32_t run, size_t entries_size,
                       uint32_t *start, uint32_t *end)
{
    *start = restart_offset(view, run);
    *end = run + 1 < view->restart_count ? restart_offset(view, run + 1) : (uint32_t)entries_size;
    return *start < *end && *end <= entries_size;
}

/* A block from the cache is mostly in no processor's: its lines come at once instead of one after
 * another, as the search finds from each entry where the next one is. */
static void lines_prefetch(const uint8_t *from, const uint8_t *end)
{
    for (uint32_t i = 0; i < PREFETCH_LINES && from < end; i++) {
        __builtin_prefetch(from);
        from += PREFETCH_LINE_SIZE;
    }
}

enum status block_get(struct slice raw, struct slice key, uint64_t key_hash, struct slice *cell)
{
    struct block_view view;
    uint32_t offset;
    if (!view_open(raw, &view)) {
        return STATUS_CORRUPT;
    }
    if (view.tag_count == 0) {
        return restart_search(&view, key, &offset)
                   ? entries_search(view.entries, offset, (uint32_t)view.entries.size, key, cell)
                   : STATUS_CORRUPT;
    }
    uint32_t run = tags_search(&view, 0, key_hash);
    while (run < view.restart_count) {
        uint32_t end;
        if (!run_bounds(&view, run, view.entries.size, &offset, &end)) {
            return STATUS_CORRUPT;
        }
        lines_prefetch(view.entries.data + offset, view.entries.data + end);
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
        int got = LZ4_decompress_safe_partial((const char *)sealed->packed.data, (char *)room,
                                              (int)sealed->packed.size, (int)end,
                                              (int)sealed->unpacked_size);
        if (got < 0 || (uint32_t)got < end) {
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

/* The keys a search will compare, in a block small enough that it compares a good part of them. */
static void restarts_prefetch(const struct block_view *view)
{
    for (uint32_t i = 0; i < view->restart_count && i < PREFETCH_LINES; i++) {
        uint32_t offset = restart_offset(view, i);
        if (offset < view->entries.size) {
            __builtin_prefetch(view->entries.data + offset);
        }
    }
}

enum status block_cursor_seek(struct block_cursor *cursor, struct slice bound)
{
    struct block_view view = cursor_view(cursor);
    uint32_t offset;
    restarts_prefetch(&view);
    if (!restart_search(&view, bound, &offset)) {
        return STATUS_CORRUPT;
    }
    if (offset < view.entries.size) {
        lines_prefetch(view.entries.data + offset, view.entries.data + view.entries.size);
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
