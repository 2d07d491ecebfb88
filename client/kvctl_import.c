/* client/kvctl_import.c -- a file's records written, or read back and compared. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/checksum.h"
#include "client/kvctl_transfer.h"

/* Long enough for a node to be restarted, at a second between rounds. */
#define TRY_COUNT_MAX 120

static void import_take(struct transfer *transfer, const struct transfer_flight *flight,
                        const struct kv_result *result)
{
    if (result->outcome == KV_OK) {
        transfer->done_count++;
        transfer->done_size += flight->size;
        return;
    }
    transfer_complain(transfer, result->key, kvctl_exit_of(result), result->message);
}

static void verify_take(struct transfer *transfer, const struct transfer_flight *flight,
                        const struct kv_result *result)
{
    if (result->outcome == KV_NOT_FOUND) {
        transfer_complain(transfer, result->key, KVCTL_CHECK_FAILED, "missing");
    } else if (result->outcome != KV_OK) {
        transfer_complain(transfer, result->key, KVCTL_CHECK_FAILED, result->message);
    } else if (result->key.size + result->value.size != flight->size ||
               checksum64(result->value, 0) != flight->checksum) {
        transfer_complain(transfer, result->key, KVCTL_CHECK_FAILED, "differs");
    } else {
        transfer->done_count++;
        transfer->done_size += flight->size;
    }
}

/* Every record of the file becomes an operation; the file's own end decides the rest. */
static enum kvctl_exit records_run(struct transfer *transfer, struct record_reader *reader,
                                   const char *name, enum kv_kind kind)
{
    struct record record;
    enum status status = STATUS_OK;
    bool writes = kind == KV_SET;
    while (!(writes && transfer->code != KVCTL_OK) &&
           (status = record_next(reader, &record)) == STATUS_OK) {
        const struct kv_operation operation = {
            .kind = kind, .key = record.key, .value = writes ? record.value : (struct slice){0}};
        transfer_add(transfer, &operation, &record);
        transfer_progress(transfer, reader->read_size);
    }
    transfer_drain(transfer);
    return transfer_read_end(reader, name, status);
}

static enum kvctl_exit transfer_run(struct kvctl *kvctl, struct transfer *transfer,
                                    const struct kv_options *options, enum kv_kind kind)
{
    enum record_format format;
    struct record_reader reader;
    const char *name = kvctl->operands[0];
    if (!transfer_format(kvctl, &format)) {
        return KVCTL_USAGE;
    }
    enum kvctl_exit code = transfer_open(transfer, kvctl, options);
    int fd = code == KVCTL_OK ? transfer_file(transfer, name) : -1;
    if (fd < 0) {
        transfer_close(transfer);
        return code != KVCTL_OK ? code : KVCTL_FAILURE;
    }
    record_reader_init(&reader, format, fd);
    code = records_run(transfer, &reader, name, kind);
    enum kvctl_exit told = transfer_tell(transfer);
    if (kind == KV_GET && kvctl->output != KVCTL_JSON) {
        char done[OUTPUT_NUMBER_SIZE_MAX];
        char all[OUTPUT_NUMBER_SIZE_MAX];
        (void)printf("%s of %s records verified\n", output_count(transfer->done_count, done),
                     output_count(reader.count, all));
    }
    code = code != KVCTL_OK ? code : transfer->code;
    record_reader_deinit(&reader);
    if (fd != STDIN_FILENO) {
        (void)close(fd);
    }
    transfer_close(transfer);
    return code != KVCTL_OK ? code : told;
}

enum kvctl_exit command_verify(struct kvctl *kvctl)
{
    struct transfer transfer = {.verb = "verified", .take = verify_take};
    return transfer_run(kvctl, &transfer, &(struct kv_options){.try_count_max = TRY_COUNT_MAX},
                        KV_GET);
}

enum kvctl_exit command_import(struct kvctl *kvctl)
{
    struct transfer transfer = {.verb = "written", .take = import_take};
    if (kvctl->values[OPTION_VERIFY] != NULL) {
        return command_verify(kvctl);
    }
    const struct kv_options options = {.try_count_max = TRY_COUNT_MAX, .retry_writes = true};
    return transfer_run(kvctl, &transfer, &options, KV_SET);
}
