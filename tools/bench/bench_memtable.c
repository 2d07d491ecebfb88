/*
 * tools/bench/bench_memtable.c -- the memtable alone: CPU time of an insert, a replacement, a get.
 *
 * Keys are those of bench_lsm: 16 decimal digits. Prints one line per workload.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/prng.h"
#include "lsm/memtable.h"

#define KEY_SIZE 16u
#define VALUE_SIZE 100u
#define KEY_SPACE 5000000u
#define CHUNK_SIZE (256u << 10)

struct bench {
    struct mutex writer;
    struct memtable *memtable;
    uint64_t *numbers; /* Of the keys, in the order they are written. */
    uint32_t count;
    uint64_t version_time;
};

static double cpu_ns(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    ASSERT(rc == 0);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void key_make(uint64_t number, uint8_t key[KEY_SIZE])
{
    for (uint32_t i = KEY_SIZE; i > 0; i--) {
        key[i - 1] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
}

static void write_all(struct bench *bench)
{
    static const uint8_t value[VALUE_SIZE];
    uint8_t bytes[CELL_HEADER_SIZE_MAX + VALUE_SIZE];
    for (uint32_t i = 0; i < bench->count; i++) {
        uint8_t key[KEY_SIZE];
        key_make(bench->numbers[i], key);
        struct cell cell = {.version = {.time = ++bench->version_time, .node = 1},
                            .kind = CELL_VALUE,
                            .value = slice_make(value, VALUE_SIZE)};
        cell_encode(&cell, bytes);
        enum status status = memtable_merge(bench->memtable, slice_make(key, KEY_SIZE),
                                            slice_make(bytes, cell_encoded_size(&cell)));
        ASSERT(status == STATUS_OK);
    }
}

static void get_all(struct bench *bench, uint64_t stride)
{
    for (uint32_t i = 0; i < bench->count; i++) {
        uint8_t key[KEY_SIZE];
        key_make(bench->numbers[(i * stride) % bench->count], key);
        const struct memtable_record *record = NULL;
        enum status status =
            memtable_get(bench->memtable, slice_make(key, KEY_SIZE), LSM_NOWAIT, &record);
        ASSERT(status == STATUS_OK);
        ASSERT(record->key_size == KEY_SIZE); /* Touches it, as a caller does. */
    }
}

#define WAVE_SIZE 16u

static void get_all_in_waves(struct bench *bench, uint64_t stride)
{
    for (uint32_t i = 0; i + WAVE_SIZE <= bench->count; i += WAVE_SIZE) {
        uint8_t keys[WAVE_SIZE][KEY_SIZE];
        struct memtable_lookup lookups[WAVE_SIZE];
        for (uint32_t j = 0; j < WAVE_SIZE; j++) {
            key_make(bench->numbers[((i + j) * stride) % bench->count], keys[j]);
            memtable_lookup_begin(&lookups[j], bench->memtable, slice_make(keys[j], KEY_SIZE));
        }
        for (uint32_t j = 0; j < WAVE_SIZE; j++) {
            memtable_lookup_touch(&lookups[j]);
        }
        for (uint32_t j = 0; j < WAVE_SIZE; j++) {
            const struct memtable_record *record = NULL;
            enum status status = memtable_lookup_end(&lookups[j], LSM_NOWAIT, &record);
            ASSERT(status == STATUS_OK);
            ASSERT(record->key_size == KEY_SIZE);
        }
    }
}

static void report(const struct bench *bench, const char *what, double begun_ns)
{
    (void)printf("%-22s %8.3f us\n", what, (cpu_ns() - begun_ns) / 1e3 / bench->count);
}

static void fill(struct bench *bench, bool random)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t i = 0; i < bench->count; i++) {
        bench->numbers[i] = random ? prng_below(&prng, KEY_SPACE) : i;
    }
    bench->memtable = memtable_create(CHUNK_SIZE, NULL, &bench->writer);
    ASSERT(bench->memtable != NULL);
    double begun_ns = cpu_ns();
    write_all(bench);
    report(bench, random ? "insert random" : "insert ascending", begun_ns);
    begun_ns = cpu_ns();
    get_all(bench, 7919);
    report(bench, random ? "get random" : "get of ascending", begun_ns);
    begun_ns = cpu_ns();
    get_all_in_waves(bench, 7919);
    report(bench, random ? "16 gets at once, each" : "16 of ascending, each", begun_ns);
    begun_ns = cpu_ns();
    write_all(bench);
    report(bench, random ? "replace random" : "replace ascending", begun_ns);
    if (memtable_release(bench->memtable)) {
        memtable_destroy(bench->memtable);
    }
}

int main(int argc, char **argv)
{
    struct bench bench = {.count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 480000};
    mutex_init(&bench.writer);
    bench.numbers = memory_allocate_zeroed(bench.count, sizeof(*bench.numbers));
    ASSERT(bench.numbers != NULL);
    (void)printf("%" PRIu32 " keys of %u bytes, values of %u\n", bench.count, KEY_SIZE, VALUE_SIZE);
    fill(&bench, true);
    fill(&bench, false);
    memory_free(bench.numbers);
    mutex_deinit(&bench.writer);
    return 0;
}
