/* client/connection.c -- a socket, its two buffers and its states. */
#include "client/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/contract.h"
#include "base/resp.h"

#define RECEIVE_SIZE (64u << 10)
#define BUFFER_KEEP_SIZE_MAX (1u << 20) /* A larger empty buffer is given back. */

static void fault_set(struct connection *connection, const char *what)
{
    (void)snprintf(connection->fault, sizeof(connection->fault), "%s", what);
}

static void fault_errno(struct connection *connection, int error)
{
    char text[CONNECTION_FAULT_SIZE_MAX];
    fault_set(connection, strerror_r(error, text, sizeof(text)));
}

void connection_init(struct connection *connection, const struct address *address)
{
    *connection = (struct connection){.address = *address, .fd = -1};
    list_init(&connection->operations);
}

static void found_free(struct connection *connection)
{
    if (connection->found != NULL) {
        freeaddrinfo(connection->found);
    }
    connection->found = NULL;
    connection->trying = NULL;
}

void connection_close(struct connection *connection)
{
    if (connection->fd >= 0) {
        (void)close(connection->fd);
    }
    connection->fd = -1;
    connection->state = CONNECTION_CLOSED;
    connection->deadline_ns = 0;
    found_free(connection);
    buffer_deinit(&connection->out);
    buffer_deinit(&connection->in);
    connection->out_offset = 0;
    connection->in_offset = 0;
}

/* Tries the addresses from connection->trying on until one is under way. */
static enum status address_try(struct connection *connection)
{
    for (; connection->trying != NULL; connection->trying = connection->trying->ai_next) {
        const struct addrinfo *to = connection->trying;
        int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            fault_errno(connection, errno);
            continue;
        }
        int on = 1;
        /* Without it only latency suffers. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connect(fd, to->ai_addr, to->ai_addrlen) == 0 || errno == EINPROGRESS) {
            connection->fd = fd;
            connection->state = CONNECTION_CONNECTING;
            return STATUS_OK;
        }
        fault_errno(connection, errno);
        (void)close(fd);
    }
    return STATUS_IO;
}

enum status connection_begin(struct connection *connection)
{
    ASSERT(connection->state == CONNECTION_CLOSED);
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)connection->address.port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    connection->stream_end = 0;
    connection->sent_offset = 0;
    int failure = getaddrinfo(connection->address.host, port, &hints, &connection->found);
    if (failure != 0) {
        connection->found = NULL;
        fault_set(connection, gai_strerror(failure));
        return STATUS_IO;
    }
    connection->trying = connection->found;
    enum status status = address_try(connection);
    if (status != STATUS_OK) {
        connection_close(connection);
    }
    return status;
}

enum status connection_continue(struct connection *connection)
{
    ASSERT(connection->state == CONNECTION_CONNECTING);
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
    }
    if (error == 0) {
        found_free(connection);
        connection->state = CONNECTION_READY;
        return STATUS_OK;
    }
    fault_errno(connection, error);
    (void)close(connection->fd);
    connection->fd = -1;
    connection->trying = connection->trying->ai_next;
    return address_try(connection);
}

void connection_append(struct connection *connection, struct slice request)
{
    ASSERT(connection->state != CONNECTION_CLOSED);
    if (connection->out_offset > 0 && connection->out_offset >= connection->out.size / 2) {
        buffer_consume(&connection->out, connection->out_offset);
        connection->out_offset = 0;
    }
    buffer_append_slice(&connection->out, request);
    connection->stream_end += request.size;
}

enum status connection_flush(struct connection *connection)
{
    ASSERT(connection->state == CONNECTION_READY);
    if (buffer_status(&connection->out) != STATUS_OK) {
        fault_set(connection, "out of memory");
        return STATUS_IO; /* A request is missing in the stream. */
    }
    while (connection_has_output(connection)) {
        ssize_t sent =
            send(connection->fd, connection->out.data + connection->out_offset,
                 connection->out.size - connection->out_offset, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return STATUS_OK;
        }
        if (sent < 0) {
            fault_errno(connection, errno);
            return errno == EPIPE || errno == ECONNRESET ? STATUS_CLOSED : STATUS_IO;
        }
        connection->out_offset += (size_t)sent;
        connection->sent_offset += (uint64_t)sent;
    }
    buffer_clear(&connection->out);
    connection->out_offset = 0;
    if (connection->out.capacity > BUFFER_KEEP_SIZE_MAX) {
        buffer_deinit(&connection->out);
    }
    return STATUS_OK;
}

/* Drops what was parsed, without moving a long rest over and over. */
static void input_trim(struct connection *connection)
{
    if (connection->in_offset == connection->in.size) {
        buffer_clear(&connection->in);
        if (connection->in.capacity > BUFFER_KEEP_SIZE_MAX) {
            buffer_deinit(&connection->in);
        }
    } else if (connection->in_offset >= connection->in.size / 2) {
        buffer_consume(&connection->in, connection->in_offset);
    } else {
        return;
    }
    connection->in_offset = 0;
}

enum status connection_receive(struct connection *connection)
{
    ASSERT(connection->state == CONNECTION_READY);
    input_trim(connection);
    uint8_t *room = buffer_reserve(&connection->in, RECEIVE_SIZE);
    if (room == NULL) {
        fault_set(connection, "out of memory");
        return STATUS_NO_MEMORY;
    }
    for (;;) {
        ssize_t size = recv(connection->fd, room, RECEIVE_SIZE, MSG_DONTWAIT);
        if (size > 0) {
            buffer_commit(&connection->in, (size_t)size);
            return STATUS_OK;
        }
        if (size == 0) {
            fault_set(connection, "the node closed the connection");
            return STATUS_CLOSED;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return STATUS_OK;
        }
        if (errno != EINTR) {
            fault_errno(connection, errno);
            return errno == ECONNRESET ? STATUS_CLOSED : STATUS_IO;
        }
    }
}

enum status connection_reply(struct connection *connection, struct slice *reply)
{
    if (connection->in_offset == connection->in.size) {
        return STATUS_WOULD_BLOCK;
    }
    struct slice bytes = slice_make(connection->in.data + connection->in_offset,
                                    connection->in.size - connection->in_offset);
    size_t size = 0;
    enum status status = STATUS_CORRUPT;
    if (!list_empty(&connection->operations)) {
        status = resp_reply_size(bytes, &size);
    }
    if (status == STATUS_WOULD_BLOCK && bytes.size <= CONNECTION_REPLY_SIZE_MAX) {
        return STATUS_WOULD_BLOCK;
    }
    if (status != STATUS_OK) {
        fault_set(connection, "the answer is not the Redis protocol");
        return STATUS_CORRUPT;
    }
    *reply = slice_make(bytes.data, size);
    connection->in_offset += size;
    return STATUS_OK;
}

bool connection_is_stale(const struct connection *connection)
{
    if (connection->state != CONNECTION_READY || !list_empty(&connection->operations)) {
        return false;
    }
    uint8_t byte;
    /* Nothing is owed, so anything but "nothing there" ends it. */
    ssize_t size = recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return size >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}
