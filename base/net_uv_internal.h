/*
 * base/net_uv_internal.h -- one TCP connection, as net_uv.c and dial_uv.c know it.
 *
 *   RESOLVING --> CONNECTING --> OPEN --> DRAINING --> CLOSED
 *       |             |            |                     ^
 *       +-------------+------------+---------------------+
 */
#ifndef BASE_NET_UV_INTERNAL_H
#define BASE_NET_UV_INTERNAL_H

#include "base/address.h"
#include "base/env_uv_internal.h"

enum connection_state {
    CONNECTION_RESOLVING,
    CONNECTION_CONNECTING,
    CONNECTION_OPEN,
    CONNECTION_DRAINING, /* Closing: sends the rest, then waits for the peer's end. */
    CONNECTION_CLOSED,   /* `closed` is about to come. */
};

struct connection_uv {
    struct env_connection base;
    struct env_uv *env;
    uv_tcp_t tcp;
    enum connection_state state;
    enum env_framing framing;
    enum status why; /* For `closed`, from DRAINING on. */
    bool announced;  /* The user knows of it, so `closed` is due. */
    bool paused;
    bool overloaded; /* OVERLOADED was said, `drained` is due. */
    bool busy;       /* `write` is under way, with `write_size` bytes. */
    bool direct;     /* The read under way goes to `in`. */
    bool peer_done;  /* The peer sends no more. */
    bool shut;       /* All is sent and the peer was told so; waits for its end. */
    struct list_node node;
    struct list_node flush_node;
    struct list_node resume_node;
    struct buffer out;
    struct buffer writing;
    size_t written;
    size_t write_size;
    uv_write_t write;
    struct buffer in;
    struct env_timer drain_timer;
    uv_shutdown_t shutdown;
    uv_connect_t connect;
    struct resolve_uv *resolve; /* While RESOLVING. */
    uint16_t port;              /* To connect to. */
    struct addrinfo *addresses; /* What the name gave; owned. */
    struct addrinfo *address;   /* To be tried next, among these. */
    char remote[ADDRESS_TEXT_SIZE_MAX];
};

/* NULL if there is no memory. */
MUST_USE struct connection_uv *connection_new(struct env_uv *env, enum env_framing framing,
                                              const struct env_net_events *events, void *context);
/* It is connected: tells the user, sends what was queued before, reads. */
void connection_opened(struct connection_uv *connection);
/* At once, whatever is unsent; `closed` follows. */
void connection_end(struct connection_uv *connection, enum status why);
/* As connection_end, for an error of libuv. */
void connection_failed(struct connection_uv *connection, const char *call, int rc);
/* What libuv calls when the handle of an ended connection is gone: tells the user and frees. */
void connection_closed(uv_handle_t *handle);
/* False if the host is a name. */
MUST_USE bool sockaddr_of(const struct address *address, struct sockaddr_storage *storage);

enum status dial_uv_connect(struct env *base, const char *text, enum env_framing framing,
                            const struct env_net_events *events, void *context,
                            struct env_connection **connection);

/* Of a connection that is RESOLVING. */
void dial_uv_abandon(struct connection_uv *connection);

#endif
