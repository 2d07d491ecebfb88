/* client/record_file.c -- reading and writing the formats of import and export. */
#include "client/record_file.h"

#include <errno.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/memory.h"

#define FILL_SIZE (256u << 10)
#define NAME_SLOT_COUNT_MIN 1024
#define LEN_HEADER_SIZE 8
/* A tsv line of the largest record with every byte escaped. */
#define PENDING_SIZE_MAX (2u * (RECORD_KEY_SIZE_MAX + RECORD_VALUE_SIZE_MAX) + 2)

bool record_format_parse(const char *text, enum record_format *format)
{
    static const char *const names[] = {
        [RECORD_DEBIAN] = "debian", [RECORD_TSV] = "tsv", [RECORD_LEN] = "len"};
    for (size_t index = 0; index < ARRAY_COUNT(names); index++) {
        if (strcmp(text, names[index]) == 0) {
            *format = (enum record_format)index;
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ names seen */

struct record_name {
    uint64_t hash;
    size_t offset; /* In `bytes`, plus one; 0: the slot is free. */
    size_t size;
};

static struct record_name *name_slot(const struct record_names *names, struct slice name,
                                     uint64_t hash)
{
    for (size_t at = hash & (names->slot_count - 1);; at = (at + 1) & (names->slot_count - 1)) {
        struct record_name *slot = &names->slots[at];
        if (slot->offset == 0 ||
            (slot->hash == hash &&
             slice_equal(slice_make(names->bytes.data + slot->offset - 1, slot->size), name))) {
            return slot;
        }
    }
}

static bool names_grow(struct record_names *names)
{
    struct record_names grown = *names;
    grown.slot_count = names->slot_count == 0 ? NAME_SLOT_COUNT_MIN : names->slot_count * 2;
    grown.slots = memory_allocate_zeroed(grown.slot_count, sizeof(*grown.slots));
    if (grown.slots == NULL) {
        return false;
    }
    for (size_t index = 0; index < names->slot_count; index++) {
        const struct record_name *old = &names->slots[index];
        if (old->offset != 0) {
            struct slice name = slice_make(names->bytes.data + old->offset - 1, old->size);
            *name_slot(&grown, name, old->hash) = *old;
        }
    }
    memory_free(names->slots);
    *names = grown;
    return true;
}

/* STATUS_OK: it is new and now seen. STATUS_EXISTS, STATUS_NO_MEMORY. */
static enum status name_add(struct record_names *names, struct slice name)
{
    if (names->count * 2 >= names->slot_count && !names_grow(names)) {
        return STATUS_NO_MEMORY;
    }
    uint64_t hash = checksum64(name, 0);
    struct record_name *slot = name_slot(names, name, hash);
    if (slot->offset != 0) {
        return STATUS_EXISTS;
    }
    size_t offset = names->bytes.size + 1;
    buffer_append_slice(&names->bytes, name);
    if (buffer_status(&names->bytes) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    *slot = (struct record_name){.hash = hash, .offset = offset, .size = name.size};
    names->count++;
    return STATUS_OK;
}

/* ------------------------------------------------------------------ the reader */

void record_reader_init(struct record_reader *reader, enum record_format format, int fd)
{
    *reader = (struct record_reader){.fd = fd, .format = format};
}

void record_reader_deinit(struct record_reader *reader)
{
    buffer_deinit(&reader->bytes);
    buffer_deinit(&reader->key);
    buffer_deinit(&reader->value);
    buffer_deinit(&reader->names.bytes);
    memory_free(reader->names.slots);
    *reader = (struct record_reader){.fd = -1};
}

static struct slice pending(const struct record_reader *reader)
{
    static const uint8_t nothing[1];
    if (reader->bytes.data == NULL) {
        return slice_make(nothing, 0);
    }
    return slice_make(reader->bytes.data + reader->offset, reader->bytes.size - reader->offset);
}

/* Reads more; at the end sets `ended`. */
static enum status fill(struct record_reader *reader)
{
    if (pending(reader).size > PENDING_SIZE_MAX) {
        return STATUS_TOO_LARGE;
    }
    uint8_t *room = buffer_reserve(&reader->bytes, FILL_SIZE);
    if (room == NULL) {
        return STATUS_NO_MEMORY;
    }
    ssize_t size;
    do {
        size = read(reader->fd, room, FILL_SIZE);
    } while (size < 0 && errno == EINTR);
    if (size < 0) {
        return STATUS_IO;
    }
    buffer_commit(&reader->bytes, (size_t)size);
    reader->ended = size == 0;
    return STATUS_OK;
}

/* At least `size` pending bytes. STATUS_NOT_FOUND if the file ends before. */
static enum status need(struct record_reader *reader, size_t size)
{
    while (pending(reader).size < size) {
        if (reader->ended) {
            return STATUS_NOT_FOUND;
        }
        enum status status = fill(reader);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static void taken(struct record_reader *reader, size_t size)
{
    reader->offset += size;
    reader->read_size += size;
}

/* ------------------------------------------------------------------ debian */

/* The value of a field ("\nName: ") of a stanza; empty if it has none. */
static struct slice field_find(struct slice stanza, const char *name)
{
    size_t name_size = strlen(name);
    for (size_t at = 0; at < stanza.size;) {
        const uint8_t *line = stanza.data + at;
        const uint8_t *end = memchr(line, '\n', stanza.size - at);
        size_t size = end != NULL ? (size_t)(end - line) : stanza.size - at;
        if (size > name_size && memcmp(line, name, name_size) == 0 && line[name_size] == ':') {
            size_t from = name_size + 1;
            while (from < size && (line[from] == ' ' || line[from] == '\t')) {
                from++;
            }
            while (size > from && (line[size - 1] == ' ' || line[size - 1] == '\t')) {
                size--;
            }
            return slice_make(line + from, size - from);
        }
        at += size + 1;
    }
    return (struct slice){0};
}

/* Chooses the key of a stanza and notes it as used. */
static enum status debian_key(struct record_reader *reader, struct slice stanza)
{
    struct slice package = field_find(stanza, "Package");
    struct slice version = field_find(stanza, "Version");
    if (package.size == 0) {
        return STATUS_CORRUPT;
    }
    enum status status = STATUS_EXISTS;
    for (uint32_t attempt = 0; status == STATUS_EXISTS; attempt++) {
        buffer_clear(&reader->key);
        buffer_append_slice(&reader->key, package);
        if (attempt > 0) {
            buffer_append_text(&reader->key, "=");
            buffer_append_slice(&reader->key, version);
        }
        if (attempt > 1) {
            buffer_append_format(&reader->key, "#%u", attempt);
        }
        status = buffer_status(&reader->key);
        if (status == STATUS_OK) {
            status = name_add(&reader->names, buffer_slice(&reader->key));
        }
    }
    return status;
}

static enum status debian_next(struct record_reader *reader, struct record *record)
{
    size_t before = 0;
    enum status status;
    while ((status = need(reader, before + 1)) == STATUS_OK &&
           pending(reader).data[before] == '\n') {
        before++;
    }
    if (status == STATUS_NOT_FOUND) {
        reader->tail = slice_make(pending(reader).data, before);
        taken(reader, before);
    }
    if (status != STATUS_OK) {
        return status;
    }
    size_t size = 0; /* Of the stanza, once its end is found. */
    for (size_t from = before; size == 0;) {
        struct slice bytes = pending(reader);
        const uint8_t *end = memmem(bytes.data + from, bytes.size - from, "\n\n", 2);
        if (end != NULL) {
            size = (size_t)(end - bytes.data) + 1 - before;
        } else if (reader->ended) {
            size = bytes.size - before;
        } else {
            from = bytes.size - 1;
            status = fill(reader);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    record->before = slice_make(pending(reader).data, before);
    record->value = slice_make(pending(reader).data + before, size);
    status = debian_key(reader, record->value);
    if (status != STATUS_OK) {
        return status;
    }
    record->key = buffer_slice(&reader->key);
    taken(reader, before + size);
    return STATUS_OK;
}

/* ------------------------------------------------------------------ tsv */

static const char escaped_letters[] = "tnr\\";
static const char escaped_bytes[] = "\t\n\r\\";

static bool unescape(struct buffer *to, struct slice text)
{
    buffer_clear(to);
    for (size_t at = 0; at < text.size; at++) {
        uint8_t byte = text.data[at];
        if (byte == '\\') {
            const char *letter = at + 1 < text.size && text.data[at + 1] != '\0'
                                     ? strchr(escaped_letters, (char)text.data[at + 1])
                                     : NULL;
            if (letter == NULL) {
                return false;
            }
            byte = (uint8_t)escaped_bytes[letter - escaped_letters];
            at++;
        }
        buffer_append(to, &byte, 1);
    }
    return true;
}

static void escape(struct buffer *to, struct slice bytes)
{
    for (size_t at = 0; at < bytes.size; at++) {
        const char *byte =
            bytes.data[at] != '\0' ? strchr(escaped_bytes, (char)bytes.data[at]) : NULL;
        if (byte != NULL) {
            buffer_append(to, "\\", 1);
            buffer_append(to, &escaped_letters[byte - escaped_bytes], 1);
        } else {
            buffer_append(to, &bytes.data[at], 1);
        }
    }
}

static enum status tsv_next(struct record_reader *reader, struct record *record)
{
    enum status status = need(reader, 1);
    const uint8_t *end = NULL;
    for (size_t from = 0; status == STATUS_OK;) {
        struct slice bytes = pending(reader);
        end = memchr(bytes.data + from, '\n', bytes.size - from);
        if (end != NULL || reader->ended) {
            break;
        }
        from = bytes.size;
        status = need(reader, from + 1);
        status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct slice line = pending(reader);
    size_t used = line.size;
    if (end != NULL) {
        line.size = (size_t)(end - line.data);
        used = line.size + 1;
    }
    const uint8_t *tab = line.size > 0 ? memchr(line.data, '\t', line.size) : NULL;
    if (tab == NULL) {
        return STATUS_CORRUPT;
    }
    size_t key_size = (size_t)(tab - line.data);
    if (!unescape(&reader->key, slice_make(line.data, key_size)) ||
        !unescape(&reader->value, slice_make(tab + 1, line.size - key_size - 1))) {
        return STATUS_CORRUPT;
    }
    if (buffer_status(&reader->key) != STATUS_OK || buffer_status(&reader->value) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    record->key = buffer_slice(&reader->key);
    record->value = buffer_slice(&reader->value);
    taken(reader, used);
    return STATUS_OK;
}

/* ------------------------------------------------------------------ len */

static enum status len_next(struct record_reader *reader, struct record *record)
{
    enum status status = need(reader, LEN_HEADER_SIZE);
    if (status == STATUS_NOT_FOUND && pending(reader).size > 0) {
        return STATUS_CORRUPT;
    }
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t key_size = codec_load_u32(pending(reader).data);
    uint32_t value_size = codec_load_u32(pending(reader).data + 4);
    if (key_size > RECORD_KEY_SIZE_MAX || value_size > RECORD_VALUE_SIZE_MAX) {
        return STATUS_TOO_LARGE;
    }
    size_t size = LEN_HEADER_SIZE + (size_t)key_size + value_size;
    status = need(reader, size);
    if (status != STATUS_OK) {
        return status == STATUS_NOT_FOUND ? STATUS_CORRUPT : status;
    }
    record->key = slice_make(pending(reader).data + LEN_HEADER_SIZE, key_size);
    record->value = slice_make(pending(reader).data + LEN_HEADER_SIZE + key_size, value_size);
    taken(reader, size);
    return STATUS_OK;
}

/* ------------------------------------------------------------------ */

enum status record_next(struct record_reader *reader, struct record *record)
{
    static enum status (*const next[])(struct record_reader *, struct record *) = {
        [RECORD_DEBIAN] = debian_next, [RECORD_TSV] = tsv_next, [RECORD_LEN] = len_next};
    if (reader->offset > 0 && reader->offset >= reader->bytes.size / 2) {
        buffer_consume(&reader->bytes, reader->offset);
        reader->offset = 0;
    }
    *record = (struct record){0};
    enum status status = next[reader->format](reader, record);
    if (status != STATUS_OK) {
        return status;
    }
    if (record->key.size == 0) {
        return STATUS_CORRUPT;
    }
    if (record->key.size > RECORD_KEY_SIZE_MAX || record->value.size > RECORD_VALUE_SIZE_MAX) {
        return STATUS_TOO_LARGE;
    }
    reader->count++;
    return STATUS_OK;
}

void record_append(struct buffer *to, enum record_format format, const struct record *record)
{
    uint8_t header[LEN_HEADER_SIZE];
    switch (format) {
    case RECORD_DEBIAN:
        buffer_append_slice(to, record->before);
        buffer_append_slice(to, record->value);
        break;
    case RECORD_TSV:
        escape(to, record->key);
        buffer_append(to, "\t", 1);
        escape(to, record->value);
        buffer_append(to, "\n", 1);
        break;
    case RECORD_LEN:
        ASSERT(record->key.size <= RECORD_KEY_SIZE_MAX);
        ASSERT(record->value.size <= RECORD_VALUE_SIZE_MAX);
        codec_store_u32(header, (uint32_t)record->key.size);
        codec_store_u32(header + 4, (uint32_t)record->value.size);
        buffer_append(to, header, sizeof(header));
        buffer_append_slice(to, record->key);
        buffer_append_slice(to, record->value);
        break;
    }
}
