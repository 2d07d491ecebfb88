/* client/kvctl_data.c -- get, put, del, scan. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/json.h"
#include "client/kvctl.h"
#include "client/record_file.h"

#define READ_SIZE (64u << 10)

static struct slice operand(const struct kvctl *kvctl, int index)
{
    return slice_text(kvctl->operands[index]);
}

/* Writes what a buffer holds and frees it. */
static enum kvctl_exit buffer_write(struct buffer *buffer)
{
    enum kvctl_exit code = KVCTL_FAILURE;
    if (buffer_status(buffer) == STATUS_OK) {
        code = output_bytes(buffer_slice(buffer));
    } else {
        kvctl_complain("out of memory");
    }
    buffer_deinit(buffer);
    return code;
}

/* {"key":...,"value":...,"version":...,"expiry_ms":...}; value only where there is one. */
static void result_json(struct buffer *to, struct slice key, const struct kv_result *result,
                        bool value)
{
    struct json_writer json;
    json_init(&json, to);
    json_object_begin(&json);
    json_key(&json, "key");
    json_slice(&json, key);
    if (value) {
        json_key(&json, "value");
        json_slice(&json, result->value);
    }
    json_key(&json, "version");
    json_text(&json, result->version);
    json_key(&json, "expiry_ms");
    json_u64(&json, result->expiry_ms);
    json_object_end(&json);
    buffer_append_text(to, "\n");
}

enum kvctl_exit command_get(struct kvctl *kvctl)
{
    struct kv_result result;
    struct slice key = operand(kvctl, 0);
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code != KVCTL_OK) {
        return code;
    }
    bool json = kvctl->output == KVCTL_JSON;
    const struct kv_operation operation = {.kind = KV_GET, .key = key, .meta = json};
    if (kv_run(kvctl->client, &operation, &result) != KV_OK) {
        return kvctl_judge(&result, kvctl->operands[0]);
    }
    struct buffer text = {0};
    if (json) {
        result_json(&text, key, &result, true);
    } else if (kvctl->output == KVCTL_TSV) {
        record_append(&text, RECORD_TSV, &(struct record){.key = key, .value = result.value});
    } else {
        buffer_append_slice(&text, result.value);
        if (isatty(STDOUT_FILENO) == 1) {
            buffer_append_text(&text, "\n");
        }
    }
    return buffer_write(&text);
}

/* All of a file, up to the size of a value. False after complaining. */
static bool file_read(int fd, const char *name, struct buffer *to)
{
    while (to->size <= RECORD_VALUE_SIZE_MAX) {
        uint8_t *room = buffer_reserve(to, READ_SIZE);
        if (room == NULL) {
            kvctl_complain("out of memory");
            return false;
        }
        ssize_t size = read(fd, room, READ_SIZE);
        if (size == 0) {
            return true;
        }
        if (size > 0) {
            buffer_commit(to, (size_t)size);
        } else if (errno != EINTR) {
            kvctl_complain("%s: %s", name, strerror(errno));
            return false;
        }
    }
    kvctl_complain("%s: larger than any value", name);
    return false;
}

/* What put writes: its argument, a file, or standard input. */
static enum kvctl_exit value_read(const struct kvctl *kvctl, struct buffer *value)
{
    const char *file = kvctl->values[OPTION_FILE];
    if ((kvctl->operand_count == 2) == (file != NULL)) {
        kvctl_complain("put: one of VALUE, - and --file");
        return KVCTL_USAGE;
    }
    if (file == NULL && strcmp(kvctl->operands[1], "-") == 0) {
        return file_read(STDIN_FILENO, "standard input", value) ? KVCTL_OK : KVCTL_FAILURE;
    }
    if (file == NULL) {
        buffer_append_text(value, kvctl->operands[1]);
        return KVCTL_OK;
    }
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        kvctl_complain("%s: %s", file, strerror(errno));
        return KVCTL_FAILURE;
    }
    bool read = file_read(fd, file, value);
    (void)close(fd);
    return read ? KVCTL_OK : KVCTL_FAILURE;
}

/* JSON of a write that went well; otherwise success says nothing. */
static enum kvctl_exit write_told(const struct kvctl *kvctl, struct slice key,
                                  const struct kv_result *result)
{
    struct buffer text = {0};
    if (kvctl->output == KVCTL_JSON) {
        result_json(&text, key, result, false);
    }
    return buffer_write(&text);
}

enum kvctl_exit command_put(struct kvctl *kvctl)
{
    struct buffer value = {0};
    uint64_t ttl_s;
    if (!kvctl_number(kvctl, OPTION_TTL, UINT32_MAX, 0, &ttl_s)) {
        return KVCTL_USAGE;
    }
    enum kvctl_exit code = value_read(kvctl, &value);
    if (code == KVCTL_OK) {
        code = kvctl_open(kvctl, &(struct kv_options){0});
    }
    if (code == KVCTL_OK) {
        struct kv_result result;
        const struct kv_operation operation = {.kind = KV_SET,
                                               .key = operand(kvctl, 0),
                                               .value = buffer_slice(&value),
                                               .life_ms = ttl_s * 1000,
                                               .meta = kvctl->output == KVCTL_JSON};
        (void)kv_run(kvctl->client, &operation, &result);
        code = kvctl_judge(&result, kvctl->operands[0]);
        if (code == KVCTL_OK) {
            code = write_told(kvctl, operand(kvctl, 0), &result);
        }
    }
    buffer_deinit(&value);
    return code;
}

enum kvctl_exit command_del(struct kvctl *kvctl)
{
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    for (int index = 0; code == KVCTL_OK && index < kvctl->operand_count; index++) {
        struct kv_result result;
        const struct kv_operation operation = {
            .kind = KV_DELETE, .key = operand(kvctl, index), .meta = kvctl->output == KVCTL_JSON};
        (void)kv_run(kvctl->client, &operation, &result);
        code = kvctl_judge(&result, kvctl->operands[index]);
        if (code == KVCTL_OK) {
            code = write_told(kvctl, operand(kvctl, index), &result);
        }
    }
    return code;
}

/* One key of a scan: a line, or an element of the JSON array. */
static enum kvctl_exit key_print(const struct kvctl *kvctl, struct slice key, uint64_t index)
{
    struct buffer text = {0};
    if (kvctl->output == KVCTL_JSON) {
        struct json_writer json;
        buffer_append_text(&text, index == 0 ? "[" : ",\n");
        json_init(&json, &text);
        json_slice(&json, key);
    } else if (kvctl->output == KVCTL_RAW) {
        buffer_append_slice(&text, key);
        buffer_append_text(&text, "\n");
    } else {
        record_append(&text, RECORD_TSV, &(struct record){.key = key});
        /* The key alone: without the tab in front of an empty value. */
        if (buffer_status(&text) == STATUS_OK) {
            text.data[text.size - 2] = '\n';
            text.size--;
        }
    }
    return buffer_write(&text);
}

enum kvctl_exit command_scan(struct kvctl *kvctl)
{
    uint64_t limit;
    struct kv_scan *scan = NULL;
    struct kv_result result = {0};
    struct slice key;
    if (!kvctl_number(kvctl, OPTION_LIMIT, INT64_MAX, UINT64_MAX, &limit)) {
        return KVCTL_USAGE;
    }
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code != KVCTL_OK) {
        return code;
    }
    const struct kv_scan_options options = {.match = kvctl->values[OPTION_MATCH],
                                            .page_count = limit < 1000 ? (uint32_t)limit : 1000};
    if (kv_scan_open(kvctl->client, &options, &scan) != STATUS_OK) {
        kvctl_complain("out of memory");
        return KVCTL_FAILURE;
    }
    uint64_t count = 0;
    while (code == KVCTL_OK && count < limit && kv_scan_next(scan, &key, &result) == KV_OK) {
        code = key_print(kvctl, key, count++);
    }
    if (code == KVCTL_OK && result.outcome != KV_OK && result.outcome != KV_NOT_FOUND) {
        code = kvctl_judge(&result, "scan");
    }
    if (code == KVCTL_OK && kvctl->output == KVCTL_JSON) {
        code = output_bytes(slice_text(count == 0 ? "[]\n" : "]\n"));
    }
    kv_scan_close(scan);
    return code;
}
