/*
 * tests/sim/disk_sim.h -- the disk of one simulated node: a file system in memory that crashes.
 *
 * Contract:
 *  (1) Every file keeps two images, what the process sees and what is durable; a 512-byte sector
 *      that was written and not synced is after a power loss old or new, drawn for each alone (so
 *      writes are lost, torn and reordered), never mixed.
 *  (2) A name (created, linked, renamed, removed) that was not dir_synced is after a power loss old
 *      or new. What happened to one name happens in order: a prefix of it survives; a rename
 *      happened to both its names or to none.
 *  (3) A size that was not synced is after a power loss old, new, or (growing) between.
 *  (4) A crash of the process alone loses nothing, and makes nothing durable either.
 *  (5) A failed sync makes a drawn part durable; of the rest some is lost although still visible
 *      and counted clean, some reads as before the write. The handle then never syncs again.
 *  (6) Frozen: the calls of that incarnation go on working, on an image that the crash discards.
 */
#ifndef TESTS_SIM_DISK_SIM_H
#define TESTS_SIM_DISK_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/prng.h"

struct disk_sim;

/* Chances in parts per million of one call. May be changed at any time, see disk_sim_faults(). */
struct disk_faults {
    uint32_t read_error_ppm;   /* STATUS_IO. */
    uint32_t write_error_ppm;  /* STATUS_IO; any of the sectors may have been written. */
    bool write_error_no_space; /* Writes of bytes then fail with STATUS_NO_SPACE instead. */
    uint32_t sync_error_ppm;   /* STATUS_IO; see (5). */
    uint32_t name_error_ppm;   /* STATUS_IO of open, rename, remove, ..., nothing done. */
    uint32_t slow_ppm;         /* The call takes slow_ns. */
    uint32_t would_block_ppm;  /* file_read_nowait finds nothing in memory. */
    uint64_t slow_ns;
    uint64_t capacity_size; /* Bytes; STATUS_NO_SPACE beyond. May shrink below what is used. */
    /* Errors of writing, syncing and naming come only to paths with this in them; NULL: to all.
     * Must outlive its use. */
    const char *error_path_part;
    /* The n-th call from now on that could so fail (1: the next) fails once; 0: none. */
    uint64_t error_countdown;
};

struct disk_sim_options {
    struct disk_faults faults;
    uint64_t read_ns_max; /* Virtual time of one call is drawn up to this. */
    uint64_t write_ns_max;
    uint64_t sync_ns_max;
    uint64_t name_ns_max;
    /* A planted fault: syncs of files that were opened under a name with one of these ends, set off
     * by commas, only say STATUS_OK. NULL: none. */
    const char *sync_skipped;
};

/* What the disk asks of the world; installed by world_node_add(). */
struct disk_world {
    struct prng *prng;
    uint64_t *hash;        /* Every call and byte is mixed in. */
    uint64_t *cost_ns;     /* Virtual time spent by the calls of the running job. */
    const bool *may_block; /* File calls are allowed now: inside a job, a boot or a finish. */
    /* A sync, of a file or of a folder, begins; or what it is about is durable. NULL: nobody asks.
     */
    void (*sync_point)(void *context, bool synced);
    void *context;
};

struct disk_sim *disk_sim_create(const struct disk_sim_options *options,
                                 const struct disk_world *world);
void disk_sim_destroy(struct disk_sim *disk);

/* The live fault rates; the caller may write them. */
struct disk_faults *disk_sim_faults(struct disk_sim *disk);

/* The process ended: its handles and locks are void. If `power` is lost too, see (1) to (3). */
void disk_sim_crash(struct disk_sim *disk, bool power);
/* From the `operation_count`-th changing call from now on (1: the next), that call included,
 * nothing reaches what a crash leaves behind; see (6). 0 freezes now. */
void disk_sim_freeze_in(struct disk_sim *disk, uint64_t operation_count);
void disk_sim_unfreeze(struct disk_sim *disk); /* Disarms; not allowed once frozen. */
bool disk_sim_frozen(const struct disk_sim *disk);

/* One trouble at a call that is named by its number, for sweeps over every call. */
enum disk_trouble {
    DISK_TROUBLE_NONE,
    DISK_TROUBLE_ERROR,    /* The call fails with STATUS_IO, as a drawn error would. */
    DISK_TROUBLE_ERRORS,   /* So do all that follow. */
    DISK_TROUBLE_NO_SPACE, /* From the call on nothing more fits. */
    DISK_TROUBLE_SHORT,    /* The read gives a part of what is there. */
};
/* At the `count`-th call from now on that may fail (1: the next); SHORT counts reads alone. */
void disk_sim_fail_in(struct disk_sim *disk, enum disk_trouble trouble, uint64_t count);
void disk_sim_fail_end(struct disk_sim *disk); /* The fault goes. Of the capacity see faults. */
uint64_t disk_sim_call_count(const struct disk_sim *disk); /* That could have failed so far. */
uint64_t disk_sim_read_count(const struct disk_sim *disk); /* Blocking reads so far. */

/* For harnesses and tests, without time or faults. */
uint64_t disk_sim_operation_count(const struct disk_sim *disk); /* Changing calls so far. */
uint64_t disk_sim_used_size(const struct disk_sim *disk);
uint32_t disk_sim_file_count(const struct disk_sim *disk);
/* Flips one drawn bit of the file, in both images; false if it has no bytes. */
bool disk_sim_rot(struct disk_sim *disk, const char *path);
/* The path of the index-th file in bytewise order; borrows until the next change. */
const char *disk_sim_path(const struct disk_sim *disk, uint32_t index);
void disk_sim_wipe(struct disk_sim *disk); /* A new, empty disk; only while the node is down. */
/* Another disk's content as of a power-loss free moment: for backups and rolled back nodes. */
void disk_sim_copy(struct disk_sim *to, const struct disk_sim *from);

/* The file half of struct env_ops; the world's table forwards here. */
enum status disk_sim_open(struct disk_sim *disk, const char *path, enum env_open mode,
                          struct env_file **file);
void disk_sim_close(struct env_file *file);
enum status disk_sim_size(struct env_file *file, uint64_t *size);
enum status disk_sim_read(struct env_file *file, uint64_t offset, void *to, size_t size,
                          size_t *got);
enum status disk_sim_read_nowait(struct env_file *file, uint64_t offset, void *to, size_t size,
                                 size_t *got);
enum status disk_sim_write(struct env_file *file, uint64_t offset, struct slice data);
enum status disk_sim_sync(struct env_file *file);
enum status disk_sim_truncate(struct env_file *file, uint64_t size);
enum status disk_sim_reserve(struct env_file *file, uint64_t offset, uint64_t size);
enum status disk_sim_link(struct disk_sim *disk, const char *from, const char *to);
enum status disk_sim_rename(struct disk_sim *disk, const char *from, const char *to);
enum status disk_sim_remove(struct disk_sim *disk, const char *path);
enum status disk_sim_dir_create(struct disk_sim *disk, const char *path);
enum status disk_sim_dir_list(struct disk_sim *disk, const char *path,
                              void (*each)(void *context, const char *name), void *context);
enum status disk_sim_dir_sync(struct disk_sim *disk, const char *path);
enum status disk_sim_dir_lock(struct disk_sim *disk, const char *path, struct env_dir_lock **lock);
void disk_sim_dir_unlock(struct env_dir_lock *lock);
enum status disk_sim_space_free(struct disk_sim *disk, const char *path, uint64_t *bytes);

#endif
