/*
 * lsm/block_parts.h -- what the files that read raw blocks share: their parts, and one entry.
 *
 * Private to block.c (building, sealing, gets) and block_cursor (walks). Invariants: (1) and (3) of
 * block.c.
 */
#ifndef LSM_BLOCK_PARTS_H
#define LSM_BLOCK_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/codec.h"
#include "base/slice.h"
#include "lsm/lsm.h"

#define BLOCK_RESTART_SIZE 4u
#define BLOCK_PREFETCH_LINES 20u
#define BLOCK_PREFETCH_LINE_SIZE 64u

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

/* False if the bytes make no sense. */
bool block_view_open(struct slice raw, struct block_view *view);
/* The last restart whose key is at or below `key`, or the first restart; false if malformed. */
bool block_restart_search(const struct block_view *view, struct slice key, uint32_t *offset);

static inline uint32_t block_restart_offset(const struct block_view *view, uint32_t index)
{
    return codec_load_u32(view->restarts + (size_t)index * BLOCK_RESTART_SIZE);
}

static inline size_t block_common_prefix(struct slice a, struct slice b)
{
    size_t limit = a.size < b.size ? a.size : b.size;
    size_t common = 0;
    while (common < limit && a.data[common] == b.data[common]) {
        common++;
    }
    return common;
}

/* Advances *at; false if malformed or beyond 32 bits. Nearly all are one byte. */
static inline bool block_varint_take(const uint8_t **at, const uint8_t *end, uint32_t *value)
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

static inline bool block_entry_parse(struct slice entries, uint32_t offset,
                                     struct block_entry *entry)
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
    } else if (!block_varint_take(&at, end, &entry->shared) ||
               !block_varint_take(&at, end, &suffix_size) ||
               !block_varint_take(&at, end, &cell_size)) {
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

/* A block from the cache is mostly in no processor's: its lines come at once instead of one after
 * another, as the search finds from each entry where the next one is. */
static inline void block_lines_prefetch(const uint8_t *from, const uint8_t *end)
{
    for (uint32_t i = 0; i < BLOCK_PREFETCH_LINES && from < end; i++) {
        __builtin_prefetch(from);
        from += BLOCK_PREFETCH_LINE_SIZE;
    }
}

#endif
