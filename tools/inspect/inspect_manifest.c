/*
 * tools/inspect/inspect_manifest.c -- what a manifest says the engine is made of.
 */
#include "base/file_load.h"
#include "tools/inspect/inspect.h"

/* What counts of a table that was cut. */
static void clips_show(struct inspect_row *row, const struct manifest_table *table)
{
    for (uint32_t i = 0; i < table->clip_count; i++) {
        const struct clip *clip = &table->clips[i];
        if (clip->lower.size > 0 || clip->upper.size > 0) {
            row_begin(row, "listed_clip");
            row_hex(row, "file", table->file_id);
            row_bytes(row, "lower", clip->lower);
            row_bytes(row, "upper", clip->upper);
            row_end(row);
        }
    }
}

static void state_show(struct inspect *inspect, const char *path,
                       const struct manifest_state *state)
{
    struct inspect_row *row = &inspect->row;
    row_begin(row, "manifest");
    row_text(row, "path", path);
    row_number(row, "tables", state->table_count);
    row_number(row, "segments", state->segment_count);
    row_number(row, "replay_position", state->replay_position);
    row_hex(row, "next_file", state->next_file_id);
    row_end(row);
    for (uint32_t i = 0; i < state->table_count; i++) {
        const struct manifest_table *table = &state->tables[i];
        row_begin(row, "listed_table");
        row_hex(row, "file", table->file_id);
        row_hex(row, "run", table->run_id);
        row_text(row, "tier", table->tier == MANIFEST_TIER_MAX ? "bottom" : "above");
        row_number(row, "tier_number", table->tier);
        row_number(row, "entries", table->properties.entry_count);
        row_number(row, "size", table->properties.file_size);
        row_bytes(row, "key_min", table->properties.key_min);
        row_bytes(row, "key_max", table->properties.key_max);
        row_end(row);
        clips_show(row, table);
    }
    for (uint32_t i = 0; i < state->excise_count; i++) {
        row_begin(row, "listed_excise");
        row_bytes(row, "lower", state->excises[i].stretch.lower);
        row_bytes(row, "upper", state->excises[i].stretch.upper);
        row_number(row, "position", state->excises[i].position);
        row_end(row);
    }
    for (uint32_t i = 0; i < state->quarantines.count; i++) {
        row_begin(row, "listed_quarantine");
        row_bytes(row, "lower", state->quarantines.items[i].stretch.lower);
        row_bytes(row, "upper", state->quarantines.items[i].stretch.upper);
        row_end(row);
    }
    for (uint32_t i = 0; i < state->segment_count; i++) {
        row_begin(row, "listed_segment");
        row_hex(row, "file", state->segments[i].id);
        row_hex(row, "nonce", state->segments[i].nonce);
        if (state->segments[i].start_position != UINT64_MAX) {
            row_number(row, "start_position", state->segments[i].start_position);
        }
        row_end(row);
    }
}

bool inspect_manifest(struct inspect *inspect, const char *path, struct manifest_state *state)
{
    struct buffer bytes = {0};
    uint64_t offset = 0;
    *state = (struct manifest_state){0};
    enum status status = file_load(inspect->env, path, UINT64_MAX, &bytes);
    if (status == STATUS_OK) {
        status = manifest_decode(buffer_slice(&bytes), state, &offset);
    }
    buffer_deinit(&bytes);
    if (status == STATUS_OK) {
        state_show(inspect, path, state);
        return true;
    }
    if (status == STATUS_CORRUPT) {
        inspect_damage(inspect, path, offset, "manifest edit");
    } else {
        inspect_failure(inspect, path, status);
    }
    return false;
}
