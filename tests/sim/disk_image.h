/*
 * tests/sim/disk_image.h -- what is on a simulated disk: files, names, and what of them is durable.
 *
 * Pages are shared between the seen and the durable side of a file, and between images, and copied
 * when written; so a sync, a copy of a whole image and a crash cost pointers, not bytes.
 * Invariants:
 *  (1) A sector in which a slot's two pages differ has its bit in `dirty` or in `lost`.
 *  (2) A slot with dirty bits is in its inode's dirty list, once.
 *  (3) Replaying `changes` in order over the durable names gives the seen names.
 *  (4) page_count counts the pages of all inodes that a seen name or a handle holds.
 */
#ifndef TESTS_SIM_DISK_IMAGE_H
#define TESTS_SIM_DISK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/prng.h"

#define DISK_PAGE_SIZE 4096u
#define DISK_PAGE_SECTORS (DISK_PAGE_SIZE / ENV_SECTOR_SIZE)
#define DISK_PATH_SIZE_MAX 512

struct disk_page {
    uint32_t reference_count;
    uint8_t bytes[DISK_PAGE_SIZE];
};

struct disk_slot {
    struct disk_page *seen;    /* NULL: a hole. */
    struct disk_page *durable; /* Likewise. */
    uint8_t dirty;             /* Sectors written since the last sync, a bit each. */
    uint8_t lost;              /* Sectors that a failed sync counted clean. */
    bool listed;
};
STATIC_ASSERT(DISK_PAGE_SECTORS == 8, "one bit for each sector of a page");

struct disk_inode {
    uint32_t reference_count; /* Names of both sides, changes and handles. */
    uint32_t seen_count;      /* Seen names and handles: while positive its pages take space. */
    bool is_folder;
    bool size_dirty;
    uint64_t size_seen;
    uint64_t size_durable;
    struct disk_slot *slots;
    uint32_t slot_count;
    uint32_t slot_capacity;
    uint32_t page_count; /* Slots whose seen page is not NULL. */
    uint32_t *dirty_slots;
    uint32_t dirty_count;
    uint32_t dirty_capacity;
    struct disk_inode *twin; /* While its image is being copied. */
};

struct disk_name {
    char *path; /* Normal form: no / at either end, none doubled. */
    struct disk_inode *inode;
};

/* Sorted bytewise by path, so that parents come before what is in them. */
struct disk_names {
    struct disk_name *items;
    uint32_t count;
    uint32_t capacity;
};

/* One change of names that was not dir_synced. */
struct disk_change {
    char *from; /* Goes; NULL if nothing does. */
    char *to;   /* Comes to name `inode`; NULL if nothing does. */
    struct disk_inode *inode;
};

struct disk_image {
    struct disk_names seen;
    struct disk_names durable;
    struct disk_change *changes;
    uint32_t change_count;
    uint32_t change_capacity;
    struct disk_page *zero; /* What reserved and not yet written pages share. */
    uint64_t page_count;
};

void disk_image_init(struct disk_image *image);
void disk_image_deinit(struct disk_image *image);
/* `to` is not initialised before. No handle of `from` refers to it. */
void disk_image_copy(struct disk_image *to, const struct disk_image *from);
/* Loss of power: draws what is left, which is then both seen and durable. No handle is open. */
void disk_image_settle(struct disk_image *image, struct prng *prng);

/* The seen side. NULL if there is no such name; "" is the root, which has no inode. */
struct disk_inode *disk_image_find(const struct disk_image *image, const char *path);
bool disk_image_has_folder(const struct disk_image *image, const char *path);
/* Index of the first seen name not below `path`. */
uint32_t disk_image_index(const struct disk_image *image, const char *path);
/* Changes of names, seen at once, durable by disk_image_sync_folder(). Replaces what `to` named.
 */
struct disk_inode *disk_image_create(struct disk_image *image, const char *path, bool is_folder);
void disk_image_link(struct disk_image *image, struct disk_inode *inode, const char *to);
void disk_image_rename(struct disk_image *image, const char *from, const char *to);
void disk_image_remove(struct disk_image *image, const char *path);
void disk_image_sync_folder(struct disk_image *image, const char *path);

void disk_inode_hold(struct disk_image *image, struct disk_inode *inode);    /* By a handle. */
void disk_inode_release(struct disk_image *image, struct disk_inode *inode); /* Likewise. */
void disk_inode_read(const struct disk_inode *inode, uint64_t offset, uint8_t *to, size_t size);
/* Pages that a write or reservation of the range would newly take. */
uint64_t disk_inode_missing(const struct disk_inode *inode, uint64_t offset, uint64_t size);
void disk_inode_write(struct disk_image *image, struct disk_inode *inode, uint64_t offset,
                      struct slice data);
void disk_inode_reserve(struct disk_image *image, struct disk_inode *inode, uint64_t offset,
                        uint64_t size);
void disk_inode_truncate(struct disk_image *image, struct disk_inode *inode, uint64_t size);
void disk_inode_sync(struct disk_inode *inode);
void disk_inode_sync_failed(struct disk_inode *inode, struct prng *prng);
/* In both images, as a failing medium does. */
void disk_inode_flip(struct disk_image *image, struct disk_inode *inode, uint64_t offset,
                     uint8_t mask);

/* Whether the parent folder of `path` is `folder`. */
bool disk_path_is_in(const char *path, const char *folder);

#endif
