/*
 * lsm/table_format.c -- footer, handles, filter directory and properties of a table.
 */
#include "lsm/table_format.h"

#include "base/checksum.h"
#include "base/codec.h"

#define FOOTER_MAGIC UINT64_C(0x454c424154564b52) /* "RKVTABLE", little-endian */
#define FOOTER_CHECKSUM_OFFSET (TABLE_FOOTER_SIZE - 8)
#define FOOTER_RESERVED_OFFSET 56

void table_footer_encode(const struct table_footer *footer, uint64_t footer_offset,
                         uint8_t to[TABLE_FOOTER_SIZE])
{
    ASSERT(footer->properties_offset < footer_offset);
    memset(to, 0, TABLE_FOOTER_SIZE);
    codec_store_u64(to, FOOTER_MAGIC);
    codec_store_u32(to + 8, TABLE_FORMAT_VERSION);
    codec_store_u64(to + 16, footer->nonce);
    codec_store_u64(to + 24, footer->index_offset);
    codec_store_u64(to + 32, footer->root_offset);
    codec_store_u64(to + 40, footer->directory_offset);
    codec_store_u64(to + 48, footer->properties_offset);
    codec_store_u64(to + FOOTER_CHECKSUM_OFFSET,
                    checksum64(slice_make(to, FOOTER_CHECKSUM_OFFSET), footer_offset));
}

enum status table_footer_decode(const uint8_t from[TABLE_FOOTER_SIZE], uint64_t footer_offset,
                                struct table_footer *footer)
{
    if (codec_load_u64(from) != FOOTER_MAGIC ||
        codec_load_u64(from + FOOTER_CHECKSUM_OFFSET) !=
            checksum64(slice_make(from, FOOTER_CHECKSUM_OFFSET), footer_offset)) {
        return STATUS_CORRUPT;
    }
    if (codec_load_u32(from + 8) > TABLE_FORMAT_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    if (codec_load_u32(from + 8) == 0 || codec_load_u32(from + 12) != 0 ||
        codec_load_u64(from + FOOTER_RESERVED_OFFSET) != 0 ||
        codec_load_u64(from + FOOTER_RESERVED_OFFSET + 8) != 0) {
        return STATUS_CORRUPT;
    }
    struct table_footer result = {
        .nonce = codec_load_u64(from + 16),
        .index_offset = codec_load_u64(from + 24),
        .root_offset = codec_load_u64(from + 32),
        .directory_offset = codec_load_u64(from + 40),
        .properties_offset = codec_load_u64(from + 48),
    };
    if (result.index_offset == 0 || result.index_offset >= result.root_offset ||
        result.root_offset >= result.directory_offset ||
        result.directory_offset >= result.properties_offset ||
        result.properties_offset >= footer_offset) {
        return STATUS_CORRUPT;
    }
    *footer = result;
    return STATUS_OK;
}

void table_handle_put(struct buffer *to, struct table_handle handle)
{
    codec_put_varint(to, handle.offset);
    codec_put_varint(to, handle.size);
}

/* Whether [offset, offset + size) is a possible sealed block within [lower, upper). */
static bool handle_fits(uint64_t offset, uint64_t size, uint64_t lower, uint64_t upper)
{
    if (size <= BLOCK_TRAILER_SIZE || size > BLOCK_SEALED_SIZE_MAX) {
        return false;
    }
    return offset >= lower && offset <= upper && size <= upper - offset;
}

enum status table_handle_get(struct slice from, uint64_t lower, uint64_t upper,
                             struct table_handle *handle)
{
    struct codec_reader reader = codec_reader_make(from);
    uint64_t offset = codec_get_varint(&reader);
    uint64_t size = codec_get_varint(&reader);
    if (!codec_reader_done(&reader) || !handle_fits(offset, size, lower, upper)) {
        return STATUS_CORRUPT;
    }
    *handle = (struct table_handle){.offset = offset, .size = (uint32_t)size};
    return STATUS_OK;
}

void table_directory_put(struct buffer *to, uint32_t filter_count, uint32_t probe_count)
{
    codec_put_u32(to, filter_count);
    codec_put_u32(to, probe_count);
}

void table_filter_entry_put(struct buffer *to, const struct table_filter_entry *entry)
{
    codec_put_u64(to, entry->handle.offset);
    codec_put_u32(to, entry->handle.size);
    codec_put_u32(to, entry->block_first);
}

enum status table_directory_get(struct slice from, uint32_t *filter_count, uint32_t *probe_count)
{
    struct codec_reader reader = codec_reader_make(from);
    uint32_t count = codec_get_u32(&reader);
    uint32_t probes = codec_get_u32(&reader);
    if (!codec_reader_ok(&reader) || count > TABLE_BLOCK_COUNT_MAX ||
        reader.rest.size != (size_t)count * TABLE_FILTER_ENTRY_SIZE) {
        return STATUS_CORRUPT;
    }
    *filter_count = count;
    *probe_count = probes;
    return STATUS_OK;
}

void table_filter_entry_get(struct slice directory, uint32_t index,
                            struct table_filter_entry *entry)
{
    size_t offset = TABLE_DIRECTORY_HEADER_SIZE + (size_t)index * TABLE_FILTER_ENTRY_SIZE;
    ASSERT(offset + TABLE_FILTER_ENTRY_SIZE <= directory.size);
    const uint8_t *from = directory.data + offset;
    entry->handle.offset = codec_load_u64(from);
    entry->handle.size = codec_load_u32(from + 8);
    entry->block_first = codec_load_u32(from + 12);
}

void table_properties_put(struct buffer *to, const struct table_properties *properties)
{
    codec_put_u64(to, properties->entry_count);
    codec_put_u64(to, properties->tombstone_count);
    codec_put_u64(to, properties->expiring_count);
    codec_put_u64(to, properties->raw_size);
    version_put(to, properties->version_min);
    version_put(to, properties->version_max);
    codec_put_u64(to, properties->stamp_max);
    codec_put_u64(to, properties->expiry_min_ms);
    codec_put_u64(to, properties->expiry_max_ms);
    codec_put_bytes(to, properties->key_min);
    codec_put_bytes(to, properties->key_max);
}

enum status table_properties_get(struct slice from, struct table_properties *properties)
{
    struct codec_reader reader = codec_reader_make(from);
    struct table_properties result = {0};
    result.entry_count = codec_get_u64(&reader);
    result.tombstone_count = codec_get_u64(&reader);
    result.expiring_count = codec_get_u64(&reader);
    result.raw_size = codec_get_u64(&reader);
    result.version_min = version_get(&reader);
    result.version_max = version_get(&reader);
    result.stamp_max = codec_get_u64(&reader);
    result.expiry_min_ms = codec_get_u64(&reader);
    result.expiry_max_ms = codec_get_u64(&reader);
    result.key_min = codec_get_bytes(&reader);
    result.key_max = codec_get_bytes(&reader);
    if (!codec_reader_done(&reader) || result.entry_count == 0 ||
        result.tombstone_count > result.entry_count || result.expiring_count > result.entry_count ||
        version_compare(result.version_min, result.version_max) > 0 ||
        result.expiry_min_ms > result.expiry_max_ms || result.key_min.size == 0 ||
        result.key_min.size > LSM_KEY_SIZE_MAX || result.key_max.size > LSM_KEY_SIZE_MAX ||
        slice_compare(result.key_min, result.key_max) > 0) {
        return STATUS_CORRUPT;
    }
    *properties = result;
    return STATUS_OK;
}

uint64_t table_checksum_step(uint64_t checksum, struct slice chunk)
{
    uint64_t result = checksum64(chunk, checksum);
    return result != 0 ? result : 1; /* 0 means "not known". */
}
