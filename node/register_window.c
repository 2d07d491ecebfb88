/* node/register_window.c -- see register_window.h. */
#include "node/register_window.h"

#include "base/contract.h"

#define WINDOW_VERSION 1
#define WINDOW_HEADER_SIZE (2u + 2u * VERSION_SIZE)
#define ENTRY_HEADER_SIZE (VERSION_SIZE + 1u)

STATIC_ASSERT(WINDOW_HEADER_SIZE + ENTRY_HEADER_SIZE + REGISTER_RESULT_SIZE_MAX <=
                  REGISTER_WINDOW_SIZE_MAX,
              "the newest entry always fits");

static bool version_is_none(struct version version)
{
    return version_compare(version, (struct version){0}) == 0;
}

static enum status window_get(struct codec_reader *reader, struct register_window *window)
{
    uint8_t version = codec_get_u8(reader);
    uint8_t count = codec_get_u8(reader);
    window->forgotten = version_get(reader);
    window->changed = version_get(reader);
    if (!codec_reader_ok(reader) || version != WINDOW_VERSION ||
        count > REGISTER_WINDOW_COUNT_MAX) {
        return STATUS_CORRUPT;
    }
    for (; window->count < count; window->count++) {
        struct register_entry *entry = &window->entries[window->count];
        entry->id = version_get(reader);
        uint8_t size = codec_get_u8(reader);
        entry->result = codec_get_raw(reader, size);
        if (!codec_reader_ok(reader) || size > REGISTER_RESULT_SIZE_MAX ||
            version_is_none(entry->id)) {
            return STATUS_CORRUPT;
        }
    }
    return codec_reader_done(reader) ? STATUS_OK : STATUS_CORRUPT;
}

enum status register_window_decode(const struct cell *cell, struct register_window *window)
{
    ASSERT(cell != NULL);
    ASSERT(window != NULL);
    struct register_window read = {0};
    if (cell->window.size == 0) {
        read.changed = cell->version;
    } else {
        struct codec_reader reader = codec_reader_make(cell->window);
        if (cell->window.size > REGISTER_WINDOW_SIZE_MAX ||
            window_get(&reader, &read) != STATUS_OK) {
            return STATUS_CORRUPT;
        }
    }
    *window = read;
    return STATUS_OK;
}

void register_window_encode(struct buffer *to, const struct register_window *window)
{
    ASSERT(window->count <= REGISTER_WINDOW_COUNT_MAX);
    codec_put_u8(to, WINDOW_VERSION);
    codec_put_u8(to, (uint8_t)window->count);
    version_put(to, window->forgotten);
    version_put(to, window->changed);
    for (uint32_t index = 0; index < window->count; index++) {
        const struct register_entry *entry = &window->entries[index];
        ASSERT(entry->result.size <= REGISTER_RESULT_SIZE_MAX);
        version_put(to, entry->id);
        codec_put_u8(to, (uint8_t)entry->result.size);
        buffer_append_slice(to, entry->result);
    }
}

const struct register_entry *register_window_find(const struct register_window *window,
                                                  struct version id)
{
    for (uint32_t index = 0; index < window->count; index++) {
        if (version_compare(window->entries[index].id, id) == 0) {
            return &window->entries[index];
        }
    }
    return NULL;
}

static size_t window_size(const struct register_window *window)
{
    size_t size = WINDOW_HEADER_SIZE;
    for (uint32_t index = 0; index < window->count; index++) {
        size += ENTRY_HEADER_SIZE + window->entries[index].result.size;
    }
    return size;
}

static void oldest_drop(struct register_window *window)
{
    struct version id = window->entries[0].id;
    if (version_compare(id, window->forgotten) > 0) {
        window->forgotten = id;
    }
    window->count--;
    for (uint32_t index = 0; index < window->count; index++) {
        window->entries[index] = window->entries[index + 1];
    }
}

void register_window_add(struct register_window *window, struct version id, struct slice result)
{
    ASSERT(result.size <= REGISTER_RESULT_SIZE_MAX);
    ASSERT(!version_is_none(id));
    ASSERT(register_window_find(window, id) == NULL);
    if (window->count == REGISTER_WINDOW_COUNT_MAX) {
        oldest_drop(window);
    }
    window->entries[window->count++] = (struct register_entry){.id = id, .result = result};
    while (window_size(window) > REGISTER_WINDOW_SIZE_MAX) {
        oldest_drop(window);
    }
}
