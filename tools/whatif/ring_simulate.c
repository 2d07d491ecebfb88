/*
 * tools/whatif/ring_simulate.c -- the program behind `kvctl ring simulate`: reads the keys, runs
 * the what-if, prints it and draws it.
 */
#include "tools/whatif/ring_simulate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "tools/whatif/what_if_chart.h"

/* As client/kvctl.c, since this speaks for kvctl. */
void kvctl_complain(const char *format, ...)
{
    va_list list;
    (void)fputs("kvctl: ", stderr);
    va_start(list, format);
    (void)vfprintf(stderr, format, list);
    va_end(list);
    (void)fputc('\n', stderr);
}

/* ------------------------------------------------------------------ keys */

static void keys_complain(enum status status, const char *name, uint64_t line)
{
    if (status == STATUS_TOO_LARGE) {
        kvctl_complain("%s: line %" PRIu64 " is longer than a key may be, %u bytes", name, line,
                       KEY_LOAD_KEY_SIZE_MAX);
    } else if (status == STATUS_OVERLOADED) {
        kvctl_complain("%s: more than %u keys", name, KEY_LOAD_COUNT_MAX);
    } else if (status == STATUS_IO) {
        kvctl_complain("%s: %s", name, strerror(errno));
    } else if (status != STATUS_OK) {
        kvctl_complain("%s: %s", name, status_name(status));
    }
}

static enum kvctl_exit keys_read(struct key_load *keys, const char *name)
{
    bool standard = strcmp(name, "-") == 0;
    FILE *file = standard ? stdin : fopen(name, "re");
    if (file == NULL) {
        kvctl_complain("%s: %s", name, strerror(errno));
        return KVCTL_FAILURE;
    }
    uint64_t line;
    enum status status = key_load_read(keys, file, &line);
    keys_complain(status, standard ? "standard input" : name, line);
    if (!standard) {
        (void)fclose(file); /* Only read. */
    }
    return status == STATUS_OK ? KVCTL_OK : KVCTL_FAILURE;
}

static enum kvctl_exit keys_find(const struct simulation *simulation, struct key_load *keys)
{
    enum kvctl_exit code = KVCTL_OK;
    if (simulation->keys_file != NULL) {
        code = keys_read(keys, simulation->keys_file);
    } else if (simulation->synthesis.count > 0) {
        enum status status = key_load_synthesize(keys, &simulation->synthesis);
        keys_complain(status, "--synthetic", 0);
        code = status == STATUS_OK ? KVCTL_OK : KVCTL_FAILURE;
    }
    key_load_seal(keys);
    return code;
}

/* ------------------------------------------------------------------ the picture */

static enum kvctl_exit file_write(const char *name, struct slice bytes)
{
    FILE *file = fopen(name, "we");
    bool written = file != NULL && fwrite(bytes.data, 1, bytes.size, file) == bytes.size;
    int error = errno;
    if (file != NULL && fclose(file) != 0 && written) {
        written = false;
        error = errno;
    }
    if (!written) {
        kvctl_complain("--svg: %s: %s", name, strerror(error));
    }
    return written ? KVCTL_OK : KVCTL_FAILURE;
}

static enum kvctl_exit picture_write(const char *name, const struct what_if_input *input,
                                     const struct what_if_step *steps)
{
    struct buffer picture = {0};
    enum kvctl_exit code = KVCTL_FAILURE;
    what_if_chart(&picture, input, steps);
    if (buffer_status(&picture) == STATUS_OK) {
        code = file_write(name, buffer_slice(&picture));
    } else {
        kvctl_complain("out of memory");
    }
    buffer_deinit(&picture);
    return code;
}

/* ------------------------------------------------------------------ the program */

static enum kvctl_exit simulation_run(const struct simulation *simulation,
                                      const struct key_load *keys)
{
    const struct what_if_input input = {.nodes = &simulation->nodes,
                                        .replica_count = simulation->replica_count,
                                        .range_count = simulation->range_count,
                                        .changes = simulation->changes,
                                        .change_count = simulation->change_count,
                                        .keys = keys};
    struct what_if_step *steps = memory_allocate_zeroed(input.change_count + 1, sizeof(steps[0]));
    enum status status = steps == NULL ? STATUS_NO_MEMORY : what_if_run(&input, steps);
    enum kvctl_exit code = KVCTL_FAILURE;
    if (status == STATUS_OK) {
        code = simulation_report(simulation, &input, steps);
    } else {
        kvctl_complain("ring simulate: %s", status_name(status));
    }
    if (code == KVCTL_OK && simulation->svg_file != NULL) {
        code = picture_write(simulation->svg_file, &input, steps);
    }
    memory_free(steps);
    return code;
}

int main(int argc, char **argv)
{
    static struct simulation simulation; /* Large for a stack. */
    struct key_load keys = {0};
    enum kvctl_exit code = simulation_parse(&simulation, argc, argv);
    if (code == KVCTL_OK) {
        code = keys_find(&simulation, &keys);
    }
    if (code == KVCTL_OK) {
        code = simulation_run(&simulation, &keys);
    }
    key_load_deinit(&keys);
    if (fflush(stdout) != 0 && code == KVCTL_OK) {
        kvctl_complain("standard output: %s", strerror(errno));
        code = KVCTL_FAILURE;
    }
    return (int)code;
}
