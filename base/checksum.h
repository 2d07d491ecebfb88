/*
 * base/checksum.h -- XXH3, the one place that includes <xxhash.h>.
 *
 * A seed ties bytes to their place (file nonce and offset), so that bytes of an older life of the
 * same sector never pass for new ones.
 */
#ifndef BASE_CHECKSUM_H
#define BASE_CHECKSUM_H

#include <stdint.h>

#include "base/slice.h"

uint64_t checksum64(struct slice bytes, uint64_t seed);
/* Of several pieces as if they were one, for headers and bodies that lie apart. */
uint64_t checksum64_pieces(const struct slice *pieces, size_t piece_count, uint64_t seed);
uint16_t checksum_crc16(struct slice bytes); /* CRC16-CCITT (XMODEM), as Redis Cluster slots use. */

#endif
