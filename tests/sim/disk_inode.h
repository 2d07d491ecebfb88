/*
 * tests/sim/disk_inode.h -- what disk_image.c needs of files beside what everybody may call.
 */
#ifndef TESTS_SIM_DISK_INODE_H
#define TESTS_SIM_DISK_INODE_H

#include "tests/sim/disk_image.h"

void disk_inode_unref(struct disk_inode *inode); /* Frees it with its last reference. */
/* Without references. The zero page of one image becomes that of the other. */
struct disk_inode *disk_inode_copy(const struct disk_inode *inode,
                                   const struct disk_page *zero_from, struct disk_page *zero_to);
/* Loss of power, of one file that nothing seen holds. Settling twice changes nothing more. */
void disk_inode_settle(struct disk_inode *inode, struct prng *prng);

#endif
