/*
 * client/operation.h -- one operation: its request's bytes, its tries, and what came of it.
 *
 * Contract:
 *  (1) What a failure means is decided here and nowhere else: whether anything may have been done
 *      ("open"), and whether another try is safe.
 *  (2) Once a try of a write was open, the operation never ends as KV_FAILED.
 */
#ifndef CLIENT_OPERATION_H
#define CLIENT_OPERATION_H

#include "base/buffer.h"
#include "base/list.h"
#include "client/client.h"

#define OPERATION_TRIED_COUNT_MAX 8

struct target;

enum operation_state {
    OPERATION_IDLE,    /* Not begun, or collected. */
    OPERATION_WAITING, /* For its turn, in the client's list. */
    OPERATION_SENT,    /* In a connection's list. */
    OPERATION_DONE,    /* `result` is final. */
};

/* What a good answer looks like. */
enum operation_answer {
    OPERATION_ANSWER_VALUE, /* A bulk string, or null. */
    OPERATION_ANSWER_META,  /* A map with version and expiry_ms, perhaps value. */
    OPERATION_ANSWER_OK,    /* A simple string. */
    OPERATION_ANSWER_ANY,   /* Whatever is no error; `reply` is for the caller to read. */
};

enum operation_verdict { OPERATION_FINAL, OPERATION_AGAIN };

/* Zeroed at first. */
struct operation {
    struct list_node node;
    enum operation_state state;
    enum operation_answer answer;
    bool writes;
    bool retry_writes;
    bool routed;        /* By `token`; else any node will do. */
    bool maybe_applied; /* Some try of a write was open. */
    uint64_t token;
    struct target *only; /* The one node to ask, or NULL. */
    struct buffer request;
    struct buffer reply;
    struct slice key;      /* In `request`: its first argument. */
    uint64_t stream_begin; /* Where in its connection's stream the request begins. */
    uint64_t begun_ns;
    uint64_t retry_at_ns;
    uint32_t try_count_max;
    uint32_t round_count; /* Rounds over the nodes that all failed. */
    uint32_t tried_count;
    const struct target *tried[OPERATION_TRIED_COUNT_MAX]; /* In this round. */
    struct kv_result result;
};

void operation_deinit(struct operation *operation);
/* Writes the request; the fields up to `only` but `state` are the caller's to set after it. */
void operation_encode(struct operation *operation, const struct slice *arguments,
                      size_t argument_count);
/* A whole reply came from `from` ("host:port"). Fills the result. */
enum operation_verdict operation_answered(struct operation *operation, struct slice reply,
                                          const char *from);
/* The connection failed, or was never made. `left`: some of the request's bytes had left. */
enum operation_verdict operation_lost(struct operation *operation, enum kv_reason reason, bool left,
                                      const char *message);

#endif
