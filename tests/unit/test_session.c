/* tests/unit/test_session.c -- client connections to whole nodes: order, bounds, partial failures.
 */
#include "base/token.h"
#include "lsm/lsm.h"
#include "node/replica.h"
#include "tests/unit/node_fixture.h"

#define SEED 4242

static void request(const char *line)
{
    fixture_send(slice_text(line));
    fixture_send(slice_text("\r\n"));
}

/* A key that lives on that node, where each range has one replica. */
static void key_on(uint32_t node_id, uint32_t start, char key[32])
{
    const struct topology *topology = node_topology(fixture.nodes[0].node);
    for (uint32_t number = start;; number++) {
        (void)snprintf(key, 32, "key-%u", number);
        uint64_t token = token_of(1, slice_text(key));
        uint32_t range = ring_range_of(token, topology->range_count);
        if (ring_replicas_contain(&topology->ranges[range].replicas, node_id)) {
            return;
        }
    }
}

Test(session, answers_come_in_the_order_of_requests)
{
    fixture_defaults();
    fixture_start(SEED, 3);
    fixture_connect(2);
    /* PING and the error are ready long before the writes; GET a must see the SET before it. */
    fixture_send(slice_text("SET a 1\r\nSET b 2\r\nGET a\r\nPING\r\nNOPE\r\nMGET a b c\r\n"
                            "DEL a\r\nGET a\r\n*1\r\n$4\r\nPING\r\n"));
    fixture_expect("+OK\r\n+OK\r\n$1\r\n1\r\n+PONG\r\n"
                   "-ERR unknown command 'NOPE', with args beginning with: \r\n"
                   "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n:1\r\n$-1\r\n+PONG\r\n");
    fixture_stop();
}

Test(session, a_client_that_leaves_takes_nothing_with_it)
{
    fixture_defaults();
    fixture_start(SEED, 3);
    for (uint32_t round = 0; round < 20; round++) {
        fixture_connect(1 + round % 3);
        fixture_send(
            slice_text("SET a 1\r\nPING\r\nGET a\r\nMSET b 2 c 3\r\nMGET a b c\r\nSCAN 0\r\n"
                       "EXPIRE a 100\r\nDEL a b c\r\nSET a"));
        if (round % 2 == 0) {
            world_run_until(fixture.world, world_now_ns(fixture.world) + round * FIXTURE_MS / 4);
        }
        fixture_hang_up();
        fixture_pass(20);
    }
    fixture_pass(10000);
    fixture_connect(1);
    request("SET a last");
    request("GET a");
    fixture_expect("+OK\r\n$4\r\nlast\r\n");
    fixture_stop(); /* Frees all: what was left behind would show. */
}

Test(session, what_is_owed_at_a_stop_is_answered)
{
    fixture_defaults();
    fixture_start(SEED, 3);
    fixture_connect(1);
    for (uint32_t count = 0; count < 50; count++) {
        request("SET a 1");
    }
    fixture_pass(1);
    world_node_call(fixture.nodes[0].host, fixture_stop_call, &fixture.nodes[0]);
    for (uint32_t ms = 0; !fixture.closed && ms < 12000; ms += 10) {
        fixture_pass(10);
    }
    cr_expect(fixture.closed);
    cr_expect_eq(fixture.reply_size % 5, 0, "whole answers only");
    cr_expect_gt(fixture.reply_size, 0);
    for (size_t at = 0; at < fixture.reply_size; at += 5) {
        cr_expect_eq(memcmp(fixture.replies + at, "+OK\r\n", 5), 0);
    }
    fixture_stop();
}

/* A part of it was done: "nothing was done" would be a lie. */
Test(session, several_keys_of_which_one_was_written_never_fail_definitely)
{
    fixture_defaults();
    fixture.config.replicas = 1;
    fixture_start(SEED, 3);
    char here[32];
    char there[32];
    char line[128];
    key_on(1, 0, here);
    key_on(3, 0, there);
    fixture_connect(1);
    world_node_crash(fixture.nodes[2].host, WORLD_CRASH_PROCESS);
    fixture_pass(3000);
    (void)snprintf(line, sizeof(line), "SET %s v", there);
    request(line);
    fixture_expect_line("-UNAVAILABLE 0 replicas up, 1 needed; nothing was done");
    (void)snprintf(line, sizeof(line), "MSET %s v %s v", here, there);
    request(line);
    fixture_expect_line("-NOQUORUM maybe applied");
    (void)snprintf(line, sizeof(line), "GET %s", here);
    request(line);
    fixture_expect("$1\r\nv\r\n");
    (void)snprintf(line, sizeof(line), "DEL %s %s", here, there);
    request(line);
    fixture_expect_line("-NOQUORUM maybe applied");
    (void)snprintf(line, sizeof(line), "MSET %s v %s v", there, there);
    request(line);
    fixture_expect_line("-UNAVAILABLE");
    fixture_stop();
}

#define LONG_KEY_SIZE 60000
#define LONG_KEY_COUNT 40

/* Without a bound in bytes such a page outgrew a frame, and the replica aborted. */
Test(session, a_page_of_long_keys_is_cut_by_size_and_none_is_lost)
{
    static char line[LONG_KEY_SIZE + 64];
    static bool seen[LONG_KEY_COUNT];
    fixture_defaults();
    fixture_start(SEED, 3);
    fixture_connect(1);
    for (uint32_t number = 0; number < LONG_KEY_COUNT; number++) {
        int size = snprintf(line, sizeof(line), "SET %03u", number);
        memset(line + size, 'k', LONG_KEY_SIZE - 3);
        (void)snprintf(line + size + LONG_KEY_SIZE - 3, 16, " v");
        request(line);
        fixture_expect("+OK\r\n");
    }
    uint32_t page_count = 0;
    char cursor[32] = "0";
    do {
        (void)snprintf(line, sizeof(line), "SCAN %s COUNT 10000", cursor);
        request(line);
        fixture_pass(500);
        cr_assert_lt(fixture.reply_size, (2u << 20), "a page of %zu bytes", fixture.reply_size);
        /* "*2", the cursor's size, the cursor, the count, then sizes and keys. */
        char text[64] = {0};
        memcpy(text, fixture.replies, sizeof(text) - 1);
        cr_assert_eq(sscanf(text, "*2\r\n$%*d\r\n%31[0-9]\r\n", cursor), 1, "%s", text);
        for (size_t at = 1; at + 6 < fixture.reply_size; at++) {
            const char *byte = (const char *)fixture.replies + at;
            unsigned number;
            if (byte[-1] == '\n' && byte[3] == 'k' && sscanf(byte, "%3u", &number) == 1) {
                cr_assert_lt(number, LONG_KEY_COUNT);
                seen[number] = true;
            }
        }
        fixture.reply_size = 0;
        page_count++;
        cr_assert_lt(page_count, 1000);
    } while (strcmp(cursor, "0") != 0);
    for (uint32_t number = 0; number < LONG_KEY_COUNT; number++) {
        cr_expect(seen[number], "key %u", number);
    }
    cr_expect_gt(page_count, 1);
    fixture_stop();
}

Test(session, the_values_of_one_answer_are_bounded)
{
    static char line[50000 + 16];
    fixture_defaults();
    fixture.config.value_size_max = 60000;
    fixture.config.request_size_max = 64u << 10;
    fixture_start(SEED, 3);
    fixture_connect(3);
    int size = snprintf(line, sizeof(line), "SET a ");
    memset(line + size, 'v', 50000);
    request(line);
    fixture_expect("+OK\r\n");
    request("MGET a a");
    fixture_expect_line("-ERR too large");
    request("MGET a");
    fixture_expect_line("*1\r\n$50000\r\n");
    fixture_stop();
}

/* The clock's mark is a second ahead: it was overtaken before it was durable, each time, and no
 * write ever got a version. */
Test(session, a_log_slower_than_the_margin_of_the_clock_takes_writes)
{
    fixture_defaults();
    fixture_start(SEED, 1);
    fixture_pass(3000); /* Idle: the mark is behind the clock. */
    struct disk_faults *faults = disk_sim_faults(world_node_disk(fixture.nodes[0].host));
    faults->slow_ppm = 1000000;
    faults->slow_ns = 700 * FIXTURE_MS; /* A group is a write and a sync. */
    fixture_connect(1);
    request("SET a 1");
    fixture_pass(6000); /* The first may be given up while the margin is found. */
    fixture.reply_size = 0;
    request("SET a 2");
    fixture_expect("+OK\r\n");
    *faults = (struct disk_faults){0};
    fixture_stop();
}

#define PIPE_KEY_COUNT 200u
#define PIPE_VALUE_SIZE 20000u

/* More than are held at a time; some are in memory, some are not and come from a job. */
Test(session, a_pipeline_of_reads_is_answered_in_order_wherever_they_are)
{
    static char text[4u << 20];
    fixture_defaults();
    fixture_start(SEED, 1);
    fixture_connect(1);
    for (uint32_t number = 0; number < PIPE_KEY_COUNT; number++) {
        (void)snprintf(text, sizeof(text), "SET pipe-%u %0*u", number, (int)PIPE_VALUE_SIZE,
                       number);
        request(text);
        fixture_expect("+OK\r\n");
    }
    struct lsm_stats stats;
    node_lsm_stats(fixture.nodes[0].node, &stats);
    cr_assert_gt(stats.table_count, 0u);
    struct disk_faults *faults = disk_sim_faults(world_node_disk(fixture.nodes[0].host));
    faults->would_block_ppm = 500000;
    size_t size = 0;
    for (uint32_t number = 0; number < PIPE_KEY_COUNT; number += 2) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "GET pipe-%u\r\nGET no-%u\r\n",
                                 number, number);
    }
    fixture_send(slice_make(text, size));
    size = 0;
    for (uint32_t number = 0; number < PIPE_KEY_COUNT; number += 2) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "$%u\r\n%0*u\r\n$-1\r\n",
                                 PIPE_VALUE_SIZE, (int)PIPE_VALUE_SIZE, number);
    }
    fixture_expect(text);
    uint64_t blocked = stats.would_block_count;
    node_lsm_stats(fixture.nodes[0].node, &stats);
    cr_assert_gt(stats.would_block_count, blocked);
    cr_assert_lt(stats.would_block_count - blocked, (uint64_t)PIPE_KEY_COUNT);
    fixture_stop();
}

#define FOREIGN_COUNT (REPLICA_SCAN_CELL_COUNT_MAX + 1000u)
#define FOREIGN_BATCH 500u

static uint32_t foreign_answered;

static void foreign_done(struct lsm_write *write, enum status status)
{
    (void)write;
    cr_assert_eq(status, STATUS_OK);
    foreign_answered++;
}

struct foreign_batch {
    struct lsm_write write;
    uint16_t keyspace;
    uint64_t slot;
    uint32_t first;
};

static void foreign_call(void *context)
{
    struct foreign_batch *batch = context;
    struct lsm_record records[FOREIGN_BATCH];
    struct buffer keys[FOREIGN_BATCH] = {0};
    for (uint32_t index = 0; index < FOREIGN_BATCH; index++) {
        uint64_t token = batch->slot << TOKEN_HASH_BITS | (batch->first + index);
        token_engine_key(&keys[index], batch->keyspace, token, slice_text("key"));
        records[index] =
            (struct lsm_record){.key = buffer_slice(&keys[index]),
                                .cell = {.version = {.time = 1, .node = 1}, .kind = CELL_VALUE}};
    }
    batch->write = (struct lsm_write){.records = records,
                                      .record_count = FOREIGN_BATCH,
                                      .durability = LSM_SYNCED,
                                      .done = foreign_done};
    cr_assert_eq(lsm_write(node_engine(fixture.nodes[0].node), &batch->write), STATUS_OK);
    for (uint32_t index = 0; index < FOREIGN_BATCH; index++) {
        buffer_deinit(&keys[index]);
    }
}

static void foreign_fill(uint16_t keyspace, uint64_t slot)
{
    for (uint32_t first = 0; first < FOREIGN_COUNT; first += FOREIGN_BATCH) {
        struct foreign_batch batch = {.keyspace = keyspace, .slot = slot, .first = first};
        uint32_t answered = foreign_answered;
        world_node_call(fixture.nodes[0].host, foreign_call, &batch);
        while (foreign_answered == answered) {
            fixture_pass(1);
        }
    }
}

/* More of them than a page may look at, before and behind the key in its slot. */
Test(session, a_scan_does_not_walk_through_other_keyspaces)
{
    fixture_defaults();
    fixture_start(SEED, 1);
    fixture_connect(1);
    request("SET k v");
    fixture_expect("+OK\r\n");
    request("SET m v");
    fixture_expect("+OK\r\n");
    bool k_first = token_slot(slice_text("k")) < token_slot(slice_text("m"));
    foreign_fill(0, token_slot(slice_text("k")));
    foreign_fill(2, token_slot(slice_text("k")));
    foreign_fill(2, (1u << TOKEN_SLOT_BITS) - 1); /* Nothing follows these. */
    request("SCAN 0 COUNT 100");
    fixture_expect(k_first ? "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nk\r\n$1\r\nm\r\n"
                           : "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nm\r\n$1\r\nk\r\n");
    fixture_stop();
}
