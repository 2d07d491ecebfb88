/*
 * node/session.h -- one client connection: requests in order, answers in order, work in between.
 *
 * A session parses its input into requests and starts them. Requests on different keys run at the
 * same time; one that touches a key on which another of this session is under way waits unparsed,
 * and so do commands that name many keys or see all of them. So a pipelining client sees its own
 * writes, and its answers come in the order it asked.
 * Invariants:
 *  (1) `requests` is in the order of arrival; an answer leaves only from its head.
 *  (2) At most `pipeline_max` requests are under way, and no more are started while answers of
 *      over `request_size_max` wait for their turn; then the connection is paused.
 */
#ifndef NODE_SESSION_H
#define NODE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/env.h"
#include "base/list.h"
#include "base/resp.h"
#include "node/coordinator.h"
#include "node/node.h"
#include "node/server.h"

#define SESSION_NAME_SIZE_MAX 128
#define SESSION_LIBRARY_SIZE_MAX 64
#define SESSION_ARGUMENT_COUNT_MAX 65536
#define SESSION_KEYSPACE_FIRST 1 /* Where a connection begins. */

struct command;
struct request;
struct session;

struct server {
    struct node *node;
    struct env *env;
    struct env_listener *listener;
    struct list_node sessions;
    struct list_node spare; /* Requests kept for reuse. */
    uint32_t spare_count;
    uint64_t session_ids;    /* The last one given. */
    struct slice *arguments; /* Of the request being parsed; SESSION_ARGUMENT_COUNT_MAX. */
    struct server_counters counters;
    bool stopping;
    uint64_t run_id[2]; /* Random: INFO's run_id. */
    uint64_t started_ns;
};

struct session {
    struct list_node node;
    struct server *server;
    struct env_connection *connection; /* NULL once closed. */
    uint64_t id;
    uint64_t opened_ns;
    uint64_t active_ns;
    struct buffer in; /* Not yet parsed, from in_offset on. */
    size_t in_offset;
    size_t in_wanted;  /* Bytes from in_offset on before parsing can get further. */
    struct buffer out; /* Answers of this turn. */
    struct list_node requests;
    uint32_t request_count;
    uint64_t held_size; /* Bytes of answers that wait in `requests`. */
    bool feeding;       /* Inside session_feed: answers are sent at its end. */
    bool paused;        /* The connection is held back. */
    bool choked;        /* The client does not read its answers. */
    bool closing;       /* Close once all is answered; no more is parsed. */
    int protocol;       /* 2 or 3 */
    uint16_t keyspace;
    enum level read_level; /* As KV.CONSISTENCY said; 0: as the keyspace, or the node, has it. */
    enum level write_level;
    char name[SESSION_NAME_SIZE_MAX];
    char library_name[SESSION_LIBRARY_SIZE_MAX];
    char library_version[SESSION_LIBRARY_SIZE_MAX];
    const char *last_command;
};

/* One key of a command that names several. */
struct request_part {
    struct request *request;
    uint32_t index;
    struct coordinator_read read;
    struct coordinator_write write;
    struct buffer reply; /* MGET */
    uint32_t tries;
};

struct request {
    struct list_node node;
    struct session *session; /* NULL: the client is gone; the answer is dropped. */
    struct server *server;
    const struct command *command;
    struct slice *arguments; /* Owned copies; [0] is the command's name. */
    uint32_t argument_count;
    uint32_t argument_capacity;
    struct buffer bytes; /* Backs them. */
    struct buffer reply;
    struct resp_writer writer; /* To reply. */
    bool done;
    bool exclusive;
    bool writes;
    uint64_t key_hash;
    /* Of the command's own run. */
    uint16_t keyspace;
    enum level level;
    uint32_t timeout_ms;
    struct coordinator_read read;
    struct coordinator_write write;
    struct coordinator_scan scan;
    struct request_part *parts; /* Owned. */
    uint32_t part_count;
    uint32_t part_next; /* Parts begun. */
    uint32_t part_done;
    uint32_t part_busy;
    bool part_looping; /* Parts are being begun: one that ends at once does not begin others. */
    bool part_wrote;   /* A part has changed its key: a failure of the whole is no definite one. */
    int64_t sum;       /* Keys counted. */
    uint64_t parts_size; /* Bytes of the parts' replies. */
    uint32_t tries;
    bool meta;
    enum status failure; /* The first of a part. */
    struct coordinator_outcome failure_outcome;
    struct version failure_version;
    bool failure_wrote;
};

/* Implemented by session.c. */
void session_open(struct server *server, struct env_connection *connection);
void session_received(struct session *session, struct slice data);
void session_drained(struct session *session);
void session_closed(struct session *session);
void session_stop(struct session *session); /* Closes once all is answered. */
/* Of what its connection chose, nothing is left. */
void session_forget(struct session *session);
/* At which its next read, or write, runs unless it says so itself. */
enum level session_level(const struct session *session, bool writes);
/* The answer is in request->reply. */
void request_finish(struct request *request);
void request_free(struct request *request);

/* Of a value set without an expiry: as its keyspace has it. 0: never. */
uint64_t request_default_expiry_ms(const struct request *request);

/* Errors common to commands; each appends one error reply. */
void request_error(struct request *request, const char *format, ...) PRINTF_LIKE(2, 3);
/* What a status of the coordinator says to a client; `wrote`: a mutation was involved. */
void request_status(struct request *request, enum status status,
                    const struct coordinator_outcome *outcome, struct version version, bool wrote);

#endif
