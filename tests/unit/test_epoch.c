/* tests/unit/test_epoch.c -- what is retired waits for those inside, and for nobody else. */
#include <signal.h>

#include <criterion/criterion.h>

#include "base/list.h"
#include "lsm/epoch.h"

struct thing {
    struct epoch_item item;
    struct epoch *again; /* Retire once more when released. */
    unsigned released;
};

static struct epoch epoch;
static unsigned due_count;

static void thing_release(struct epoch_item *item)
{
    struct thing *thing = container_of(item, struct thing, item);
    thing->released++;
    if (thing->again != NULL) {
        struct epoch *again = thing->again;
        thing->again = NULL;
        epoch_retire(again, item);
    }
}

static void count_due(struct epoch *of)
{
    cr_assert_eq(of, &epoch);
    due_count++;
}

static void set_up(void)
{
    due_count = 0;
    epoch_init(&epoch, count_due);
}

static void retire(struct thing *thing)
{
    thing->item.release = thing_release;
    epoch_retire(&epoch, &thing->item);
}

TestSuite(epoch, .init = set_up);

Test(epoch, nobody_inside_releases_at_the_next_collection)
{
    struct thing thing = {.released = 0};
    retire(&thing);
    cr_assert_eq(thing.released, 0);
    cr_assert(!epoch_collect(&epoch));
    cr_assert_eq(thing.released, 1);
    cr_assert(!epoch_collect(&epoch));
    cr_assert_eq(thing.released, 1);
    epoch_deinit(&epoch);
}

Test(epoch, a_reader_from_before_keeps_and_one_from_after_does_not)
{
    struct thing kept = {.released = 0};
    struct thing free = {.released = 0};
    retire(&free);
    cr_assert(!epoch_collect(&epoch)); /* Retired in an epoch that ended. */
    unsigned before = epoch_enter(&epoch);
    retire(&kept);
    cr_assert(epoch_collect(&epoch));
    unsigned after = epoch_enter(&epoch);
    cr_assert(epoch_collect(&epoch));
    cr_assert_eq(kept.released, 0);
    epoch_leave(&epoch, before);
    cr_assert(!epoch_collect(&epoch));
    cr_assert_eq(kept.released, 1);
    epoch_leave(&epoch, after);
    epoch_deinit(&epoch);
}

Test(epoch, is_due_when_the_first_item_joins)
{
    struct thing things[3] = {{.released = 0}};
    retire(&things[0]);
    retire(&things[1]);
    cr_assert_eq(due_count, 1);
    cr_assert(!epoch_collect(&epoch));
    cr_assert_eq(things[0].released + things[1].released, 2);
    unsigned slot = epoch_enter(&epoch);
    retire(&things[2]);
    cr_assert_eq(due_count, 2);
    cr_assert(epoch_collect(&epoch));
    epoch_leave(&epoch, slot);
    epoch_deinit(&epoch);
    cr_assert_eq(things[2].released, 1);
}

/* More readers than slots: those who share a counter hold things too, one epoch after another. */
Test(epoch, readers_beyond_the_slots_count_together)
{
    unsigned slots[EPOCH_SLOT_COUNT];
    for (unsigned i = 0; i < EPOCH_SLOT_COUNT; i++) {
        slots[i] = epoch_enter(&epoch);
        cr_assert_lt(slots[i], EPOCH_SLOT_COUNT);
    }
    struct thing first = {.released = 0};
    struct thing second = {.released = 0};
    unsigned one = epoch_enter(&epoch);
    cr_assert_geq(one, EPOCH_SLOT_COUNT);
    retire(&first);
    cr_assert(epoch_collect(&epoch)); /* Begins an epoch. */
    unsigned two = epoch_enter(&epoch);
    cr_assert_neq(one, two);
    retire(&second);
    for (unsigned i = 0; i < EPOCH_SLOT_COUNT; i++) {
        epoch_leave(&epoch, slots[i]);
    }
    for (unsigned i = 0; i < 3; i++) { /* The epoch stands while `one` is inside. */
        cr_assert(epoch_collect(&epoch));
        cr_assert_eq(first.released + second.released, 0);
    }
    epoch_leave(&epoch, one);
    cr_assert(epoch_collect(&epoch));
    cr_assert_eq(first.released, 1);
    cr_assert_eq(second.released, 0);
    epoch_leave(&epoch, two);
    cr_assert(!epoch_collect(&epoch));
    cr_assert_eq(second.released, 1);
    epoch_deinit(&epoch);
}

static void filler_enter(unsigned filler[EPOCH_SLOT_COUNT])
{
    for (unsigned i = 0; i < EPOCH_SLOT_COUNT; i++) {
        filler[i] = epoch_enter(&epoch);
        cr_assert_lt(filler[i], EPOCH_SLOT_COUNT);
    }
}

static void filler_leave(const unsigned filler[EPOCH_SLOT_COUNT])
{
    for (unsigned i = 0; i < EPOCH_SLOT_COUNT; i++) {
        epoch_leave(&epoch, filler[i]);
    }
}

/* A stream of readers in which at every moment one is inside holds nothing for ever. */
static void check_chain(bool shared)
{
    unsigned filler[EPOCH_SLOT_COUNT];
    struct thing thing = {.released = 0};
    if (shared) {
        filler_enter(filler);
    }
    unsigned inside = epoch_enter(&epoch);
    cr_assert_eq(inside >= EPOCH_SLOT_COUNT, shared);
    retire(&thing);
    for (unsigned i = 0; i < 3; i++) {
        (void)epoch_collect(&epoch);
        if (shared) {
            filler_leave(filler);
            filler_enter(filler);
        }
        unsigned next = epoch_enter(&epoch);
        cr_assert_eq(next >= EPOCH_SLOT_COUNT, shared);
        epoch_leave(&epoch, inside);
        inside = next;
    }
    (void)epoch_collect(&epoch);
    cr_assert_eq(thing.released, 1);
    epoch_leave(&epoch, inside);
    if (shared) {
        filler_leave(filler);
    }
    epoch_deinit(&epoch);
}

Test(epoch, a_chain_of_readers_does_not_hold_what_went_before_it)
{
    check_chain(false);
}

Test(epoch, a_chain_of_readers_without_slots_does_not_either)
{
    check_chain(true);
}

Test(epoch, a_release_may_retire_and_the_end_releases_all)
{
    struct thing thing = {.released = 0, .again = &epoch};
    retire(&thing);
    cr_assert(epoch_collect(&epoch));
    cr_assert_eq(thing.released, 1);
    cr_assert_eq(due_count, 2);
    epoch_deinit(&epoch);
    cr_assert_eq(thing.released, 2);
}

Test(epoch, ending_with_a_reader_inside_is_a_bug, .signal = SIGABRT)
{
    unsigned slot = epoch_enter(&epoch);
    cr_assert_lt(slot, EPOCH_SLOT_COUNT);
    epoch_deinit(&epoch);
}
