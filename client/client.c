/* client/client.c -- opening, the blocking calls, and questions about the cluster. */
#include "client/client.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/token.h"
#include "client/dispatch.h"
#include "client/request.h"
#include "client/topology_view.h"

#define CONNECT_TIMEOUT_MS_DEFAULT 1000
#define TIMEOUT_MS_DEFAULT 3000
#define TRY_COUNT_MAX_DEFAULT 4
#define NS_PER_MS UINT64_C(1000000)

/* ------------------------------------------------------------------ opening */

static enum status endpoint_add(struct kv_client *client, const char *text, size_t size)
{
    char copy[ADDRESS_TEXT_SIZE_MAX];
    struct address address;
    if (size == 0 || size >= sizeof(copy) || client->target_count >= KV_ENDPOINT_COUNT_MAX) {
        return STATUS_INVALID;
    }
    memcpy(copy, text, size);
    copy[size] = '\0';
    enum status status = address_parse(copy, &address);
    if (status != STATUS_OK) {
        return status;
    }
    struct target *target = dispatch_target(client, &address);
    if (target == NULL) {
        return STATUS_NO_MEMORY;
    }
    target->endpoint = true;
    return STATUS_OK;
}

static enum status endpoints_read(struct kv_client *client, const char *text)
{
    for (;;) {
        text += strspn(text, " ");
        size_t size = strcspn(text, ", ");
        enum status status = endpoint_add(client, text, size);
        text += size + strspn(text + size, " ");
        if (status != STATUS_OK || *text == '\0') {
            return status;
        }
        if (*text != ',') {
            return STATUS_INVALID;
        }
        text++;
    }
}

enum status kv_open(const struct kv_options *options, struct kv_client **opened)
{
    struct kv_client *client = memory_allocate_zeroed(1, sizeof(*client));
    if (client == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint32_t connect_ms =
        options->connect_timeout_ms != 0 ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS_DEFAULT;
    client->timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_MS_DEFAULT;
    client->connect_timeout_ns = connect_ms * NS_PER_MS;
    client->answer_timeout_ns =
        ((uint64_t)client->timeout_ms + DISPATCH_ANSWER_GRACE_MS) * NS_PER_MS;
    client->try_count_max =
        options->try_count_max != 0 ? options->try_count_max : TRY_COUNT_MAX_DEFAULT;
    client->read_level = options->read_level;
    client->write_level = options->write_level;
    client->retry_writes = options->retry_writes;
    client->routing = !options->no_routing;
    list_init(&client->waiting);
    list_init(&client->refresh.node);
    list_init(&client->direct.node);
    enum status status = endpoints_read(client, options->endpoints != NULL ? options->endpoints
                                                                           : KV_ENDPOINTS_DEFAULT);
    if (status != STATUS_OK) {
        kv_close(client);
        return status;
    }
    *opened = client;
    return STATUS_OK;
}

void kv_close(struct kv_client *client)
{
    if (client == NULL) {
        return;
    }
    dispatch_abandon(client, &client->refresh);
    dispatch_abandon(client, &client->direct);
    for (uint32_t index = 0; index < client->target_count; index++) {
        dispatch_abandon(client, &client->targets[index]->probe);
    }
    ASSERT(list_empty(&client->waiting)); /* Else a pipeline or scan is still open. */
    operation_deinit(&client->refresh);
    operation_deinit(&client->direct);
    for (uint32_t index = 0; index < client->target_count; index++) {
        ASSERT(list_empty(&client->targets[index]->connection.operations));
        connection_close(&client->targets[index]->connection);
        operation_deinit(&client->targets[index]->probe);
        memory_free(client->targets[index]);
    }
    topology_view_ring_free(&client->ring);
    memory_free(client);
}

/* ------------------------------------------------------------------ one operation */

static enum kv_outcome direct_run(struct kv_client *client, struct kv_result *result)
{
    dispatch_submit(client, &client->direct);
    dispatch_drive(client, &client->direct);
    *result = client->direct.result;
    return result->outcome;
}

enum kv_outcome kv_run(struct kv_client *client, const struct kv_operation *operation,
                       struct kv_result *result)
{
    dispatch_learn(client);
    request_begin(client, &client->direct, operation);
    return direct_run(client, result);
}

enum kv_outcome kv_get(struct kv_client *client, struct slice key, struct kv_result *result)
{
    return kv_run(client, &(struct kv_operation){.kind = KV_GET, .key = key}, result);
}

enum kv_outcome kv_set(struct kv_client *client, struct slice key, struct slice value,
                       struct kv_result *result)
{
    return kv_run(client, &(struct kv_operation){.kind = KV_SET, .key = key, .value = value},
                  result);
}

enum kv_outcome kv_delete(struct kv_client *client, struct slice key, struct kv_result *result)
{
    return kv_run(client, &(struct kv_operation){.kind = KV_DELETE, .key = key}, result);
}

/* ------------------------------------------------------------------ the cluster */

/* What was answered well makes no sense. */
static enum kv_outcome view_failed(struct kv_result *result, enum status status)
{
    result->outcome = KV_FAILED;
    if (status == STATUS_UNAVAILABLE) {
        result->reason = KV_REASON_LOADING;
        (void)snprintf(result->message, sizeof(result->message),
                       "there is no cluster yet: it begins once all nodes of --bootstrap have met");
        return KV_FAILED;
    }
    result->reason = status == STATUS_NO_MEMORY ? KV_REASON_NO_MEMORY : KV_REASON_PROTOCOL;
    (void)snprintf(result->message, sizeof(result->message), "the answer is %s",
                   status_name(status));
    return KV_FAILED;
}

enum kv_outcome kv_ring(struct kv_client *client, const struct kv_ring **ring,
                        struct kv_result *result)
{
    dispatch_refresh(client);
    *result = client->refresh.result;
    if (result->outcome != KV_OK) {
        return result->outcome;
    }
    if (!client->ring_known) {
        struct kv_ring none;
        enum status status = topology_view_ring(result->value, &none);
        if (status == STATUS_OK) {
            topology_view_ring_free(&none);
        }
        return view_failed(result, status == STATUS_OK ? STATUS_CORRUPT : status);
    }
    *ring = &client->ring;
    return KV_OK;
}

const struct kv_ring *kv_ring_known(const struct kv_client *client)
{
    return client->ring_known ? &client->ring : NULL;
}

/* The target of an endpoint; NULL with the result filled. */
static struct target *endpoint_target(struct kv_client *client, const char *endpoint,
                                      struct kv_result *result)
{
    struct address address;
    if (address_parse(endpoint, &address) != STATUS_OK) {
        *result = (struct kv_result){.outcome = KV_FAILED, .reason = KV_REASON_REFUSED};
        (void)snprintf(result->message, sizeof(result->message), "not HOST:PORT: %.200s", endpoint);
        return NULL;
    }
    struct target *target = dispatch_target(client, &address);
    if (target == NULL) {
        *result = (struct kv_result){.outcome = KV_FAILED, .reason = KV_REASON_NO_MEMORY};
        (void)snprintf(result->message, sizeof(result->message), "out of memory");
    }
    return target;
}

enum kv_outcome kv_command(struct kv_client *client, const struct kv_command *command,
                           struct kv_result *result)
{
    struct target *only = NULL;
    if (command->endpoint != NULL) {
        only = endpoint_target(client, command->endpoint, result);
        if (only == NULL) {
            return KV_FAILED;
        }
    }
    request_begin_raw(client, &client->direct, command->arguments, command->argument_count);
    client->direct.only = only;
    client->direct.writes = command->writes;
    return direct_run(client, result);
}

enum kv_outcome kv_status(struct kv_client *client, const char *endpoint, struct kv_status *status,
                          struct kv_result *result)
{
    const struct slice argument = slice_text("KV.STATUS");
    const struct kv_command command = {
        .arguments = &argument, .argument_count = 1, .endpoint = endpoint};
    if (kv_command(client, &command, result) != KV_OK) {
        return result->outcome;
    }
    enum status read = topology_view_status(result->value, status);
    return read == STATUS_OK ? KV_OK : view_failed(result, read);
}

enum kv_outcome kv_locate(struct kv_client *client, struct slice key, struct kv_location *location,
                          struct kv_result *result)
{
    const struct slice arguments[] = {slice_text("KV.LOCATE"), key};
    dispatch_learn(client);
    request_begin_raw(client, &client->direct, arguments, ARRAY_COUNT(arguments));
    if (direct_run(client, result) != KV_OK) {
        return result->outcome;
    }
    enum status read = topology_view_location(result->value, location);
    return read == STATUS_OK ? KV_OK : view_failed(result, read);
}

const char *kv_outcome_name(enum kv_outcome outcome)
{
    static const char *const names[] = {[KV_OK] = "ok",
                                        [KV_NOT_FOUND] = "not found",
                                        [KV_FAILED] = "failed",
                                        [KV_INDETERMINATE] = "indeterminate"};
    ASSERT((size_t)outcome < ARRAY_COUNT(names));
    return names[outcome];
}
