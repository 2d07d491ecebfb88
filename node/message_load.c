/* node/message_load.c -- encoders and decoders of LOAD; see docs/formats/rpc.md. */
#include "node/message_load.h"

#include <string.h>

#include "base/codec.h"

#define HEAD_SIZE 48u
#define RANGE_SIZE 36u
#define KEY_SIZE 103u /* With its padding. */
#define KEY_FIXED_SIZE (KEY_SIZE - HOT_KEYS_BYTES_MAX)

void message_load_request_encode(struct buffer *to, uint32_t wants)
{
    codec_put_u32(to, wants);
}

enum status message_load_request_decode(struct slice payload, uint32_t *wants)
{
    struct codec_reader reader = codec_reader_make(payload);
    *wants = codec_get_u32(&reader);
    bool known = (*wants & ~(MESSAGE_LOAD_RANGES | MESSAGE_LOAD_HOT_KEYS)) == 0;
    return codec_reader_done(&reader) && known ? STATUS_OK : STATUS_CORRUPT;
}

static void view_put(struct buffer *to, const struct message_load_view *view)
{
    codec_put_u64(to, view->keys);
    codec_put_u64(to, view->bytes);
    codec_put_u64(to, view->reads);
    codec_put_u64(to, view->writes);
}

static struct message_load_view view_get(struct codec_reader *reader)
{
    struct message_load_view view;
    view.keys = codec_get_u64(reader);
    view.bytes = codec_get_u64(reader);
    view.reads = codec_get_u64(reader);
    view.writes = codec_get_u64(reader);
    return view;
}

void message_load_head_encode(struct buffer *to, const struct message_load_head *head)
{
    ASSERT(head->range_count <= RING_RANGE_COUNT_MAX);
    ASSERT(head->key_count <= HOT_KEYS_COUNT);
    view_put(to, &head->sum);
    codec_put_u64(to, head->space_free);
    codec_put_u32(to, head->range_count);
    codec_put_u32(to, head->key_count);
}

void message_load_range_encode(struct buffer *to, const struct message_load_range *range)
{
    ASSERT(range->range < RING_RANGE_COUNT_MAX);
    codec_put_u32(to, range->range);
    view_put(to, &range->view);
}

void message_load_key_encode(struct buffer *to, const struct message_load_key *key)
{
    static const uint8_t zeros[HOT_KEYS_BYTES_MAX];
    ASSERT(key->key.size <= HOT_KEYS_BYTES_MAX);
    ASSERT(key->key.size <= key->size);
    codec_put_u64(to, key->token);
    codec_put_u16(to, key->keyspace);
    codec_put_u32(to, key->size);
    codec_put_u64(to, key->rate);
    codec_put_u64(to, key->error);
    codec_put_u64(to, key->writes);
    codec_put_u8(to, (uint8_t)key->key.size);
    buffer_append_slice(to, key->key);
    buffer_append(to, zeros, HOT_KEYS_BYTES_MAX - key->key.size);
}

void message_load_range_at(const struct message_load *load, uint32_t index,
                           struct message_load_range *range)
{
    ASSERT(index < load->head.range_count);
    const uint8_t *at = load->ranges + (size_t)index * RANGE_SIZE;
    struct codec_reader reader = codec_reader_make(slice_make(at, RANGE_SIZE));
    range->range = codec_get_u32(&reader);
    range->view = view_get(&reader);
}

void message_load_key_at(const struct message_load *load, uint32_t index,
                         struct message_load_key *key)
{
    ASSERT(index < load->head.key_count);
    const uint8_t *at = load->keys + (size_t)index * KEY_SIZE;
    struct codec_reader reader = codec_reader_make(slice_make(at, KEY_SIZE));
    key->token = codec_get_u64(&reader);
    key->keyspace = codec_get_u16(&reader);
    key->size = codec_get_u32(&reader);
    key->rate = codec_get_u64(&reader);
    key->error = codec_get_u64(&reader);
    key->writes = codec_get_u64(&reader);
    key->key = slice_make(at + KEY_FIXED_SIZE, codec_get_u8(&reader));
}

static bool ranges_are_sound(const struct message_load *load)
{
    uint32_t least = 0;
    for (uint32_t index = 0; index < load->head.range_count; index++) {
        struct message_load_range range;
        message_load_range_at(load, index, &range);
        if (range.range < least || range.range >= RING_RANGE_COUNT_MAX) {
            return false;
        }
        least = range.range + 1;
    }
    return true;
}

static bool keys_are_sound(const struct message_load *load)
{
    for (uint32_t index = 0; index < load->head.key_count; index++) {
        struct message_load_key key;
        message_load_key_at(load, index, &key);
        if (key.key.size > HOT_KEYS_BYTES_MAX || key.key.size > key.size) {
            return false;
        }
        for (size_t at = key.key.size; at < HOT_KEYS_BYTES_MAX; at++) {
            if (key.key.data[at] != 0) {
                return false;
            }
        }
    }
    return true;
}

enum status message_load_decode(struct slice payload, struct message_load *load)
{
    struct codec_reader reader = codec_reader_make(payload);
    struct message_load_head *head = &load->head;
    head->sum = view_get(&reader);
    head->space_free = codec_get_u64(&reader);
    head->range_count = codec_get_u32(&reader);
    head->key_count = codec_get_u32(&reader);
    if (!codec_reader_ok(&reader) || head->range_count > RING_RANGE_COUNT_MAX ||
        head->key_count > HOT_KEYS_COUNT) {
        return STATUS_CORRUPT;
    }
    size_t ranges_size = (size_t)head->range_count * RANGE_SIZE;
    if (payload.size != HEAD_SIZE + ranges_size + (size_t)head->key_count * KEY_SIZE) {
        return STATUS_CORRUPT;
    }
    load->ranges = payload.data + HEAD_SIZE;
    load->keys = load->ranges + ranges_size;
    return ranges_are_sound(load) && keys_are_sound(load) ? STATUS_OK : STATUS_CORRUPT;
}
