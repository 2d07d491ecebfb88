/*
 * tests/unit/test_coordinator.c -- what an operation asks of the replicas of its range, and when it
 * answers, while the range is stable, moves, and changes under it.
 */
#include "tests/unit/coordinator_fixture.h"

/* ------------------------------------------------------------------ stable */

Test(coordinator, a_stable_range_asks_its_replicas_and_no_others)
{
    lab_open();
    write_begin(LEVEL_QUORUM);
    for (uint32_t id = 1; id < NODE_COUNT; id++) {
        cr_assert_eq(waits(id), id <= 3, "node %u", id);
    }
    serve(2);
    expect_open();
    serve(3);
    expect_ended(STATUS_OK);
    cr_assert_eq(the_write.outcome.acks, 2);
    cr_assert_eq(the_write.outcome.needed, 2);
    cr_assert_eq(the_write.outcome.alive, 3);
    lab_close();
}

/* ------------------------------------------------------------------ writes over two sets */

Test(coordinator, a_write_is_acknowledged_by_the_level_s_number_of_each_set)
{
    static const enum level levels[] = {LEVEL_ONE, LEVEL_QUORUM, LEVEL_ALL};
    for (size_t shape = 0; shape < ARRAY_COUNT(shapes); shape++) {
        uint32_t replicas = shapes[shape].replicas;
        uint32_t next = shapes[shape].next;
        for (uint32_t sweep = 0; sweep < BIT(NODE_COUNT) * 6; sweep++) {
            enum level level = levels[sweep % 3];
            enum topology_stage stage = moving[sweep / 3 % 2];
            uint32_t ackers = sweep / 6;
            if ((ackers & ~(replicas | next)) != 0) {
                continue;
            }
            lab_open();
            range_set(stage, replicas, next);
            write_begin(level);
            for (uint32_t id = 1; id < NODE_COUNT && !lab.ended; id++) {
                if ((ackers & BIT(id)) != 0) {
                    serve(id);
                }
            }
            bool acknowledged = enough(level, replicas, ackers) && enough(level, next, ackers);
            cr_assert_eq(lab.ended, acknowledged, "shape %zu level %d stage %d ackers %x", shape,
                         (int)level, (int)stage, ackers);
            if (lab.ended) {
                cr_assert_eq(lab.status, STATUS_OK);
            }
            lab_close();
        }
    }
}

Test(coordinator, a_write_that_too_few_of_the_new_set_could_take_is_refused_before_it_is_sent)
{
    for (size_t stage = 0; stage < ARRAY_COUNT(moving); stage++) {
        lab_open();
        range_set(moving[stage], SET3(1, 2, 3), SET3(1, 4, 5));
        lab.nodes[4].down = true;
        lab.nodes[5].down = true;
        write_begin(LEVEL_QUORUM);
        expect_ended(STATUS_UNAVAILABLE);
        for (uint32_t id = 1; id < NODE_COUNT; id++) {
            cr_assert_eq(lab.nodes[id].asked_count, 0);
        }
        cr_assert_eq(the_write.outcome.alive, 1);
        cr_assert_eq(the_write.outcome.needed, 2);
        lab_close();
    }
}

Test(coordinator, refusals_are_definite_only_if_no_replica_of_either_set_took_it)
{
    static const enum status entering[] = {STATUS_READ_ONLY, STATUS_OK};
    static const enum status said[] = {STATUS_READ_ONLY, STATUS_INDETERMINATE};
    for (size_t index = 0; index < ARRAY_COUNT(entering); index++) {
        lab_open();
        range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, SET2(1, 2), SET3(1, 2, 3));
        lab.nodes[1].says = STATUS_READ_ONLY;
        lab.nodes[2].says = STATUS_READ_ONLY;
        lab.nodes[3].says = entering[index];
        write_begin(LEVEL_ONE);
        serve(3);
        serve(2);
        expect_open();
        serve(1);
        expect_ended(said[index]);
        lab_close();
    }
}

Test(coordinator, one_superseded_answer_of_either_set_decides)
{
    for (uint32_t holder = 3; holder <= 4; holder++) {
        lab_open();
        range_set(TOPOLOGY_WRITE_BOTH_READ_NEW, SET3(1, 2, 3), SET3(1, 2, 4));
        lab.nodes[holder].held = (struct version){.time = 1000, .node = 7};
        write_begin(LEVEL_QUORUM);
        serve(holder);
        serve(1);
        serve(2);
        expect_ended(STATUS_SUPERSEDED);
        cr_assert_eq(lab.version.time, 1000);
        lab_close();
    }
}

/* ------------------------------------------------------------------ reads over two sets */

static uint32_t holders_of(struct version version)
{
    uint32_t mask = 0;
    for (uint32_t id = 1; id < NODE_COUNT; id++) {
        mask |= version_compare(lab.nodes[id].held, version) >= 0 ? BIT(id) : 0;
    }
    return mask;
}

Test(coordinator, what_a_read_answers_is_held_by_enough_of_both_sets)
{
    for (size_t shape = 0; shape < ARRAY_COUNT(shapes); shape++) {
        uint32_t replicas = shapes[shape].replicas;
        uint32_t next = shapes[shape].next;
        for (uint32_t sweep = 0; sweep < BIT(NODE_COUNT) * 4; sweep++) {
            enum level level = sweep % 2 == 0 ? LEVEL_QUORUM : LEVEL_ALL;
            enum topology_stage stage = moving[sweep / 2 % 2];
            uint32_t holders = sweep / 4;
            if ((holders & ~(replicas | next)) != 0) {
                continue;
            }
            lab_open();
            range_set(stage, replicas, next);
            for (uint32_t id = 1; id < NODE_COUNT; id++) {
                lab.nodes[id].held.time = (holders & BIT(id)) != 0 ? 5 : 0;
            }
            read_begin(level);
            serve_all(EVERYBODY);
            cr_assert(lab.ended);
            bool committed =
                enough(LEVEL_QUORUM, replicas, holders) && enough(LEVEL_QUORUM, next, holders);
            cr_assert(lab.status == STATUS_OK || (lab.status == STATUS_NOT_FOUND && !committed));
            if (lab.status == STATUS_OK) {
                uint32_t now = holders_of((struct version){.time = 5});
                cr_assert_eq(lab.version.time, 5);
                cr_assert(enough(level, replicas, now) && enough(level, next, now),
                          "shape %zu level %d stage %d holders %x, then %x", shape, (int)level,
                          (int)stage, holders, now);
            }
            lab_close();
        }
    }
}

Test(coordinator, a_value_that_only_the_old_set_holds_is_written_back_before_it_is_answered)
{
    for (size_t stage = 0; stage < ARRAY_COUNT(moving); stage++) {
        lab_open();
        range_set(moving[stage], SET3(1, 2, 3), SET3(4, 5, 6));
        for (uint32_t id = 1; id <= 3; id++) {
            lab.nodes[id].held = (struct version){.time = 5};
        }
        read_begin(LEVEL_QUORUM);
        serve(1);
        serve(2);
        expect_open(); /* Enough of the old set have told, none of the new. */
        serve(4);
        serve(5);
        expect_open();
        cr_assert_eq(lab.counters.read_repairs, 2);
        serve(4);
        expect_open(); /* One copy is no quorum of the new set. */
        serve(5);
        expect_ended(STATUS_OK);
        cr_assert_eq(lab.version.time, 5);
        lab_close();
    }
}

Test(coordinator, an_absent_key_is_absent_when_both_sets_have_said_so)
{
    for (size_t stage = 0; stage < ARRAY_COUNT(moving); stage++) {
        lab_open();
        range_set(moving[stage], SET3(1, 2, 3), SET3(4, 5, 6));
        read_begin(LEVEL_QUORUM);
        serve(4);
        serve(5);
        serve(1);
        expect_open();
        serve(2);
        expect_ended(STATUS_NOT_FOUND);
        lab_close();
    }
}

Test(coordinator, a_read_asks_those_that_count_in_both_sets_first)
{
    lab_open();
    range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, SET3(1, 2, 3), SET3(2, 3, 4));
    read_begin(LEVEL_QUORUM);
    for (uint32_t id = 1; id < NODE_COUNT; id++) {
        cr_assert_eq(waits(id), id == 2 || id == 3, "node %u", id);
    }
    lab_close();
}

Test(coordinator, a_read_at_one_asks_the_set_that_has_all)
{
    static const uint32_t asked[] = {1, 4};
    for (size_t stage = 0; stage < ARRAY_COUNT(moving); stage++) {
        lab_open();
        range_set(moving[stage], SET3(1, 2, 3), SET3(4, 5, 6));
        read_begin(LEVEL_ONE);
        for (uint32_t id = 1; id < NODE_COUNT; id++) {
            cr_assert_eq(waits(id), id == asked[stage], "stage %zu node %u", stage, id);
        }
        serve(asked[stage]);
        expect_ended(STATUS_NOT_FOUND);
        lab_close();
    }
}

/* ------------------------------------------------------------------ the range changes meanwhile */

Test(coordinator, a_write_goes_on_through_a_whole_move_with_one_version)
{
    lab_open();
    write_begin(LEVEL_QUORUM);
    serve(1);
    range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, SET3(1, 2, 3), SET3(1, 2, 4));
    serve(3);
    serve(4);
    expect_open();
    range_set(TOPOLOGY_WRITE_BOTH_READ_NEW, SET3(1, 2, 3), SET3(1, 2, 4));
    serve(3);
    serve(1);
    expect_open(); /* Two of the old set, one of the new. */
    range_set(TOPOLOGY_STABLE, SET3(1, 2, 4), 0);
    cr_assert_not(waits(3), "a replica that left is asked");
    serve(2);
    expect_open();
    serve(4);
    expect_ended(STATUS_OK);
    cr_assert_eq(lab.issued, 1, "a second version was issued");
    for (uint32_t id = 1; id <= 4; id++) {
        cr_assert_eq(lab.nodes[id].held.time, lab.version.time, "node %u", id);
    }
    lab_close();
}

Test(coordinator, a_read_goes_on_through_a_whole_move)
{
    lab_open();
    for (uint32_t id = 1; id <= 3; id++) {
        lab.nodes[id].held = (struct version){.time = 5};
    }
    read_begin(LEVEL_QUORUM);
    serve(1);
    range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, SET3(1, 2, 3), SET3(1, 4, 5));
    serve(1);
    serve(2);
    expect_open();
    range_set(TOPOLOGY_WRITE_BOTH_READ_NEW, SET3(1, 2, 3), SET3(1, 4, 5));
    serve(1);
    serve(4);
    expect_open();
    range_set(TOPOLOGY_STABLE, SET3(1, 4, 5), 0);
    serve_all(EVERYBODY);
    expect_ended(STATUS_OK);
    cr_assert_eq(lab.version.time, 5);
    cr_assert(enough(LEVEL_QUORUM, SET3(1, 4, 5), holders_of(lab.version)));
    lab_close();
}

/* It may have left and come back empty: models/README.md, "excises the stretch first". */
Test(coordinator, an_answer_counts_only_in_the_configuration_that_it_was_asked_in)
{
    lab_open();
    range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, SET3(1, 2, 3), SET3(1, 2, 4));
    write_begin(LEVEL_QUORUM);
    serve(4);
    serve(1);
    expect_open();
    range_set(TOPOLOGY_STABLE, SET3(1, 2, 3), 0);
    range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, SET3(1, 2, 3), SET3(1, 2, 4));
    lab.nodes[4].held = (struct version){0};
    serve(3);
    serve(1);
    expect_open();
    serve(4);
    expect_ended(STATUS_OK);
    cr_assert_gt(lab.nodes[4].held.time, 0);
    lab_close();
}

Test(coordinator, a_change_of_other_ranges_asks_nobody_again)
{
    lab_open();
    write_begin(LEVEL_QUORUM);
    serve(1);
    uint32_t range = ring_range_of(token_of(1, the_write.key), RANGE_COUNT);
    lab.topology.stamp.epoch++;
    for (uint32_t index = 0; index < RANGE_COUNT; index++) {
        if (index != range) {
            lab.ranges[index].replicas = set_of(SET3(4, 5, 6));
            lab.ranges[index].epoch = lab.topology.stamp.epoch;
        }
    }
    coordinator_adopted(lab.coordinator);
    cr_assert_eq(lab.nodes[1].asked_count, 1);
    serve(2);
    expect_ended(STATUS_OK);
    lab_close();
}

Test(coordinator, nothing_is_definite_once_a_replica_of_an_earlier_set_may_have_applied)
{
    static const bool answers[] = {false, true}; /* Asked is enough. */
    for (size_t index = 0; index < ARRAY_COUNT(answers); index++) {
        lab_open();
        range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, BIT(1), BIT(2));
        lab.nodes[2].says = STATUS_STALE;
        write_begin(LEVEL_ONE);
        serve(2);
        if (answers[index]) {
            serve(1);
        }
        lab.nodes[2].says = STATUS_NO_SPACE;
        range_set(TOPOLOGY_STABLE, BIT(2), 0);
        serve(2);
        expect_ended(STATUS_INDETERMINATE);
        lab_close();
    }
}

Test(coordinator, a_refusal_stays_definite_over_a_change_that_nobody_had_applied_before)
{
    lab_open();
    lab.nodes[1].says = STATUS_STALE;
    lab.nodes[2].says = STATUS_NO_SPACE;
    range_set(TOPOLOGY_STABLE, BIT(1), 0);
    write_begin(LEVEL_ONE);
    serve(1);
    range_set(TOPOLOGY_STABLE, BIT(2), 0);
    serve(2);
    expect_ended(STATUS_NO_SPACE);
    lab_close();
}

Test(coordinator, stale_answers_wait_for_the_newer_topology)
{
    lab_open();
    for (uint32_t id = 1; id <= 3; id++) {
        lab.nodes[id].says = STATUS_STALE;
    }
    write_begin(LEVEL_QUORUM);
    for (uint32_t ms = 0; ms < 200; ms++) {
        serve_all(EVERYBODY);
        pass(1);
    }
    expect_open();
    cr_assert_leq(lab.nodes[1].asked_count, 14, "%u times", lab.nodes[1].asked_count);
    for (uint32_t id = 1; id <= 4; id++) {
        lab.nodes[id].says = STATUS_OK;
    }
    range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, SET3(1, 2, 3), SET3(1, 2, 4));
    serve_all(EVERYBODY);
    expect_ended(STATUS_OK);
    cr_assert_eq(lab.issued, 1);
    lab_close();
}

Test(coordinator, a_node_that_was_behind_is_asked_again_soon)
{
    lab_open();
    lab.nodes[1].says = STATUS_BEHIND;
    read_begin(LEVEL_ALL);
    serve_all(EVERYBODY);
    lab.nodes[1].says = STATUS_OK;
    pass(3);
    serve(1);
    expect_ended(STATUS_NOT_FOUND);
    lab_close();
}

/* An entering replica is behind until it has emptied the stretch. */
Test(coordinator, a_write_that_needs_an_entering_replica_waits_for_it)
{
    lab_open();
    range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, SET3(1, 2, 3), SET3(1, 4, 5));
    lab.nodes[4].says = STATUS_BEHIND;
    lab.nodes[5].says = STATUS_BEHIND;
    write_begin(LEVEL_QUORUM);
    for (uint32_t ms = 0; ms < 100; ms++) {
        serve_all(EVERYBODY);
        pass(1);
    }
    expect_open();
    lab.nodes[5].says = STATUS_OK;
    pass(30);
    serve(5);
    expect_ended(STATUS_OK);
    lab_close();
}

Test(coordinator, a_write_that_only_one_set_took_times_out_as_open)
{
    lab_open();
    range_set(TOPOLOGY_WRITE_BOTH_READ_NEW, SET3(1, 2, 3), SET3(4, 5, 6));
    write_begin(LEVEL_QUORUM);
    serve(4);
    serve(5);
    serve(6);
    pass(TIMEOUT_MS + 1);
    expect_ended(STATUS_TIMEOUT);
    cr_assert_eq(the_write.outcome.acks, 0);
    cr_assert_eq(the_write.outcome.needed, 2);
    lab_close();
}

/* ------------------------------------------------------------------ scans */

Test(coordinator, a_page_speaks_for_both_sets)
{
    for (size_t stage = 0; stage < ARRAY_COUNT(moving); stage++) {
        lab_open();
        range_set(moving[stage], SET3(1, 2, 3), SET3(4, 5, 6));
        lab.nodes[1].held = (struct version){.time = 5};
        lab.nodes[2].held = (struct version){.time = 5};
        lab.nodes[4].held = (struct version){.time = 6};
        scan_begin(0);
        serve(1);
        serve(2);
        expect_open();
        serve(4);
        expect_open();
        serve(5);
        expect_ended(STATUS_OK);
        cr_assert_eq(scan_key_count, 2);
        cr_assert_eq(scan_next, 0);
        lab_close();
    }
}

Test(coordinator, a_page_ends_where_ranges_move_otherwise)
{
    lab_open();
    range_set(TOPOLOGY_WRITE_BOTH_READ_OLD, SET3(1, 2, 3), SET3(1, 2, 4));
    lab.ranges[2].next = set_of(SET3(1, 2, 5));
    lab.ranges[3].stage = TOPOLOGY_WRITE_BOTH_READ_NEW;
    scan_begin(0);
    serve_all(EVERYBODY);
    expect_ended(STATUS_OK);
    cr_assert_eq(scan_next, ring_range_first(2, RANGE_COUNT));
    scan_begin(scan_next);
    serve_all(EVERYBODY);
    expect_ended(STATUS_OK);
    cr_assert_eq(scan_next, ring_range_first(3, RANGE_COUNT));
    lab_close();
}

Test(coordinator, a_page_whose_ranges_change_begins_anew)
{
    lab_open();
    lab.nodes[1].held = (struct version){.time = 5};
    scan_begin(0);
    serve(1);
    lab.nodes[1].held = (struct version){0}; /* It left: what it said must not be merged. */
    range_set(TOPOLOGY_STABLE, SET3(4, 5, 6), 0);
    lab.topology.stamp.epoch++;
    lab.ranges[1].replicas = set_of(SET3(1, 2, 3));
    lab.ranges[1].epoch = lab.topology.stamp.epoch;
    coordinator_adopted(lab.coordinator);
    lab.nodes[4].held = (struct version){.time = 6};
    lab.nodes[5].held = (struct version){.time = 6};
    serve_all(EVERYBODY);
    expect_ended(STATUS_OK);
    cr_assert_eq(scan_key_count, 1);
    cr_assert_eq(scan_next, ring_range_first(1, RANGE_COUNT));
    lab_close();
}
