/*
 * tests/fuzz/replay.c -- runs a fuzz target once over every file of a corpus folder.
 *
 * Why: the corpus is a set of regression tests; it must run under every compiler and sanitizer,
 * not only where libFuzzer is. A folder without files is a failure: it would pass by checking
 * nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_SIZE_MAX (16u << 20)

static bool replay_file(const char *path, uint8_t *input)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    size_t size = fread(input, 1, INPUT_SIZE_MAX + 1, file);
    bool failed = ferror(file) != 0;
    (void)fclose(file);
    if (failed || size > INPUT_SIZE_MAX) {
        (void)fprintf(stderr, "%s: unreadable, or over %u bytes\n", path, INPUT_SIZE_MAX);
        return false;
    }
    /* A copy of exact size, so that the address sanitizer sees a read past its end. */
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    if (exact == NULL) {
        (void)fprintf(stderr, "%s: no memory\n", path);
        return false;
    }
    memcpy(exact, input, size);
    /* Named before it runs: a crash then tells its input. */
    (void)fprintf(stderr, "%s\n", path);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return true;
}

/* How many inputs ran; -1 if one could not be read. */
static long replay_folder(const char *folder, DIR *dir, uint8_t *input)
{
    long count = 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char path[PATH_MAX];
        int size = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (size < 0 || (size_t)size >= sizeof(path) || !replay_file(path, input)) {
            return -1;
        }
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *dir = opendir(argv[1]);
    if (dir == NULL) {
        (void)fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    uint8_t *input = malloc(INPUT_SIZE_MAX + 1);
    long count = input == NULL ? -1 : replay_folder(argv[1], dir, input);
    free(input);
    (void)closedir(dir);
    if (count <= 0) {
        (void)fprintf(stderr, "%s: no inputs replayed\n", argv[1]);
        return 1;
    }
    (void)printf("replayed %ld inputs\n", count);
    return 0;
}
