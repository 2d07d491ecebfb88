/*
 * tests/unit/test_disk_sim.c -- what a crash may leave of a simulated disk, and what it may not.
 */
#include <signal.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/sim/disk_sim.h"

#define SEED_COUNT 300
#define SECTOR ENV_SECTOR_SIZE

/* A disk without a world around it. */
struct bench {
    struct prng prng;
    uint64_t hash;
    uint64_t cost_ns;
    bool may_block;
    struct disk_sim *disk;
};

static void bench_open(struct bench *bench, uint64_t seed)
{
    *bench = (struct bench){.may_block = true};
    prng_init(&bench->prng, seed);
    struct disk_sim_options options = {.faults = {.capacity_size = 1u << 30}};
    struct disk_world world = {.prng = &bench->prng,
                               .hash = &bench->hash,
                               .cost_ns = &bench->cost_ns,
                               .may_block = &bench->may_block};
    bench->disk = disk_sim_create(&options, &world);
}

static void bench_close(struct bench *bench)
{
    disk_sim_destroy(bench->disk);
}

static struct env_file *file_make(struct bench *bench, const char *path)
{
    struct env_file *file = NULL;
    cr_assert_eq(disk_sim_open(bench->disk, path, ENV_OPEN_CREATE, &file), STATUS_OK);
    return file;
}

static void fill(struct env_file *file, uint64_t offset, size_t size, int byte)
{
    static uint8_t bytes[64 * 1024];
    cr_assert(size <= sizeof(bytes));
    memset(bytes, byte, size);
    cr_assert_eq(disk_sim_write(file, offset, slice_make(bytes, size)), STATUS_OK);
}

/* The whole file; its size, or -1 if there is none. */
static long content(struct bench *bench, const char *path, uint8_t *to, size_t capacity)
{
    struct env_file *file = NULL;
    if (disk_sim_open(bench->disk, path, ENV_OPEN_READ, &file) != STATUS_OK) {
        return -1;
    }
    uint64_t size = 0;
    size_t got = 0;
    cr_assert_eq(disk_sim_size(file, &size), STATUS_OK);
    cr_assert(size <= capacity);
    cr_assert_eq(disk_sim_read(file, 0, to, capacity, &got), STATUS_OK);
    cr_assert_eq(got, size);
    disk_sim_close(file);
    return (long)size;
}

static bool exists(struct bench *bench, const char *path)
{
    static uint8_t bytes[64 * 1024];
    return content(bench, path, bytes, sizeof(bytes)) >= 0;
}

Test(disk_sim, reads_give_what_was_written_like_a_model)
{
    struct bench bench;
    bench_open(&bench, 1);
    static uint8_t model[64 * 1024];
    static uint8_t bytes[64 * 1024];
    static uint8_t got_bytes[64 * 1024];
    memset(model, 0, sizeof(model));
    uint64_t size = 0;
    struct env_file *file = file_make(&bench, "f");
    for (int step = 0; step < 4000; step++) {
        uint64_t offset = prng_below(&bench.prng, 40000);
        size_t length = (size_t)prng_below(&bench.prng, 9000);
        uint64_t action = prng_below(&bench.prng, 10);
        if (action < 6) {
            memset(bytes, (int)prng_below(&bench.prng, 256), length);
            cr_assert_eq(disk_sim_write(file, offset, slice_make(bytes, length)), STATUS_OK);
            memcpy(model + offset, bytes, length);
            size = length > 0 && offset + length > size ? offset + length : size;
        } else if (action == 6) {
            cr_assert_eq(disk_sim_truncate(file, offset), STATUS_OK);
            if (offset < size) {
                memset(model + offset, 0, (size_t)(size - offset));
            }
            size = offset;
        } else if (action == 7) {
            cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        } else if (action == 8) {
            cr_assert_eq(disk_sim_reserve(file, offset, length), STATUS_OK);
            size = length > 0 && offset + length > size ? offset + length : size;
        }
        size_t got = 0;
        cr_assert_eq(disk_sim_read(file, 0, got_bytes, sizeof(got_bytes), &got), STATUS_OK);
        cr_assert_eq(got, size, "step %d", step);
        cr_assert_arr_eq(got_bytes, model, got, "step %d", step);
    }
    disk_sim_close(file);
    bench_close(&bench);
}

Test(disk_sim, an_unsynced_sector_is_old_or_new_and_every_mixture_comes)
{
    bool seen[4] = {false};
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        struct bench bench;
        bench_open(&bench, seed);
        struct env_file *file = file_make(&bench, "f");
        fill(file, 0, 2 * SECTOR, 'a');
        cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        cr_assert_eq(disk_sim_dir_sync(bench.disk, "/"), STATUS_OK);
        fill(file, 100, 2 * SECTOR - 200, 'b');
        disk_sim_crash(bench.disk, true);
        uint8_t bytes[4 * SECTOR];
        cr_assert_eq(content(&bench, "f", bytes, sizeof(bytes)), 2 * SECTOR);
        int state = 0;
        for (int sector = 0; sector < 2; sector++) {
            int first = sector == 0 ? 100 : 0;
            int end = sector == 0 ? SECTOR : SECTOR - 100;
            int is_new = bytes[sector * SECTOR + first] == 'b';
            for (int index = 0; index < (int)SECTOR; index++) {
                bool written = index >= first && index < end;
                cr_assert_eq(bytes[sector * SECTOR + index], written && is_new ? 'b' : 'a',
                             "seed %d sector %d byte %d", (int)seed, sector, index);
            }
            state |= is_new << sector;
        }
        seen[state] = true;
        bench_close(&bench);
    }
    for (int state = 0; state < 4; state++) {
        cr_expect(seen[state], "mixture %d never came", state);
    }
}

Test(disk_sim, synced_bytes_survive_every_crash)
{
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        struct bench bench;
        bench_open(&bench, seed);
        struct env_file *file = file_make(&bench, "f");
        fill(file, 0, 20000, 'a');
        cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        cr_assert_eq(disk_sim_dir_sync(bench.disk, ""), STATUS_OK);
        fill(file, 20480, 20000, 'b');
        disk_sim_crash(bench.disk, true);
        static uint8_t bytes[64 * 1024];
        cr_assert_geq(content(&bench, "f", bytes, sizeof(bytes)), 20000, "seed %d", (int)seed);
        for (int index = 0; index < 20000; index++) {
            cr_assert_eq(bytes[index], 'a', "seed %d byte %d", (int)seed, index);
        }
        bench_close(&bench);
    }
}

Test(disk_sim, the_end_of_a_process_loses_nothing_and_makes_nothing_durable)
{
    int lost = 0;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        struct bench bench;
        bench_open(&bench, seed);
        fill(file_make(&bench, "f"), 0, 3 * SECTOR, 'a');
        disk_sim_crash(bench.disk, false);
        uint8_t bytes[4 * SECTOR];
        cr_assert_eq(content(&bench, "f", bytes, sizeof(bytes)), 3 * SECTOR);
        cr_assert_eq(bytes[1000], 'a');
        disk_sim_crash(bench.disk, true);
        lost += !exists(&bench, "f");
        bench_close(&bench);
    }
    cr_expect_gt(lost, SEED_COUNT / 10);
    cr_expect_lt(lost, SEED_COUNT);
}

Test(disk_sim, a_renamed_file_is_under_one_of_its_names)
{
    int under_old = 0;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        struct bench bench;
        bench_open(&bench, seed);
        struct env_file *file = file_make(&bench, "current");
        fill(file, 0, SECTOR, 'o');
        cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        cr_assert_eq(disk_sim_dir_sync(bench.disk, "."), STATUS_OK);
        file = file_make(&bench, "current.tmp");
        fill(file, 0, SECTOR, 'n');
        cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        cr_assert_eq(disk_sim_rename(bench.disk, "current.tmp", "current"), STATUS_OK);
        disk_sim_crash(bench.disk, true);
        uint8_t bytes[2 * SECTOR];
        cr_assert_eq(content(&bench, "current", bytes, sizeof(bytes)), SECTOR, "seed %d",
                     (int)seed);
        if (bytes[0] == 'n') {
            cr_assert_not(exists(&bench, "current.tmp"), "seed %d", (int)seed);
        } else {
            cr_assert_eq(bytes[0], 'o');
            under_old++;
        }
        bench_close(&bench);
    }
    cr_expect_gt(under_old, 0);
    cr_expect_lt(under_old, SEED_COUNT);
}

/* Were the rename lost and the create kept, what the first file held would be under no name. */
Test(disk_sim, a_name_used_again_never_hides_a_rename_that_was_lost)
{
    int under_backup = 0;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        struct bench bench;
        bench_open(&bench, seed);
        struct env_file *file = file_make(&bench, "log");
        fill(file, 0, SECTOR, 'o');
        cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        cr_assert_eq(disk_sim_dir_sync(bench.disk, ""), STATUS_OK);
        cr_assert_eq(disk_sim_rename(bench.disk, "log", "backup"), STATUS_OK);
        disk_sim_close(file_make(&bench, "log"));
        disk_sim_crash(bench.disk, true);
        uint8_t bytes[2 * SECTOR];
        bool backup = exists(&bench, "backup");
        long size = content(&bench, backup ? "backup" : "log", bytes, sizeof(bytes));
        cr_assert_eq(size, SECTOR, "seed %d", (int)seed);
        cr_assert_eq(bytes[0], 'o');
        under_backup += backup;
        bench_close(&bench);
    }
    cr_expect_gt(under_backup, 0);
    cr_expect_lt(under_backup, SEED_COUNT);
}

Test(disk_sim, only_dir_sync_makes_a_name_sure)
{
    int without = 0;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        struct bench bench;
        bench_open(&bench, seed);
        cr_assert_eq(disk_sim_dir_create(bench.disk, "/d"), STATUS_OK);
        cr_assert_eq(disk_sim_dir_sync(bench.disk, "/"), STATUS_OK);
        disk_sim_close(file_make(&bench, "d/sure"));
        cr_assert_eq(disk_sim_dir_sync(bench.disk, "/d/"), STATUS_OK);
        cr_assert_eq(disk_sim_link(bench.disk, "d/sure", "d/moved"), STATUS_OK);
        cr_assert_eq(disk_sim_dir_create(bench.disk, "d/sub"), STATUS_OK);
        disk_sim_close(file_make(&bench, "d/sub/inner"));
        cr_assert_eq(disk_sim_dir_sync(bench.disk, "d/sub"), STATUS_OK);
        disk_sim_crash(bench.disk, true);
        cr_assert(exists(&bench, "d/sure"), "seed %d", (int)seed);
        without += !exists(&bench, "d/sub/inner");
        bench_close(&bench);
    }
    cr_expect_gt(without, 0, "a folder that was not synced in its parent may be gone");
    cr_expect_lt(without, SEED_COUNT);
}

Test(disk_sim, after_a_freeze_calls_go_on_and_leave_nothing)
{
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        struct bench bench;
        bench_open(&bench, seed);
        struct env_file *file = file_make(&bench, "f");
        fill(file, 0, SECTOR, 'a');
        cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        cr_assert_eq(disk_sim_dir_sync(bench.disk, ""), STATUS_OK);
        disk_sim_freeze_in(bench.disk, 2);
        fill(file, 0, SECTOR, 'b');
        cr_assert_not(disk_sim_frozen(bench.disk));
        cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        cr_assert(disk_sim_frozen(bench.disk));
        fill(file, 0, SECTOR, 'c');
        cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        cr_assert_eq(disk_sim_remove(bench.disk, "f"), STATUS_OK);
        cr_assert_eq(disk_sim_dir_sync(bench.disk, ""), STATUS_OK);
        cr_assert_not(exists(&bench, "f"));
        disk_sim_crash(bench.disk, true);
        uint8_t bytes[2 * SECTOR];
        cr_assert_eq(content(&bench, "f", bytes, sizeof(bytes)), SECTOR);
        cr_assert(bytes[0] == 'a' || bytes[0] == 'b', "seed %d: %c", (int)seed, bytes[0]);
        bench_close(&bench);
    }
}

Test(disk_sim, a_failed_sync_poisons_the_handle_and_loses_some_for_good)
{
    int lost = 0;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        struct bench bench;
        bench_open(&bench, seed);
        struct env_file *file = file_make(&bench, "f");
        fill(file, 0, 8 * SECTOR, 'a');
        cr_assert_eq(disk_sim_sync(file), STATUS_OK);
        cr_assert_eq(disk_sim_dir_sync(bench.disk, ""), STATUS_OK);
        fill(file, 0, 8 * SECTOR, 'b');
        disk_sim_faults(bench.disk)->sync_error_ppm = 1000000;
        cr_assert_eq(disk_sim_sync(file), STATUS_IO);
        disk_sim_faults(bench.disk)->sync_error_ppm = 0;
        cr_assert_eq(disk_sim_sync(file), STATUS_IO, "poisoned for good");
        struct env_file *other = NULL;
        cr_assert_eq(disk_sim_open(bench.disk, "f", ENV_OPEN_WRITE, &other), STATUS_OK);
        cr_assert_eq(disk_sim_sync(other), STATUS_OK);
        disk_sim_crash(bench.disk, true);
        uint8_t bytes[8 * SECTOR];
        cr_assert_eq(content(&bench, "f", bytes, sizeof(bytes)), sizeof(bytes));
        for (int sector = 0; sector < 8; sector++) {
            lost += bytes[sector * (int)SECTOR] == 'a';
        }
        bench_close(&bench);
    }
    cr_expect_gt(lost, SEED_COUNT);
}

Test(disk_sim, space_is_counted_and_ends)
{
    struct bench bench;
    bench_open(&bench, 3);
    disk_sim_faults(bench.disk)->capacity_size = 10 * 4096;
    struct env_file *file = file_make(&bench, "f");
    cr_assert_eq(disk_sim_reserve(file, 0, 8 * 4096), STATUS_OK);
    fill(file, 0, 8 * 4096, 'x'); /* Into what is reserved. */
    uint64_t space = 0;
    cr_assert_eq(disk_sim_space_free(bench.disk, "", &space), STATUS_OK);
    cr_expect_eq(space, 2 * 4096);
    cr_expect_eq(disk_sim_reserve(file, 8 * 4096, 3 * 4096), STATUS_NO_SPACE);
    uint8_t bytes[3 * 4096] = {0};
    cr_expect_eq(disk_sim_write(file, 8 * 4096, slice_make(bytes, sizeof(bytes))), STATUS_NO_SPACE);
    cr_assert_eq(disk_sim_remove(bench.disk, "f"), STATUS_OK);
    cr_expect_gt(disk_sim_used_size(bench.disk), 0, "an open file keeps its space");
    disk_sim_close(file);
    cr_expect_eq(disk_sim_used_size(bench.disk), 0);
    bench_close(&bench);
}

static void names_collect(void *context, const char *name)
{
    strcat(context, name);
    strcat(context, " ");
}

Test(disk_sim, folders_list_sorted_lock_once_and_refuse_what_is_not_there)
{
    struct bench bench;
    bench_open(&bench, 4);
    cr_assert_eq(disk_sim_dir_create(bench.disk, "d"), STATUS_OK);
    cr_expect_eq(disk_sim_dir_create(bench.disk, "d"), STATUS_EXISTS);
    cr_expect_eq(disk_sim_dir_create(bench.disk, "no/d"), STATUS_NOT_FOUND);
    disk_sim_close(file_make(&bench, "d/b"));
    disk_sim_close(file_make(&bench, "d/a.x"));
    cr_assert_eq(disk_sim_dir_create(bench.disk, "d/a"), STATUS_OK);
    disk_sim_close(file_make(&bench, "d/a/z"));
    disk_sim_close(file_make(&bench, "d-other"));
    char names[200] = "";
    cr_assert_eq(disk_sim_dir_list(bench.disk, "/d", names_collect, names), STATUS_OK);
    cr_expect_str_eq(names, "a a.x b ");
    names[0] = '\0';
    cr_assert_eq(disk_sim_dir_list(bench.disk, "/", names_collect, names), STATUS_OK);
    cr_expect_str_eq(names, "d d-other ");
    cr_expect_eq(disk_sim_remove(bench.disk, "d/a"), STATUS_EXISTS);
    struct env_file *file = NULL;
    cr_expect_eq(disk_sim_open(bench.disk, "d/b", ENV_OPEN_CREATE, &file), STATUS_EXISTS);
    cr_expect_eq(disk_sim_open(bench.disk, "d/c", ENV_OPEN_WRITE, &file), STATUS_NOT_FOUND);
    struct env_dir_lock *lock = NULL;
    struct env_dir_lock *second = NULL;
    cr_assert_eq(disk_sim_dir_lock(bench.disk, "d", &lock), STATUS_OK);
    cr_expect_eq(disk_sim_dir_lock(bench.disk, "/d/", &second), STATUS_LOCKED);
    disk_sim_crash(bench.disk, false);
    cr_expect_eq(disk_sim_dir_lock(bench.disk, "d", &second), STATUS_OK);
    disk_sim_dir_unlock(second);
    bench_close(&bench);
}

Test(disk_sim, a_file_call_outside_a_job_is_a_bug, .signal = SIGABRT)
{
    struct bench bench;
    bench_open(&bench, 5);
    bench.may_block = false;
    (void)disk_sim_remove(bench.disk, "f");
}
