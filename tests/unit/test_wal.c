/*
 * tests/unit/test_wal.c -- the log: groups into segments, and back after tears and damage.
 *
 * Runs wal.c and wal_recovery.c on real files without any lane: the test itself is the lane.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/codec.h"
#include "base/env_uv.h"
#include "base/memory.h"
#include "base/prng.h"
#include "lsm/wal.h"
#include "lsm/wal_recovery.h"
#include "lsm/wal_spare.h"

#define RECORD_COUNT_MAX 64
#define GOLDEN_PATH_V1 GOLDEN_DIR "/wal_v1.log"
#define GOLDEN_PATH_V2 GOLDEN_DIR "/wal_v2.log"
#define GOLDEN_NONCE UINT64_C(0x0123456789abcdef)

static struct env *env;
static char folder[64];
static struct wal wal;
static struct lsm_write writes[RECORD_COUNT_MAX];
static uint32_t write_count;

/* What a recovery handed out. */
static char replayed[RECORD_COUNT_MAX][16];
static uint32_t replayed_count;
static struct wal_recovery recovery;

static uint8_t noise[WAL_SEGMENT_SIZE_MIN * 2]; /* Nothing to save in it. */

static void noise_fill(void)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (size_t i = 0; i < sizeof(noise); i += 8) {
        codec_store_u64(noise + i, prng_next(&prng));
    }
}

/* Damage is logged; here there is much of it, on purpose. */
static void log_nothing(struct env *from, enum log_level level, struct slice line)
{
    (void)from;
    (void)level;
    (void)line;
}

static void setup(void)
{
    struct env_uv_options options = {.log_level = LOG_ERROR};
    static struct env_ops quiet;
    cr_assert_eq(env_uv_open(&options, &env), STATUS_OK);
    quiet = *env->ops;
    quiet.log_write = log_nothing;
    env->ops = &quiet;
    strcpy(folder, "/tmp/wal-test-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    cr_assert_eq(wal_init(&wal, env, WAL_SEGMENT_SIZE_MIN, 0), STATUS_OK);
    write_count = 0;
    noise_fill();
}

static void teardown(void)
{
    struct list_node answered;
    list_init(&answered);
    wal_take_writes(&wal, &answered);
    wal_deinit(&wal);
    env_uv_close(env);
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(wal, .init = setup, .fini = teardown, .timeout = 300);

static void segment_add_of(uint64_t id, uint64_t nonce, uint64_t capacity)
{
    struct wal_segment_header header = {.id = id, .nonce = nonce};
    struct wal_segment *segment = NULL;
    cr_assert_eq(wal_segment_create(env, folder, &header, capacity, &segment), STATUS_OK);
    wal_segment_add(&wal, segment);
}

static void segment_add(uint64_t id, uint64_t nonce)
{
    segment_add_of(id, nonce, WAL_SEGMENT_SIZE_MIN);
}

/* One record, "k<number>"; its value is `size` bytes. */
static struct lsm_write *append_of(uint32_t number, const uint8_t *value, size_t size,
                                   enum lsm_durability durability)
{
    char key[16];
    snprintf(key, sizeof(key), "k%u", number);
    struct lsm_record record = {
        .key = slice_text(key),
        .cell = {.version = {.time = number, .node = 1}, .value = slice_make(value, size)},
    };
    struct lsm_write *write = &writes[write_count++];
    *write = (struct lsm_write){.records = &record, .record_count = 1, .durability = durability};
    uint64_t encoded = 0;
    cr_assert_eq(wal_batch_size(&record, 1, &encoded), STATUS_OK);
    cr_assert_eq(wal_append(&wal, write, encoded), STATUS_OK);
    return write;
}

static struct lsm_write *append(uint32_t number, size_t size, enum lsm_durability durability)
{
    return append_of(number, noise, size, durability);
}

static void group_end(void)
{
    struct wal_group *group = wal_take_done(&wal, STATUS_OK);
    while (list_take_first(&group->writes) != NULL) {
    }
    wal_group_retire(&wal, group);
}

/* Writes the next group as the lane would. */
static void group_run(void)
{
    uint64_t capacity = 0;
    cr_assert_eq(wal_next(&wal, &capacity), WAL_RUN);
    cr_assert_eq(wal_run(&wal), STATUS_OK);
    group_end();
}

static void append_group(uint32_t number)
{
    (void)append(number, 40, LSM_SYNCED);
    group_run();
}

static enum status record_take(void *context, struct slice key, struct slice cell, uint64_t end)
{
    (void)end;
    (void)context;
    (void)cell;
    cr_assert_lt(replayed_count, RECORD_COUNT_MAX);
    memcpy(replayed[replayed_count], key.data, key.size);
    replayed[replayed_count++][key.size] = '\0';
    return STATUS_OK;
}

static enum status recover(struct wal_recovery_segment *segments, uint32_t count, uint64_t replay)
{
    recovery = (struct wal_recovery){
        .env = env,
        .folder = folder,
        .segments = segments,
        .segment_count = count,
        .replay_position = replay,
        .record = record_take,
    };
    replayed_count = 0;
    return wal_recover(&recovery);
}

static struct wal_recovery_segment live(uint64_t id, uint64_t nonce)
{
    return (struct wal_recovery_segment){
        .id = id, .nonce = nonce, .start_position = WAL_START_UNKNOWN};
}

static void expect_replayed(uint32_t first, uint32_t last)
{
    cr_assert_eq(replayed_count, last + 1 - first, "%u records", replayed_count);
    for (uint32_t i = first; i <= last; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        cr_assert_str_eq(replayed[i - first], key);
    }
}

static void flip(uint64_t id, long offset)
{
    char *path = wal_segment_path(folder, id);
    FILE *file = fopen(path, "r+b");
    cr_assert(file != NULL);
    fseek(file, offset, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, offset, SEEK_SET);
    fputc(byte ^ 0x10, file);
    fclose(file);
    memory_free(path);
}

static void expect_status(enum status got, enum status wanted, const char *what, long at)
{
    cr_assert_eq(got, wanted, "%s at %ld: %s", what, at, status_name(got));
}

Test(wal, replay_gives_back_what_was_appended)
{
    segment_add(1, 11);
    append_group(1);
    (void)append(2, 40, LSM_BUFFERED);
    (void)append(3, 40, LSM_SYNCED);
    group_run();
    struct wal_recovery_segment segments[] = {live(1, 11)};
    cr_assert_eq(recover(segments, 1, 0), STATUS_OK);
    expect_replayed(1, 3);
    cr_assert_eq(recovery.end_position, wal.position);
    cr_assert_eq(segments[0].last_position, wal.position);
}

Test(wal, replay_starts_at_its_position)
{
    segment_add(1, 11);
    append_group(1);
    append_group(2);
    uint64_t position = wal.position;
    append_group(3);
    struct wal_recovery_segment segments[] = {live(1, 11)};
    cr_assert_eq(recover(segments, 1, position), STATUS_OK);
    expect_replayed(3, 3);
}

Test(wal, end_is_never_below_the_replay_position)
{
    segment_add(1, 11);
    append_group(1);
    struct wal_recovery_segment segments[] = {live(1, 11)};
    cr_assert_eq(recover(segments, 1, wal.position + 1000), STATUS_OK);
    expect_replayed(1, 0);
    cr_assert_eq(recovery.end_position, wal.position + 1000);
}

Test(wal, a_file_cut_at_any_byte_ends_at_a_group)
{
    segment_add(1, 11);
    for (uint32_t i = 1; i <= 4; i++) {
        append_group(i);
    }
    struct wal_recovery_segment segments[] = {live(1, 11)};
    char *path = wal_segment_path(folder, 1);
    for (long size = 512 + 4 * 512; size >= 0; size--) {
        cr_assert_eq(truncate(path, size), 0);
        expect_status(recover(segments, 1, 0), STATUS_OK, "cut", size);
        long groups = size < 512 ? 0 : (size - 512) / 512;
        long rest = size < 512 ? 0 : (size - 512) % 512;
        bool last_is_whole = rest >= (long)WAL_GROUP_HEADER_SIZE + (long)writes[0].size;
        expect_replayed(1, (uint32_t)(groups + (last_is_whole ? 1 : 0)));
    }
    memory_free(path);
}

Test(wal, damage_at_any_byte_is_a_torn_tail_above_the_watermark_and_corruption_below)
{
    segment_add(1, 11);
    for (uint32_t i = 1; i <= 3; i++) {
        append_group(i);
    }
    struct wal_recovery_segment segments[] = {live(1, 11)};
    long group_size = (long)WAL_GROUP_HEADER_SIZE + (long)writes[0].size;
    for (uint32_t group = 0; group < 3; group++) {
        for (long i = 0; i < group_size; i++) {
            long offset = 512 + 512 * (long)group + i;
            flip(1, offset);
            enum status status = recover(segments, 1, 0);
            if (group < 2) { /* The third group's watermark covers both. */
                expect_status(status, STATUS_CORRUPT, "flip", offset);
            } else {
                expect_status(status, STATUS_OK, "flip", offset);
                expect_replayed(1, 2);
            }
            flip(1, offset);
        }
    }
    cr_assert_eq(recover(segments, 1, 0), STATUS_OK);
    expect_replayed(1, 3);
}

#define SMALL_SEGMENT_SIZE (16u << 10)

/* A segment full of synced groups, and a watermark that says so. What each of its bytes is. */
enum place { PLACE_NOTHING, PLACE_GROUP };

static uint32_t segment_fill(enum place places[SMALL_SEGMENT_SIZE])
{
    static const uint8_t calm[2048];
    uint32_t count = 0;
    for (;;) {
        size_t size = 300 + 977 * (size_t)count % 1500;
        uint64_t start = wal.current->end_offset;
        if (start + wal_group_room(size + 64) + 3 * ENV_SECTOR_SIZE > wal.current->capacity) {
            break;
        }
        const uint8_t *value = count % 2 == 0 ? noise : calm; /* Some groups are packed. */
        (void)append_of(++count, value, size, LSM_SYNCED);
        uint64_t written = wal.bytes_written;
        group_run();
        uint64_t end = start + wal.bytes_written - written;
        for (uint64_t at = start; at < end; at++) {
            places[at] = PLACE_GROUP;
        }
    }
    cr_assert_eq(wal_append_idle(&wal), STATUS_OK);
    group_run();
    return count;
}

static void byte_flip(int file, uint32_t at)
{
    uint8_t byte = 0;
    cr_assert_eq(pread(file, &byte, 1, at), 1);
    byte ^= 0x5a;
    cr_assert_eq(pwrite(file, &byte, 1, at), 1);
}

/* Not one byte of it: never fewer records than were synced, never others. */
Test(wal, any_wrong_byte_of_a_whole_segment_is_refused_or_harmless)
{
    static enum place places[SMALL_SEGMENT_SIZE];
    segment_add_of(1, 11, SMALL_SEGMENT_SIZE);
    uint32_t count = segment_fill(places);
    cr_assert_gt(count, 8);
    struct wal_recovery_segment segments[] = {live(1, 11)};
    char *path = wal_segment_path(folder, 1);
    int file = open(path, O_RDWR | O_CLOEXEC);
    cr_assert_geq(file, 0);
    uint32_t refused = 0;
    for (uint32_t at = 0; at < SMALL_SEGMENT_SIZE; at++) {
        byte_flip(file, at);
        segments[0] = live(1, 11);
        enum status status = recover(segments, 1, 0);
        if (places[at] == PLACE_GROUP) {
            expect_status(status, STATUS_CORRUPT, "flip", at);
            refused++;
        } else {
            expect_status(status, STATUS_OK, "flip", at);
            expect_replayed(1, count);
        }
        byte_flip(file, at);
    }
    close(file);
    memory_free(path);
    cr_assert_gt(refused, SMALL_SEGMENT_SIZE / 2);
}

Test(wal, damage_below_the_replay_position_does_not_matter)
{
    segment_add(1, 11);
    append_group(1);
    append_group(2);
    uint64_t position = wal.position;
    append_group(3);
    flip(1, 512 + 50);
    flip(1, 1024 + 2);
    struct wal_recovery_segment segments[] = {live(1, 11)};
    cr_assert_eq(recover(segments, 1, position), STATUS_OK);
    expect_replayed(3, 3);
}

Test(wal, an_idle_group_guards_the_last_one)
{
    segment_add(1, 11);
    append_group(1);
    cr_assert_eq(wal_append_idle(&wal), STATUS_OK);
    group_run();
    struct wal_recovery_segment segments[] = {live(1, 11)};
    cr_assert_eq(recover(segments, 1, 0), STATUS_OK);
    expect_replayed(1, 1);
    flip(1, 512 + 60);
    cr_assert_eq(recover(segments, 1, 0), STATUS_CORRUPT);
}

Test(wal, a_full_segment_asks_for_the_next_and_is_synced_before_it)
{
    segment_add(1, 11);
    struct wal_segment *second = NULL;
    uint32_t count = 0;
    uint64_t capacity = 0;
    for (;;) {
        (void)append(++count, 10000, LSM_BUFFERED);
        if (wal_next(&wal, &capacity) == WAL_SEGMENT_NEEDED) {
            break;
        }
        cr_assert_eq(wal_run(&wal), STATUS_OK);
        group_end();
    }
    cr_assert_eq(capacity, WAL_SEGMENT_SIZE_MIN);
    cr_assert_eq(wal.synced_position, 0);
    struct wal_segment_header header = {.id = 2, .nonce = 22};
    cr_assert_eq(wal_segment_create(env, folder, &header, capacity, &second), STATUS_OK);
    wal.ready = second;
    uint64_t before = wal.written_position;
    group_run();
    cr_assert_eq(wal.synced_position, before);
    struct wal_recovery_segment segments[] = {live(1, 11), live(2, 22)};
    cr_assert_eq(recover(segments, 2, 0), STATUS_OK);
    expect_replayed(1, count);
    flip(1, 512 + 100); /* Synced, as the second segment's first group says. */
    cr_assert_eq(recover(segments, 2, 0), STATUS_CORRUPT);
}

Test(wal, a_batch_larger_than_a_segment_gets_one_of_its_size)
{
    segment_add(1, 11);
    struct lsm_write *write = append(1, WAL_SEGMENT_SIZE_MIN + 5000, LSM_SYNCED);
    uint64_t capacity = 0;
    cr_assert_eq(wal_next(&wal, &capacity), WAL_SEGMENT_NEEDED);
    cr_assert_geq(capacity, WAL_SEGMENT_HEADER_SIZE + WAL_GROUP_HEADER_SIZE + write->size);
    struct wal_segment_header header = {.id = 2, .nonce = 22};
    cr_assert_eq(wal_segment_create(env, folder, &header, WAL_SEGMENT_SIZE_MIN, &wal.ready),
                 STATUS_OK);
    cr_assert_eq(wal_next(&wal, &capacity), WAL_SEGMENT_NEEDED);
    cr_assert_eq(wal_segment_grow(wal.ready, capacity), STATUS_OK);
    group_run();
    struct wal_recovery_segment segments[] = {live(1, 11), live(2, 22)};
    cr_assert_eq(recover(segments, 2, 0), STATUS_OK);
    expect_replayed(1, 1);
}

/* The tail that a recovery cut is still in the old segment; the next one must not see it. */
Test(wal, a_cut_tail_never_comes_back)
{
    segment_add(1, 11);
    append_group(1);
    (void)append(2, 40, LSM_BUFFERED);
    group_run();
    (void)append(3, 40, LSM_BUFFERED);
    group_run();
    flip(1, 1024 + 60); /* The second is torn, the third reached the disk whole. */
    struct wal_recovery_segment segments[] = {live(1, 11), live(2, 22)};
    cr_assert_eq(recover(segments, 1, 0), STATUS_OK);
    expect_replayed(1, 1);
    uint64_t cut = recovery.end_position;
    segments[1].start_position = cut;
    struct list_node none;
    list_init(&none);
    wal_take_writes(&wal, &none);
    wal_deinit(&wal);
    cr_assert_eq(wal_init(&wal, env, WAL_SEGMENT_SIZE_MIN, cut), STATUS_OK);
    segment_add(2, 22);
    append_group(2);
    append_group(3);
    append_group(4);
    flip(1, 1024 + 60); /* Even if the torn group reads well again. */
    cr_assert_eq(recover(segments, 2, 0), STATUS_OK);
    expect_replayed(1, 4);
    cr_assert_eq(recovery.end_position, wal.position);
    flip(1, 1024 + 60);
    cr_assert_eq(recover(segments, 2, 0), STATUS_OK);
    expect_replayed(1, 4);
    flip(1, 512 + 60); /* Below the cut all was synced. */
    cr_assert_eq(recover(segments, 2, 0), STATUS_CORRUPT);
}

Test(wal, bytes_of_another_segment_are_no_records)
{
    segment_add(1, 11);
    append_group(1);
    struct wal_recovery_segment segments[] = {live(1, 12)};
    cr_assert_eq(recover(segments, 1, 0), STATUS_OK);
    cr_assert_eq(replayed_count, 0);
}

/* Of a file that was a segment before, every old group stands where a new one could. */
Test(wal, bytes_of_a_segments_earlier_life_are_no_records)
{
    segment_add(1, 11);
    for (uint32_t i = 1; i <= 6; i++) {
        append_group(i);
    }
    uint64_t position = wal.position;
    wal.env->ops->file_close(wal.current->file);
    wal.current->file = NULL;
    cr_assert_eq(wal_spare_keep(env, folder, 1), STATUS_OK);
    struct wal_spare spare;
    cr_assert_eq(wal_spare_open(env, folder, 1, WAL_SEGMENT_SIZE_MIN, &spare), STATUS_OK);
    struct wal_segment_header header = {.id = 2, .nonce = 22};
    struct wal_segment *second = NULL;
    cr_assert_eq(wal_spare_use(env, folder, &header, &spare, &second), STATUS_OK);
    wal_segment_add(&wal, second);

    struct wal_recovery_segment segments[] = {live(2, 22)};
    cr_assert_eq(recover(segments, 1, 0), STATUS_OK);
    cr_assert_eq(replayed_count, 0);
    char *path = wal_segment_path(folder, 2);
    cr_assert_eq(wal_check_orphan(env, path, 0), STATUS_OK);
    memory_free(path);
    append_group(7);
    append_group(8);
    cr_assert_eq(recover(segments, 1, position), STATUS_OK);
    expect_replayed(7, 8);
    cr_assert_eq(recovery.end_position, wal.position);
    /* They are there, whole: only the nonce tells. */
    struct wal_recovery_segment old[] = {live(2, 11)};
    cr_assert_eq(recover(old, 1, 0), STATUS_CORRUPT, "old watermarks without the first group");
}

Test(wal, a_spare_file_is_written_to_its_end_slice_by_slice)
{
    struct wal_spare spare;
    uint64_t capacity = 2 * WAL_SPARE_SLICE_SIZE + 4096;
    uint64_t size = 0;
    uint32_t slices = 0;
    cr_assert_eq(wal_spare_create(env, folder, 5, capacity, &spare), STATUS_OK);
    while (spare.written < spare.capacity) {
        uint64_t before = spare.written;
        cr_assert_eq(wal_spare_fill(env, &spare), STATUS_OK);
        cr_assert_leq(spare.written - before, WAL_SPARE_SLICE_SIZE);
        slices++;
    }
    cr_assert_eq(slices, 3);
    cr_assert_eq(env->ops->file_size(spare.file, &size), STATUS_OK);
    cr_assert_eq(size, capacity);
    wal_spare_remove(env, folder, &spare);
    cr_assert_eq(wal_spare_open(env, folder, 5, capacity, &spare), STATUS_NOT_FOUND);
}

Test(wal, a_missing_segment_is_corruption)
{
    struct wal_recovery_segment segments[] = {live(1, 11)};
    cr_assert_eq(recover(segments, 1, 0), STATUS_CORRUPT);
}

Test(wal, a_segment_the_manifest_forgot_is_noticed)
{
    segment_add(1, 11);
    char *path = wal_segment_path(folder, 1);
    cr_assert_eq(wal_check_orphan(env, path, 0), STATUS_OK);
    append_group(1);
    cr_assert_eq(wal_check_orphan(env, path, 0), STATUS_CORRUPT);
    cr_assert_eq(wal_check_orphan(env, path, wal.position), STATUS_OK);
    memory_free(path);
}

Test(wal, queued_versions_are_known_until_the_group_retires)
{
    segment_add(1, 11);
    cr_assert_eq(wal_queued_version(&wal, slice_text("k7")).time, 0);
    (void)append(7, 40, LSM_SYNCED);
    (void)append(8, 40, LSM_BUFFERED);
    cr_assert_eq(wal_queued_version(&wal, slice_text("k7")).time, 7);
    cr_assert_eq(wal_queued_version(&wal, slice_text("k8")).time, 0, "visible already");
    uint64_t capacity = 0;
    cr_assert_eq(wal_next(&wal, &capacity), WAL_RUN);
    cr_assert_eq(wal_run(&wal), STATUS_OK);
    cr_assert_eq(wal_queued_version(&wal, slice_text("k7")).time, 7);
    group_end();
    cr_assert_eq(wal_queued_version(&wal, slice_text("k7")).time, 0);
}

Test(wal, bad_batches_are_refused)
{
    static const uint8_t bytes[LSM_KEY_SIZE_MAX + 1];
    struct lsm_record record = {.key = slice_make(bytes, 0)};
    uint64_t size = 0;
    cr_assert_eq(wal_batch_size(&record, 1, &size), STATUS_INVALID);
    record.key = slice_make(bytes, sizeof(bytes));
    cr_assert_eq(wal_batch_size(&record, 1, &size), STATUS_INVALID);
    record.key = slice_make(bytes, LSM_KEY_SIZE_MAX);
    cr_assert_eq(wal_batch_size(&record, 1, &size), STATUS_OK);
    record.cell.value = slice_make(bytes, LSM_VALUE_SIZE_MAX); /* Its size alone is looked at. */
    cr_assert_eq(wal_batch_size(&record, 1, &size), STATUS_TOO_LARGE);
}

/* The file at `path` as segment 1 of the folder; its records are 1 to `last`. */
static void golden_check(const char *path, uint32_t last)
{
    static uint8_t golden[4096];
    FILE *file = fopen(path, "rb");
    cr_assert(file != NULL);
    size_t size = fread(golden, 1, sizeof(golden), file);
    fclose(file);
    char *segment_path = wal_segment_path(folder, 1);
    file = fopen(segment_path, "wb");
    cr_assert_eq(fwrite(golden, 1, size, file), size);
    fclose(file);
    memory_free(segment_path);
    struct wal_recovery_segment segments[] = {live(1, GOLDEN_NONCE)};
    cr_assert_eq(recover(segments, 1, 0), STATUS_OK);
    expect_replayed(1, last);
}

Test(wal, golden_file_of_version_1)
{
    golden_check(GOLDEN_PATH_V1, 2);
}

/*
 * Stays readable, and is what is written now: byte for byte, but for what is packed, which is as
 * the library does it. RINGKV_GOLDEN_WRITE=1 makes the file anew, for a new version.
 */
Test(wal, golden_file_of_version_2)
{
    static const uint8_t calm[2048];
    static uint8_t made[8 * 512];
    static uint8_t golden[8 * 512];
    segment_add(1, GOLDEN_NONCE);
    append_group(1);
    append_group(2);
    cr_assert_eq(wal_append_idle(&wal), STATUS_OK);
    group_run();
    uint64_t packed_offset = wal.current->end_offset;
    (void)append_of(3, calm, sizeof(calm), LSM_SYNCED);
    group_run();
    cr_assert_eq(wal.current->end_offset, packed_offset + 512, "it is packed");
    char *path = wal_segment_path(folder, 1);
    cr_assert_eq(truncate(path, (off_t)wal.current->end_offset), 0);
    FILE *file = fopen(path, "rb");
    size_t made_size = fread(made, 1, sizeof(made), file);
    fclose(file);
    memory_free(path);
    if (getenv("RINGKV_GOLDEN_WRITE") != NULL) {
        file = fopen(GOLDEN_PATH_V2, "wb");
        cr_assert_eq(fwrite(made, 1, made_size, file), made_size);
        fclose(file);
    }
    file = fopen(GOLDEN_PATH_V2, "rb");
    cr_assert(file != NULL);
    size_t golden_size = fread(golden, 1, sizeof(golden), file);
    fclose(file);
    cr_assert_gt(golden_size, packed_offset);
    cr_assert_eq(memcmp(golden, made, packed_offset), 0);
    golden_check(GOLDEN_PATH_V2, 3);
}

Test(wal, groups_that_save_something_are_packed)
{
    static const uint8_t calm[WAL_SEGMENT_SIZE_MIN / 2];
    segment_add(1, 11);
    (void)append_of(1, calm, 500, LSM_BUFFERED); /* Too little. */
    group_run();
    (void)append_of(2, calm, 4000, LSM_BUFFERED);
    group_run();
    (void)append_of(3, noise, 4000, LSM_BUFFERED); /* In vain. */
    group_run();
    (void)append_of(4, calm, 30000, LSM_BUFFERED); /* Too large a record. */
    group_run();
    for (uint32_t i = 5; i < 9; i++) {
        (void)append_of(i, calm, 4000, LSM_SYNCED);
    }
    group_run();
    uint64_t saved = wal.position + 5 * WAL_GROUP_HEADER_SIZE - wal.bytes_written;
    cr_assert_gt(saved, 5 * 3900);
    cr_assert_lt(saved, 5 * 4100);
    struct wal_recovery_segment segments[] = {live(1, 11)};
    cr_assert_eq(recover(segments, 1, 0), STATUS_OK);
    expect_replayed(1, 8);
    cr_assert_eq(recovery.end_position, wal.position);
    cr_assert_eq(recover(segments, 1, writes[6].position), STATUS_OK, "from within a packed group");
    expect_replayed(5, 8);
}
