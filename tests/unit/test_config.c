/* tests/unit/test_config.c -- settings from flags, variables and files. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "node/config.h"

static struct buffer message;

static const char *text_of(struct buffer *buffer)
{
    uint8_t end = 0;
    buffer_append(buffer, &end, 1);
    return (const char *)buffer->data;
}

static struct config valid(void)
{
    struct config config;
    config_defaults(&config);
    cr_assert_eq(config_set(&config, "node", "id", "2", "test", &message), STATUS_OK);
    cr_assert_eq(config_set(&config, "node", "data_dir", "/tmp/x", "test", &message), STATUS_OK);
    cr_assert_eq(config_set(&config, "cluster", "bootstrap",
                            "3=127.0.0.1:7421,1=127.0.0.1:7401,2=127.0.0.1:7411", "test", &message),
                 STATUS_OK);
    return config;
}

Test(config, a_valid_one_passes_and_its_bootstrap_list_is_sorted)
{
    struct config config = valid();
    cr_assert_eq(config_check(&config, &message), STATUS_OK);
    cr_assert_eq(config.bootstrap_count, 3);
    for (uint32_t index = 0; index < 3; index++) {
        cr_expect_eq(config.bootstrap[index].id, index + 1);
    }
    cr_expect_str_eq(config.bootstrap[1].peer_address, "127.0.0.1:7411");
}

Test(config, each_contradiction_is_named)
{
    static const struct {
        const char *section;
        const char *key;
        const char *value;
        const char *named;
    } cases[] = {
        {"node", "zone", "", "zone"},
        {"cluster", "ranges", "1000", "power of two"},
        {"client", "request_size_max", "64k", "request_size_max"},
        {"timeouts", "suspect_ms", "100", "heartbeat_ms"},
        {"cluster", "down_phi", "4", "suspect_phi"},
        {"listen", "client", "0.0.0.0:7400", "insecure"},
        {"listen", "peer", "nonsense", "HOST:PORT"},
        {"listen", "peer", "127.0.0.1:7400", "different"},
        {"listen", "admin", "127.0.0.1:7401", "different"},
        {"cluster", "bootstrap", "1=127.0.0.1:7401", "own id"},
    };
    for (size_t index = 0; index < ARRAY_COUNT(cases); index++) {
        struct config config = valid();
        struct buffer why = {0};
        cr_assert_eq(config_set(&config, cases[index].section, cases[index].key, cases[index].value,
                                "test", &why),
                     STATUS_OK, "case %zu", index);
        cr_expect_eq(config_check(&config, &why), STATUS_INVALID, "case %zu", index);
        cr_expect_not_null(strstr(text_of(&why), cases[index].named), "case %zu: %s", index,
                           (char *)why.data);
        buffer_deinit(&why);
    }
}

Test(config, values_out_of_bounds_are_refused_with_source_and_bounds)
{
    static const char *const cases[][3] = {
        {"node", "id", "0"},
        {"node", "id", "-1"},
        {"node", "id", "4294967296"},
        {"node", "weight", "65"},
        {"node", "id", "2x"},
        {"cluster", "replicas", "8"},
        {"client", "pipeline_max", ""},
        {"storage", "memory", "12q"},
        {"storage", "memory", "99999999999999999999"},
        {"client", "read_level", "two"},
        {"node", "insecure", "perhaps"},
        {"node", "log_level", "loud"},
        {"cluster", "bootstrap", "1=a:1,1=b:2"},
        {"cluster", "bootstrap", "1=a"},
        {"cluster", "bootstrap", "=a:1"},
        {"cluster", "bootstrap", "1=a:1,,2=b:1"},
        {"client", "value_size_max", "65m"},
    };
    for (size_t index = 0; index < ARRAY_COUNT(cases); index++) {
        struct config config;
        config_defaults(&config);
        struct buffer why = {0};
        cr_expect_eq(
            config_set(&config, cases[index][0], cases[index][1], cases[index][2], "here:7", &why),
            STATUS_INVALID, "%s %s = %s", cases[index][0], cases[index][1], cases[index][2]);
        cr_expect_eq(memcmp(text_of(&why), "here:7: ", 8), 0);
        buffer_deinit(&why);
    }
}

Test(config, sizes_take_suffixes)
{
    struct config config;
    config_defaults(&config);
    cr_assert_eq(config_set(&config, "storage", "memory", "3G", "test", &message), STATUS_OK);
    cr_expect_eq(config.memory_size, UINT64_C(3) << 30);
    cr_assert_eq(config_set(&config, "client", "key_size_max", "2k", "test", &message), STATUS_OK);
    cr_expect_eq(config.key_size_max, 2048);
}

Test(config, an_unknown_key_of_a_file_is_an_error_with_its_line)
{
    struct config config;
    config_defaults(&config);
    struct buffer why = {0};
    cr_assert_eq(config_parse(&config, "[node]\nid = 4\n\ncolour = red\n", "kv.conf", &why),
                 STATUS_INVALID);
    const char *text = text_of(&why);
    cr_expect_not_null(strstr(text, "kv.conf"), "%s", text);
    cr_expect_not_null(strstr(text, "[node] colour"), "%s", text);
    cr_expect_not_null(strstr(text, "line 4"), "%s", text);
    buffer_deinit(&why);
}

Test(config, a_line_that_is_no_pair_is_an_error)
{
    struct config config;
    config_defaults(&config);
    struct buffer why = {0};
    cr_expect_eq(config_parse(&config, "[node]\nid\n", "kv.conf", &why), STATUS_INVALID);
    cr_expect_not_null(strstr(text_of(&why), "line 2"));
    buffer_deinit(&why);
}

Test(config, a_key_above_the_first_section_is_named)
{
    struct config config;
    struct buffer why = {0};
    config_defaults(&config);
    cr_expect_eq(config_parse(&config, "id = 1\n", "kv.conf", &why), STATUS_INVALID);
    cr_expect_str_eq(text_of(&why), "kv.conf: id stands above the first [section] (line 1)");
    buffer_deinit(&why);
}

Test(config, what_print_writes_parse_reads_back)
{
    struct config config = valid();
    config.read_level = LEVEL_ALL;
    config.insecure = true;
    config.log_level = LOG_DEBUG;
    config.memory_size = 12345678;
    struct buffer first = {0};
    struct buffer second = {0};
    config_print(&config, &first);
    struct config again;
    config_defaults(&again);
    cr_assert_eq(config_parse(&again, text_of(&first), "printed", &message), STATUS_OK, "%s",
                 text_of(&message));
    config_print(&again, &second);
    cr_expect_str_eq((char *)first.data, text_of(&second));
    buffer_deinit(&first);
    buffer_deinit(&second);
}

static const char *lookup(const char *name)
{
    return strcmp(name, "KV_NODE_ID") == 0 ? "9" : NULL;
}

Test(config, variables_are_named_by_section_and_key)
{
    struct config config;
    config_defaults(&config);
    cr_assert_eq(config_environment(&config, lookup, &message), STATUS_OK);
    cr_expect_eq(config.id, 9);
    cr_expect(config_variable_known("KV_CLUSTER_REPLICAS"));
    cr_expect_not(config_variable_known("KV_CLUSTER_REPLICA"));
}

/* inih would cut it in two: a list of a dozen nodes lost its end, or the rest read as a key. */
Test(config, a_line_too_long_is_named_and_none_is_cut)
{
    char text[CONFIG_LINE_SIZE_MAX + 32];
    static const char start[] = "[node]\ndata_dir = ";
    static const char field[] = "data_dir = ";
    struct config config;
    for (size_t size = CONFIG_LINE_SIZE_MAX - 2; size <= CONFIG_LINE_SIZE_MAX + 1; size++) {
        size_t value_size = size - (sizeof(field) - 1);
        memcpy(text, start, sizeof(start) - 1);
        memset(text + sizeof(start) - 1, 'a', value_size);
        memcpy(text + sizeof(start) - 1 + value_size, "\n", 2);
        config_defaults(&config);
        buffer_clear(&message);
        enum status status = config_parse(&config, text, "x.conf", &message);
        if (size <= CONFIG_LINE_SIZE_MAX) {
            cr_expect_eq(status, STATUS_OK, "a line of %zu", size);
            cr_expect_eq(strlen(config.data_dir), value_size, "a line of %zu", size);
        } else {
            cr_expect_eq(status, STATUS_INVALID, "a line of %zu", size);
            cr_expect_str_eq(text_of(&message), "x.conf: line 2 has more than 198 bytes");
        }
    }
}
