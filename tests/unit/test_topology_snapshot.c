/*
 * tests/unit/test_topology_snapshot.c -- whole topologies as bytes: given back in full, never
 * trusted, and those of older versions still read.
 */
#include "tests/unit/topology_fixture.h"

Test(topology_snapshot, gives_back_every_byte_and_so_does_a_copy)
{
    struct fixture fixture;
    bootstrap(&fixture);
    busy(&fixture);
    struct buffer bytes = {0};
    struct buffer again = {0};
    snapshot(&fixture.topology, &bytes);
    struct topology read;
    topology_init(&read);
    cr_assert_eq(topology_decode(&read, buffer_slice(&bytes)), STATUS_OK);
    snapshot(&read, &again);
    cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
    uint32_t moving = range_at(&fixture, TOPOLOGY_WRITE_BOTH_READ_NEW, 0);
    cr_assert(ring_replicas_same(&read.ranges[moving].next, &fixture.topology.ranges[moving].next));
    cr_assert_eq(read.history_count, 1);
    cr_assert_eq(read.running.change_count, 2);
    cr_assert_str_eq(read.staged.changes[1].zone, "zone-9");
    struct topology copy;
    topology_init(&copy);
    cr_assert_eq(topology_copy(&copy, &read), STATUS_OK);
    topology_deinit(&read);
    snapshot(&copy, &again);
    cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
    topology_init(&read);
    snapshot(&read, &again);
    cr_assert_eq(topology_decode(&copy, buffer_slice(&again)), STATUS_OK);
    cr_assert_eq(copy.cluster_id, 0);
    cr_assert_null(copy.ranges);
    buffer_deinit(&bytes);
    buffer_deinit(&again);
    topology_deinit(&fixture.topology);
}

Test(topology_snapshot, cut_anywhere_it_is_corrupt)
{
    struct fixture fixture;
    bootstrap(&fixture);
    busy(&fixture);
    struct buffer bytes = {0};
    snapshot(&fixture.topology, &bytes);
    struct topology read;
    topology_init(&read);
    for (size_t size = 0; size < bytes.size; size++) {
        cr_assert_eq(topology_decode(&read, slice_make(bytes.data, size)), STATUS_CORRUPT,
                     "cut at %zu", size);
    }
    buffer_deinit(&bytes);
    topology_deinit(&fixture.topology);
}

/* With the checksum made right, every altered byte is either refused or changes a field that may
 * have any value: then what was read is written back the same. */
Test(topology_snapshot, altered_bytes_behind_a_right_checksum_never_break_an_invariant)
{
    struct fixture fixture;
    bootstrap(&fixture);
    busy(&fixture);
    struct buffer bytes = {0};
    struct buffer again = {0};
    snapshot(&fixture.topology, &bytes);
    uint32_t refused = 0;
    for (size_t at = 0; at < bytes.size - 8; at++) {
        uint8_t before = bytes.data[at];
        for (uint32_t bit = 0; bit < 8; bit++) {
            struct topology read;
            topology_init(&read);
            bytes.data[at] = (uint8_t)(before ^ (1u << bit));
            reseal(bytes.data, bytes.size);
            if (topology_decode(&read, buffer_slice(&bytes)) == STATUS_OK) {
                snapshot(&read, &again);
                cr_assert(slice_equal(buffer_slice(&bytes), buffer_slice(&again)), "byte %zu", at);
            } else {
                refused++;
            }
            topology_deinit(&read);
        }
        bytes.data[at] = before;
    }
    cr_assert_gt(refused, bytes.size);
    buffer_deinit(&bytes);
    buffer_deinit(&again);
    topology_deinit(&fixture.topology);
}

static struct topology_fault check_corrupt(const struct topology *topology, const char *what)
{
    struct buffer bytes = {0};
    struct topology read;
    struct topology_fault fault = {.why = NULL};
    topology_init(&read);
    snapshot(topology, &bytes);
    enum status status = topology_decode_judged(&read, buffer_slice(&bytes), &fault);
    cr_assert_eq(status, STATUS_CORRUPT, "%s", what);
    cr_assert_not_null(fault.why, "%s", what);
    buffer_deinit(&bytes);
    return fault;
}

/* Each of them encodes, since what is written is believed; none is read. */
Test(topology_snapshot, a_state_that_breaks_an_invariant_is_corrupt)
{
    struct fixture fixture;
    bootstrap(&fixture);
    busy(&fixture);
    struct topology *topology = &fixture.topology;
    struct topology_range *stable = &topology->ranges[range_at(&fixture, TOPOLOGY_STABLE, 0)];
    struct topology_range *moving =
        &topology->ranges[range_at(&fixture, TOPOLOGY_WRITE_BOTH_READ_OLD, 0)];
    const struct topology_range stable_was = *stable;
    const struct topology_range moving_was = *moving;
    stable->session = 1;
    check_corrupt(topology, "a session of a stable range");
    *stable = stable_was;
    stable->merge_all = true;
    check_corrupt(topology, "an operation's word of a stable range");
    *stable = stable_was;
    stable->goal = stable->replicas;
    check_corrupt(topology, "a goal that is reached");
    *stable = stable_was;
    stable->goal.ids[0] = 5;
    stable->replicas = (struct ring_replicas){3, {1, 2, 3}};
    struct topology_fault fault = check_corrupt(topology, "a goal that leaves");
    cr_assert_eq(fault.range, stable - topology->ranges);
    cr_assert_str_eq(fault.why, "the goal of a range names a member that takes none");
    *stable = stable_was;
    stable->goal = (struct ring_replicas){0};
    stable->loss_accepted = true;
    check_corrupt(topology, "loss accepted for nothing");
    *stable = stable_was;
    stable->goal.ids[1] = stable->goal.ids[0];
    check_corrupt(topology, "a goal that names one twice");
    *stable = stable_was;
    moving->goal = (struct ring_replicas){0};
    check_corrupt(topology, "an operation without a goal");
    *moving = moving_was;
    moving->session = 0;
    check_corrupt(topology, "an operation without a session");
    *moving = moving_was;
    moving->session = moving->epoch + 1;
    check_corrupt(topology, "a session that is to come");
    *moving = moving_was;
    moving->next = (struct ring_replicas){0};
    check_corrupt(topology, "an operation that leads nowhere");
    *moving = moving_was;
    topology->running.id = topology->running.committed_epoch;
    check_corrupt(topology, "a plan committed before it was staged");
    topology->running.id--;
    topology->staged.moved_count = 1;
    check_corrupt(topology, "a staged plan that has run");
    topology->staged.moved_count = 0;
    topology->history[0].outcome = TOPOLOGY_OPEN;
    fault = check_corrupt(topology, "a plan that ended without an outcome");
    cr_assert_eq(fault.range, TOPOLOGY_NO_RANGE);
    cr_assert_str_eq(fault.why, "a plan that ended is not sound");
    topology_deinit(topology);
}

static void check_equal(const struct buffer *bytes, const char *name)
{
    struct buffer golden = {0};
    golden_read(name, &golden);
    cr_assert(slice_equal(buffer_slice(bytes), buffer_slice(&golden)), "%s", name);
    buffer_deinit(&golden);
}

/* Files of version 1 stay readable, and its bootstrap leads to its snapshot, as it is written
 * today: nodes of any two builds agree on placement and hash. */
Test(topology_snapshot, golden_files_of_version_1_are_read)
{
    struct topology applied;
    struct topology read;
    const char *reason;
    struct buffer command = {0};
    struct buffer golden = {0};
    struct buffer one = {0};
    struct buffer other = {0};
    topology_init(&applied);
    topology_init(&read);
    golden_read("topology_bootstrap_v1.bin", &command);
    golden_read("topology_v1.bin", &golden);
    cr_assert_eq(topology_apply(&applied, buffer_slice(&command), &reason), STATUS_OK);
    cr_assert_eq(topology_decode(&read, buffer_slice(&golden)), STATUS_OK);
    cr_assert_eq(read.member_count, 5);
    cr_assert_eq(read.range_count, 64);
    snapshot(&applied, &one);
    snapshot(&read, &other);
    cr_assert(slice_equal(buffer_slice(&one), buffer_slice(&other)));
    topology_deinit(&applied);
    topology_deinit(&read);
    buffer_deinit(&command);
    buffer_deinit(&golden);
    buffer_deinit(&one);
    buffer_deinit(&other);
}

/* Every command of a log, one after the other. */
static void log_apply(struct topology *topology, struct slice log)
{
    const char *reason;
    while (log.size > 0) {
        /* The size of a frame is that of header and fields; padding and a checksum follow. */
        size_t size = (codec_load_u32(log.data + 4) + 7u) / 8u * 8u + 8u;
        cr_assert_leq(size, log.size);
        cr_assert_eq(topology_apply(topology, slice_make(log.data, size), &reason), STATUS_OK);
        log = slice_make(log.data + size, log.size - size);
    }
}

/* The commands of version 2 lead to its snapshot, both as they are written today. */
Test(topology_snapshot, golden_files_of_version_2_are_read)
{
    struct topology applied;
    struct topology read;
    struct buffer log = {0};
    struct buffer golden = {0};
    struct buffer one = {0};
    struct buffer other = {0};
    topology_init(&applied);
    topology_init(&read);
    golden_read("topology_log_v2.bin", &log);
    golden_read("topology_v2.bin", &golden);
    log_apply(&applied, buffer_slice(&log));
    cr_assert_eq(topology_decode(&read, buffer_slice(&golden)), STATUS_OK);
    cr_assert_eq(read.history_count, 1);
    cr_assert_eq(read.keyspaces[1].read_level, TOPOLOGY_LEVEL_NODE);
    cr_assert_eq(read.keyspaces[1].ttl_ms, 0);
    snapshot(&applied, &one);
    snapshot(&read, &other);
    cr_assert(slice_equal(buffer_slice(&one), buffer_slice(&other)));
    topology_deinit(&applied);
    topology_deinit(&read);
    buffer_deinit(&log);
    buffer_deinit(&golden);
    buffer_deinit(&one);
    buffer_deinit(&other);
}

Test(topology_snapshot, golden_files_of_version_3_are_read_and_written)
{
    struct fixture fixture;
    struct buffer log = {0};
    struct buffer bytes = {0};
    struct buffer golden = {0};
    fixture_init(&fixture);
    fixture.log = &log;
    fixture.keyspaces[0].write_level = TOPOLOGY_LEVEL_ALL;
    apply_ok(&fixture, &fixture.bootstrap);
    busy(&fixture);
    apply_ok(&fixture, &(struct topology_command){.type = TOPOLOGY_KEYSPACE_CREATE,
                                                  .keyspace = {.class = TOPOLOGY_EVENTUAL,
                                                               .name = "orders",
                                                               .read_level = TOPOLOGY_LEVEL_ONE,
                                                               .ttl_ms = 86400000}});
    snapshot(&fixture.topology, &bytes);
    check_equal(&log, "topology_log_v3.bin");
    check_equal(&bytes, "topology_v3.bin");
    struct topology read;
    topology_init(&read);
    golden_read("topology_v3.bin", &golden);
    cr_assert_eq(topology_decode(&read, buffer_slice(&golden)), STATUS_OK);
    topology_deinit(&read);
    topology_deinit(&fixture.topology);
    buffer_deinit(&log);
    buffer_deinit(&bytes);
    buffer_deinit(&golden);
}
