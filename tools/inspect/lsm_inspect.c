/*
 * tools/inspect/lsm_inspect.c -- lsm_inspect: what an engine's files hold, and whether it is whole.
 *
 * For an operator with a folder that does not open, and for whoever doubts a backup. Give it the
 * folder of an engine, a checkpoint, or single files; the engine must not be running in it.
 * Exit: 0 all is well, 1 a file could not be read, 2 usage, 9 damage was found.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/contract.h"
#include "base/env_uv.h"
#include "tools/inspect/inspect.h"

#define EXIT_USAGE 2
#define EXIT_DAMAGE 9

static const char usage[] =
    "usage: lsm_inspect [--verify] [--dump [--values]] [--json] DIR|FILE...\n"
    "\n"
    "Shows what the files of a storage engine hold; changes nothing. DIR is an engine's folder or\n"
    "a checkpoint, FILE a table (.sst), a log segment (.wal) or a MANIFEST.\n"
    "\n"
    "  --verify  read every byte and compare every checksum\n"
    "  --dump    a line for each group and record of the log and each cell of a table\n"
    "  --values  with --dump: the values too, not only their sizes\n"
    "  --json    a JSON object a line\n"
    "  --help    this text\n"
    "\n"
    "Exit: 0 all is well, 1 a file could not be read, 2 usage, 9 damage was found (a line\n"
    "`damage` names file and place). A torn tail of the log is what a crash leaves, no damage.\n";

void inspect_damage(struct inspect *inspect, const char *path, uint64_t offset, const char *what)
{
    inspect->damage_count++;
    row_begin(&inspect->row, "damage");
    row_text(&inspect->row, "path", path);
    row_number(&inspect->row, "at", offset);
    row_text(&inspect->row, "what", what);
    row_end(&inspect->row);
}

void inspect_failure(struct inspect *inspect, const char *path, enum status status)
{
    inspect->failure_count++;
    (void)fprintf(stderr, "lsm_inspect: %s: %s\n", path, status_name(status));
}

static bool ends_with(const char *path, const char *suffix)
{
    size_t size = strlen(path);
    size_t suffix_size = strlen(suffix);
    return size >= suffix_size && strcmp(path + size - suffix_size, suffix) == 0;
}

/* The id in a table's name; 0 if it has none. */
static uint64_t path_file_id(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    char *end = NULL;
    uint64_t id = strtoull(name, &end, 16);
    return strcmp(end, ".sst") == 0 ? id : 0;
}

static void path_inspect(struct inspect *inspect, const char *path)
{
    struct stat stat_now;
    if (stat(path, &stat_now) != 0) {
        inspect_failure(inspect, path, STATUS_NOT_FOUND);
    } else if (S_ISDIR(stat_now.st_mode)) {
        inspect_folder(inspect, path);
    } else if (ends_with(path, ".wal")) {
        inspect_segment(inspect, path);
    } else if (ends_with(path, MANIFEST_NAME) || ends_with(path, MANIFEST_TEMPORARY_NAME)) {
        struct manifest_state state;
        (void)inspect_manifest(inspect, path, &state);
        manifest_state_deinit(&state);
    } else {
        inspect_table(inspect, path, path_file_id(path), NULL);
    }
}

static bool options_read(struct inspect *inspect, int argc, char **argv)
{
    static const struct option options[] = {
        {"verify", no_argument, NULL, 'v'}, {"dump", no_argument, NULL, 'd'},
        {"values", no_argument, NULL, 'a'}, {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},   {0}};
    int flag;
    while ((flag = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (flag) {
        case 'v':
            inspect->verify = true;
            break;
        case 'd':
            inspect->dump = true;
            break;
        case 'a':
            inspect->values = true;
            break;
        case 'j':
            inspect->row.as_json = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        default:
            return false;
        }
    }
    return optind < argc && (inspect->dump || !inspect->values);
}

int main(int argc, char **argv)
{
    struct inspect inspect = {0};
    if (!options_read(&inspect, argc, argv)) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    struct env_uv_options env_options = {.log_level = LOG_ERROR};
    if (env_uv_open(&env_options, &inspect.env) != STATUS_OK) {
        (void)fputs("lsm_inspect: out of memory\n", stderr);
        return EXIT_FAILURE;
    }
    for (int i = optind; i < argc; i++) {
        path_inspect(&inspect, argv[i]);
    }
    row_deinit(&inspect.row);
    env_uv_close(inspect.env);
    if (fflush(stdout) != 0) {
        (void)fputs("lsm_inspect: cannot write to stdout\n", stderr);
        return EXIT_FAILURE;
    }
    if (inspect.damage_count > 0) {
        (void)fprintf(stderr, "lsm_inspect: damage in %" PRIu64 " places\n", inspect.damage_count);
        return EXIT_DAMAGE;
    }
    return inspect.failure_count > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
