/* client/request.c -- the spelling of the commands. */
#include "client/request.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/token.h"

#define ARGUMENT_COUNT_MAX 10
#define NUMBER_SIZE_MAX 24

static const char *level_word(enum kv_level level)
{
    static const char *const words[] = {[KV_LEVEL_DEFAULT] = NULL,
                                        [KV_LEVEL_ONE] = "ONE",
                                        [KV_LEVEL_QUORUM] = "QUORUM",
                                        [KV_LEVEL_ALL] = "ALL"};
    ASSERT((size_t)level < ARRAY_COUNT(words));
    return words[level];
}

void request_begin(struct kv_client *client, struct operation *to,
                   const struct kv_operation *operation)
{
    static const char *const names[] = {
        [KV_GET] = "KV.GET", [KV_SET] = "KV.SET", [KV_DELETE] = "KV.DEL"};
    ASSERT((size_t)operation->kind < ARRAY_COUNT(names));
    struct slice arguments[ARGUMENT_COUNT_MAX];
    size_t count = 0;
    char life[NUMBER_SIZE_MAX];
    char deadline[NUMBER_SIZE_MAX];
    bool writes = operation->kind != KV_GET;
    arguments[count++] = slice_text(names[operation->kind]);
    arguments[count++] = operation->key;
    if (operation->kind == KV_SET) {
        arguments[count++] = operation->value;
        if (operation->life_ms != 0) {
            (void)snprintf(life, sizeof(life), "%" PRIu64, operation->life_ms);
            arguments[count++] = slice_text("PX");
            arguments[count++] = slice_text(life);
        }
    }
    enum kv_level level = operation->level;
    if (level == KV_LEVEL_DEFAULT) {
        level = writes ? client->write_level : client->read_level;
    }
    if (level_word(level) != NULL) {
        arguments[count++] = slice_text("LEVEL");
        arguments[count++] = slice_text(level_word(level));
    }
    (void)snprintf(deadline, sizeof(deadline), "%" PRIu32, client->timeout_ms);
    arguments[count++] = slice_text("DEADLINE");
    arguments[count++] = slice_text(deadline);
    if (operation->meta) {
        arguments[count++] = slice_text("META");
    }
    ASSERT(count <= ARGUMENT_COUNT_MAX);
    operation_encode(to, arguments, count);
    to->writes = writes;
    to->retry_writes = client->retry_writes;
    to->routed = true;
    to->token = token_of(client->keyspace, operation->key);
    to->try_count_max = client->try_count_max;
    to->result.context = operation->context;
    if (operation->meta) {
        to->answer = OPERATION_ANSWER_META;
    } else {
        to->answer = writes ? OPERATION_ANSWER_OK : OPERATION_ANSWER_VALUE;
    }
}

void request_begin_raw(struct kv_client *client, struct operation *to,
                       const struct slice *arguments, size_t argument_count)
{
    operation_encode(to, arguments, argument_count);
    to->answer = OPERATION_ANSWER_ANY;
    to->try_count_max = client->try_count_max;
}
