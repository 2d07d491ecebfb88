/*
 * base/cell.c -- the order of cells, and their one encoding (docs/formats/cell.md).
 *
 * A cell has exactly one encoding: optional fields are there if and only if they are not zero, and
 * a decoder refuses any other spelling. So equal cells are equal bytes, and fingerprints of
 * replicas can be taken over the bytes.
 */
#include "base/cell.h"

#include <string.h>

#include "base/contract.h"

#define CELL_KIND_MASK 0x03u
#define CELL_HAS_EXPIRY 0x04u
#define CELL_HAS_STAMP 0x08u
#define CELL_HAS_WINDOW 0x10u
#define CELL_RESERVED 0xe0u

int version_compare(struct version a, struct version b)
{
    if (a.time != b.time) {
        return a.time < b.time ? -1 : 1;
    }
    if (a.node != b.node) {
        return a.node < b.node ? -1 : 1;
    }
    return (a.sequence > b.sequence) - (a.sequence < b.sequence);
}

static void version_store(uint8_t *to, struct version version)
{
    codec_store_u64(to, version.time);
    codec_store_u32(to + 8, version.node);
    codec_store_u32(to + 12, version.sequence);
}

void version_put(struct buffer *buffer, struct version version)
{
    uint8_t bytes[VERSION_SIZE];
    version_store(bytes, version);
    buffer_append(buffer, bytes, sizeof(bytes));
}

struct version version_get(struct codec_reader *reader)
{
    struct version version;
    version.time = codec_get_u64(reader);
    version.node = codec_get_u32(reader);
    version.sequence = codec_get_u32(reader);
    return version;
}

/* A delete wins over all else; a promise lives under a key of its own, but the order is total. */
static int kind_rank(enum cell_kind kind)
{
    switch (kind) {
    case CELL_VALUE:
        return 0;
    case CELL_PROMISE:
        return 1;
    case CELL_DELETE:
        return 2;
    }
    UNREACHABLE("cell kind");
}

int cell_compare(const struct cell *a, const struct cell *b)
{
    int order = version_compare(a->version, b->version);
    if (order != 0) {
        return order;
    }
    if (a->stamp != b->stamp) {
        return a->stamp < b->stamp ? -1 : 1;
    }
    int kinds = kind_rank(a->kind) - kind_rank(b->kind);
    if (kinds != 0) {
        return kinds;
    }
    return (a->expiry_ms > b->expiry_ms) - (a->expiry_ms < b->expiry_ms);
}

bool cell_is_live(const struct cell *cell, uint64_t now_ms)
{
    return cell->kind == CELL_VALUE && (cell->expiry_ms == 0 || now_ms < cell->expiry_ms);
}

static size_t varint_size(uint64_t value)
{
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

size_t cell_encoded_size(const struct cell *cell)
{
    size_t size = 1 + VERSION_SIZE + cell->value.size;
    size += cell->expiry_ms != 0 ? 8 : 0;
    size += cell->stamp != 0 ? 8 : 0;
    if (cell->window.size != 0) {
        size += varint_size(cell->window.size) + cell->window.size;
    }
    return size;
}

/* Everything before the window's bytes and the value. Returns its size. */
static size_t header_encode(const struct cell *cell, uint8_t to[CELL_HEADER_SIZE_MAX])
{
    ASSERT(cell->kind <= CELL_PROMISE);
    ASSERT_IMPLIES(cell->kind == CELL_DELETE, cell->value.size == 0);
    unsigned flags = (unsigned)cell->kind;
    version_store(to + 1, cell->version);
    size_t at = 1 + VERSION_SIZE;
    if (cell->expiry_ms != 0) {
        flags |= CELL_HAS_EXPIRY;
        codec_store_u64(to + at, cell->expiry_ms);
        at += 8;
    }
    if (cell->stamp != 0) {
        flags |= CELL_HAS_STAMP;
        codec_store_u64(to + at, cell->stamp);
        at += 8;
    }
    if (cell->window.size != 0) {
        flags |= CELL_HAS_WINDOW;
        at += codec_store_varint(to + at, cell->window.size);
    }
    to[0] = (uint8_t)flags;
    return at;
}

void cell_encode(const struct cell *cell, uint8_t *to)
{
    uint8_t header[CELL_HEADER_SIZE_MAX];
    size_t header_size = header_encode(cell, header);
    memcpy(to, header, header_size);
    to += header_size;
    if (cell->window.size != 0) {
        memcpy(to, cell->window.data, cell->window.size);
        to += cell->window.size;
    }
    if (cell->value.size != 0) {
        memcpy(to, cell->value.data, cell->value.size);
    }
}

void cell_put(struct buffer *buffer, const struct cell *cell)
{
    size_t size = cell_encoded_size(cell);
    uint8_t *to = buffer_reserve(buffer, size);
    if (to == NULL) {
        return;
    }
    cell_encode(cell, to);
    buffer_commit(buffer, size);
}

enum status cell_decode(struct slice bytes, struct cell *cell)
{
    /* Nearly every cell is a plain value: a kind and a version before it. */
    if (bytes.size >= 1 + VERSION_SIZE && bytes.data[0] == CELL_VALUE) {
        *cell = (struct cell){
            .kind = CELL_VALUE,
            .value = slice_make(bytes.data + 1 + VERSION_SIZE, bytes.size - 1 - VERSION_SIZE)};
        (void)cell_version_peek(bytes, &cell->version);
        return STATUS_OK;
    }
    struct codec_reader reader = codec_reader_make(bytes);
    struct cell read = {0};
    uint8_t flags = codec_get_u8(&reader);
    unsigned kind = flags & CELL_KIND_MASK;
    if ((flags & CELL_RESERVED) != 0 || kind > CELL_PROMISE) {
        return STATUS_CORRUPT;
    }
    read.kind = (enum cell_kind)kind;
    read.version = version_get(&reader);
    bool canonical = true;
    if ((flags & CELL_HAS_EXPIRY) != 0) {
        read.expiry_ms = codec_get_u64(&reader);
        canonical = canonical && read.expiry_ms != 0;
    }
    if ((flags & CELL_HAS_STAMP) != 0) {
        read.stamp = codec_get_u64(&reader);
        canonical = canonical && read.stamp != 0;
    }
    if ((flags & CELL_HAS_WINDOW) != 0) {
        read.window = codec_get_bytes(&reader);
        canonical = canonical && read.window.size != 0;
    }
    if (!codec_reader_ok(&reader) || !canonical) {
        return STATUS_CORRUPT;
    }
    read.value = codec_get_raw(&reader, reader.rest.size);
    if (read.kind == CELL_DELETE && read.value.size != 0) {
        return STATUS_CORRUPT;
    }
    *cell = read;
    return STATUS_OK;
}

bool cell_peek_dead(struct slice bytes, uint64_t now_ms, uint64_t *dead_ms)
{
    if (bytes.size < 1 + VERSION_SIZE) {
        return false;
    }
    uint8_t flags = bytes.data[0];
    *dead_ms = 0;
    if ((flags & CELL_KIND_MASK) == CELL_DELETE) {
        return true;
    }
    if ((flags & CELL_HAS_EXPIRY) == 0 || bytes.size < 1 + VERSION_SIZE + 8) {
        return false;
    }
    *dead_ms = codec_load_u64(bytes.data + 1 + VERSION_SIZE);
    return *dead_ms <= now_ms;
}
