/* tests/unit/test_manifest.c -- edits survive, tears are cut, damage is told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/env_uv.h"
#include "lsm/manifest.h"

#define GOLDEN_PATH_V1 GOLDEN_DIR "/manifest_v1"
#define GOLDEN_PATH_V2 GOLDEN_DIR "/manifest_v2"

static struct env *env;
static char folder[64];
static char path[96];
static struct manifest manifest;

static void setup(void)
{
    struct env_uv_options options = {.log_level = LOG_ERROR};
    cr_assert_eq(env_uv_open(&options, &env), STATUS_OK);
    strcpy(folder, "/tmp/manifest-test-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/MANIFEST", folder);
    cr_assert_eq(manifest_open(&manifest, env, folder), STATUS_NOT_FOUND);
}

static void teardown(void)
{
    manifest_close(&manifest);
    env_uv_close(env);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(manifest, .init = setup, .fini = teardown, .timeout = 60);

static void put_table(struct buffer *edit, uint64_t file_id, uint64_t run_id, uint32_t tier)
{
    char low[16];
    char high[16];
    snprintf(low, sizeof(low), "a%llu", (unsigned long long)file_id);
    snprintf(high, sizeof(high), "b%llu", (unsigned long long)file_id);
    struct manifest_table table = {
        .file_id = file_id,
        .run_id = run_id,
        .tier = tier,
        .properties = {.key_min = slice_text(low),
                       .key_max = slice_text(high),
                       .entry_count = 10 + file_id,
                       .version_min = {.time = 1},
                       .version_max = {.time = file_id, .node = 3, .sequence = 4},
                       .nonce = 99,
                       .file_size = 1000 * file_id,
                       .file_checksum = 5},
    };
    manifest_put_table(edit, &table);
}

static void commit_table(uint64_t file_id)
{
    struct buffer edit = {0};
    put_table(&edit, file_id, file_id, 0);
    manifest_put_next_file(&edit, file_id + 1);
    cr_assert_eq(manifest_commit(&manifest, &edit), STATUS_OK);
    buffer_deinit(&edit);
}

static enum status reopen(void)
{
    manifest_close(&manifest);
    return manifest_open(&manifest, env, folder);
}

static struct buffer file_load(const char *name)
{
    struct buffer bytes = {0};
    FILE *file = fopen(name, "rb");
    cr_assert(file != NULL, "%s", name);
    uint8_t chunk[4096];
    size_t got = 0;
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        buffer_append(&bytes, chunk, got);
    }
    fclose(file);
    return bytes;
}

Test(manifest, edits_survive_in_order)
{
    cr_assert_eq(manifest_rewrite(&manifest, slice_make(NULL, 0)), STATUS_OK);
    commit_table(2);
    commit_table(3);
    struct buffer edit = {0};
    manifest_put_drop(&edit, 2);
    put_table(&edit, 5, 3, 0);
    manifest_put_cut(&edit, 5, &(struct clip){slice_text("a7"), slice_text("a8")});
    manifest_put_cut(&edit, 3, &(struct clip){.upper = slice_text("a4")});
    manifest_put_segment(&edit, &(struct manifest_segment){7, 8, 9});
    manifest_put_segment(&edit, &(struct manifest_segment){10, 11, UINT64_MAX});
    manifest_put_replay(&edit, 1234, 10);
    cr_assert_eq(manifest_commit(&manifest, &edit), STATUS_OK);
    buffer_deinit(&edit);
    for (int round = 0; round < 2; round++) { /* The second time from a rewritten file. */
        cr_assert_eq(reopen(), STATUS_OK);
        const struct manifest_state *state = &manifest.state;
        cr_assert_eq(state->table_count, 2);
        cr_assert_eq(state->tables[0].file_id, 3);
        cr_assert_eq(state->tables[1].file_id, 5);
        cr_assert_eq(state->tables[1].run_id, 3);
        cr_assert(slice_equal(state->tables[1].properties.key_max, slice_text("b5")));
        cr_assert_eq(state->tables[1].properties.version_max.sequence, 4);
        cr_assert_eq(state->tables[0].clip_count, 1);
        cr_assert(slice_equal(state->tables[0].clips[0].lower, slice_text("a4")));
        cr_assert_eq(state->tables[1].clip_count, 2);
        cr_assert(slice_equal(state->tables[1].clips[0].upper, slice_text("a7")));
        cr_assert(slice_equal(state->tables[1].clips[1].lower, slice_text("a8")));
        cr_assert_eq(state->segment_count, 1);
        cr_assert_eq(state->segments[0].id, 10);
        cr_assert_eq(state->replay_position, 1234);
        cr_assert_eq(state->next_file_id, 4);
        cr_assert_eq(manifest_rewrite(&manifest, slice_make(NULL, 0)), STATUS_OK);
    }
}

Test(manifest, a_file_cut_at_any_byte_ends_at_an_edit_or_is_refused)
{
    cr_assert_eq(manifest_rewrite(&manifest, slice_make(NULL, 0)), STATUS_OK);
    uint64_t ends[4] = {manifest.size};
    for (uint64_t i = 1; i < 4; i++) {
        commit_table(i);
        ends[i] = manifest.size;
    }
    struct buffer bytes = file_load(path);
    for (size_t size = 0; size <= bytes.size; size++) {
        struct manifest_state state = {0};
        uint64_t offset = 0;
        enum status status = manifest_decode(slice_make(bytes.data, size), &state, &offset);
        if (size + 7 < ends[0]) { /* Up to 7 bytes of padding say nothing. */
            cr_assert_eq(status, STATUS_CORRUPT, "cut at %zu", size);
        } else if (size >= ends[0]) {
            cr_assert_eq(status, STATUS_OK, "cut at %zu", size);
            uint32_t whole = 0;
            while (whole < 3 && ends[whole + 1] <= size) {
                whole++;
            }
            cr_assert(state.table_count == whole || state.table_count == whole + 1);
            cr_assert_leq(offset, size + 7);
        }
        manifest_state_deinit(&state);
    }
    buffer_deinit(&bytes);
}

Test(manifest, damage_before_the_last_edit_is_corruption)
{
    cr_assert_eq(manifest_rewrite(&manifest, slice_make(NULL, 0)), STATUS_OK);
    commit_table(1);
    commit_table(2);
    uint64_t last = manifest.size;
    commit_table(3);
    struct buffer bytes = file_load(path);
    uint32_t refused = 0;
    for (size_t at = 0; at < bytes.size; at++) {
        struct manifest_state state = {0};
        uint64_t offset = 0;
        bytes.data[at] ^= 0x20;
        enum status status = manifest_decode(buffer_slice(&bytes), &state, &offset);
        bytes.data[at] ^= 0x20;
        if (status == STATUS_OK) { /* Padding, or the last edit, which is then left out. */
            cr_assert(state.table_count == 3 || at >= last, "flip at %zu", at);
        } else {
            cr_assert(status == STATUS_CORRUPT || (status == STATUS_UNSUPPORTED && at < 32));
            cr_assert_lt(at, last);
            refused++;
        }
        manifest_state_deinit(&state);
    }
    cr_assert_gt(refused, last * 9 / 10);
    buffer_deinit(&bytes);
}

Test(manifest, contradictions_are_refused)
{
    struct buffer edit = {0};
    struct manifest_state state = {0};
    manifest_put_drop(&edit, 4);
    cr_assert_eq(manifest_state_apply(&state, buffer_slice(&edit)), STATUS_CORRUPT);
    buffer_clear(&edit);
    manifest_put_cut(&edit, 4, &(struct clip){.upper = slice_text("x")});
    cr_assert_eq(manifest_state_apply(&state, buffer_slice(&edit)), STATUS_CORRUPT);
    buffer_clear(&edit);
    put_table(&edit, 4, 4, 0);
    put_table(&edit, 4, 4, 0);
    cr_assert_eq(manifest_state_apply(&state, buffer_slice(&edit)), STATUS_CORRUPT);
    buffer_clear(&edit);
    manifest_put_segment(&edit, &(struct manifest_segment){7, 8, 9});
    manifest_put_segment(&edit, &(struct manifest_segment){7, 8, 9});
    cr_assert_eq(manifest_state_apply(&state, buffer_slice(&edit)), STATUS_CORRUPT);
    buffer_clear(&edit);
    manifest_put_replay(&edit, 10, 0);
    manifest_put_replay(&edit, 9, 0);
    cr_assert_eq(manifest_state_apply(&state, buffer_slice(&edit)), STATUS_CORRUPT);
    manifest_state_deinit(&state);
    buffer_deinit(&edit);
}

Test(manifest, a_long_file_is_rewritten)
{
    cr_assert_eq(manifest_rewrite(&manifest, slice_make(NULL, 0)), STATUS_OK);
    uint64_t longest = 0;
    bool shrank = false;
    for (uint64_t i = 1; i < 3000; i++) {
        struct buffer edit = {0};
        put_table(&edit, i, i, 0);
        if (i > 1) {
            manifest_put_drop(&edit, i - 1);
        }
        cr_assert_eq(manifest_commit(&manifest, &edit), STATUS_OK);
        buffer_deinit(&edit);
        shrank = shrank || manifest.size < longest;
        longest = manifest.size > longest ? manifest.size : longest;
    }
    cr_assert(shrank);
    cr_assert_lt(longest, 300u << 10);
    cr_assert_eq(reopen(), STATUS_OK);
    cr_assert_eq(manifest.state.table_count, 1);
    cr_assert_eq(manifest.state.tables[0].file_id, 2999);
}

static void golden_state_check(const struct buffer *golden)
{
    struct manifest_state state = {0};
    uint64_t offset = 0;
    cr_assert_eq(manifest_decode(buffer_slice(golden), &state, &offset), STATUS_OK);
    cr_assert_eq(state.table_count, 2);
    cr_assert_eq(state.tables[0].file_id, 3);
    cr_assert_eq(state.tables[0].properties.version_max.sequence, 4);
    cr_assert_eq(state.replay_position, 77);
    cr_assert_eq(state.segment_count, 1);
    cr_assert_eq(state.next_file_id, 12);
    manifest_state_deinit(&state);
}

/* Version 1: no longer written. Its lower bound of run 2 lies below both tables. */
Test(manifest, golden_file_of_version_1)
{
    struct buffer golden = file_load(GOLDEN_PATH_V1);
    golden_state_check(&golden);
    buffer_deinit(&golden);
}

/* The step that only version 1 has: keys below a bound go from all tables of a run. */
Test(manifest, a_lower_bound_of_version_1_is_a_cut_of_every_table_of_the_run)
{
    struct buffer edit = {0};
    struct manifest_state state = {0};
    put_table(&edit, 3, 2, 1);
    put_table(&edit, 4, 2, 1);
    put_table(&edit, 5, 6, 1);
    codec_put_u8(&edit, 3);
    codec_put_u64(&edit, 2);
    codec_put_bytes(&edit, slice_text("b3+"));
    cr_assert_eq(manifest_state_apply(&state, buffer_slice(&edit)), STATUS_OK);
    cr_assert_eq(state.table_count, 2, "table 3 ends below the bound");
    cr_assert_eq(state.tables[0].file_id, 4);
    cr_assert_eq(state.tables[0].clip_count, 1);
    cr_assert(slice_equal(state.tables[0].clips[0].lower, slice_text("b3+")));
    cr_assert_eq(state.tables[1].clips[0].lower.size, 0, "another run");
    manifest_state_deinit(&state);
    buffer_deinit(&edit);
}

/* Version 2 stays readable, and is what is written now, byte for byte.
 * RINGKV_GOLDEN_WRITE=1 makes the file anew, for a new version. */
Test(manifest, golden_file_of_version_2)
{
    struct buffer edit = {0};
    struct buffer made = {0};
    put_table(&edit, 3, 2, 1);
    put_table(&edit, 4, 2, 1);
    put_table(&edit, 5, 2, 1);
    manifest_put_drop(&edit, 5);
    manifest_put_cut(&edit, 3, &(struct clip){slice_text("a5"), slice_text("a7")});
    manifest_put_cut(&edit, 4, &(struct clip){.lower = slice_text("b")});
    manifest_put_excise(&edit, &(struct clip){slice_text("a4"), slice_text("a40")}, 70);
    manifest_put_excise(&edit, &(struct clip){slice_text("b3+"), slice_text("b4")}, 80);
    struct quarantine lost = {{slice_text("c6"), slice_text("c9")}, {.time = 5, .node = 6}};
    manifest_put_quarantine(&edit, &lost);
    manifest_put_excise(&edit, &(struct clip){slice_text("c8"), slice_text("d")}, 3);
    manifest_put_segment(&edit, &(struct manifest_segment){7, 8, 9});
    manifest_put_replay(&edit, 77, 7);
    manifest_put_next_file(&edit, 12);
    manifest_encode(&made, UINT64_C(0x0123456789abcdef), buffer_slice(&edit));
    if (getenv("RINGKV_GOLDEN_WRITE") != NULL) {
        FILE *file = fopen(GOLDEN_PATH_V2, "wb");
        cr_assert_eq(fwrite(made.data, 1, made.size, file), made.size);
        fclose(file);
    }
    struct buffer golden = file_load(GOLDEN_PATH_V2);
    cr_assert(slice_equal(buffer_slice(&golden), buffer_slice(&made)));
    golden_state_check(&golden);
    struct manifest_state state = {0};
    uint64_t offset = 0;
    cr_assert_eq(manifest_decode(buffer_slice(&golden), &state, &offset), STATUS_OK);
    cr_assert_eq(state.tables[0].clip_count, 3);
    cr_assert(slice_equal(state.tables[1].clips[0].lower, slice_text("a40")));
    cr_assert(slice_equal(state.tables[1].clips[0].upper, slice_text("b")));
    cr_assert_eq(state.excise_count, 1, "the other one is behind the replay position");
    cr_assert_eq(state.excises[0].position, 80);
    cr_assert_eq(state.quarantines.count, 1);
    cr_assert(slice_equal(state.quarantines.items[0].stretch.upper, slice_text("c8")));
    cr_assert_eq(state.quarantines.items[0].version_max.node, 6);
    cr_assert(slice_equal(state.excises[0].stretch.lower, slice_text("b3+")));
    manifest_state_deinit(&state);
    buffer_deinit(&edit);
    buffer_deinit(&made);
    buffer_deinit(&golden);
}
