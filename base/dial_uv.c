/*
 * base/dial_uv.c -- reaching out: names to addresses, addresses to connections.
 *
 * A name may have several addresses; they are tried one after the other until one answers.
 * Invariant: nothing is told inside dial_uv_connect(); an address that fails at once ends the
 * connection, and `closed` follows from the loop.
 */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/net_uv_internal.h"

/* Outlives a connection that is closed meanwhile: a lookup cannot be stopped. */
struct resolve_uv {
    uv_getaddrinfo_t request;
    struct connection_uv *connection; /* NULL if it gave up. */
};

bool sockaddr_of(const struct address *address, struct sockaddr_storage *storage)
{
    return uv_ip4_addr(address->host, address->port, (struct sockaddr_in *)storage) == 0 ||
           uv_ip6_addr(address->host, address->port, (struct sockaddr_in6 *)storage) == 0;
}

void dial_uv_abandon(struct connection_uv *connection)
{
    ASSERT(connection->resolve != NULL);
    connection->resolve->connection = NULL;
    (void)uv_cancel((uv_req_t *)&connection->resolve->request);
    connection->resolve = NULL;
}

static void address_next(struct connection_uv *connection);

/* A name may have several addresses, and a handle connects but once. */
static void redial_done(uv_handle_t *handle)
{
    struct connection_uv *connection = handle->data;
    if (connection->state == CONNECTION_CLOSED) {
        connection_closed(handle);
        return;
    }
    int rc = uv_tcp_init(&connection->env->loop, &connection->tcp);
    ASSERT(rc == 0);
    connection->tcp.data = connection;
    address_next(connection);
}

static void connect_done(uv_connect_t *connect, int rc)
{
    struct connection_uv *connection = container_of(connect, struct connection_uv, connect);
    if (connection->state == CONNECTION_CLOSED) {
        return;
    }
    if (rc == 0) {
        connection_opened(connection);
    } else if (connection->address != NULL) {
        uv_close((uv_handle_t *)&connection->tcp, redial_done);
    } else {
        connection_failed(connection, "connect", rc);
    }
}

static void connection_dial(struct connection_uv *connection, const struct sockaddr *address)
{
    connection->state = CONNECTION_CONNECTING;
    int rc = uv_tcp_connect(&connection->connect, &connection->tcp, address, connect_done);
    if (rc != 0) {
        connect_done(&connection->connect, rc);
    }
}

static void address_next(struct connection_uv *connection)
{
    struct addrinfo *address = connection->address;
    ASSERT(address != NULL);
    connection->address = address->ai_next;
    struct sockaddr_storage storage = {0};
    memcpy(&storage, address->ai_addr, address->ai_addrlen);
    uint16_t port = htons(connection->port);
    if (storage.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&storage)->sin6_port = port;
    } else {
        ((struct sockaddr_in *)&storage)->sin_port = port;
    }
    connection_dial(connection, (const struct sockaddr *)&storage);
}

static void resolve_done(uv_getaddrinfo_t *request, int rc, struct addrinfo *addresses)
{
    struct resolve_uv *resolve = container_of(request, struct resolve_uv, request);
    struct connection_uv *connection = resolve->connection;
    memory_free(resolve);
    if (connection == NULL) {
        uv_freeaddrinfo(addresses);
        return;
    }
    connection->resolve = NULL;
    if (rc != 0 || addresses == NULL) {
        log_debug(&connection->env->base, "net.resolve", "remote=%s error=%s", connection->remote,
                  uv_err_name(rc));
        connection_end(connection, STATUS_NOT_FOUND);
        return;
    }
    connection->addresses = addresses;
    connection->address = addresses;
    address_next(connection);
}

static void connection_resolve(struct connection_uv *connection, const struct address *address)
{
    connection->state = CONNECTION_RESOLVING;
    struct resolve_uv *resolve = memory_allocate_zeroed(1, sizeof(*resolve));
    if (resolve == NULL) {
        connection_end(connection, STATUS_NO_MEMORY);
        return;
    }
    resolve->connection = connection;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc = uv_getaddrinfo(&connection->env->loop, &resolve->request, resolve_done, address->host,
                            NULL, &hints);
    if (rc != 0) {
        memory_free(resolve);
        connection_failed(connection, "getaddrinfo", rc);
        return;
    }
    connection->resolve = resolve;
}

enum status dial_uv_connect(struct env *base, const char *text, enum env_framing framing,
                            const struct env_net_events *events, void *context,
                            struct env_connection **connection_out)
{
    struct env_uv *env = env_uv_of(base);
    struct address address;
    enum status status = address_parse(text, &address);
    if (status != STATUS_OK) {
        return status;
    }
    if (env->closing) {
        return STATUS_CANCELLED;
    }
    struct connection_uv *connection = connection_new(env, framing, events, context);
    if (connection == NULL) {
        return STATUS_NO_MEMORY;
    }
    connection->announced = true;
    connection->port = address.port;
    address_format(&address, connection->remote);
    struct sockaddr_storage storage;
    if (sockaddr_of(&address, &storage)) {
        connection_dial(connection, (const struct sockaddr *)&storage);
    } else {
        connection_resolve(connection, &address);
    }
    *connection_out = &connection->base;
    return STATUS_OK;
}
