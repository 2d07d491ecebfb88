/* tests/unit/test_topology_view.c -- the JSON of nodes, whole, cut and wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "client/topology_view.h"

static const char ring_json[] =
    "{\"cluster_id\":\"00000000000000ff\",\"epoch\":7,\"generation\":1,"
    "\"epoch_hash\":\"ffffffffffffffff\",\"replica_count\":2,\"range_count\":2,"
    "\"keyspaces\":[{\"number\":1,\"name\":\"fast\",\"class\":\"eventual\"}],"
    "\"members\":[{\"id\":1,\"weight\":1,\"zone\":\"a\",\"state\":\"active\",\"voter\":true,"
    "\"peer\":\"h:1\",\"client\":\"h:2\",\"admin\":\"h:3\"},"
    "{\"id\":9,\"weight\":4,\"zone\":\"b\",\"state\":\"active\",\"voter\":false,"
    "\"peer\":\"i:1\",\"client\":\"i:2\",\"admin\":\"i:3\",\"unknown\":[1]}],"
    "\"ranges\":[[1,9],[9,1]]}";

static const char status_json[] =
    "{\"id\":1,\"state\":\"serving\",\"version\":\"0.1.0\",\"cluster_id\":\"00000000000000ff\","
    "\"epoch\":7,\"raft\":{\"role\":\"leader\",\"leader\":1,\"term\":3,\"applied\":12},"
    "\"members\":[{\"id\":1,\"state\":\"up\",\"heard_ms_ago\":null,\"keys\":5,\"stored_size\":600,"
    "\"epoch\":7},{\"id\":2,\"state\":\"suspect\",\"heard_ms_ago\":40,\"keys\":4,"
    "\"stored_size\":500,\"epoch\":6}],\"replica_count\":2,\"keys\":5}";

Test(topology_view, a_ring_is_read)
{
    struct kv_ring ring;
    cr_assert_eq(topology_view_ring(slice_text(ring_json), &ring), STATUS_OK);
    cr_assert_eq(ring.cluster_id, 0xff);
    cr_assert_eq(ring.epoch, 7);
    cr_assert_eq(ring.epoch_hash, UINT64_MAX);
    cr_assert_eq(ring.keyspaces[0].number, 1);
    cr_assert_str_eq(ring.keyspaces[0].class_name, "eventual");
    cr_assert_eq(ring.member_count, 2);
    cr_assert_str_eq(kv_ring_member(&ring, 9)->client, "i:2");
    cr_assert(ring.members[0].voter && !ring.members[1].voter);
    cr_assert_eq(ring.range_count, 2);
    cr_assert_eq(ring.ranges[1].count, 2);
    cr_assert_eq(ring.ranges[1].ids[0], 9);
    cr_assert_null(kv_ring_member(&ring, 2));
    topology_view_ring_free(&ring);
}

Test(topology_view, a_ring_cut_anywhere_is_corrupt)
{
    for (size_t size = 0; size + 1 < sizeof(ring_json) - 1; size++) {
        struct kv_ring ring;
        cr_assert_eq(topology_view_ring(slice_make(ring_json, size), &ring), STATUS_CORRUPT,
                     "cut at %zu", size);
    }
}

Test(topology_view, a_ring_without_members_is_that_of_no_cluster)
{
    struct kv_ring ring;
    cr_assert_eq(topology_view_ring(
                     slice_text("{\"cluster_id\":\"0000000000000000\",\"epoch\":0,\"generation\":0,"
                                "\"epoch_hash\":\"0000000000000000\",\"replica_count\":0,"
                                "\"range_count\":0,\"keyspaces\":[],\"members\":[],\"ranges\":[]}"),
                     &ring),
                 STATUS_UNAVAILABLE);
}

/* The ring with the first `from` in it replaced. */
static enum status ring_with(const char *from, const char *to)
{
    char text[2048];
    const char *at = strstr(ring_json, from);
    cr_assert_not_null(at, "%s", from);
    (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - ring_json), ring_json, to,
                   at + strlen(from));
    struct kv_ring ring;
    enum status status = topology_view_ring(slice_text(text), &ring);
    if (status == STATUS_OK) {
        topology_view_ring_free(&ring);
    }
    return status;
}

Test(topology_view, a_ring_that_contradicts_itself_is_corrupt)
{
    cr_assert_eq(ring_with("\"a\"", "\"z\""), STATUS_OK); /* The replacing itself works. */
    cr_assert_eq(ring_with("\"range_count\":2", "\"range_count\":4"), STATUS_CORRUPT);
    cr_assert_eq(ring_with("[[1,9],[9,1]]", "[[1,9],[9,1],[1]]"), STATUS_CORRUPT);
    cr_assert_eq(ring_with("[9,1]]", "[9,3]]"), STATUS_CORRUPT); /* No member 3. */
    cr_assert_eq(ring_with("[9,1]]", "[9,1,1,1,1,1,1,1]]"), STATUS_CORRUPT);
    cr_assert_eq(ring_with("\"id\":9", "\"id\":1"), STATUS_CORRUPT);
    cr_assert_eq(ring_with("\"id\":9", "\"id\":-9"), STATUS_CORRUPT);
    cr_assert_eq(ring_with("\"id\":9", "\"id\":4294967296"), STATUS_CORRUPT);
    cr_assert_eq(ring_with("\"epoch\":7", "\"epoch\":\"7\""), STATUS_CORRUPT);
    cr_assert_eq(ring_with("00000000000000ff", "00000000000000f"), STATUS_CORRUPT);
    cr_assert_eq(ring_with("00000000000000ff", "-000000000000001"), STATUS_CORRUPT);
    cr_assert_eq(ring_with("\"number\":1", "\"number\":65536"), STATUS_CORRUPT);
    cr_assert_eq(
        ring_with("\"a\"", "\"0123456789012345678901234567890123456789012345678901234567890123\""),
        STATUS_CORRUPT);
}

static uint32_t allocations_left;

static void *allocate_counted(size_t size)
{
    return allocations_left-- == 0 ? NULL : malloc(size);
}

Test(topology_view, no_memory_is_told_and_leaks_nothing)
{
    const struct memory_hooks hooks = {
        .allocate = allocate_counted, .resize = realloc, .release = free};
    memory_set_hooks(&hooks);
    for (uint32_t fail_at = 0; fail_at < 2; fail_at++) {
        struct kv_ring ring;
        allocations_left = fail_at;
        cr_assert_eq(topology_view_ring(slice_text(ring_json), &ring), STATUS_NO_MEMORY);
    }
    memory_set_hooks(NULL);
}

Test(topology_view, a_status_is_read)
{
    static struct kv_status status;
    cr_assert_eq(topology_view_status(slice_text(status_json), &status), STATUS_OK);
    cr_assert_eq(status.id, 1);
    cr_assert_str_eq(status.state, "serving");
    cr_assert_str_eq(status.raft_role, "leader");
    cr_assert_eq(status.raft_applied, 12);
    cr_assert_eq(status.member_count, 2);
    cr_assert_not(status.members[0].heard);
    cr_assert(status.members[1].heard);
    cr_assert_eq(status.members[1].heard_ms_ago, 40);
    cr_assert_eq(status.members[1].stored_size, 500);
    for (size_t size = 0; size + 1 < sizeof(status_json) - 1; size++) {
        cr_assert_eq(topology_view_status(slice_make(status_json, size), &status), STATUS_CORRUPT);
    }
}

Test(topology_view, a_location_is_read)
{
    struct kv_location location;
    cr_assert_eq(topology_view_location(
                     slice_text("{\"slot\":12182,\"token\":\"be595155e8b22d8c\",\"range\":761,"
                                "\"replicas\":[3,1]}"),
                     &location),
                 STATUS_OK);
    cr_assert_eq(location.slot, 12182);
    cr_assert_eq(location.token, UINT64_C(0xbe595155e8b22d8c));
    cr_assert_eq(location.range, 761);
    cr_assert_eq(location.replicas.count, 2);
    cr_assert_eq(location.replicas.ids[0], 3);
    cr_assert_eq(topology_view_location(slice_text("{\"slot\":1}"), &location), STATUS_CORRUPT);
}
