/*
 * node/stream_internal.h -- one stream of stream_target.h, shared by the files that carry it on:
 * stream_target.c (what comes next), stream_fetch.c (from the source), stream_intake.c (into the
 * engine).
 */
#ifndef NODE_STREAM_INTERNAL_H
#define NODE_STREAM_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "node/stream_files.h"
#include "node/stream_record.h"
#include "node/stream_target.h"

enum stream_state {
    STREAM_LOADING,
    STREAM_WAITING,
    STREAM_ASKING,
    STREAM_FETCHING,
    STREAM_WRITING,
    STREAM_INGESTING,
    STREAM_RECORDING,
    STREAM_REMOVING,
};

struct stream_piece {
    struct stream *stream;
    struct peer_request request;
    uint64_t offset;
    uint32_t length; /* 0: free. */
};

struct stream {
    struct stream_target *target;
    struct list_node node;
    uint32_t range;
    uint64_t session;
    enum stream_state state;
    bool ended;         /* Goes as soon as nothing works on it. */
    bool busy;          /* A job, an ingest or a write of a record is under way. */
    bool job_running;   /* Of these, a job. */
    uint32_t source_id; /* Asked last; 0 none. */
    uint32_t failure_count;
    enum status problem;
    struct env_timer timer; /* WAITING: when to go on; ASKING, FETCHING: how long to wait. */
    struct env_timer pace_timer;
    struct peer_request ask;
    struct stream_piece pieces[STREAM_PIECE_COUNT];
    struct stream_record record;
    uint64_t sequence; /* Of the record last written. */
    struct env_job job;
    enum status result;
    /* The chunk. */
    struct message_chunk_reply chunk; /* `next` borrows chunk_next. */
    struct buffer chunk_next;
    uint8_t *bytes; /* Owned; chunk.size of them. */
    uint64_t offset_asked;
    uint64_t size_got;
    uint64_t size_written;
    struct env_file *file;
    uint64_t file_id; /* 0: there is no file. */
    char path[STREAM_PATH_SIZE_MAX];
    const char *paths[1];
    struct holding_stretch stretch;
    struct lsm_ingest ingest;
    struct records_write write;
};

/* stream_target.c */
void stream_state_set(struct stream *stream, enum stream_state state);
/* After the start, a chunk or a pause: the next source to ask, or the end. */
void stream_next(struct stream *stream);
/* Pauses, then goes on with the next source. What is under way is dropped. */
void stream_retry(struct stream *stream, enum status status);
/* True if it was over, and is on its way out or gone: the caller leaves it alone. */
bool stream_gone(struct stream *stream);
/* From now on it waits so long for something to come. */
void stream_wait(struct stream *stream, uint64_t delay_ms);

/* stream_fetch.c: asks `source_id` for its next chunk, and fetches it. */
void stream_ask(struct stream *stream);
void stream_fetch_end(struct stream *stream); /* Drops what was fetched, and what was asked for. */

/* stream_intake.c: what was fetched goes into the engine, and its file away. */
void stream_take_in(struct stream *stream);
/* A chunk, or the news that there is none, is merged: the source has been followed so far. */
void stream_took(struct stream *stream);
void stream_job_begin(struct stream *stream, void (*run)(struct env_job *job),
                      void (*done)(struct env_job *job, enum status status));
/* False: the program ends, and nothing follows. */
MUST_USE bool stream_job_ended(struct stream *stream, enum status status);
void stream_file_run(struct env_job *job); /* Closes and removes the chunk's file. */

#endif
