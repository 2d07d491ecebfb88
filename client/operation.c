/* client/operation.c -- requests written, answers judged. */
#include "client/operation.h"

#include <stdio.h>

#include "base/resp.h"

#define BUFFER_KEEP_SIZE_MAX (64u << 10)

/* What the first word of an error tells. A word that is not here leaves a write open. */
static const struct error_word {
    const char *word;
    enum kv_reason reason;
    bool again; /* Another try, or another node, may do better. */
    bool open;  /* A write may have been applied. */
} error_words[] = {
    {"UNAVAILABLE", KV_REASON_UNAVAILABLE, true, false},
    {"OVERLOADED", KV_REASON_OVERLOADED, true, false},
    {"LOADING", KV_REASON_LOADING, true, false},
    {"READONLY", KV_REASON_READ_ONLY, true, false},
    {"TRYAGAIN", KV_REASON_UNAVAILABLE, true, false},
    {"CLUSTERDOWN", KV_REASON_UNAVAILABLE, true, false},
    {"TIMEOUT", KV_REASON_TIMEOUT, true, true},
    {"NOQUORUM", KV_REASON_UNAVAILABLE, true, true},
    {"SUPERSEDED", KV_REASON_CONFLICT, false, false},
    {"NOAUTH", KV_REASON_DENIED, false, false},
    {"NOPERM", KV_REASON_DENIED, false, false},
    {"WRONGPASS", KV_REASON_DENIED, false, false},
    {"ERR", KV_REASON_REFUSED, false, false},
    {"WRONGTYPE", KV_REASON_REFUSED, false, false},
    {"CROSSSLOT", KV_REASON_REFUSED, false, false},
    {"MOVED", KV_REASON_REFUSED, false, false},
};
static const struct error_word error_unknown = {"", KV_REASON_REFUSED, false, true};

void operation_deinit(struct operation *operation)
{
    ASSERT(operation->state == OPERATION_IDLE || operation->state == OPERATION_DONE);
    buffer_deinit(&operation->request);
    buffer_deinit(&operation->reply);
}

static void buffer_renew(struct buffer *buffer)
{
    buffer_clear(buffer);
    if (buffer->capacity > BUFFER_KEEP_SIZE_MAX) {
        buffer_deinit(buffer);
    }
}

/* The argument behind the command's name, in the encoded request. */
static struct slice key_find(struct slice request)
{
    struct resp_item item = {0};
    for (size_t index = 0; index < 3; index++) {
        size_t used;
        if (request.size == 0 || resp_parse_item(request, &item, &used) != STATUS_OK) {
            return (struct slice){0};
        }
        request = slice_make(request.data + used, request.size - used);
    }
    return item.text;
}

void operation_encode(struct operation *operation, const struct slice *arguments,
                      size_t argument_count)
{
    ASSERT(operation->state == OPERATION_IDLE || operation->state == OPERATION_DONE);
    struct buffer request = operation->request;
    struct buffer reply = operation->reply;
    buffer_renew(&request);
    buffer_renew(&reply);
    resp_request(&request, arguments, argument_count);
    *operation = (struct operation){.request = request, .reply = reply};
    list_init(&operation->node);
    operation->key = key_find(buffer_slice(&request));
}

static const struct error_word *error_find(struct slice text)
{
    for (size_t index = 0; index < ARRAY_COUNT(error_words); index++) {
        size_t size = strlen(error_words[index].word);
        if (text.size >= size && memcmp(text.data, error_words[index].word, size) == 0 &&
            (text.size == size || text.data[size] == ' ')) {
            return &error_words[index];
        }
    }
    return &error_unknown;
}

/* The id in "..., op=ID" of an error's text. */
static void operation_id_find(struct operation *operation, struct slice text)
{
    static const char mark[] = "op=";
    const uint8_t *at = memmem(text.data, text.size, mark, sizeof(mark) - 1);
    if (at == NULL) {
        return;
    }
    at += sizeof(mark) - 1;
    size_t left = text.size - (size_t)(at - text.data);
    size_t size = 0;
    while (size < left && size < KV_NAME_SIZE_MAX - 1 && at[size] > ' ' && at[size] != ',') {
        operation->result.operation[size] = (char)at[size];
        size++;
    }
    operation->result.operation[size] = '\0';
}

struct failure {
    enum kv_reason reason;
    bool again;
    bool open;
};

static enum operation_verdict operation_failed(struct operation *operation,
                                               const struct failure *failure)
{
    struct kv_result *result = &operation->result;
    bool open = failure->open && operation->writes;
    operation->maybe_applied = operation->maybe_applied || open;
    result->outcome = operation->maybe_applied ? KV_INDETERMINATE : KV_FAILED;
    result->reason = failure->reason;
    result->value = (struct slice){0};
    bool allowed = failure->again && (!open || operation->retry_writes);
    return allowed && result->try_count < operation->try_count_max ? OPERATION_AGAIN
                                                                   : OPERATION_FINAL;
}

static enum operation_verdict answer_senseless(struct operation *operation, const char *from)
{
    (void)snprintf(operation->result.message, sizeof(operation->result.message),
                   "%s: an answer of the wrong kind", from);
    return operation_failed(operation,
                            &(struct failure){.reason = KV_REASON_PROTOCOL, .open = true});
}

/* A map's pairs from `rest` on, `count` items: those that are known are kept. */
static bool meta_read(struct operation *operation, struct slice rest, int64_t count, bool *found)
{
    struct kv_result *result = &operation->result;
    *found = true;
    if (count < 0 || count % 2 != 0 || count > 64) {
        return false;
    }
    for (int64_t pair = 0; pair < count / 2; pair++) {
        struct resp_item item[2];
        for (size_t index = 0; index < 2; index++) {
            size_t used;
            if (resp_parse_item(rest, &item[index], &used) != STATUS_OK) {
                return false;
            }
            rest = slice_make(rest.data + used, rest.size - used);
        }
        if (slice_equal(item[0].text, slice_text("value"))) {
            *found = item[1].type == RESP_BULK;
            result->value = *found ? item[1].text : (struct slice){0};
        } else if (slice_equal(item[0].text, slice_text("expiry_ms"))) {
            if (item[1].type != RESP_INTEGER || item[1].integer < 0) {
                return false;
            }
            result->expiry_ms = (uint64_t)item[1].integer;
        } else if (slice_equal(item[0].text, slice_text("version"))) {
            if (item[1].type != RESP_BULK || item[1].text.size >= sizeof(result->version)) {
                return false;
            }
            memcpy(result->version, item[1].text.data, item[1].text.size);
            result->version[item[1].text.size] = '\0';
        }
    }
    return true;
}

static bool answer_read(struct operation *operation, const struct resp_item *item, size_t used)
{
    struct kv_result *result = &operation->result;
    struct slice bytes = buffer_slice(&operation->reply);
    bool found = true;
    switch (operation->answer) {
    case OPERATION_ANSWER_ANY:
        result->value = item->type == RESP_BULK ? item->text : (struct slice){0};
        break;
    case OPERATION_ANSWER_OK:
        if (item->type != RESP_SIMPLE) {
            return false;
        }
        break;
    case OPERATION_ANSWER_VALUE:
        found = item->type == RESP_BULK;
        if (item->type != RESP_BULK && item->type != RESP_NULL) {
            return false;
        }
        result->value = found ? item->text : (struct slice){0};
        break;
    case OPERATION_ANSWER_META:
        if (item->type != RESP_ARRAY && item->type != RESP_MAP) {
            return false;
        }
        if (!meta_read(operation, slice_make(bytes.data + used, bytes.size - used),
                       item->type == RESP_MAP ? item->integer * 2 : item->integer, &found)) {
            return false;
        }
        break;
    }
    result->outcome = found ? KV_OK : KV_NOT_FOUND;
    result->reason = KV_REASON_NONE;
    result->message[0] = '\0';
    result->operation[0] = '\0';
    return true;
}

enum operation_verdict operation_answered(struct operation *operation, struct slice reply,
                                          const char *from)
{
    struct kv_result *result = &operation->result;
    struct resp_item item;
    size_t used;
    buffer_renew(&operation->reply);
    buffer_append_slice(&operation->reply, reply);
    if (buffer_status(&operation->reply) != STATUS_OK) {
        (void)snprintf(result->message, sizeof(result->message), "out of memory for an answer");
        return operation_failed(operation,
                                &(struct failure){.reason = KV_REASON_NO_MEMORY, .open = true});
    }
    if (resp_parse_item(buffer_slice(&operation->reply), &item, &used) != STATUS_OK) {
        return answer_senseless(operation, from);
    }
    if (item.type != RESP_ERROR) {
        return answer_read(operation, &item, used) ? OPERATION_FINAL
                                                   : answer_senseless(operation, from);
    }
    const struct error_word *word = error_find(item.text);
    (void)snprintf(
        result->message, sizeof(result->message), "%s: %.*s", from,
        (int)(item.text.size < KV_MESSAGE_SIZE_MAX ? item.text.size : KV_MESSAGE_SIZE_MAX),
        (const char *)item.text.data);
    if (word->open && operation->writes) {
        operation_id_find(operation, item.text);
    }
    return operation_failed(
        operation,
        &(struct failure){.reason = word->reason, .again = word->again, .open = word->open});
}

enum operation_verdict operation_lost(struct operation *operation, enum kv_reason reason, bool left,
                                      const char *message)
{
    (void)snprintf(operation->result.message, sizeof(operation->result.message), "%s", message);
    return operation_failed(operation,
                            &(struct failure){.reason = reason, .again = true, .open = left});
}
