/*
 * lsm/pack.h -- bytes packed with lz4: block format, no frame, no checksum of its own.
 *
 * The one place that speaks to the library. Sizes are below 2 GiB. What is unpacked may come from a
 * damaged or forged file: nothing outside the given room is touched.
 */
#ifndef LSM_PACK_H
#define LSM_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define PACK_SAVING_PERCENT 12u /* Bytes that save no more stay as they are. */

/* The most that packed bytes of `size` may take and still save enough. */
size_t pack_size_max(size_t size);
/* Packs into `to`, of pack_size_max(from.size) bytes. What it took; 0: it saves too little. */
size_t pack(struct slice from, uint8_t *to);
/* False if what unpacks to `size` bytes takes more than `packed_size`: a lie about the size must
 * not make anybody take much memory. */
bool pack_may_hold(size_t packed_size, size_t size);
/* Exactly `size` bytes; false if it is anything else. */
bool unpack(struct slice packed, uint8_t *to, size_t size);
/* The first `wanted` of `size` bytes, perhaps more; `to` has room for all. */
bool unpack_first(struct slice packed, uint8_t *to, size_t wanted, size_t size);

#endif
