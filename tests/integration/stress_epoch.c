/*
 * tests/integration/stress_epoch.c -- readers, writers and collectors of one epoch, at once.
 *
 * Each place holds a pointer to a thing whose two halves agree while it lives; its release spoils
 * it and, only later, uses it again. A reader that finds a spoiled thing has been let down; under
 * the thread sanitizer, a reader whose use is not ordered before the release is reported too. More
 * readers than slots nest, so that the shared counters are used as well.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/prng.h"
#include "lsm/epoch.h"

#define READER_COUNT 4u
#define WRITER_COUNT 2u
#define PLACE_COUNT 4u
#define REPLACE_COUNT 10000u
#define UNRELEASED_COUNT_MAX 64u /* Writers wait above it, so that releases happen all along. */
#define NEST_COUNT 40u /* Entered at once by each reader: together more than there are slots. */

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                              \
        }                                                                         \
    } while (0)

struct thing {
    struct epoch_item item;
    uint64_t value; /* Plain memory: the epoch alone keeps readers and the release apart. */
    uint64_t inverse;
};

static struct epoch epoch;
static _Atomic(struct thing *) places[PLACE_COUNT];
static atomic_uint made_count;
static atomic_uint released_count;
static atomic_uint shared_count;
static atomic_bool ended;

static void thing_release(struct epoch_item *item)
{
    struct thing *thing = container_of(item, struct thing, item);
    CHECK(thing->value == ~thing->inverse);
    thing->value = 0;
    thing->inverse = 0;
    atomic_fetch_add(&released_count, 1);
    free(thing);
}

static struct thing *thing_make(uint64_t value)
{
    struct thing *thing = malloc(sizeof(*thing));
    CHECK(thing != NULL);
    thing->item.release = thing_release;
    thing->value = value;
    thing->inverse = ~value;
    atomic_fetch_add(&made_count, 1);
    return thing;
}

struct hold {
    unsigned slot;
    const struct thing *thing;
};

static void hold_begin(struct hold *hold, struct prng *prng)
{
    hold->slot = epoch_enter(&epoch);
    hold->thing = atomic_load(&places[prng_below(prng, PLACE_COUNT)]);
    if (hold->slot >= EPOCH_SLOT_COUNT) {
        atomic_fetch_add_explicit(&shared_count, 1, memory_order_relaxed);
    }
}

static void hold_end(const struct hold *hold)
{
    CHECK(hold->thing->value == ~hold->thing->inverse);
    epoch_leave(&epoch, hold->slot);
}

static void *reader_run(void *context)
{
    struct prng prng;
    prng_init(&prng, *(const uint64_t *)context);
    while (!atomic_load(&ended)) {
        struct hold holds[NEST_COUNT];
        unsigned count = prng_chance(&prng, 1, 8) ? NEST_COUNT : 1;
        for (unsigned i = 0; i < count; i++) {
            hold_begin(&holds[i], &prng);
        }
        if (prng_chance(&prng, 1, 4)) {
            (void)sched_yield(); /* Much happens between the load and the use. */
        }
        for (unsigned i = 0; i < count; i++) { /* Those without a slot stay longest. */
            hold_end(&holds[i]);
            if (i % 16 == 15) {
                (void)sched_yield();
            }
        }
    }
    return NULL;
}

static void *writer_run(void *context)
{
    struct prng prng;
    prng_init(&prng, *(const uint64_t *)context);
    for (unsigned i = 0; i < REPLACE_COUNT; i++) {
        struct thing *fresh = thing_make(prng_next(&prng));
        struct thing *old = atomic_exchange(&places[prng_below(&prng, PLACE_COUNT)], fresh);
        epoch_retire(&epoch, &old->item);
        while (atomic_load(&made_count) - atomic_load(&released_count) > UNRELEASED_COUNT_MAX) {
            (void)sched_yield();
        }
    }
    return NULL;
}

static void *collector_run(void *context)
{
    (void)context;
    while (!atomic_load(&ended)) {
        (void)epoch_collect(&epoch);
    }
    return NULL;
}

int main(void)
{
    static uint64_t seeds[READER_COUNT + WRITER_COUNT];
    for (unsigned i = 0; i < READER_COUNT + WRITER_COUNT; i++) {
        seeds[i] = i + 1;
    }
    pthread_t readers[READER_COUNT];
    pthread_t writers[WRITER_COUNT];
    pthread_t collectors[2];
    epoch_init(&epoch, NULL);
    for (unsigned i = 0; i < PLACE_COUNT; i++) {
        atomic_init(&places[i], thing_make(i));
    }
    for (unsigned i = 0; i < READER_COUNT; i++) {
        CHECK(pthread_create(&readers[i], NULL, reader_run, &seeds[i]) == 0);
    }
    for (unsigned i = 0; i < WRITER_COUNT; i++) {
        CHECK(pthread_create(&writers[i], NULL, writer_run, &seeds[READER_COUNT + i]) == 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        CHECK(pthread_create(&collectors[i], NULL, collector_run, NULL) == 0);
    }
    for (unsigned i = 0; i < WRITER_COUNT; i++) {
        CHECK(pthread_join(writers[i], NULL) == 0);
    }
    unsigned before_end = atomic_load(&released_count);
    atomic_store(&ended, true);
    for (unsigned i = 0; i < READER_COUNT; i++) {
        CHECK(pthread_join(readers[i], NULL) == 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        CHECK(pthread_join(collectors[i], NULL) == 0);
    }
    for (unsigned i = 0; i < PLACE_COUNT; i++) {
        epoch_retire(&epoch, &atomic_load(&places[i])->item);
    }
    epoch_deinit(&epoch);
    (void)printf("%u things, %u released while others read, %u entries without a slot\n",
                 atomic_load(&made_count), before_end, atomic_load(&shared_count));
    CHECK(atomic_load(&released_count) == atomic_load(&made_count));
    CHECK(before_end > 0);
    return 0;
}
