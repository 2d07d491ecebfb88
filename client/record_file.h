/*
 * client/record_file.h -- records in files: what import reads and export writes.
 *
 * Formats:
 *   debian  a Debian package index: stanzas with blank lines between them. The value is the
 * stanza's bytes without the blank lines around it. The key is its Package field; where that was
 *           seen before, PACKAGE=VERSION; where that was too, PACKAGE=VERSION#2, #3, ... So one
 *           index always gives the same keys.
 *   tsv     a record a line: key, tab, value; \t \n \r \\ stand for themselves in either.
 *   len     key size and value size, 4 bytes each, little-endian, then key and value.
 * Contract: what was read from a debian file, `before` and value in turn and `tail` at the end, is
 * the file byte for byte.
 */
#ifndef CLIENT_RECORD_FILE_H
#define CLIENT_RECORD_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "base/status.h"

#define RECORD_KEY_SIZE_MAX (64u << 10)
#define RECORD_VALUE_SIZE_MAX (64u << 20)

enum record_format { RECORD_DEBIAN, RECORD_TSV, RECORD_LEN };

/* "debian", "tsv", "len". */
bool record_format_parse(const char *text, enum record_format *format);

struct record {
    struct slice key;
    struct slice value;
    struct slice before; /* debian: blank lines in front of it. */
};

/* The names a debian index used so far. */
struct record_names {
    struct record_name *slots;
    size_t slot_count; /* A power of two, or 0. */
    size_t count;
    struct buffer bytes;
};

struct record_reader {
    int fd; /* Borrowed. */
    enum record_format format;
    struct buffer bytes; /* From `offset` on: not parsed yet. */
    size_t offset;
    bool ended;         /* The file has no more bytes. */
    uint64_t count;     /* Records read. */
    uint64_t read_size; /* Bytes parsed. */
    struct slice tail;  /* debian, at the end: blank lines behind the last record. */
    struct buffer key;
    struct buffer value;
    struct record_names names;
};

void record_reader_init(struct record_reader *reader, enum record_format format, int fd);
void record_reader_deinit(struct record_reader *reader);
/*
 * The next record; borrows until the next call.
 * STATUS_NOT_FOUND  the end. STATUS_CORRUPT  not this format, or cut short. STATUS_TOO_LARGE  over
 * a size limit. STATUS_IO  errno tells. STATUS_NO_MEMORY.
 */
MUST_USE enum status record_next(struct record_reader *reader, struct record *record);

/* Appends one record; `before` is not part of tsv and len. */
void record_append(struct buffer *to, enum record_format format, const struct record *record);

#endif
