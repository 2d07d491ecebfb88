/*
 * client/connection.h -- one socket to one node, not blocking: bytes out, whole replies in.
 *
 * Who waits, for how long, and what a failure means for an operation is client/dispatch.c's
 * business; this file only moves bytes and says how far it came.
 *
 *     CLOSED --> CONNECTING --> READY --> CLOSED
 *                     |                     ^
 *                     +---------------------+
 *
 * Contract:
 *  (1) `sent_offset` never runs ahead of what the kernel took: bytes of the stream at or above it
 *      have certainly not left.
 *  (2) Replies come in the order of the requests, and only while some are owed; anything else is
 *      STATUS_CORRUPT.
 */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/buffer.h"
#include "base/list.h"
#include "base/slice.h"
#include "base/status.h"

#define CONNECTION_REPLY_SIZE_MAX (128u << 20) /* A longer reply is taken for nonsense. */
#define CONNECTION_FAULT_SIZE_MAX 128

enum connection_state { CONNECTION_CLOSED, CONNECTION_CONNECTING, CONNECTION_READY };

struct connection {
    struct address address;
    enum connection_state state;
    int fd;                        /* -1 while closed. */
    struct addrinfo *found;        /* Owned while connecting; the addresses of the host. */
    const struct addrinfo *trying; /* The one of them under way. */
    struct buffer out;             /* From out_offset on: not sent yet. */
    size_t out_offset;
    uint64_t stream_end;  /* Bytes appended since it was opened. */
    uint64_t sent_offset; /* Bytes of those the kernel took. */
    struct buffer in;     /* From in_offset on: not parsed yet. */
    size_t in_offset;
    uint64_t deadline_ns; /* By then connected, or the next reply here; 0: nothing is owed. */
    struct list_node operations;           /* Whose replies are owed, oldest first; the owner's. */
    char fault[CONNECTION_FAULT_SIZE_MAX]; /* Why it was last lost, for people. */
};

void connection_init(struct connection *connection, const struct address *address);
void connection_close(struct connection *connection); /* Safe in any state; keeps `operations`. */
/* Begins to connect. STATUS_IO, with `fault`, if that failed at once. */
MUST_USE enum status connection_begin(struct connection *connection);
/* Appends to what goes out, also while still connecting. */
void connection_append(struct connection *connection, struct slice request);
/* After poll said writable while connecting: READY, or on to the next address. STATUS_IO. */
MUST_USE enum status connection_continue(struct connection *connection);
/* Sends what the socket takes. STATUS_CLOSED, STATUS_IO. */
MUST_USE enum status connection_flush(struct connection *connection);
/* Reads what is there. STATUS_CLOSED, STATUS_IO, STATUS_NO_MEMORY. */
MUST_USE enum status connection_receive(struct connection *connection);
/* The next whole reply; borrows until the next call. STATUS_WOULD_BLOCK, STATUS_CORRUPT. */
MUST_USE enum status connection_reply(struct connection *connection, struct slice *reply);
/* Whether the peer closed a connection on which nothing is owed. */
bool connection_is_stale(const struct connection *connection);

static inline bool connection_has_output(const struct connection *connection)
{
    return connection->out_offset < connection->out.size;
}

#endif
