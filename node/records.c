/* node/records.c -- the node's own records in the engine. */
#include "node/records.h"

#include "base/codec.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/token.h"

#define RECORDS_FIRST_BYTE 0xff
#define RECORDS_KEY_SIZE 6
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
    return slice_make(key, RECORDS_KEY_SIZE);
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

static enum status records_submit(struct lsm *lsm, const struct lsm_record *records, uint32_t count,
                                  struct records_write *write)
{
    write->write = (struct lsm_write){.records = records,
                                      .record_count = count,
                                      .durability = LSM_SYNCED,
                                      .vital = true,
                                      .done = records_write_done};
    return lsm_write(lsm, &write->write);
}

static struct lsm_record record_of(uint8_t key[RECORDS_KEY_SIZE_MAX], enum records_kind kind,
                                   const struct records_entry *entry)
{
    return (struct lsm_record){
        .key = records_key(key, kind, entry->id),
        .cell = {.version = entry->version, .kind = CELL_VALUE, .value = entry->value},
    };
}

enum status records_put(struct lsm *lsm, enum records_kind kind, uint32_t id,
                        struct version version, struct slice value, struct records_write *write)
{
    uint8_t key[RECORDS_KEY_SIZE_MAX];
    const struct records_entry entry = {.id = id, .version = version, .value = value};
    struct lsm_record record = record_of(key, kind, &entry);
    return records_submit(lsm, &record, 1, write);
}

enum status records_put_many(struct lsm *lsm, enum records_kind kind,
                             const struct records_entry *entries, uint32_t count,
                             struct records_write *write)
{
    ASSERT(count > 0);
    ASSERT(count <= RECORDS_ENTRY_COUNT_MAX);
    struct lsm_record *records = memory_allocate_zeroed(count, sizeof(*records));
    uint8_t(*keys)[RECORDS_KEY_SIZE_MAX] = memory_allocate_zeroed(count, sizeof(*keys));
    enum status status = STATUS_NO_MEMORY;
    if (records != NULL && keys != NULL) {
        for (uint32_t index = 0; index < count; index++) {
            records[index] = record_of(keys[index], kind, &entries[index]);
        }
        status = records_submit(lsm, records, count, write);
    }
    memory_free(records);
    memory_free(keys);
    return status;
}

enum status records_walk(struct lsm *lsm, enum records_kind kind,
                         enum status (*each)(void *context, uint32_t id, const struct cell *cell),
                         void *context)
{
    const uint8_t lower[] = {RECORDS_FIRST_BYTE, (uint8_t)kind};
    const uint8_t upper[] = {RECORDS_FIRST_BYTE, (uint8_t)(kind + 1)};
    struct lsm_iterator_options options = {.lower = slice_make(lower, sizeof(lower)),
                                           .upper = slice_make(upper, sizeof(upper)),
                                           .wait = LSM_MAY_BLOCK};
    struct lsm_iterator *iterator = NULL;
    enum status status = lsm_iterator_open(lsm, &options, &iterator);
    while (status == STATUS_OK) {
        struct slice key;
        struct cell cell;
        status = lsm_iterator_next(iterator, &key, &cell);
        if (status == STATUS_OK && key.size != RECORDS_KEY_SIZE) {
            status = STATUS_CORRUPT;
        } else if (status == STATUS_OK) {
            status = each(context, (uint32_t)codec_load_be(key.data + 2, 4), &cell);
        } else if (status == STATUS_BUDGET) {
            status = STATUS_OK;
        }
    }
    lsm_iterator_close(iterator);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}
