/* client/kvctl_transfer.c -- records under way, figures, progress. */
#include "client/kvctl_transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/json.h"
#include "base/memory.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define SHOW_EVERY_NS (100 * NS_PER_MS)      /* On a terminal. */
#define SHOW_UNSIZED_EVERY_NS (5 * NS_PER_S) /* Elsewhere, if the size is not known. */
#define BAR_SIZE 30

static uint64_t now_ns(void)
{
    struct timespec now;
    int failed = clock_gettime(CLOCK_MONOTONIC, &now);
    ASSERT(failed == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

bool transfer_format(const struct kvctl *kvctl, enum record_format *format)
{
    const char *text = kvctl->values[OPTION_FORMAT];
    *format = RECORD_TSV;
    if (text == NULL || record_format_parse(text, format)) {
        return true;
    }
    kvctl_complain("--format: debian, tsv or len, not %s", text);
    return false;
}

enum kvctl_exit transfer_open(struct transfer *transfer, struct kvctl *kvctl,
                              const struct kv_options *options)
{
    uint64_t depth;
    transfer->kvctl = kvctl;
    transfer->terminal = isatty(STDERR_FILENO) == 1;
    if (!kvctl_number(kvctl, OPTION_DEPTH, KV_PIPELINE_DEPTH_MAX, TRANSFER_DEPTH_DEFAULT, &depth)) {
        return KVCTL_USAGE;
    }
    enum kvctl_exit code = kvctl_open(kvctl, options);
    if (code != KVCTL_OK) {
        return code;
    }
    transfer->depth = (uint32_t)depth;
    transfer->flights = memory_allocate_zeroed(depth, sizeof(*transfer->flights));
    transfer->buckets = memory_allocate_zeroed(TRANSFER_BUCKET_COUNT, 1);
    if (transfer->flights == NULL || transfer->buckets == NULL ||
        kv_pipeline_open(kvctl->client, transfer->depth, &transfer->pipeline) != STATUS_OK) {
        kvctl_complain("out of memory");
        return KVCTL_FAILURE;
    }
    transfer->begun_ns = now_ns();
    transfer->taken_ns = transfer->begun_ns;
    return KVCTL_OK;
}

void transfer_close(struct transfer *transfer)
{
    kv_pipeline_close(transfer->pipeline);
    for (uint32_t index = 0; transfer->flights != NULL && index < transfer->depth; index++) {
        buffer_deinit(&transfer->flights[index].before);
    }
    memory_free(transfer->flights);
    memory_free(transfer->buckets);
}

/* ------------------------------------------------------------------ under way */

static void collect(struct transfer *transfer)
{
    struct kv_result result;
    struct transfer_flight *flight = &transfer->flights[transfer->first];
    (void)kv_pipeline_next(transfer->pipeline, &result);
    uint64_t now = now_ns();
    uint64_t stall_ns = now - transfer->taken_ns;
    transfer->stall_ns_max = stall_ns > transfer->stall_ns_max ? stall_ns : transfer->stall_ns_max;
    transfer->taken_ns = now;
    transfer->first = (transfer->first + 1) % transfer->depth;
    transfer->under_way_size -= flight->size;
    transfer->buckets[flight->bucket] = 0;
    transfer->retry_count += result.try_count > 1 ? result.try_count - 1 : 0;
    histogram_add(&transfer->latency_us, result.latency_us);
    transfer->take(transfer, flight, &result);
}

void transfer_add(struct transfer *transfer, const struct kv_operation *operation,
                  const struct record *record)
{
    struct kv_pipeline *pipeline = transfer->pipeline;
    uint32_t bucket = (uint32_t)(checksum64(operation->key, 0) % TRANSFER_BUCKET_COUNT);
    while (kv_pipeline_count(pipeline) > 0 &&
           (kv_pipeline_count(pipeline) == transfer->depth ||
            transfer->under_way_size >= TRANSFER_SIZE_MAX || transfer->buckets[bucket] != 0)) {
        collect(transfer);
    }
    struct transfer_flight *flight =
        &transfer->flights[(transfer->first + kv_pipeline_count(pipeline)) % transfer->depth];
    flight->size = record->key.size + record->value.size;
    flight->checksum = checksum64(record->value, 0);
    flight->bucket = bucket;
    buffer_clear(&flight->before);
    buffer_append_slice(&flight->before, record->before);
    transfer->under_way_size += flight->size;
    transfer->buckets[bucket] = 1;
    kv_pipeline_add(pipeline, operation);
}

void transfer_drain(struct transfer *transfer)
{
    while (kv_pipeline_count(transfer->pipeline) > 0) {
        collect(transfer);
    }
    transfer->ended_ns = now_ns();
}

void transfer_complain(struct transfer *transfer, struct slice key, enum kvctl_exit code,
                       const char *what)
{
    if (transfer->bad_count < TRANSFER_COMPLAINT_COUNT_MAX) {
        transfer_progress_end(transfer);
        kvctl_complain("%.*s: %s", (int)(key.size < 200 ? key.size : 200), (const char *)key.data,
                       what);
    }
    transfer->bad_count++;
    transfer->code = transfer->code == KVCTL_OK ? code : transfer->code;
}

/* ------------------------------------------------------------------ the file */

int transfer_file(struct transfer *transfer, const char *name)
{
    struct stat status;
    int fd = STDIN_FILENO;
    if (strcmp(name, "-") != 0) {
        fd = open(name, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0) {
        kvctl_complain("%s: %s", name, strerror(errno));
        return -1;
    }
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        transfer->total_size = (uint64_t)status.st_size;
    }
    return fd;
}

enum kvctl_exit transfer_read_end(const struct record_reader *reader, const char *name,
                                  enum status status)
{
    if (status == STATUS_NOT_FOUND || status == STATUS_OK) {
        return KVCTL_OK;
    }
    kvctl_complain("%s: record %" PRIu64 ", at byte %" PRIu64 ": %s", name, reader->count + 1,
                   reader->read_size,
                   status == STATUS_IO        ? strerror(errno)
                   : status == STATUS_CORRUPT ? "not in the format named, or cut short"
                                              : status_name(status));
    return KVCTL_FAILURE;
}

/* ------------------------------------------------------------------ progress */

static double seconds_of(const struct transfer *transfer, uint64_t until_ns)
{
    double seconds = (double)(until_ns - transfer->begun_ns) / (double)NS_PER_S;
    return seconds > 0 ? seconds : 1e-9;
}

static void progress_print(const struct transfer *transfer, uint64_t read_size, uint64_t now)
{
    char count[OUTPUT_NUMBER_SIZE_MAX];
    char rate[OUTPUT_NUMBER_SIZE_MAX];
    (void)output_count(transfer->done_count, count);
    (void)output_count((uint64_t)((double)transfer->done_count / seconds_of(transfer, now)), rate);
    uint64_t total = transfer->total_size;
    uint32_t percent = total == 0 ? 0 : (uint32_t)(read_size * 100 / total);
    if (!transfer->terminal) {
        (void)fprintf(stderr, total == 0 ? "%s records %s, %s/s\n" : "%s records %s, %s/s, %u %%\n",
                      count, transfer->verb, rate, percent);
        return;
    }
    char bar[BAR_SIZE + 1];
    size_t full = percent * BAR_SIZE / 100;
    memset(bar, '.', BAR_SIZE);
    memset(bar, '#', full < BAR_SIZE ? full : BAR_SIZE);
    bar[BAR_SIZE] = '\0';
    if (total == 0) {
        (void)fprintf(stderr, "\r\033[K%s records %s, %s/s", count, transfer->verb, rate);
    } else {
        (void)fprintf(stderr, "\r\033[K[%s] %3u %%  %s records %s, %s/s", bar, percent, count,
                      transfer->verb, rate);
    }
}

void transfer_progress(struct transfer *transfer, uint64_t read_size)
{
    uint64_t now = now_ns();
    uint64_t last_ns = transfer->shown_ns != 0 ? transfer->shown_ns : transfer->begun_ns;
    bool due = now - last_ns >= (transfer->terminal ? SHOW_EVERY_NS : SHOW_UNSIZED_EVERY_NS);
    if (!transfer->terminal && transfer->total_size != 0) {
        uint32_t tenth = (uint32_t)(read_size * 10 / transfer->total_size);
        due = tenth > transfer->shown_tenth;
        transfer->shown_tenth = tenth;
    }
    if (due) {
        progress_print(transfer, read_size, now);
        transfer->shown_ns = now;
    }
}

void transfer_progress_end(struct transfer *transfer)
{
    if (transfer->terminal && transfer->shown_ns != 0) {
        (void)fputs("\r\033[K", stderr);
        transfer->shown_ns = 0;
    }
}

/* ------------------------------------------------------------------ figures */

static double quantile_ms(const struct transfer *transfer, double quantile)
{
    return (double)histogram_quantile(&transfer->latency_us, quantile) / 1000;
}

static void figures_json(const struct transfer *transfer, struct buffer *to)
{
    static const struct {
        const char *name;
        double quantile;
    } quantiles[] = {{"p50_ms", 0.5}, {"p90_ms", 0.9}, {"p99_ms", 0.99}, {"p999_ms", 0.999}};
    struct json_writer json;
    double seconds = seconds_of(transfer, transfer->ended_ns);
    json_init(&json, to);
    json_object_begin(&json);
    json_key(&json, "did");
    json_text(&json, transfer->verb);
    json_key(&json, "records");
    json_u64(&json, transfer->done_count);
    json_key(&json, "bytes");
    json_u64(&json, transfer->done_size);
    json_key(&json, "seconds");
    json_double(&json, seconds);
    json_key(&json, "records_per_s");
    json_double(&json, (double)transfer->done_count / seconds);
    for (size_t index = 0; index < ARRAY_COUNT(quantiles); index++) {
        json_key(&json, quantiles[index].name);
        json_double(&json, quantile_ms(transfer, quantiles[index].quantile));
    }
    json_key(&json, "max_ms");
    json_double(&json, (double)transfer->latency_us.max / 1000);
    json_key(&json, "stall_ms_max");
    json_double(&json, (double)transfer->stall_ns_max / (double)NS_PER_MS);
    json_key(&json, "retries");
    json_u64(&json, transfer->retry_count);
    json_key(&json, "errors");
    json_u64(&json, transfer->bad_count);
    json_key(&json, "depth");
    json_u64(&json, transfer->depth);
    json_object_end(&json);
    buffer_append_text(to, "\n");
}

static void figures_text(const struct transfer *transfer, struct buffer *to)
{
    char size[OUTPUT_NUMBER_SIZE_MAX];
    char rate[OUTPUT_NUMBER_SIZE_MAX];
    char count[OUTPUT_NUMBER_SIZE_MAX];
    char retries[OUTPUT_NUMBER_SIZE_MAX];
    double seconds = seconds_of(transfer, transfer->ended_ns);
    (void)output_count((uint64_t)((double)transfer->done_count / seconds), rate);
    (void)output_count(transfer->done_count, count);
    buffer_append_format(to, "%s records %s, %s in %.2f s: %s records/s\n", count, transfer->verb,
                         output_size(transfer->done_size, size), seconds, rate);
    buffer_append_format(
        to, "latency p50 %.1f ms, p99 %.1f ms, longest %.1f ms, with %" PRIu32 " under way\n",
        quantile_ms(transfer, 0.5), quantile_ms(transfer, 0.99),
        (double)transfer->latency_us.max / 1000, transfer->depth);
    buffer_append_format(to, "%s tries again, %s errors, longest stall %.0f ms\n",
                         output_count(transfer->retry_count, retries),
                         output_count(transfer->bad_count, count),
                         (double)transfer->stall_ns_max / (double)NS_PER_MS);
}

static enum kvctl_exit report_write(const char *name, struct slice text)
{
    FILE *file = fopen(name, "we");
    bool written = file != NULL && fwrite(text.data, 1, text.size, file) == text.size;
    if (file != NULL) {
        written = fclose(file) == 0 && written;
    }
    if (!written) {
        kvctl_complain("--report: %s: %s", name, strerror(errno));
    }
    return written ? KVCTL_OK : KVCTL_FAILURE;
}

enum kvctl_exit transfer_tell(struct transfer *transfer)
{
    struct buffer json = {0};
    struct buffer text = {0};
    enum kvctl_exit code = KVCTL_OK;
    const char *report = transfer->kvctl->values[OPTION_REPORT];
    transfer_progress_end(transfer);
    figures_json(transfer, &json);
    figures_text(transfer, &text);
    if (buffer_status(&json) != STATUS_OK || buffer_status(&text) != STATUS_OK) {
        kvctl_complain("out of memory");
        code = KVCTL_FAILURE;
    }
    if (code == KVCTL_OK && report != NULL) {
        code = report_write(report, buffer_slice(&json));
    }
    if (code == KVCTL_OK) {
        code = output_bytes(buffer_slice(transfer->kvctl->output == KVCTL_JSON ? &json : &text));
    }
    buffer_deinit(&json);
    buffer_deinit(&text);
    return code;
}
