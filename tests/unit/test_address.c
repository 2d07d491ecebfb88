/* tests/unit/test_address.c -- "host:port" as people write it. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/address.h"

Test(address, parses_and_formats)
{
    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
        const char *formatted;
    } cases[] = {
        {"localhost:7400", "localhost", 7400, "localhost:7400"},
        {"10.0.0.1:1", "10.0.0.1", 1, "10.0.0.1:1"},
        {"db-1.example_x.org:65535", "db-1.example_x.org", 65535, "db-1.example_x.org:65535"},
        {":7400", "127.0.0.1", 7400, "127.0.0.1:7400"},
        {"[::1]:80", "::1", 80, "[::1]:80"},
        {"[fe80::1%eth0]:80", "fe80::1%eth0", 80, "[fe80::1%eth0]:80"},
        {"h:0", "h", 0, "h:0"},
        {"h:00080", "h", 80, "h:80"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        struct address address;
        cr_assert_eq(address_parse(cases[index].text, &address), STATUS_OK, "%s",
                     cases[index].text);
        cr_assert_str_eq(address.host, cases[index].host);
        cr_assert_eq(address.port, cases[index].port);
        char text[ADDRESS_TEXT_SIZE_MAX];
        address_format(&address, text);
        cr_assert_str_eq(text, cases[index].formatted);
        struct address again;
        cr_assert_eq(address_parse(text, &again), STATUS_OK);
        cr_assert_str_eq(again.host, address.host);
    }
}

Test(address, refuses_what_is_none)
{
    static const char *const texts[] = {
        "",          "host",        "host:",        "host:x",   "host:65536",
        "host:-1",   "host:+1",     "host: 1",      "host:1 ",  "host:000001",
        "::1:80",    "1:2:3",       "[::1]",        "[::1]80",  "[::1:80",
        "[]:80",     "[host]:80",   "[1.2.3.4]:80", "a b:80",   "h/x:80",
        "::1]:80",   "[::1]:",      "[fe80::1%]:1", "[::1]]:1", "h\n:80",
        "[:::1]:80", "http://h:80", "h\xc3\xa4:1",  ":",
    };
    for (size_t index = 0; index < sizeof(texts) / sizeof(texts[0]); index++) {
        struct address address = {.port = 7};
        cr_assert_eq(address_parse(texts[index], &address), STATUS_INVALID, "%s", texts[index]);
        cr_assert_eq(address.port, 7, "set only on OK");
    }
}

Test(address, hosts_up_to_the_bound)
{
    for (size_t size = ADDRESS_HOST_SIZE_MAX - 3; size < ADDRESS_HOST_SIZE_MAX + 3; size++) {
        char text[ADDRESS_HOST_SIZE_MAX + 16] = {0};
        memset(text, 'h', size);
        memcpy(text + size, ":65535", 7);
        struct address address;
        enum status expected = size < ADDRESS_HOST_SIZE_MAX ? STATUS_OK : STATUS_INVALID;
        cr_assert_eq(address_parse(text, &address), expected, "size %zu", size);
        if (expected == STATUS_OK) {
            char formatted[ADDRESS_TEXT_SIZE_MAX];
            address_format(&address, formatted);
            cr_assert_str_eq(formatted, text);
        }
    }
}

static bool loopback(const char *text)
{
    struct address address;
    cr_assert_eq(address_parse(text, &address), STATUS_OK, "%s", text);
    return address_is_loopback(&address);
}

Test(address, loopback_is_what_cannot_leave_the_machine)
{
    cr_assert(loopback("127.0.0.1:1"));
    cr_assert(loopback("127.8.9.10:1"));
    cr_assert(loopback(":1"));
    cr_assert(loopback("[::1]:1"));
    cr_assert(loopback("[::ffff:127.0.0.1]:1"));
    cr_assert(loopback("LocalHost:1"));
    cr_assert_not(loopback("0.0.0.0:1"));
    cr_assert_not(loopback("[::]:1"));
    cr_assert_not(loopback("[::ffff:10.0.0.1]:1"));
    cr_assert_not(loopback("128.0.0.1:1"));
    cr_assert_not(loopback("127.evil.example:1"));
    cr_assert_not(loopback("127.0.0.1.example:1"));
    cr_assert_not(loopback("localhost.example:1"));
}
