/*
 * tools/inspect/inspect_folder.c -- an engine's folder: its manifest, and every file it names.
 */
#include <stdio.h>
#include <string.h>

#include "base/contract.h"
#include "base/memory.h"
#include "lsm/space.h"
#include "lsm/wal.h"
#include "tools/inspect/inspect.h"

#define NAME_SIZE_MAX 32
#define LOCK_NAME "LOCK" /* Of every folder that is locked through the env. */

static char *path_in(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = memory_allocate(size);
    ASSERT(path != NULL); /* A few bytes, in a program that may end. */
    int length = snprintf(path, size, "%s/%s", folder, name);
    ASSERT(length > 0 && (size_t)length < size);
    return path;
}

static char *file_path(const char *folder, uint64_t id, const char *suffix)
{
    char name[NAME_SIZE_MAX];
    int length = snprintf(name, sizeof(name), "%016llx.%s", (unsigned long long)id, suffix);
    ASSERT(length > 0 && length < NAME_SIZE_MAX);
    return path_in(folder, name);
}

struct folder_look {
    struct inspect *inspect;
    const struct manifest_state *state;
};

static bool is_named(const struct manifest_state *state, const char *name)
{
    char other[NAME_SIZE_MAX];
    for (uint32_t i = 0; i < state->table_count; i++) {
        (void)snprintf(other, sizeof(other), "%016llx.sst",
                       (unsigned long long)state->tables[i].file_id);
        if (strcmp(name, other) == 0) {
            return true;
        }
    }
    for (uint32_t i = 0; i < state->segment_count; i++) {
        (void)snprintf(other, sizeof(other), "%016llx.wal",
                       (unsigned long long)state->segments[i].id);
        if (strcmp(name, other) == 0) {
            return true;
        }
    }
    return false;
}

/* Files of the engine that hold nothing of anybody's. */
static bool is_own(const char *name)
{
    const char *dot = strrchr(name, '.');
    return strcmp(name, MANIFEST_NAME) == 0 || strcmp(name, LOCK_NAME) == 0 ||
           strcmp(name, SPACE_BALLAST_NAME) == 0 || (dot != NULL && strcmp(dot, ".spare") == 0);
}

static void stranger_show(void *context, const char *name)
{
    const struct folder_look *look = context;
    if (!is_named(look->state, name) && !is_own(name)) {
        row_begin(&look->inspect->row, "unnamed_file");
        row_text(&look->inspect->row, "name", name);
        row_end(&look->inspect->row);
    }
}

void inspect_folder(struct inspect *inspect, const char *folder)
{
    struct manifest_state state;
    char *path = path_in(folder, MANIFEST_NAME);
    bool read = inspect_manifest(inspect, path, &state);
    memory_free(path);
    if (read) {
        for (uint32_t i = 0; i < state.table_count; i++) {
            path = file_path(folder, state.tables[i].file_id, "sst");
            inspect_table(inspect, path, state.tables[i].file_id, &state.tables[i].properties);
            memory_free(path);
        }
        for (uint32_t i = 0; i < state.segment_count; i++) {
            path = file_path(folder, state.segments[i].id, "wal");
            inspect_segment(inspect, path);
            memory_free(path);
        }
        inspect_log(inspect, folder, &state);
        struct folder_look look = {.inspect = inspect, .state = &state};
        enum status status =
            inspect->env->ops->dir_list(inspect->env, folder, stranger_show, &look);
        if (status != STATUS_OK) {
            inspect_failure(inspect, folder, status);
        }
    }
    manifest_state_deinit(&state);
}
