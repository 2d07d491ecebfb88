/*
 * tools/bench/folder.h -- whole folders of a bench: made, copied, weighed, removed.
 *
 * All of them stop the program, with a word on stderr, if the disk refuses: a bench cannot go on
 * without its folders. Folders within folders are followed, links are not.
 */
#ifndef TOOLS_BENCH_FOLDER_H
#define TOOLS_BENCH_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#define FOLDER_PATH_SIZE 4096

void folder_path(char to[FOLDER_PATH_SIZE], const char *folder, const char *name);
void folder_make(const char *path); /* Nothing, if it is there. */
bool folder_exists(const char *path);
void folder_remove(const char *path); /* Nothing, if it is not there. */
/* Whether an engine never changes a file of this name once it is written: .sst, .ldb. */
bool folder_is_table(const char *name);
/*
 * Tables are linked, the other files copied, so a copy costs little and shares its pages in memory
 * with what it was copied from.
 */
void folder_copy(const char *from, const char *to);
uint64_t folder_size(const char *path); /* Bytes it takes on the disk. */

#endif
