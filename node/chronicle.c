/* node/chronicle.c -- the last accepted topology commands, for nodes that are a little behind. */
#include "node/chronicle.h"

#include <string.h>

#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"

bool chronicle_same_stamp(const struct topology_stamp *a, const struct topology_stamp *b)
{
    return topology_stamp_compare(a, b) == 0 && a->hash == b->hash &&
           a->generation.id == b->generation.id;
}

static const struct chronicle_entry *entry_at(const struct chronicle *chronicle, uint32_t index)
{
    ASSERT(index < chronicle->count);
    return &chronicle->entries[(chronicle->first + index) % CHRONICLE_COUNT_MAX];
}

static const struct topology_stamp *last_stamp(const struct chronicle *chronicle)
{
    return chronicle->count == 0 ? &chronicle->base
                                 : &entry_at(chronicle, chronicle->count - 1)->stamp;
}

static void drop_oldest(struct chronicle *chronicle)
{
    ASSERT(chronicle->count > 0);
    struct chronicle_entry *oldest = &chronicle->entries[chronicle->first];
    chronicle->base = oldest->stamp;
    chronicle->size -= oldest->size;
    memory_free(oldest->command);
    chronicle->first = (chronicle->first + 1) % CHRONICLE_COUNT_MAX;
    chronicle->count--;
}

void chronicle_deinit(struct chronicle *chronicle)
{
    while (chronicle->count > 0) {
        drop_oldest(chronicle);
    }
}

void chronicle_add(struct chronicle *chronicle, const struct topology_stamp *from,
                   const struct topology_stamp *to, struct slice command)
{
    ASSERT(topology_stamp_compare(from, to) < 0);
    ASSERT(command.size > 0);
    if (topology_stamp_compare(to, last_stamp(chronicle)) <= 0) {
        return;
    }
    if (!chronicle_same_stamp(from, last_stamp(chronicle))) {
        chronicle_deinit(chronicle);
        chronicle->base = *from;
    }
    uint8_t *copy = memory_allocate(command.size);
    if (copy == NULL || command.size > CHRONICLE_SIZE_MAX) {
        memory_free(copy);
        chronicle_deinit(chronicle);
        chronicle->base = *to;
        return;
    }
    memcpy(copy, command.data, command.size);
    while (chronicle->count == CHRONICLE_COUNT_MAX ||
           chronicle->size + command.size > CHRONICLE_SIZE_MAX) {
        drop_oldest(chronicle);
    }
    uint32_t at = (chronicle->first + chronicle->count) % CHRONICLE_COUNT_MAX;
    chronicle->entries[at] =
        (struct chronicle_entry){.stamp = *to, .command = copy, .size = command.size};
    chronicle->count++;
    chronicle->size += command.size;
}

/* The first entry behind `from`; `count` if there is none. */
static uint32_t entry_behind(const struct chronicle *chronicle, const struct topology_stamp *from)
{
    if (chronicle_same_stamp(from, &chronicle->base)) {
        return 0;
    }
    for (uint32_t index = 0; index < chronicle->count; index++) {
        if (chronicle_same_stamp(from, &entry_at(chronicle, index)->stamp)) {
            return index + 1;
        }
    }
    return chronicle->count;
}

bool chronicle_between(const struct chronicle *chronicle, const struct topology_stamp *from,
                       const struct topology_stamp *until, struct buffer *to)
{
    uint32_t next = entry_behind(chronicle, from);
    if (from->epoch == 0 || next == chronicle->count ||
        !chronicle_same_stamp(until, last_stamp(chronicle))) {
        return false;
    }
    for (uint32_t index = next; index < chronicle->count; index++) {
        const struct chronicle_entry *entry = entry_at(chronicle, index);
        codec_put_bytes(to, slice_make(entry->command, entry->size));
    }
    return true;
}
