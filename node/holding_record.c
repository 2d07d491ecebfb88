/* node/holding_record.c -- encoder and decoder; see docs/formats/records.md. */
#include "node/holding_record.h"

#include "base/codec.h"
#include "base/contract.h"

#define RECORD_VERSION 1

/*
 * OFFSET  SIZE  FIELD
 *      0     1  version
 *      1     4  generation
 *      5     8  epoch
 *     13     8  entered
 *     21     8  streamed
 *     29     8  left
 *     37     8  cleared
 */
enum {
    AT_VERSION = 0,
    AT_GENERATION = 1,
    AT_EPOCH = 5,
    AT_ENTERED = 13,
    AT_STREAMED = 21,
    AT_LEFT = 29,
    AT_CLEARED = 37,
};
STATIC_ASSERT(AT_CLEARED + 8 == HOLDING_RECORD_SIZE, "the last field ends the record");

static bool record_is_valid(const struct holding_record *record)
{
    return record->epoch > 0 && (record->cleared == 0 || record->cleared == record->left);
}

void holding_record_encode(uint8_t to[HOLDING_RECORD_SIZE], const struct holding_record *record)
{
    ASSERT(record_is_valid(record));
    to[AT_VERSION] = RECORD_VERSION;
    codec_store_u32(to + AT_GENERATION, record->generation);
    codec_store_u64(to + AT_EPOCH, record->epoch);
    codec_store_u64(to + AT_ENTERED, record->entered);
    codec_store_u64(to + AT_STREAMED, record->streamed);
    codec_store_u64(to + AT_LEFT, record->left);
    codec_store_u64(to + AT_CLEARED, record->cleared);
}

enum status holding_record_decode(struct slice bytes, struct holding_record *record)
{
    if (bytes.size > AT_VERSION && bytes.data[AT_VERSION] != RECORD_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    if (bytes.size != HOLDING_RECORD_SIZE) {
        return STATUS_CORRUPT;
    }
    struct holding_record read = {
        .generation = codec_load_u32(bytes.data + AT_GENERATION),
        .epoch = codec_load_u64(bytes.data + AT_EPOCH),
        .entered = codec_load_u64(bytes.data + AT_ENTERED),
        .streamed = codec_load_u64(bytes.data + AT_STREAMED),
        .left = codec_load_u64(bytes.data + AT_LEFT),
        .cleared = codec_load_u64(bytes.data + AT_CLEARED),
    };
    if (!record_is_valid(&read)) {
        return STATUS_CORRUPT;
    }
    *record = read;
    return STATUS_OK;
}

bool holding_record_below(const struct holding_record *record, uint32_t generation, uint64_t epoch)
{
    return record->generation != generation ? record->generation < generation
                                            : record->epoch < epoch;
}
