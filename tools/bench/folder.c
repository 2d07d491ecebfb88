/* tools/bench/folder.c -- folders as trees of files. */
#include "tools/bench/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 16
#define COPY_SIZE (1u << 20)
#define BLOCK_SIZE 512 /* Of st_blocks. */

static _Noreturn void refuse(const char *what, const char *path)
{
    (void)fprintf(stderr, "bench_lsm: %s %s: %s\n", what, path, strerror(errno));
    exit(EXIT_FAILURE);
}

void folder_path(char to[FOLDER_PATH_SIZE], const char *folder, const char *name)
{
    int length = snprintf(to, FOLDER_PATH_SIZE, "%s/%s", folder, name);
    if (length < 0 || length >= FOLDER_PATH_SIZE) {
        errno = ENAMETOOLONG;
        refuse("cannot use", folder);
    }
}

void folder_make(const char *path)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        refuse("cannot make", path);
    }
}

bool folder_exists(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0;
}

static int entry_remove(const char *path, const struct stat *found, int type, struct FTW *place)
{
    (void)found;
    (void)type;
    (void)place;
    return remove(path);
}

void folder_remove(const char *path)
{
    if (folder_exists(path) &&
        nftw(path, entry_remove, DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS) != 0) {
        refuse("cannot remove", path);
    }
}

bool folder_is_table(const char *name)
{
    size_t length = strlen(name);
    return length > 4 &&
           (strcmp(name + length - 4, ".sst") == 0 || strcmp(name + length - 4, ".ldb") == 0);
}

static void file_copy(const char *from, const char *to)
{
    int source = open(from, O_RDONLY | O_CLOEXEC);
    int target = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (source < 0 || target < 0) {
        refuse("cannot copy", from);
    }
    ssize_t moved;
    while ((moved = copy_file_range(source, NULL, target, NULL, COPY_SIZE, 0)) > 0) {
    }
    if (moved < 0) {
        refuse("cannot copy", from);
    }
    (void)close(source);
    (void)close(target);
}

/* One folder deep, which is all an engine has. */
void folder_copy(const char *from, const char *to)
{
    folder_make(to);
    DIR *dir = opendir(from);
    if (dir == NULL) {
        refuse("cannot read", from);
    }
    struct dirent *entry;
    /* Alone in its process. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((entry = readdir(dir)) != NULL) {
        char source[FOLDER_PATH_SIZE];
        char target[FOLDER_PATH_SIZE];
        folder_path(source, from, entry->d_name);
        folder_path(target, to, entry->d_name);
        struct stat found;
        if (lstat(source, &found) != 0) {
            refuse("cannot read", source);
        }
        if (!S_ISREG(found.st_mode)) {
            continue;
        }
        if (!folder_is_table(entry->d_name)) {
            file_copy(source, target);
        } else if (link(source, target) != 0) {
            refuse("cannot link", source);
        }
    }
    (void)closedir(dir);
}

static uint64_t weighed;

static int entry_weigh(const char *path, const struct stat *found, int type, struct FTW *place)
{
    (void)path;
    (void)place;
    weighed += type == FTW_F ? (uint64_t)found->st_blocks * BLOCK_SIZE : 0;
    return 0;
}

uint64_t folder_size(const char *path)
{
    weighed = 0;
    /* A file that an engine removes meanwhile is passed over. */
    (void)nftw(path, entry_weigh, DESCRIPTORS_MAX, FTW_PHYS);
    return weighed;
}
