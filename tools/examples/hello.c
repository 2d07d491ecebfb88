/*
 * tools/examples/hello.c -- a program that uses the client library: one key, then a thousand.
 *
 * Run it against a cluster: hello [HOST:PORT,...]
 */
#include <stdio.h>

#include "client/client.h"

#define KEY_COUNT 1000
#define DEPTH 64

static bool one_key(struct kv_client *client)
{
    struct kv_result result;
    switch (kv_set(client, slice_text("greeting"), slice_text("hello, ring"), &result)) {
    case KV_OK:
        break;
    case KV_INDETERMINATE:
        /* It may have been written. To write the same value again settles it. */
        (void)fprintf(stderr, "set: perhaps: %s\n", result.message);
        return false;
    case KV_NOT_FOUND:
    case KV_FAILED:
        (void)fprintf(stderr, "set: surely not: %s\n", result.message);
        return false;
    }
    if (kv_get(client, slice_text("greeting"), &result) != KV_OK) {
        (void)fprintf(stderr, "get: %s\n", result.message);
        return false;
    }
    (void)printf("%.*s\n", (int)result.value.size, (const char *)result.value.data);
    return true;
}

/* Up to DEPTH writes are under way at a time; their ends come in the order they were added. */
static bool many_keys(struct kv_client *client)
{
    struct kv_pipeline *pipeline;
    struct kv_result result;
    int added = 0;
    int written = 0;
    if (kv_pipeline_open(client, DEPTH, &pipeline) != STATUS_OK) {
        return false;
    }
    while (added < KEY_COUNT || kv_pipeline_count(pipeline) > 0) {
        while (added < KEY_COUNT && kv_pipeline_count(pipeline) < DEPTH) {
            char key[32];
            (void)snprintf(key, sizeof(key), "hello:%d", added++);
            kv_pipeline_add(pipeline, &(struct kv_operation){.kind = KV_SET,
                                                             .key = slice_text(key),
                                                             .value = slice_text("1"),
                                                             .level = KV_LEVEL_QUORUM});
        }
        if (kv_pipeline_next(pipeline, &result) == KV_OK) {
            written++;
        } else {
            (void)fprintf(stderr, "%.*s: %s: %s\n", (int)result.key.size,
                          (const char *)result.key.data, kv_outcome_name(result.outcome),
                          result.message);
        }
    }
    kv_pipeline_close(pipeline);
    (void)printf("%d of %d keys written\n", written, KEY_COUNT);
    return written == KEY_COUNT;
}

int main(int argc, char **argv)
{
    struct kv_client *client;
    const struct kv_options options = {.endpoints = argc > 1 ? argv[1] : NULL};
    if (kv_open(&options, &client) != STATUS_OK) {
        (void)fprintf(stderr, "usage: %s [HOST:PORT,...]\n", argv[0]);
        return 2;
    }
    bool done = one_key(client) && many_keys(client);
    kv_close(client);
    return done ? 0 : 1;
}
