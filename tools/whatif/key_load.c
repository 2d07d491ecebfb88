/* tools/whatif/key_load.c -- keys of a file or of our own making, counted by token. */
#include "tools/whatif/key_load.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/contract.h"
#include "base/memory.h"
#include "base/prng.h"
#include "base/token.h"

#define ITEM_CAPACITY_FIRST 1024
#define KEYSPACE 0 /* Ranges are runs of slots, and a slot is the same in every keyspace. */
#define NAME_SIZE_MAX 64
#define MANTISSA_BITS 53

enum status key_load_add(struct key_load *load, struct slice key)
{
    if (load->item_count == KEY_LOAD_COUNT_MAX) {
        return STATUS_OVERLOADED;
    }
    if (load->item_count == load->item_capacity) {
        size_t capacity = load->item_capacity == 0 ? ITEM_CAPACITY_FIRST : load->item_capacity * 2;
        capacity = capacity < KEY_LOAD_COUNT_MAX ? capacity : KEY_LOAD_COUNT_MAX;
        struct key_load_item *items = memory_resize(load->items, capacity * sizeof(items[0]));
        if (items == NULL) {
            return STATUS_NO_MEMORY;
        }
        load->items = items;
        load->item_capacity = capacity;
    }
    load->items[load->item_count++] =
        (struct key_load_item){.token = token_of(KEYSPACE, key), .count = 1};
    load->total++;
    return STATUS_OK;
}

/* ------------------------------------------------------------------ of a file */

static enum status line_end(struct key_load *load, const char *text, size_t size)
{
    return size == 0 ? STATUS_OK : key_load_add(load, slice_make(text, size));
}

/* Byte by byte, so that a key may hold any byte but a line break, and no line takes more memory
 * than its bound. */
static enum status lines_read(struct key_load *load, FILE *file, char *text, uint64_t *line)
{
    enum status status = STATUS_OK;
    size_t size = 0;
    int byte;
    *line = 1;
    while (status == STATUS_OK && (byte = getc_unlocked(file)) != EOF) {
        if (byte == '\n') {
            status = line_end(load, text, size);
            *line += status == STATUS_OK ? 1 : 0;
            size = 0;
        } else if (size == KEY_LOAD_KEY_SIZE_MAX) {
            status = STATUS_TOO_LARGE;
        } else {
            text[size++] = (char)byte;
        }
    }
    if (status == STATUS_OK && ferror(file) != 0) {
        status = STATUS_IO;
    }
    return status == STATUS_OK ? line_end(load, text, size) : status;
}

enum status key_load_read(struct key_load *load, FILE *file, uint64_t *line)
{
    *line = 0;
    char *text = memory_allocate(KEY_LOAD_KEY_SIZE_MAX);
    enum status status = text == NULL ? STATUS_NO_MEMORY : lines_read(load, file, text, line);
    memory_free(text);
    return status;
}

/* ------------------------------------------------------------------ synthetic */

static enum status numbered_add(struct key_load *load, uint64_t seed, uint64_t number)
{
    char name[NAME_SIZE_MAX];
    (void)snprintf(name, sizeof(name), "key:%" PRIu64 ":%" PRIu64, seed, number);
    return key_load_add(load, slice_text(name));
}

/* sums[k]: of the weights of the keys 0 to k. */
static uint64_t rank_draw(const double *sums, uint64_t count, struct prng *prng)
{
    double drawn = (double)(prng_next(prng) >> (64 - MANTISSA_BITS)) /
                   (double)(UINT64_C(1) << MANTISSA_BITS) * sums[count - 1];
    uint64_t low = 0;
    uint64_t high = count - 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (sums[middle] <= drawn) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static enum status zipf_add(struct key_load *load, const struct key_load_synthesis *synthesis)
{
    struct prng prng;
    enum status status = STATUS_OK;
    double sum = 0;
    double *sums = memory_allocate_zeroed(synthesis->count, sizeof(sums[0]));
    if (sums == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint64_t rank = 0; rank < synthesis->count; rank++) {
        sum += pow((double)(rank + 1), -synthesis->zipf);
        sums[rank] = sum;
    }
    prng_init(&prng, synthesis->seed);
    for (uint64_t drawn = 0; status == STATUS_OK && drawn < synthesis->count; drawn++) {
        status = numbered_add(load, synthesis->seed, rank_draw(sums, synthesis->count, &prng));
    }
    memory_free(sums);
    return status;
}

enum status key_load_synthesize(struct key_load *load, const struct key_load_synthesis *synthesis)
{
    ASSERT(synthesis->count > 0);
    ASSERT(synthesis->zipf >= 0);
    ASSERT(synthesis->zipf <= KEY_LOAD_ZIPF_MAX);
    if (synthesis->count > KEY_LOAD_COUNT_MAX) {
        return STATUS_OVERLOADED;
    }
    if (synthesis->zipf > 0) {
        return zipf_add(load, synthesis);
    }
    enum status status = STATUS_OK;
    for (uint64_t number = 0; status == STATUS_OK && number < synthesis->count; number++) {
        status = numbered_add(load, synthesis->seed, number);
    }
    return status;
}

/* ------------------------------------------------------------------ sealing */

static int compare_tokens(const void *a, const void *b)
{
    uint64_t left = ((const struct key_load_item *)a)->token;
    uint64_t right = ((const struct key_load_item *)b)->token;
    return (left > right) - (left < right);
}

void key_load_seal(struct key_load *load)
{
    if (load->item_count == 0) {
        return;
    }
    qsort(load->items, load->item_count, sizeof(load->items[0]), compare_tokens);
    size_t kept = 0;
    for (size_t i = 1; i < load->item_count; i++) {
        if (load->items[i].token == load->items[kept].token) {
            load->items[kept].count += load->items[i].count;
        } else {
            load->items[++kept] = load->items[i];
        }
    }
    load->item_count = kept + 1;
}

void key_load_deinit(struct key_load *load)
{
    memory_free(load->items);
    *load = (struct key_load){0};
}
