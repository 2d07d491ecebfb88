/* node/server.c -- the listener of the client port and its sessions. */
#include "node/server.h"

#include "base/log.h"
#include "base/memory.h"
#include "node/session.h"

static void connection_refuse(struct server *server, struct env_connection *connection,
                              const char *why)
{
    server->counters.connections_refused++;
    enum status status = server->env->ops->net_send(connection, slice_text(why));
    (void)status; /* It is closed in any case. */
    server->env->ops->net_close(connection);
}

static void client_opened(struct env_connection *connection)
{
    struct server *server = connection->context;
    uint32_t connections_max = node_config(server->node)->connections_max;
    if (server->stopping) {
        connection_refuse(server, connection, "-UNAVAILABLE the node is shutting down\r\n");
    } else if (server->counters.connections_now >= connections_max) {
        connection_refuse(server, connection, "-ERR max number of clients reached\r\n");
    } else {
        session_open(server, connection);
    }
}

static void client_received(struct env_connection *connection, struct slice data)
{
    struct session *session = connection->user;
    if (session != NULL) {
        session->server->counters.bytes_in += data.size;
        session_received(session, data);
    }
}

static void client_drained(struct env_connection *connection)
{
    struct session *session = connection->user;
    if (session != NULL) {
        session_drained(session);
    }
}

static void client_closed(struct env_connection *connection, enum status why)
{
    (void)why;
    struct session *session = connection->user;
    if (session != NULL) {
        session_closed(session);
    }
}

static const struct env_net_events client_events = {
    .opened = client_opened,
    .received = client_received,
    .drained = client_drained,
    .closed = client_closed,
};

enum status server_open(struct node *node, struct server **out)
{
    struct env *env = node_env(node);
    struct server *server = memory_allocate_zeroed(1, sizeof(*server));
    if (server == NULL) {
        return STATUS_NO_MEMORY;
    }
    server->node = node;
    server->env = env;
    server->started_ns = env_monotonic_ns(env);
    server->run_id[0] = env_random(env);
    server->run_id[1] = env_random(env);
    list_init(&server->sessions);
    list_init(&server->spare);
    server->arguments = memory_allocate(SESSION_ARGUMENT_COUNT_MAX * sizeof(*server->arguments));
    enum status status = server->arguments == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    if (status == STATUS_OK) {
        status = env->ops->net_listen(env, node_config(node)->client, ENV_BYTES, &client_events,
                                      server, &server->listener);
    }
    if (status != STATUS_OK) {
        memory_free(server->arguments);
        memory_free(server);
        return status;
    }
    *out = server;
    return STATUS_OK;
}

void server_stop(struct server *server)
{
    if (server->stopping) {
        return;
    }
    server->stopping = true;
    server->env->ops->net_listener_close(server->listener);
    server->listener = NULL;
    list_for_each (node, next, &server->sessions) {
        session_stop(container_of(node, struct session, node));
    }
}

bool server_stopped(const struct server *server)
{
    return server->stopping && list_empty(&server->sessions);
}

void server_close(struct server *server)
{
    if (server == NULL) {
        return;
    }
    list_for_each (node, next, &server->sessions) {
        session_closed(container_of(node, struct session, node));
    }
    while (!list_empty(&server->spare)) {
        request_free(container_of(list_take_first(&server->spare), struct request, node));
    }
    memory_free(server->arguments);
    memory_free(server);
}

const struct server_counters *server_counters(const struct server *server)
{
    return &server->counters;
}
