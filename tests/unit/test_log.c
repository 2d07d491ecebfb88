/* tests/unit/test_log.c -- one line per event, cut and kept whole. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/log.h"

/* An env that keeps the last line. */
struct line_env {
    struct env env;
    enum log_level level;
    char line[LOG_LINE_SIZE_MAX + 1];
    size_t size;
};

static void line_keep(struct env *env, enum log_level level, struct slice line)
{
    struct line_env *kept = container_of(env, struct line_env, env);
    cr_assert_leq(line.size, LOG_LINE_SIZE_MAX);
    kept->level = level;
    kept->size = line.size;
    memcpy(kept->line, line.data, line.size);
    kept->line[line.size] = '\0';
}

static const struct env_ops line_ops = {.log_write = line_keep};

Test(log, a_line_is_event_then_keys)
{
    struct line_env kept = {.env = {.ops = &line_ops}};
    log_info(&kept.env, "group.elected", "group=%u term=%d", 3u, 7);
    cr_assert_str_eq(kept.line, "group.elected group=3 term=7");
    cr_assert_eq(kept.level, LOG_INFO);
    log_error(&kept.env, "disk.failed", "errno=%d", 5);
    cr_assert_eq(kept.level, LOG_ERROR);
    log_warn(&kept.env, "a", "b=%d", 1);
    cr_assert_eq(kept.level, LOG_WARN);
    log_debug(&kept.env, "a", "b=%d", 1);
    cr_assert_eq(kept.level, LOG_DEBUG);
    cr_assert_str_eq(log_level_name(LOG_WARN), "warn");
}

Test(log, a_value_cannot_break_the_line)
{
    struct line_env kept = {.env = {.ops = &line_ops}};
    log_info(&kept.env, "e", "path=%s", "a\nb\x1b[2J\x7f");
    cr_assert_str_eq(kept.line, "e path=a?b?[2J?");
}

/* Around the bound, every length. */
Test(log, long_lines_are_cut_at_the_bound)
{
    static char text[2 * LOG_LINE_SIZE_MAX + 1];
    memset(text, 'x', sizeof(text) - 1);
    struct line_env kept = {.env = {.ops = &line_ops}};
    for (int length = 0; length < 2 * LOG_LINE_SIZE_MAX; length++) {
        log_info(&kept.env, "event", "%.*s", length, text);
        size_t whole = 6 + (size_t)length;
        cr_assert_eq(kept.size, whole < LOG_LINE_SIZE_MAX ? whole : LOG_LINE_SIZE_MAX);
        cr_assert_eq(memcmp(kept.line, "event ", 6), 0);
    }
    log_info(&kept.env, text, "k=%d", 1);
    cr_assert_eq(kept.size, LOG_LINE_SIZE_MAX);
}
