/*
 * base/net_uv.c -- connections and listeners over TCP, for the env of libuv.
 *
 * Why gathering: a loop turn answers many requests, and a system call for each would cost more than
 * the answers. net_send copies into the connection's `out`; the end of the turn writes each
 * connection once. In steady state nothing is allocated: buffers are kept, requests are embedded.
 * Invariants:
 *  (1) `writing` is what the kernel gets next, from `written` on; it stays put while `busy`, that
 *      is while a uv_write is under way. `out` is behind it.
 *  (2) `in` holds the start of what was not delivered: less than one frame, or more after a pause.
 *  (3) `closed` is called from connection_closed() alone, which libuv runs in a phase of its own;
 * so never inside a call of the user. Nothing of a connection is freed before. (4) Unsent bytes are
 * bounded: above the bound the sender is told OVERLOADED, and one who sends on above NET_CAP_FACTOR
 * times the bound loses the connection. (5) A frame's claimed size takes no memory: `in` grows with
 * what arrived.
 */
#include <string.h>

#include "base/codec.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/net_uv_internal.h"

#define NET_BACKLOG 1024
#define NET_CAP_FACTOR 4
#define NET_DRAIN_TIMEOUT_NS UINT64_C(5000000000)  /* For the rest to be sent. */
#define NET_LINGER_TIMEOUT_NS UINT64_C(1000000000) /* Then for the peer to end its side. */
/* Given to the kernel in pieces, so that `drained` can come while the rest still waits. */
#define NET_WRITE_SIZE_MAX ((size_t)256 << 10)
/* An empty buffer that grew beyond this is given back. */
#define NET_BUFFER_KEEP_SIZE ((size_t)256 << 10)
#define FRAME_HEADER_SIZE 4

struct env_listener {
    struct env_uv *env;
    uv_tcp_t tcp;
    uv_tcp_t refused; /* Takes a connection for which there is no memory. */
    bool refusing;    /* `refused` is in use. */
    bool closed;      /* `tcp` is closed. */
    enum env_framing framing;
    const struct env_net_events *events;
    void *context;
    struct list_node node;
};

static struct connection_uv *connection_of(struct env_connection *connection)
{
    ASSERT(connection != NULL);
    return container_of(connection, struct connection_uv, base);
}

static enum status status_of(int rc)
{
    switch (rc) {
    case UV_EOF:
    case UV_ECONNRESET:
    case UV_ECONNABORTED:
    case UV_EPIPE:
        return STATUS_CLOSED;
    case UV_ETIMEDOUT:
        return STATUS_TIMEOUT;
    case UV_ENOMEM:
    case UV_ENOBUFS:
        return STATUS_NO_MEMORY;
    case UV_ECANCELED:
        return STATUS_CANCELLED;
    default:
        return STATUS_IO;
    }
}

static void buffer_empty(struct buffer *buffer)
{
    if (buffer->capacity > NET_BUFFER_KEEP_SIZE) {
        buffer_deinit(buffer);
    } else {
        buffer_clear(buffer);
    }
}

/* --- closing ---------------------------------------------------------------------------------- */

static void drain_timed_out(struct env_timer *timer);
static void read_start(struct connection_uv *connection);

struct connection_uv *connection_new(struct env_uv *env, enum env_framing framing,
                                     const struct env_net_events *events, void *context)
{
    ASSERT(events != NULL);
    struct connection_uv *connection = memory_allocate_zeroed(1, sizeof(*connection));
    if (connection == NULL) {
        return NULL;
    }
    connection->base.events = events;
    connection->base.context = context;
    connection->env = env;
    connection->framing = framing;
    connection->drain_timer.fired = drain_timed_out;
    list_init(&connection->flush_node);
    list_init(&connection->resume_node);
    int rc = uv_tcp_init(&env->loop, &connection->tcp); /* Takes no descriptor yet. */
    ASSERT(rc == 0);
    connection->tcp.data = connection;
    list_append(&env->connections, &connection->node);
    return connection;
}

void connection_closed(uv_handle_t *handle)
{
    struct connection_uv *connection = handle->data;
    ASSERT(connection->state == CONNECTION_CLOSED);
    ASSERT(!connection->busy);
    list_remove(&connection->node);
    if (connection->announced) {
        connection->base.events->closed(&connection->base, connection->why);
    }
    uv_freeaddrinfo(connection->addresses);
    buffer_deinit(&connection->out);
    buffer_deinit(&connection->writing);
    buffer_deinit(&connection->in);
    memory_free(connection);
}

void connection_end(struct connection_uv *connection, enum status why)
{
    if (connection->state == CONNECTION_CLOSED) {
        return;
    }
    connection->state = CONNECTION_CLOSED;
    connection->why = why;
    list_remove(&connection->flush_node);
    list_remove(&connection->resume_node);
    env_uv_timer_stop(&connection->env->base, &connection->drain_timer);
    if (connection->resolve != NULL) {
        dial_uv_abandon(connection);
    }
    /* Between two addresses of a name it is closing already: redial_done() sees the state. */
    if (!uv_is_closing((uv_handle_t *)&connection->tcp)) {
        uv_close((uv_handle_t *)&connection->tcp, connection_closed);
    }
}

void connection_failed(struct connection_uv *connection, const char *call, int rc)
{
    if (connection->state == CONNECTION_CLOSED) {
        return; /* Our own closing, come back as an error. */
    }
    if (connection->shut) {
        connection_end(connection, connection->why); /* All was sent: as good as its end. */
        return;
    }
    log_debug(&connection->env->base, "net.failed", "call=%s remote=%s error=%s", call,
              connection->remote, uv_err_name(rc));
    connection_end(connection, status_of(rc));
}

static size_t unsent_size(const struct connection_uv *connection)
{
    return connection->out.size + connection->writing.size - connection->written;
}

static void flush_later(struct connection_uv *connection)
{
    if (!connection->busy && list_empty(&connection->flush_node)) {
        list_append(&connection->env->flushes, &connection->flush_node);
    }
}

static void shutdown_done(uv_shutdown_t *shutdown, int rc)
{
    struct connection_uv *connection = container_of(shutdown, struct connection_uv, shutdown);
    if (rc != 0) {
        connection_failed(connection, "shutdown", rc);
    }
}

/* All is sent: the peer is told, and its end awaited; see (5). */
static void connection_linger(struct connection_uv *connection)
{
    if (connection->peer_done) {
        connection_end(connection, connection->why);
        return;
    }
    if (connection->shut) {
        return;
    }
    connection->shut = true;
    int rc = uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->tcp, shutdown_done);
    if (rc != 0) {
        connection_failed(connection, "shutdown", rc);
        return;
    }
    env_uv_timer_start(&connection->env->base, &connection->drain_timer, NET_LINGER_TIMEOUT_NS);
}

/* Sends what is queued at the end of the turn, then lingers and ends. */
static void connection_drain(struct connection_uv *connection, enum status why)
{
    ASSERT(connection->state == CONNECTION_OPEN);
    connection->state = CONNECTION_DRAINING;
    connection->why = why;
    list_remove(&connection->resume_node);
    env_uv_timer_start(&connection->env->base, &connection->drain_timer, NET_DRAIN_TIMEOUT_NS);
    flush_later(connection);
    if (connection->peer_done) {
        (void)uv_read_stop((uv_stream_t *)&connection->tcp);
    } else if (connection->paused) {
        read_start(connection);
    }
}

static void drain_timed_out(struct env_timer *timer)
{
    struct connection_uv *connection = container_of(timer, struct connection_uv, drain_timer);
    connection_end(connection, connection->shut ? connection->why : STATUS_TIMEOUT);
}

static void net_uv_close(struct env_connection *base)
{
    struct connection_uv *connection = connection_of(base);
    switch (connection->state) {
    case CONNECTION_RESOLVING:
    case CONNECTION_CONNECTING:
        connection_end(connection, STATUS_OK);
        break;
    case CONNECTION_OPEN:
        connection_drain(connection, STATUS_OK);
        break;
    case CONNECTION_DRAINING:
    case CONNECTION_CLOSED:
        break;
    }
}

/* --- sending ---------------------------------------------------------------------------------- */

static void write_done(uv_write_t *write, int rc);

static uv_buf_t bytes_of(struct connection_uv *connection, size_t size_max)
{
    size_t size = connection->writing.size - connection->written;
    size = size < size_max ? size : size_max;
    return uv_buf_init((char *)connection->writing.data + connection->written, (unsigned)size);
}

/* Gives the kernel what it takes; the rest follows by write_done(). 0, or libuv's error. */
static int connection_write(struct connection_uv *connection)
{
    ASSERT(!connection->busy);
    uv_stream_t *stream = (uv_stream_t *)&connection->tcp;
    for (;;) {
        if (connection->written == connection->writing.size) {
            buffer_empty(&connection->writing);
            connection->written = 0;
            if (connection->out.size == 0) {
                return 0;
            }
            struct buffer swapped = connection->writing;
            connection->writing = connection->out;
            connection->out = swapped;
        }
        uv_buf_t bytes = bytes_of(connection, INT32_MAX);
        int rc = uv_try_write(stream, &bytes, 1);
        if (rc < 0 && rc != UV_EAGAIN) {
            return rc;
        }
        connection->written += rc > 0 ? (size_t)rc : 0;
        if (connection->written < connection->writing.size) {
            bytes = bytes_of(connection, NET_WRITE_SIZE_MAX);
            rc = uv_write(&connection->write, stream, &bytes, 1, write_done);
            connection->busy = rc == 0;
            connection->write_size = bytes.len;
            return rc;
        }
    }
}

static void connection_flush(struct connection_uv *connection)
{
    if (connection->busy) {
        return;
    }
    int rc = connection_write(connection);
    if (rc != 0) {
        connection_failed(connection, "write", rc);
        return;
    }
    size_t unsent = unsent_size(connection);
    if (unsent == 0 && connection->state == CONNECTION_DRAINING) {
        connection_linger(connection);
        return;
    }
    if (connection->overloaded && unsent <= connection->env->send_queue_bytes_max / 2) {
        connection->overloaded = false;
        if (connection->state == CONNECTION_OPEN) {
            connection->env->once_seen = connection->env->once;
            connection->base.events->drained(&connection->base);
        }
    }
}

static void write_done(uv_write_t *write, int rc)
{
    struct connection_uv *connection = container_of(write, struct connection_uv, write);
    connection->busy = false;
    if (connection->state == CONNECTION_CLOSED) {
        return;
    }
    if (rc != 0) {
        connection_failed(connection, "write", rc);
        return;
    }
    connection->written += connection->write_size;
    connection_flush(connection);
}

static enum status net_uv_send(struct env_connection *base, struct slice data)
{
    struct connection_uv *connection = connection_of(base);
    ASSERT(connection->framing == ENV_BYTES || data.size <= ENV_FRAME_SIZE_MAX);
    if (connection->state >= CONNECTION_DRAINING) {
        return STATUS_CLOSED;
    }
    size_t bound = connection->env->send_queue_bytes_max;
    size_t unsent = unsent_size(connection);
    if (unsent / NET_CAP_FACTOR > bound) {
        log_warn(&connection->env->base, "net.send_cap", "remote=%s unsent_bytes=%zu",
                 connection->remote, unsent);
        connection_end(connection, STATUS_OVERLOADED);
        return STATUS_CLOSED;
    }
    size_t header_size = connection->framing == ENV_FRAMES ? FRAME_HEADER_SIZE : 0;
    size_t size = header_size + data.size;
    if (size == 0) {
        return STATUS_OK;
    }
    uint8_t *to = buffer_reserve(&connection->out, size);
    if (to == NULL) {
        connection_end(connection, STATUS_NO_MEMORY);
        return STATUS_CLOSED;
    }
    if (header_size > 0) {
        codec_store_u32(to, (uint32_t)data.size);
    }
    if (data.size > 0) {
        memcpy(to + header_size, data.data, data.size);
    }
    buffer_commit(&connection->out, size);
    if (connection->state == CONNECTION_OPEN) {
        flush_later(connection);
    }
    if (unsent + size > bound) {
        connection->overloaded = true;
        return STATUS_OVERLOADED;
    }
    return STATUS_OK;
}

/* --- receiving -------------------------------------------------------------------------------- */

/* With its header; 0 if not even that is there. */
static size_t frame_size(const struct buffer *in)
{
    if (in->size < FRAME_HEADER_SIZE) {
        return 0;
    }
    return FRAME_HEADER_SIZE + (size_t)codec_load_u32(in->data);
}

/*
 * A read goes to the shared buffer, behind the bytes that were left over. Only a frame that does
 * not fit there is gathered in `in`, each read at most doubling it; see (6).
 */
static void read_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *bytes)
{
    (void)suggested;
    struct connection_uv *connection = handle->data;
    struct buffer *in = &connection->in;
    if (connection->state != CONNECTION_OPEN) {
        *bytes = uv_buf_init((char *)connection->env->read_buffer, NET_READ_SIZE); /* Dropped. */
        return;
    }
    size_t size = frame_size(in);
    connection->direct = size > NET_READ_SIZE;
    if (connection->direct) {
        size_t room = in->size > NET_READ_SIZE ? in->size : NET_READ_SIZE;
        size_t rest = size - in->size;
        room = rest < room ? rest : room;
        uint8_t *to = buffer_reserve(in, room);
        *bytes = uv_buf_init((char *)to, to != NULL ? (unsigned)room : 0);
        return;
    }
    ASSERT(in->size < NET_READ_SIZE);
    uint8_t *to = connection->env->read_buffer;
    if (in->size > 0) {
        memcpy(to, in->data, in->size);
    }
    *bytes = uv_buf_init((char *)to + in->size, (unsigned)(NET_READ_SIZE - in->size));
}

/* Delivers whole frames while the user wants them; how many bytes they took. */
static size_t frames_deliver(struct connection_uv *connection, const uint8_t *data, size_t size)
{
    size_t used = 0;
    while (connection->state == CONNECTION_OPEN && !connection->paused &&
           size - used >= FRAME_HEADER_SIZE) {
        size_t body = codec_load_u32(data + used);
        if (body > ENV_FRAME_SIZE_MAX) {
            log_warn(&connection->env->base, "net.frame_too_large", "remote=%s size_bytes=%zu",
                     connection->remote, body);
            connection_end(connection, STATUS_TOO_LARGE);
            break;
        }
        if (size - used - FRAME_HEADER_SIZE < body) {
            break;
        }
        const uint8_t *frame = data + used + FRAME_HEADER_SIZE;
        used += FRAME_HEADER_SIZE + body;
        connection->base.events->received(&connection->base, slice_make(frame, body));
    }
    return used;
}

static void frames_received(struct connection_uv *connection, size_t got)
{
    struct buffer *in = &connection->in;
    if (connection->direct) {
        buffer_commit(in, got);
        if (in->size == frame_size(in)) {
            (void)frames_deliver(connection, in->data, in->size);
            buffer_empty(in);
        }
        return;
    }
    const uint8_t *data = connection->env->read_buffer;
    size_t size = in->size + got;
    buffer_empty(in);
    size_t used = frames_deliver(connection, data, size);
    if (connection->state != CONNECTION_OPEN || used == size) {
        return;
    }
    buffer_append(in, data + used, size - used);
    if (buffer_status(in) != STATUS_OK) {
        connection_end(connection, STATUS_NO_MEMORY);
    }
}

static void read_done(uv_stream_t *stream, ssize_t got, const uv_buf_t *bytes)
{
    struct connection_uv *connection = stream->data;
    if (got == UV_EOF) {
        connection->peer_done = true;
        if (connection->state == CONNECTION_OPEN) {
            /* The peer may still read: what it asked for before goes out first. */
            connection_drain(connection, STATUS_CLOSED);
        } else if (connection->shut) {
            connection_end(connection, connection->why);
        }
        return;
    }
    if (got < 0) {
        connection_failed(connection, "read", (int)got);
        return;
    }
    if (got == 0 || connection->state != CONNECTION_OPEN) {
        return;
    }
    if (connection->framing == ENV_FRAMES) {
        frames_received(connection, (size_t)got);
    } else {
        connection->base.events->received(&connection->base, slice_make(bytes->base, (size_t)got));
    }
}

static void read_start(struct connection_uv *connection)
{
    int rc = uv_read_start((uv_stream_t *)&connection->tcp, read_alloc, read_done);
    if (rc != 0 && rc != UV_EALREADY) {
        connection_failed(connection, "read_start", rc);
    }
}

/* Frames that a pause kept back, then the wire again. */
static void connection_resume(struct connection_uv *connection)
{
    struct buffer *in = &connection->in;
    connection->env->once_seen = connection->env->once;
    size_t used = frames_deliver(connection, in->data, in->size);
    if (connection->state != CONNECTION_OPEN) {
        return;
    }
    buffer_consume(in, used);
    if (in->size == 0) {
        buffer_empty(in);
    }
    if (!connection->paused && list_empty(&connection->resume_node)) {
        read_start(connection);
    }
}

static void net_uv_pause(struct env_connection *base, bool paused)
{
    struct connection_uv *connection = connection_of(base);
    if (connection->paused == paused) {
        return;
    }
    connection->paused = paused;
    if (connection->state != CONNECTION_OPEN) {
        return;
    }
    if (paused) {
        (void)uv_read_stop((uv_stream_t *)&connection->tcp);
        list_remove(&connection->resume_node);
    } else if (connection->in.size > 0) {
        list_append(&connection->env->resumes, &connection->resume_node);
    } else {
        read_start(connection);
    }
}

bool net_uv_turn_end(struct env_uv *env)
{
    /* Each list as it is now: what the callbacks add waits for the next turn. */
    struct list_node work;
    list_move(&env->resumes, &work);
    for (struct list_node *node; (node = list_take_first(&work)) != NULL;) {
        connection_resume(container_of(node, struct connection_uv, resume_node));
    }
    list_move(&env->flushes, &work);
    for (struct list_node *node; (node = list_take_first(&work)) != NULL;) {
        connection_flush(container_of(node, struct connection_uv, flush_node));
    }
    return !list_empty(&env->resumes) || !list_empty(&env->flushes);
}

/* --- opening ---------------------------------------------------------------------------------- */

void connection_opened(struct connection_uv *connection)
{
    connection->state = CONNECTION_OPEN;
    /* Turns are gathered here; the kernel need not wait for more. */
    (void)uv_tcp_nodelay(&connection->tcp, 1);
    connection->announced = true;
    connection->base.events->opened(&connection->base);
    if (connection->state != CONNECTION_OPEN) {
        return;
    }
    if (connection->out.size > 0) {
        flush_later(connection);
    }
    if (!connection->paused) {
        read_start(connection);
    }
}

static const char *net_uv_remote(const struct env_connection *base)
{
    ASSERT(base != NULL);
    return ((const struct connection_uv *)(const void *)base)->remote; /* Its first member. */
}

/* --- listening -------------------------------------------------------------------------------- */

static void remote_describe(struct connection_uv *connection)
{
    struct address remote = {.host = "unknown"};
    struct sockaddr_storage storage;
    int size = sizeof(storage);
    int rc = uv_tcp_getpeername(&connection->tcp, (struct sockaddr *)&storage, &size);
    if (rc == 0 && storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&storage;
        (void)uv_ip6_name(v6, remote.host, sizeof(remote.host));
        remote.port = ntohs(v6->sin6_port);
    } else if (rc == 0) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&storage;
        (void)uv_ip4_name(v4, remote.host, sizeof(remote.host));
        remote.port = ntohs(v4->sin_port);
    }
    address_format(&remote, connection->remote);
}

static void listener_free(struct env_listener *listener)
{
    if (listener->closed && !listener->refusing) {
        memory_free(listener);
    }
}

static void listener_accept(struct env_listener *listener);

static void refuse_done(uv_handle_t *handle)
{
    struct env_listener *listener = handle->data;
    listener->refusing = false;
    if (listener->closed) {
        listener_free(listener);
    } else if (!uv_is_closing((uv_handle_t *)&listener->tcp)) {
        listener_accept(listener); /* One may have come meanwhile. */
    }
}

/* Without memory a connection must still be taken, or libuv would never offer another. */
static void listener_refuse(struct env_listener *listener)
{
    if (listener->refusing) {
        return; /* refuse_done() comes back to it. */
    }
    int rc = uv_tcp_init(&listener->env->loop, &listener->refused);
    ASSERT(rc == 0);
    listener->refused.data = listener;
    listener->refusing = true;
    (void)uv_accept((uv_stream_t *)&listener->tcp, (uv_stream_t *)&listener->refused);
    uv_close((uv_handle_t *)&listener->refused, refuse_done);
}

static void listener_accept(struct env_listener *listener)
{
    struct connection_uv *connection =
        connection_new(listener->env, listener->framing, listener->events, listener->context);
    if (connection == NULL) {
        listener_refuse(listener);
        return;
    }
    int rc = uv_accept((uv_stream_t *)&listener->tcp, (uv_stream_t *)&connection->tcp);
    if (rc != 0) {
        connection_end(connection, status_of(rc)); /* Never announced. */
        return;
    }
    remote_describe(connection);
    connection_opened(connection);
}

static void connection_offered(uv_stream_t *server, int rc)
{
    struct env_listener *listener = server->data;
    if (rc != 0) {
        log_warn(&listener->env->base, "net.accept", "error=%s", uv_err_name(rc));
        return;
    }
    listener_accept(listener);
}

static void listener_closed(uv_handle_t *handle)
{
    struct env_listener *listener = handle->data;
    listener->closed = true;
    listener_free(listener);
}

static void net_uv_listener_close(struct env_listener *listener)
{
    ASSERT(listener != NULL);
    list_remove(&listener->node);
    uv_close((uv_handle_t *)&listener->tcp, listener_closed);
}

static int listener_open(struct env_listener *listener, const struct sockaddr *address)
{
    int rc = uv_tcp_bind(&listener->tcp, address, 0);
    return rc != 0 ? rc : uv_listen((uv_stream_t *)&listener->tcp, NET_BACKLOG, connection_offered);
}

static enum status net_uv_listen(struct env *base, const char *text, enum env_framing framing,
                                 const struct env_net_events *events, void *context,
                                 struct env_listener **listener_out)
{
    struct env_uv *env = env_uv_of(base);
    struct address address;
    enum status status = address_parse(text, &address);
    if (status != STATUS_OK) {
        return status;
    }
    if (strcmp(address.host, "localhost") == 0) {
        (void)memcpy(address.host, "127.0.0.1", sizeof("127.0.0.1"));
    }
    struct sockaddr_storage storage;
    if (!sockaddr_of(&address, &storage)) {
        return STATUS_INVALID;
    }
    if (env->closing) {
        return STATUS_CANCELLED;
    }
    struct env_listener *listener = memory_allocate_zeroed(1, sizeof(*listener));
    if (listener == NULL) {
        return STATUS_NO_MEMORY;
    }
    listener->env = env;
    listener->framing = framing;
    listener->events = events;
    listener->context = context;
    int rc = uv_tcp_init(&env->loop, &listener->tcp);
    ASSERT(rc == 0);
    listener->tcp.data = listener;
    list_append(&env->listeners, &listener->node);
    rc = listener_open(listener, (const struct sockaddr *)&storage);
    if (rc != 0) {
        net_uv_listener_close(listener);
        log_error(base, "net.listen", "address=%s error=%s", text, uv_err_name(rc));
        return rc == UV_EADDRINUSE ? STATUS_EXISTS : STATUS_IO;
    }
    *listener_out = listener;
    return STATUS_OK;
}

/* --- the env's side --------------------------------------------------------------------------- */

void net_uv_init(struct env_uv *env)
{
    list_init(&env->connections);
    list_init(&env->listeners);
    list_init(&env->flushes);
    list_init(&env->resumes);
}

void net_uv_close_all(struct env_uv *env)
{
    list_for_each (node, following, &env->listeners) {
        net_uv_listener_close(container_of(node, struct env_listener, node));
    }
    list_for_each (node, following, &env->connections) {
        struct connection_uv *connection = container_of(node, struct connection_uv, node);
        bool sends =
            connection->state == CONNECTION_OPEN || connection->state == CONNECTION_DRAINING;
        if (sends && !connection->busy) {
            /* What the kernel takes at once still goes out. */
            (void)connection_write(connection);
        }
        connection_end(connection, STATUS_CANCELLED);
    }
}

void net_uv_ops(struct env_ops *ops)
{
    ops->net_listen = net_uv_listen;
    ops->net_listener_close = net_uv_listener_close;
    ops->net_connect = dial_uv_connect;
    ops->net_send = net_uv_send;
    ops->net_close = net_uv_close;
    ops->net_pause = net_uv_pause;
    ops->net_remote = net_uv_remote;
}
