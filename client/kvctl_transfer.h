/*
 * client/kvctl_transfer.h -- what import, verify and export share: many records under way, counted
 * and timed, with progress on a terminal.
 *
 * Invariants:
 *  (1) At most `depth` operations and about TRANSFER_SIZE_MAX bytes are under way.
 *  (2) No two operations on one key are under way at once, so of two records with one key the later
 *      in the file wins. Keys are told apart by TRANSFER_BUCKET_COUNT buckets: now and then one
 *      waits for a stranger.
 */
#ifndef CLIENT_KVCTL_TRANSFER_H
#define CLIENT_KVCTL_TRANSFER_H

#include "base/histogram.h"
#include "client/kvctl.h"
#include "client/record_file.h"

#define TRANSFER_DEPTH_DEFAULT 256
#define TRANSFER_SIZE_MAX (32u << 20)
#define TRANSFER_BUCKET_COUNT (1u << 20)
#define TRANSFER_COMPLAINT_COUNT_MAX 5

struct transfer;

/* An operation under way, and what its end must be compared with. */
struct transfer_flight {
    size_t size;
    uint64_t checksum; /* Of the value in the file. */
    uint32_t bucket;
    struct buffer before; /* To be written in front of the value. */
};

typedef void transfer_take(struct transfer *transfer, const struct transfer_flight *flight,
                           const struct kv_result *result);

struct transfer {
    struct kvctl *kvctl;
    const char *verb; /* "written", "verified", "exported". */
    transfer_take *take;
    struct kv_pipeline *pipeline;
    struct transfer_flight *flights; /* A ring of `depth`. */
    uint8_t *buckets;                /* Whether a key of the bucket is under way. */
    uint32_t depth;
    uint32_t first;
    size_t under_way_size;
    /* Figures. */
    uint64_t begun_ns;
    uint64_t ended_ns;
    uint64_t taken_ns;     /* When the last operation ended. */
    uint64_t stall_ns_max; /* The longest time in which none did. */
    uint64_t done_count;   /* Ended well. */
    uint64_t done_size;
    uint64_t bad_count; /* Ended, and not well. */
    uint64_t retry_count;
    struct histogram latency_us;
    enum kvctl_exit code; /* Of the first that did not end well. */
    /* Progress. */
    bool terminal;
    uint64_t total_size; /* Of the file; 0: not known. */
    uint64_t shown_ns;
    uint32_t shown_tenth;
};

/* KVCTL_USAGE, KVCTL_FAILURE after complaining. transfer_close() in any case. */
enum kvctl_exit transfer_open(struct transfer *transfer, struct kvctl *kvctl,
                              const struct kv_options *options);
void transfer_close(struct transfer *transfer);
/* Adds an operation, collecting others as needed to keep the invariants. */
void transfer_add(struct transfer *transfer, const struct kv_operation *operation,
                  const struct record *record);
void transfer_drain(struct transfer *transfer); /* Collects all that is under way. */
/* Opens FILE or - ("standard input"); the size if it is known. -1 after complaining. */
int transfer_file(struct transfer *transfer, const char *name);
void transfer_progress(struct transfer *transfer, uint64_t read_size);
void transfer_progress_end(struct transfer *transfer);
/* Notes and counts an operation that did not end well. */
void transfer_complain(struct transfer *transfer, struct slice key, enum kvctl_exit code,
                       const char *what);
/* Complains of how reading the file ended, if not well. */
enum kvctl_exit transfer_read_end(const struct record_reader *reader, const char *name,
                                  enum status status);
/* Figures to stdout, and to --report. */
enum kvctl_exit transfer_tell(struct transfer *transfer);
bool transfer_format(const struct kvctl *kvctl, enum record_format *format);

#endif
