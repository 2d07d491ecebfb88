/* node/stream_record.c -- encoder and decoder; see docs/formats/records.md. */
#include "node/stream_record.h"

#include "base/codec.h"
#include "base/contract.h"

#define RECORD_VERSION 1

void stream_record_deinit(struct stream_record *record)
{
    for (uint32_t index = 0; index < record->source_count; index++) {
        buffer_deinit(&record->sources[index].next);
    }
    *record = (struct stream_record){0};
}

void stream_record_encode(struct buffer *to, const struct stream_record *record)
{
    codec_put_u8(to, RECORD_VERSION);
    codec_put_u64(to, record->session);
    codec_put_u8(to, (uint8_t)record->source_count);
    for (uint32_t index = 0; index < record->source_count; index++) {
        const struct stream_progress *source = &record->sources[index];
        codec_put_u32(to, source->id);
        codec_put_u8(to, source->done ? 1 : 0);
        codec_put_u64(to, source->size_done);
        codec_put_bytes(to, buffer_slice(&source->next));
    }
}

static void source_read(struct codec_reader *reader, struct stream_record *record)
{
    uint32_t id = codec_get_u32(reader);
    uint8_t done = codec_get_u8(reader);
    uint64_t size_done = codec_get_u64(reader);
    struct slice next = codec_get_bytes(reader);
    struct stream_progress *source = stream_record_of(record, id);
    if (done > 1 || source == NULL) {
        reader->failed = true;
        return;
    }
    source->done = done == 1;
    source->size_done = size_done;
    buffer_append_slice(&source->next, next);
}

enum status stream_record_decode(struct slice bytes, struct stream_record *record)
{
    struct codec_reader reader = codec_reader_make(bytes);
    uint8_t version = codec_get_u8(&reader);
    record->session = codec_get_u64(&reader);
    uint8_t count = codec_get_u8(&reader);
    if (codec_reader_ok(&reader) && version != RECORD_VERSION) {
        return STATUS_UNSUPPORTED;
    }
    enum status status = STATUS_OK;
    for (uint32_t index = 0; index < count && codec_reader_ok(&reader); index++) {
        source_read(&reader, record);
    }
    if (!codec_reader_done(&reader) || record->source_count != count) {
        return STATUS_CORRUPT;
    }
    for (uint32_t index = 0; index < record->source_count && status == STATUS_OK; index++) {
        status = buffer_status(&record->sources[index].next);
    }
    return status;
}

struct stream_progress *stream_record_of(struct stream_record *record, uint32_t source_id)
{
    for (uint32_t index = 0; index < record->source_count; index++) {
        if (record->sources[index].id == source_id) {
            return &record->sources[index];
        }
    }
    if (record->source_count == RING_REPLICA_COUNT_MAX) {
        return NULL;
    }
    struct stream_progress *source = &record->sources[record->source_count++];
    *source = (struct stream_progress){.id = source_id};
    return source;
}
