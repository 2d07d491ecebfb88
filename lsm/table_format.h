/*
 * lsm/table_format.h -- the small parts of a table file, each with its encoder and its decoder.
 *
 * Reader and writer share this so that a layout is spelled once; docs/formats/table.md is its page.
 * Decoders take bytes whose checksum was checked, and still believe no number in them.
 */
#ifndef LSM_TABLE_FORMAT_H
#define LSM_TABLE_FORMAT_H

#include <stdint.h>

#include "base/buffer.h"
#include "lsm/table.h"

/* Where the parts lie. They follow one another without a gap up to the footer. */
struct table_footer {
    uint64_t nonce;
    uint64_t index_offset;      /* End of data blocks and filters. */
    uint64_t root_offset;       /* End of the index parts. */
    uint64_t directory_offset;  /* End of the root. */
    uint64_t properties_offset; /* End of the directory of filters. */
};

/* A sealed block in the file: what an index entry holds beside its key. */
struct table_handle {
    uint64_t offset;
    uint32_t size; /* Sealed. */
};

/* One filter in the directory. */
struct table_filter_entry {
    struct table_handle handle;
    uint32_t block_first; /* Index of the first data block whose keys it holds. */
};

void table_footer_encode(const struct table_footer *footer, uint64_t footer_offset,
                         uint8_t to[TABLE_FOOTER_SIZE]);
/* STATUS_CORRUPT; STATUS_UNSUPPORTED if intact and of a newer version. */
MUST_USE enum status table_footer_decode(const uint8_t from[TABLE_FOOTER_SIZE],
                                         uint64_t footer_offset, struct table_footer *footer);

void table_handle_put(struct buffer *to, struct table_handle handle);
/* The block must lie in [lower, upper) of the file. */
MUST_USE enum status table_handle_get(struct slice from, uint64_t lower, uint64_t upper,
                                      struct table_handle *handle);

#define TABLE_DIRECTORY_HEADER_SIZE 8
#define TABLE_FILTER_ENTRY_SIZE 16
void table_directory_put(struct buffer *to, uint32_t filter_count, uint32_t probe_count);
void table_filter_entry_put(struct buffer *to, const struct table_filter_entry *entry);
/* *filter_count entries follow the header, and nothing else does. */
MUST_USE enum status table_directory_get(struct slice from, uint32_t *filter_count,
                                         uint32_t *probe_count);
void table_filter_entry_get(struct slice directory, uint32_t index,
                            struct table_filter_entry *entry);

/* All but nonce, file_size and file_checksum. */
void table_properties_put(struct buffer *to, const struct table_properties *properties);
/* Key bounds borrow from `from`. */
MUST_USE enum status table_properties_get(struct slice from, struct table_properties *properties);

/* The file checksum goes over chunks of TABLE_CHUNK_SIZE in order, from 0. Never gives 0. */
uint64_t table_checksum_step(uint64_t checksum, struct slice chunk);

#endif
