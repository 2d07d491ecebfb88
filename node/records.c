/* node/records.c -- the node's own records in the engine. */
#include "node/records.h"

#include "base/codec.h"
#include "base/list.h"
#include "base/token.h"

#define RECORDS_FIRST_BYTE 0xff
STATIC_ASSERT(RECORDS_FIRST_BYTE >= ENGINE_KEY_LOCAL_FIRST, "records sort above every slot");

/*
 * OFFSET  SIZE  FIELD
 *      0     1  0xff
 *      1     1  kind
 *      2     4  id, big-endian; 0 where the kind has none
 */
static struct slice records_key(uint8_t key[RECORDS_KEY_SIZE_MAX], enum records_kind kind,
                                uint32_t id)
{
    key[0] = RECORDS_FIRST_BYTE;
    key[1] = (uint8_t)kind;
    codec_store_be(key + 2, id, 4);
    return slice_make(key, 6);
}

enum status records_read(struct lsm *lsm, enum records_kind kind, uint32_t id,
                         struct buffer *scratch, struct cell *cell)
{
    uint8_t key[RECORDS_KEY_SIZE_MAX];
    return lsm_get(lsm, records_key(key, kind, id), LSM_MAY_BLOCK, scratch, cell);
}

static void records_write_done(struct lsm_write *inner, enum status status)
{
    struct records_write *write = container_of(inner, struct records_write, write);
    write->done(write, status);
}

enum status records_put(struct lsm *lsm, enum records_kind kind, uint32_t id,
                        struct version version, struct slice value, struct records_write *write)
{
    uint8_t key[RECORDS_KEY_SIZE_MAX];
    struct lsm_record record = {
        .key = records_key(key, kind, id),
        .cell = {.version = version, .kind = CELL_VALUE, .value = value},
    };
    write->write = (struct lsm_write){.records = &record,
                                      .record_count = 1,
                                      .durability = LSM_SYNCED,
                                      .vital = true,
                                      .done = records_write_done};
    return lsm_write(lsm, &write->write);
}
