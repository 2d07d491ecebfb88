/*
 * tools/inspect/inspect.h -- looking at the engine's files while no engine has them open.
 *
 * Contract:
 *  (1) Nothing on disk is ever changed, whatever is found.
 *  (2) A finding of damage is a row `damage` that names file and place; looking goes on behind it
 *      as far as the format allows, and the exit code tells.
 */
#ifndef TOOLS_INSPECT_INSPECT_H
#define TOOLS_INSPECT_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "lsm/manifest.h"
#include "tools/inspect/inspect_row.h"

struct inspect {
    struct env *env;
    bool verify; /* Read every byte and check it. */
    bool dump;   /* A row for each record or cell. */
    bool values; /* With their values. */
    struct inspect_row row;
    uint64_t damage_count;
    uint64_t failure_count; /* Files that could not be read at all. */
};

void inspect_damage(struct inspect *inspect, const char *path, uint64_t offset, const char *what);
/* A file could not be opened or read. */
void inspect_failure(struct inspect *inspect, const char *path, enum status status);

/* One file. `listed`, if known, is what the manifest says of it. */
void inspect_table(struct inspect *inspect, const char *path, uint64_t file_id,
                   const struct table_properties *listed);
void inspect_segment(struct inspect *inspect, const char *path);
/* The state of a manifest, which the caller frees; false if it cannot be read. */
bool inspect_manifest(struct inspect *inspect, const char *path, struct manifest_state *state);
/* The log as a whole: where it ends, and whether its tail is torn or damaged. */
void inspect_log(struct inspect *inspect, const char *folder, const struct manifest_state *state);
/* All files of an engine. */
void inspect_folder(struct inspect *inspect, const char *folder);

#endif
