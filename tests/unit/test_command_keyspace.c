/* tests/unit/test_command_keyspace.c -- keyspaces through the client port of whole nodes. */
#include "tests/unit/node_fixture.h"

#define SEED 12u

static void request(const char *line)
{
    char text[256];
    int size = snprintf(text, sizeof(text), "%s\r\n", line);
    fixture_send(slice_make(text, (size_t)size));
}

/* Asks until the answer begins so. */
static void expect_within(const char *line, const char *start, uint32_t limit_ms)
{
    size_t size = strlen(start);
    for (uint32_t ms = 0; ms < limit_ms; ms += 20) {
        request(line);
        fixture_pass(20);
        bool there = fixture.reply_size >= size && memcmp(fixture.replies, start, size) == 0;
        cr_assert(there || ms + 20 < limit_ms, "\"%s\" answers %.*s", line, (int)fixture.reply_size,
                  (const char *)fixture.replies);
        fixture.reply_size = 0;
        if (there) {
            return;
        }
    }
}

static void one_node(void)
{
    fixture_defaults();
    fixture_start(SEED, 1);
    fixture_connect(1);
}

TestSuite(command_keyspace, .timeout = 120);

Test(command_keyspace, a_key_of_one_is_none_of_another)
{
    one_node();
    request("SET k one");
    fixture_expect("+OK\r\n");
    request("KV.KEYSPACE CREATE orders CLASS eventual");
    fixture_expect_line("$");
    expect_within("SELECT 2", "+OK\r\n", 2000);
    request("GET k");
    fixture_expect("$-1\r\n");
    request("SET k two");
    fixture_expect("+OK\r\n");
    request("SCAN 0 COUNT 100");
    fixture_expect("*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n");
    request("SELECT 0");
    fixture_expect("+OK\r\n");
    request("GET k");
    fixture_expect("$3\r\none\r\n");
    request("SELECT 2");
    fixture_expect("+OK\r\n");
    request("GET k");
    fixture_expect("$3\r\ntwo\r\n");
    request("RESET");
    fixture_expect("+RESET\r\n");
    request("GET k");
    fixture_expect("$3\r\none\r\n");
    fixture_stop();
}

Test(command_keyspace, levels_are_those_of_the_connection_then_of_the_keyspace_then_of_the_node)
{
    one_node();
    request("KV.KEYSPACE CREATE orders CLASS eventual READ one");
    fixture_expect_line("$");
    expect_within("SELECT 2", "+OK\r\n", 2000);
    request("KV.CONSISTENCY");
    fixture_expect("*4\r\n$4\r\nread\r\n$3\r\none\r\n$5\r\nwrite\r\n$6\r\nquorum\r\n");
    request("KV.CONSISTENCY WRITE all");
    fixture_expect("+OK\r\n");
    request("SELECT 1");
    fixture_expect("+OK\r\n");
    request("KV.CONSISTENCY");
    fixture_expect("*4\r\n$4\r\nread\r\n$6\r\nquorum\r\n$5\r\nwrite\r\n$3\r\nall\r\n");
    fixture_stop();
}

Test(command_keyspace, values_without_an_expiry_live_as_long_as_the_keyspace_says)
{
    one_node();
    request("KV.KEYSPACE CREATE brief CLASS eventual TTL 5");
    fixture_expect_line("$");
    expect_within("SELECT 2", "+OK\r\n", 2000);
    request("SET k v");
    fixture_expect("+OK\r\n");
    request("MSET m v");
    fixture_expect("+OK\r\n");
    request("SET long v EX 100");
    fixture_expect("+OK\r\n");
    request("SET kept v");
    fixture_expect("+OK\r\n");
    request("PERSIST kept");
    fixture_expect(":1\r\n");
    request("SET kept w KEEPTTL");
    fixture_expect("+OK\r\n");
    fixture_pass(5100);
    request("MGET k m long kept");
    fixture_expect("*4\r\n$-1\r\n$-1\r\n$1\r\nv\r\n$1\r\nw\r\n");
    fixture_stop();
}

Test(command_keyspace, every_node_hears_of_one_and_says_why_it_makes_none)
{
    fixture_defaults();
    fixture_start(SEED, 3);
    fixture_connect(2);
    request("KV.KEYSPACE CREATE orders CLASS strong");
    fixture_expect("-ERR refused: strong keyspaces are not served yet\r\n");
    request("KV.KEYSPACE CREATE orders CLASS eventual");
    fixture_expect_line("$");
    request("KV.KEYSPACE CREATE orders CLASS eventual");
    fixture_expect("-ERR refused: two keyspaces have one name\r\n");
    request("KV.KEYSPACE CREATE orders READ one");
    fixture_expect_line("-ERR KV.KEYSPACE LIST | CREATE");
    request("SELECT 3");
    fixture_expect_line("-ERR DB index is out of range");
    for (uint32_t node = 1; node <= 3; node++) {
        fixture_hang_up();
        fixture_pass(50);
        fixture_connect(node);
        expect_within("SELECT 2", "+OK\r\n", 5000);
        request("SET key-of-every-node here");
        fixture_expect("+OK\r\n");
    }
    fixture_stop();
}
