/* client/kvctl_export.c -- records read and written to standard output. */
#include <stdio.h>
#include <unistd.h>

#include "client/kvctl_transfer.h"

#define TRY_COUNT_MAX 60
#define STDOUT_BUFFER_SIZE (1u << 20)

struct export
{
    struct transfer transfer; /* First: takers cast back. */
    enum record_format format;
    bool ordered; /* A key that is missing is a difference; else it went meanwhile. */
    struct buffer out;
};

static void out_write(struct export *export)
{
    enum kvctl_exit code = KVCTL_FAILURE;
    if (buffer_status(&export->out) == STATUS_OK) {
        code = output_bytes(buffer_slice(&export->out));
    } else {
        kvctl_complain("out of memory");
    }
    if (export->transfer.code == KVCTL_OK) {
        export->transfer.code = code;
    }
    buffer_clear(&export->out);
}

static void export_take(struct transfer *transfer, const struct transfer_flight *flight,
                        const struct kv_result *result)
{
    struct export *export = (struct export *)(void *)transfer;
    if (result->outcome == KV_NOT_FOUND) {
        if (export->ordered) {
            transfer_complain(transfer, result->key, KVCTL_CHECK_FAILED, "missing");
        }
        return;
    }
    if (result->outcome != KV_OK) {
        transfer_complain(transfer, result->key, kvctl_exit_of(result), result->message);
        return;
    }
    const struct record record = {
        .key = result->key, .value = result->value, .before = buffer_slice(&flight->before)};
    record_append(&export->out, export->format, &record);
    transfer->done_count++;
    transfer->done_size += result->key.size + result->value.size;
    if (export->out.size >= STDOUT_BUFFER_SIZE || export->out.failed) {
        out_write(export);
    }
}

/* The keys of a file, in its order. */
static enum kvctl_exit ordered_run(struct export *export, const char *name)
{
    struct record_reader reader;
    struct record record;
    int fd = transfer_file(&export->transfer, name);
    if (fd < 0) {
        return KVCTL_FAILURE;
    }
    record_reader_init(&reader, export->format, fd);
    enum status status;
    while ((status = record_next(&reader, &record)) == STATUS_OK) {
        transfer_add(&export->transfer, &(struct kv_operation){.kind = KV_GET, .key = record.key},
                     &record);
        transfer_progress(&export->transfer, reader.read_size);
    }
    transfer_drain(&export->transfer);
    buffer_append_slice(&export->out, reader.tail);
    enum kvctl_exit code = transfer_read_end(&reader, name, status);
    record_reader_deinit(&reader);
    if (fd != STDIN_FILENO) {
        (void)close(fd);
    }
    return code;
}

/* All keys, as they come. */
static enum kvctl_exit scanned_run(struct export *export)
{
    struct kv_scan *scan;
    struct kv_result result;
    struct slice key;
    struct kvctl *kvctl = export->transfer.kvctl;
    const struct kv_scan_options options = {.match = kvctl->values[OPTION_MATCH]};
    if (kv_scan_open(kvctl->client, &options, &scan) != STATUS_OK) {
        kvctl_complain("out of memory");
        return KVCTL_FAILURE;
    }
    while (kv_scan_next(scan, &key, &result) == KV_OK) {
        const struct record record = {.key = key};
        transfer_add(&export->transfer, &(struct kv_operation){.kind = KV_GET, .key = key},
                     &record);
        transfer_progress(&export->transfer, 0);
    }
    transfer_drain(&export->transfer);
    kv_scan_close(scan);
    return result.outcome == KV_NOT_FOUND ? KVCTL_OK : kvctl_judge(&result, "export");
}

enum kvctl_exit command_export(struct kvctl *kvctl)
{
    struct export export = {.transfer = {.verb = "exported", .take = export_take}};
    const char *order = kvctl->values[OPTION_ORDER];
    if (!transfer_format(kvctl, &export.format)) {
        return KVCTL_USAGE;
    }
    if (export.format == RECORD_DEBIAN && order == NULL) {
        kvctl_complain("export: format debian needs --order, which says where each stanza stands");
        return KVCTL_USAGE;
    }
    export.ordered = order != NULL;
    enum kvctl_exit code = transfer_open(&export.transfer, kvctl,
                                         &(struct kv_options){.try_count_max = TRY_COUNT_MAX});
    if (code == KVCTL_OK) {
        code = order != NULL ? ordered_run(&export, order) : scanned_run(&export);
        out_write(&export);
        transfer_progress_end(&export.transfer);
    }
    if (code == KVCTL_OK) {
        code = export.transfer.code;
    }
    buffer_deinit(&export.out);
    transfer_close(&export.transfer);
    return code;
}
