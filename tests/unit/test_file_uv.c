/* tests/unit/test_file_uv.c -- files and names on a real disk, and what a full one says. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/env_uv.h"

#define PATH_SIZE 512

static struct env *env;
static char folder[PATH_SIZE];

static const char *path_of(const char *name)
{
    static char paths[8][PATH_SIZE];
    static unsigned next;
    char *path = paths[next++ % 8];
    cr_assert_lt(snprintf(path, PATH_SIZE, "%s/%s", folder, name), PATH_SIZE);
    return path;
}

static void setup(void)
{
    struct env_uv_options options = {.pool_threads = 1, .log_level = LOG_ERROR};
    cr_assert_eq(env_uv_open(&options, &env), STATUS_OK);
    /* Beside the test program: /tmp may be a tmpfs, which knows no RWF_NOWAIT. */
    snprintf(folder, sizeof(folder), "./test_file_uv.XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void remove_each(void *context, const char *name)
{
    (void)context;
    (void)remove(path_of(name));
}

static void teardown(void)
{
    cr_assert_eq(env->ops->dir_list(env, folder, remove_each, NULL), STATUS_OK);
    cr_assert_eq(env->ops->name_remove(env, folder), STATUS_OK);
    env_uv_close(env);
}

TestSuite(file_uv, .init = setup, .fini = teardown, .timeout = 60);

static struct env_file *file_create(const char *name)
{
    struct env_file *file = NULL;
    cr_assert_eq(env->ops->file_open(env, path_of(name), ENV_OPEN_CREATE, &file), STATUS_OK);
    return file;
}

Test(file_uv, what_is_written_is_read_and_short_only_at_the_end)
{
    struct env_file *file = file_create("a");
    cr_assert_eq(env->ops->file_write(file, 3, slice_text("hello")), STATUS_OK);
    cr_assert_eq(env->ops->file_sync(file), STATUS_OK);
    uint64_t size = 0;
    cr_assert_eq(env->ops->file_size(file, &size), STATUS_OK);
    cr_assert_eq(size, 8);
    char text[16];
    size_t got = 99;
    cr_assert_eq(env->ops->file_read(file, 0, text, sizeof(text), &got), STATUS_OK);
    cr_assert_eq(got, 8);
    cr_assert_arr_eq(text, "\0\0\0hello", 8);
    cr_assert_eq(env->ops->file_read(file, 5, text, 2, &got), STATUS_OK);
    cr_assert_eq(got, 2);
    cr_assert_arr_eq(text, "ll", 2);
    cr_assert_eq(env->ops->file_read(file, 8, text, 2, &got), STATUS_OK);
    cr_assert_eq(got, 0);
    cr_assert_eq(env->ops->file_truncate(file, 4), STATUS_OK);
    cr_assert_eq(env->ops->file_size(file, &size), STATUS_OK);
    cr_assert_eq(size, 4);
    env->ops->file_close(file);
}

Test(file_uv, open_modes_say_what_is_there)
{
    struct env_file *file = NULL;
    cr_assert_eq(env->ops->file_open(env, path_of("a"), ENV_OPEN_READ, &file), STATUS_NOT_FOUND);
    cr_assert_eq(env->ops->file_open(env, path_of("a"), ENV_OPEN_WRITE, &file), STATUS_NOT_FOUND);
    cr_assert_null(file, "out-parameters are set on STATUS_OK alone");
    env->ops->file_close(file_create("a"));
    cr_assert_eq(env->ops->file_open(env, path_of("a"), ENV_OPEN_CREATE, &file), STATUS_EXISTS);
    cr_assert_eq(env->ops->file_open(env, path_of("a"), ENV_OPEN_READ, &file), STATUS_OK);
    cr_assert_eq(env->ops->file_write(file, 0, slice_text("x")), STATUS_IO, "opened to read");
    env->ops->file_close(file);
    cr_assert_eq(env->ops->file_open(env, path_of("a"), ENV_OPEN_WRITE, &file), STATUS_OK);
    cr_assert_eq(env->ops->file_write(file, 0, slice_text("x")), STATUS_OK);
    env->ops->file_close(file);
}

Test(file_uv, nowait_reads_what_is_in_memory_or_says_it_would_block)
{
    enum { SIZE = 1 << 20 };
    static uint8_t bytes[SIZE];
    static uint8_t back[SIZE];
    for (size_t index = 0; index < SIZE; index++) {
        bytes[index] = (uint8_t)(index * 31 + index / 251);
    }
    struct env_file *file = file_create("a");
    cr_assert_eq(env->ops->file_write(file, 0, slice_make(bytes, SIZE)), STATUS_OK);
    cr_assert_eq(env->ops->file_sync(file), STATUS_OK);
    size_t got = 0;
    enum status warm = env->ops->file_read_nowait(file, 0, back, SIZE, &got);
    if (warm == STATUS_WOULD_BLOCK) {
        fprintf(stderr,
                "file_uv: this file system knows no RWF_NOWAIT; half of this case skipped\n");
    } else {
        cr_assert_eq(warm, STATUS_OK);
        cr_assert_eq(got, SIZE);
        cr_assert_arr_eq(back, bytes, SIZE);
        cr_assert_eq(env->ops->file_read_nowait(file, SIZE - 10, back, 100, &got), STATUS_OK);
        cr_assert_eq(got, 10, "short at the end");
        cr_assert_eq(env->ops->file_read_nowait(file, SIZE, back, 100, &got), STATUS_OK);
        cr_assert_eq(got, 0);
    }
    env->ops->file_close(file);
    /* Cold: dropped from memory, as far as the kernel follows the advice. */
    int fd = open(path_of("a"), O_RDONLY);
    cr_assert_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(fd);
    cr_assert_eq(env->ops->file_open(env, path_of("a"), ENV_OPEN_READ, &file), STATUS_OK);
    enum status cold = env->ops->file_read_nowait(file, SIZE / 2, back, 4096, &got);
    cr_assert(cold == STATUS_WOULD_BLOCK || cold == STATUS_OK, "%d", cold);
    if (cold == STATUS_OK) {
        cr_assert_arr_eq(back, bytes + SIZE / 2, 4096);
    }
    cr_assert_eq(env->ops->file_read(file, SIZE / 2, back, 4096, &got), STATUS_OK);
    cr_assert_arr_eq(back, bytes + SIZE / 2, 4096);
    env->ops->file_close(file);
}

/* The descriptor that has `path` open. */
static int descriptor_of(const char *path)
{
    char real[PATH_SIZE * 2];
    char *resolved = realpath(path, NULL);
    cr_assert_not_null(resolved);
    DIR *dir = opendir("/proc/self/fd");
    int found = -1;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        ssize_t size = readlinkat(dirfd(dir), entry->d_name, real, sizeof(real) - 1);
        if (size > 0) {
            real[size] = '\0';
            found = strcmp(real, resolved) == 0 ? atoi(entry->d_name) : found;
        }
    }
    closedir(dir);
    free(resolved);
    return found;
}

/* A pipe cannot be synced. Then the descriptor is made good again: the handle must not be. */
Test(file_uv, after_a_failed_sync_the_handle_stays_poisoned)
{
    struct env_file *file = NULL;
    cr_assert_eq(mkfifo(path_of("pipe"), 0600), 0);
    cr_assert_eq(env->ops->file_open(env, path_of("pipe"), ENV_OPEN_WRITE, &file), STATUS_OK);
    cr_assert_eq(env->ops->file_sync(file), STATUS_IO);
    int fd = descriptor_of(path_of("pipe"));
    cr_assert_geq(fd, 0);
    int good = open(path_of("good"), O_RDWR | O_CREAT, 0600);
    cr_assert_eq(dup2(good, fd), fd);
    close(good);
    cr_assert_eq(fdatasync(fd), 0, "the descriptor itself syncs now");
    cr_assert_eq(env->ops->file_sync(file), STATUS_IO);
    cr_assert_eq(env->ops->file_sync(file), STATUS_IO);
    env->ops->file_close(file);
}

Test(file_uv, reserve_extends_and_keeps_what_is_there)
{
    struct env_file *file = file_create("a");
    cr_assert_eq(env->ops->file_write(file, 0, slice_text("keep")), STATUS_OK);
    cr_assert_eq(env->ops->file_reserve(file, 0, 100000), STATUS_OK);
    uint64_t size = 0;
    cr_assert_eq(env->ops->file_size(file, &size), STATUS_OK);
    cr_assert_eq(size, 100000);
    struct stat about;
    cr_assert_eq(stat(path_of("a"), &about), 0);
    cr_assert_geq((uint64_t)about.st_blocks * 512, 100000, "allocated, not a hole");
    char text[4];
    size_t got;
    cr_assert_eq(env->ops->file_read(file, 0, text, 4, &got), STATUS_OK);
    cr_assert_arr_eq(text, "keep", 4);
    env->ops->file_close(file);
}

Test(file_uv, names_are_linked_renamed_removed_and_synced)
{
    struct env_file *file = file_create("a");
    cr_assert_eq(env->ops->file_write(file, 0, slice_text("A")), STATUS_OK);
    env->ops->file_close(file);
    env->ops->file_close(file_create("b"));
    cr_assert_eq(env->ops->name_link(env, path_of("a"), path_of("c")), STATUS_OK);
    cr_assert_eq(env->ops->name_link(env, path_of("a"), path_of("b")), STATUS_EXISTS);
    cr_assert_eq(env->ops->name_link(env, path_of("x"), path_of("y")), STATUS_NOT_FOUND);
    cr_assert_eq(env->ops->name_rename(env, path_of("a"), path_of("b")), STATUS_OK, "replaces");
    cr_assert_eq(env->ops->name_rename(env, path_of("a"), path_of("b")), STATUS_NOT_FOUND);
    uint64_t size = 0;
    cr_assert_eq(env->ops->file_open(env, path_of("b"), ENV_OPEN_READ, &file), STATUS_OK);
    cr_assert_eq(env->ops->file_size(file, &size), STATUS_OK);
    cr_assert_eq(size, 1);
    env->ops->file_close(file);
    cr_assert_eq(env->ops->name_remove(env, path_of("c")), STATUS_OK);
    cr_assert_eq(env->ops->name_remove(env, path_of("c")), STATUS_NOT_FOUND);
    cr_assert_eq(env->ops->dir_create(env, path_of("d")), STATUS_OK);
    cr_assert_eq(env->ops->dir_create(env, path_of("d")), STATUS_EXISTS);
    cr_assert_eq(env->ops->dir_sync(env, folder), STATUS_OK);
    cr_assert_eq(env->ops->dir_sync(env, path_of("none")), STATUS_NOT_FOUND);
    env->ops->file_close(file_create("d/inner"));
    cr_assert_eq(env->ops->name_remove(env, path_of("d")), STATUS_EXISTS, "not empty");
    cr_assert_eq(env->ops->name_remove(env, path_of("d/inner")), STATUS_OK);
    cr_assert_eq(env->ops->name_remove(env, path_of("d")), STATUS_OK);
    uint64_t bytes = 0;
    cr_assert_eq(env->ops->space_free(env, folder, &bytes), STATUS_OK);
    cr_assert_gt(bytes, 0);
    cr_assert_eq(env->ops->space_free(env, path_of("none"), &bytes), STATUS_NOT_FOUND);
}

struct listing {
    char last[PATH_SIZE];
    unsigned count;
};

static void listing_each(void *context, const char *name)
{
    struct listing *listing = context;
    cr_assert_lt(strcmp(listing->last, name), 0, "%s before %s", listing->last, name);
    snprintf(listing->last, sizeof(listing->last), "%s", name);
    listing->count++;
}

Test(file_uv, a_listing_is_sorted_bytewise)
{
    for (int index = 0; index < 200; index++) {
        char name[32];
        snprintf(name, sizeof(name), "%c%d", index % 2 == 0 ? 'Z' : 'a', (index * 37) % 200);
        env->ops->file_close(file_create(name));
    }
    struct listing listing = {0};
    cr_assert_eq(env->ops->dir_list(env, folder, listing_each, &listing), STATUS_OK);
    cr_assert_eq(listing.count, 200);
    cr_assert_eq(env->ops->dir_list(env, path_of("none"), listing_each, &listing),
                 STATUS_NOT_FOUND);
}

Test(file_uv, a_folder_is_locked_once_also_within_one_process)
{
    struct env_dir_lock *lock = NULL;
    struct env_dir_lock *second = NULL;
    cr_assert_eq(env->ops->dir_lock(env, folder, &lock), STATUS_OK);
    cr_assert_eq(env->ops->dir_lock(env, folder, &second), STATUS_LOCKED);
    cr_assert_null(second);
    env->ops->dir_unlock(lock);
    cr_assert_eq(env->ops->dir_lock(env, folder, &second), STATUS_OK);
    env->ops->dir_unlock(second);
    cr_assert_eq(env->ops->dir_lock(env, path_of("none"), &second), STATUS_NOT_FOUND);
}

/* In a mount namespace of this test's own process: gone with it, whatever happens. */
static bool tiny_disk(const char *type, const char *options)
{
    cr_assert_eq(mkdir(path_of("disk"), 0700), 0);
    bool mounted = unshare(CLONE_NEWNS) == 0 &&
                   mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                   mount("none", path_of("disk"), type, 0, options) == 0;
    if (!mounted) {
        fprintf(stderr, "file_uv: cannot mount a %s (%s); this case is skipped\n", type,
                strerror(errno));
    }
    return mounted;
}

Test(file_uv, a_full_disk_is_no_space)
{
    if (!tiny_disk("tmpfs", "size=256k")) {
        cr_skip_test("no mount");
    }
    static uint8_t bytes[512 << 10];
    struct env_file *file = file_create("disk/a");
    cr_assert_eq(env->ops->file_reserve(file, 0, sizeof(bytes)), STATUS_NO_SPACE);
    cr_assert_eq(env->ops->file_write(file, 0, slice_make(bytes, sizeof(bytes))), STATUS_NO_SPACE);
    cr_assert_eq(env->ops->file_truncate(file, 0), STATUS_OK);
    cr_assert_eq(env->ops->file_reserve(file, 0, 128 << 10), STATUS_OK, "after making room");
    size_t got;
    uint8_t byte;
    cr_assert_eq(env->ops->file_read_nowait(file, 0, &byte, 1, &got), STATUS_WOULD_BLOCK,
                 "tmpfs knows no RWF_NOWAIT");
    env->ops->file_close(file);
    cr_assert_eq(umount(path_of("disk")), 0);
}

Test(file_uv, reserve_writes_zeros_where_the_file_system_cannot_allocate)
{
    if (!tiny_disk("ramfs", NULL)) {
        cr_skip_test("no mount");
    }
    struct env_file *file = file_create("disk/a");
    cr_assert_eq(env->ops->file_write(file, 0, slice_text("keep")), STATUS_OK);
    cr_assert_eq(env->ops->file_reserve(file, 2, 200001), STATUS_OK);
    uint64_t size = 0;
    cr_assert_eq(env->ops->file_size(file, &size), STATUS_OK);
    cr_assert_eq(size, 200003);
    cr_assert_eq(env->ops->file_reserve(file, 0, 10), STATUS_OK, "never shrinks");
    cr_assert_eq(env->ops->file_size(file, &size), STATUS_OK);
    cr_assert_eq(size, 200003);
    char text[5];
    size_t got;
    cr_assert_eq(env->ops->file_read(file, 0, text, 5, &got), STATUS_OK);
    cr_assert_arr_eq(text, "keep\0", 5);
    env->ops->file_close(file);
    cr_assert_eq(umount(path_of("disk")), 0);
}
