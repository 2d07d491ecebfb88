/*
 * tools/bench/warmth.h -- memory as on a machine that has it: tables stay in the page cache, and
 * free pages are there.
 *
 * Why: some machines take clean pages away within seconds although memory is free (a host that
 * wants it back; a container's reclaim). Then every engine waits for a disk that none is asked
 * about, and pays the kernel for it: gets of a store that fits in memory four times were measured
 * at 8 us of CPU instead of 2.
 * Invariants:
 *  (1) What is held are pages of files as they are; the engines see nothing of it, and it counts in
 *      no trial: another process holds them.
 *  (2) At most half of the machine's memory is held; beyond that tables are as warm as they are.
 */
#ifndef TOOLS_BENCH_WARMTH_H
#define TOOLS_BENCH_WARMTH_H

#include <stdint.h>

struct warmth;

/*
 * Before a trial: another process takes a part of the free memory, writes to it and gives it back.
 * A guest whose host takes free pages away waits for the host at the first touch of each (3 to 20
 * us for 4 KiB were measured), which would charge whichever engine runs after a pause. The caller
 * has no threads.
 */
void warmth_touch(void);

/*
 * A thread begins that looks at `path` (which must outlive it) a few times a second and holds what
 * tables are there: locked mappings. The caller must not fork until warmth_end().
 */
struct warmth *warmth_begin(const char *path);
/* Ends the thread and lets go of all. Says on stderr, once in a process, if the system refused. */
void warmth_end(struct warmth *warmth);

#endif
