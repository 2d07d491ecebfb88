/* client/pipeline.c -- many operations at once: a ring of slots, collected in order. */
#include "base/memory.h"
#include "client/dispatch.h"
#include "client/request.h"

#define POKE_EVERY 64 /* Operations added between two looks at the sockets. */

struct kv_pipeline {
    struct kv_client *client;
    struct operation *slots; /* `depth` of them. */
    uint32_t depth;
    uint32_t first; /* The oldest. */
    uint32_t count;
    uint32_t added; /* Since the last look at the sockets. */
};

enum status kv_pipeline_open(struct kv_client *client, uint32_t depth, struct kv_pipeline **opened)
{
    ASSERT(depth >= 1);
    ASSERT(depth <= KV_PIPELINE_DEPTH_MAX);
    struct kv_pipeline *pipeline = memory_allocate_zeroed(1, sizeof(*pipeline));
    if (pipeline == NULL) {
        return STATUS_NO_MEMORY;
    }
    pipeline->client = client;
    pipeline->depth = depth;
    pipeline->slots = memory_allocate_zeroed(depth, sizeof(*pipeline->slots));
    if (pipeline->slots == NULL) {
        memory_free(pipeline);
        return STATUS_NO_MEMORY;
    }
    *opened = pipeline;
    return STATUS_OK;
}

void kv_pipeline_close(struct kv_pipeline *pipeline)
{
    if (pipeline == NULL) {
        return;
    }
    for (uint32_t step = 0; step < pipeline->count; step++) {
        dispatch_abandon(pipeline->client,
                         &pipeline->slots[(pipeline->first + step) % pipeline->depth]);
    }
    for (uint32_t index = 0; index < pipeline->depth; index++) {
        operation_deinit(&pipeline->slots[index]);
    }
    memory_free(pipeline->slots);
    memory_free(pipeline);
}

uint32_t kv_pipeline_count(const struct kv_pipeline *pipeline)
{
    return pipeline->count;
}

void kv_pipeline_add(struct kv_pipeline *pipeline, const struct kv_operation *operation)
{
    ASSERT(pipeline->count < pipeline->depth);
    struct operation *slot =
        &pipeline->slots[(pipeline->first + pipeline->count) % pipeline->depth];
    dispatch_learn(pipeline->client);
    request_begin(pipeline->client, slot, operation);
    dispatch_submit(pipeline->client, slot);
    pipeline->count++;
    if (++pipeline->added >= POKE_EVERY) {
        pipeline->added = 0;
        dispatch_poke(pipeline->client);
    }
}

enum kv_outcome kv_pipeline_next(struct kv_pipeline *pipeline, struct kv_result *result)
{
    ASSERT(pipeline->count > 0);
    struct operation *slot = &pipeline->slots[pipeline->first];
    if (slot->state != OPERATION_DONE) {
        pipeline->added = 0;
        dispatch_drive(pipeline->client, slot);
    }
    *result = slot->result;
    pipeline->first = (pipeline->first + 1) % pipeline->depth;
    pipeline->count--;
    return result->outcome;
}
