/*
 * client/kvctl_raft.c -- raft status; raft recover.
 *
 * Recovery is kvnode's, which knows its files; here it is explained and confirmed. It asks for the
 * number of the node, so that nobody recovers another one by a slip of the hand.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/kvctl.h"

#define OUTPUT_SIZE_MAX 8192
#define ANSWER_SIZE_MAX 32

/* ------------------------------------------------------------------ status */

static uint64_t field_of(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value < 0 ? 0 : (uint64_t)value;
}

static enum kvctl_exit servers_print(struct kvctl *kvctl, const struct kv_status *status,
                                     const json_t *raft)
{
    static const struct output_column columns[] = {{"server", true}, {"duty", false},
                                                   {"raft", false},  {"matched", true},
                                                   {"behind", true}, {"heard", true}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    const json_t *servers = json_object_get(raft, "servers");
    uint64_t last = field_of(raft, "last");
    for (size_t index = 0; index < json_array_size(servers); index++) {
        const json_t *server = json_array_get(servers, index);
        const char *duty = json_string_value(json_object_get(server, "duty"));
        uint64_t id = field_of(server, "id");
        uint64_t matched = field_of(server, "matched");
        output_cell(&rows, "%" PRIu64, id);
        output_cell(&rows, "%s", duty != NULL ? duty : "");
        output_cell(&rows, "%s", id == status->raft_leader ? "leader" : "");
        output_cell(&rows, "%" PRIu64, matched);
        output_cell(&rows, "%" PRIu64, matched < last ? last - matched : 0);
        if (json_is_integer(json_object_get(server, "heard_ms_ago"))) {
            output_cell(&rows, kvctl->output == KVCTL_TABLE ? "%" PRIu64 " ms" : "%" PRIu64,
                        field_of(server, "heard_ms_ago"));
        } else {
            output_cell(&rows, "-");
        }
    }
    if (kvctl->output == KVCTL_TABLE) {
        (void)printf("term %" PRIu64 ", last entry %" PRIu64 "\n\n", status->raft_term, last);
    }
    return output_print(kvctl, &rows);
}

/* Asks the node that leads, as the first one says. */
static enum kvctl_exit leader_ask(struct kvctl *kvctl, struct kv_status *status,
                                  struct kv_result *result)
{
    const struct kv_ring *ring;
    if (kv_status(kvctl->client, NULL, status, result) != KV_OK) {
        return kvctl_judge(result, "raft status");
    }
    if (status->raft_leader == 0) {
        kvctl_complain("node %" PRIu32 " knows of no leader", status->id);
        return KVCTL_UNAVAILABLE;
    }
    if (status->raft_leader == status->id) {
        return KVCTL_OK;
    }
    uint32_t leader = status->raft_leader;
    if (kv_ring(kvctl->client, &ring, result) != KV_OK) {
        return kvctl_judge(result, "raft status");
    }
    const struct kv_member *member = kv_ring_member(ring, leader);
    if (member == NULL) {
        kvctl_complain("node %" PRIu32 ", which leads, is no member", leader);
        return KVCTL_FAILURE;
    }
    if (kv_status(kvctl->client, member->client, status, result) != KV_OK) {
        return kvctl_judge(result, member->client);
    }
    return KVCTL_OK;
}

enum kvctl_exit command_raft_status(struct kvctl *kvctl)
{
    struct kv_result result;
    struct kv_status status;
    enum kvctl_exit code = kvctl_open(kvctl, &(struct kv_options){0});
    if (code == KVCTL_OK) {
        code = leader_ask(kvctl, &status, &result);
    }
    if (code != KVCTL_OK) {
        return code;
    }
    json_t *root = json_loadb((const char *)result.value.data, result.value.size, 0, NULL);
    const json_t *raft = json_object_get(root, "raft");
    code = servers_print(kvctl, &status, raft);
    json_decref(root);
    return code;
}

/* ------------------------------------------------------------------ recover */

/* Runs a program to its end, its standard output into `output`. -1 after complaining. */
static int program_run(char *const *arguments, char output[OUTPUT_SIZE_MAX])
{
    int ends[2];
    if (pipe(ends) != 0) {
        kvctl_complain("pipe: %s", strerror(errno));
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)execv(arguments[0], arguments);
        _exit(127);
    }
    (void)close(ends[1]);
    size_t size = 0;
    ssize_t got = child < 0 ? 0 : 1;
    while (got > 0 && size < OUTPUT_SIZE_MAX - 1) {
        got = read(ends[0], output + size, OUTPUT_SIZE_MAX - 1 - size);
        size += got > 0 ? (size_t)got : 0;
    }
    output[size] = '\0';
    (void)close(ends[0]);
    int state = 0;
    if (child < 0 || waitpid(child, &state, 0) != child) {
        kvctl_complain("%s: %s", arguments[0], strerror(errno));
        return -1;
    }
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static enum kvctl_exit kvnode_run(struct kvctl *kvctl, const char *verb,
                                  char output[OUTPUT_SIZE_MAX])
{
    char program[KVCTL_PATH_SIZE_MAX];
    char flag[KVCTL_PATH_SIZE_MAX];
    char directory[KVCTL_PATH_SIZE_MAX];
    if (!kvctl_kvnode(kvctl, program)) {
        return KVCTL_FAILURE;
    }
    (void)snprintf(flag, sizeof(flag), "--%s", verb);
    (void)snprintf(directory, sizeof(directory), "--data-dir=%s", kvctl->values[OPTION_DATA]);
    char *const arguments[] = {program, flag, directory, NULL};
    int code = program_run(arguments, output);
    return code == 0 ? output_bytes(slice_text(output)) : KVCTL_FAILURE;
}

/* The number in the first line, "node: N". */
static bool node_of(const char *output, char number[ANSWER_SIZE_MAX])
{
    return sscanf(output, "node: %31[0-9]", number) == 1;
}

static bool confirmed(const char *number)
{
    char answer[ANSWER_SIZE_MAX] = "";
    (void)fprintf(
        stderr,
        "\nNode %s becomes the whole Raft group, in a new generation of the cluster. Do this only\n"
        "if most of the voters are lost for good, and on one node alone: of all that are left the\n"
        "one with the greatest generation, then epoch. Old voters that come back follow it; what\n"
        "they agreed on without it counts no more.\n\nType the number of the node to go on: ",
        number);
    (void)fflush(stderr);
    if (fgets(answer, sizeof(answer), stdin) == NULL) {
        return false;
    }
    answer[strcspn(answer, "\n")] = '\0';
    return strcmp(answer, number) == 0;
}

enum kvctl_exit command_raft_recover(struct kvctl *kvctl)
{
    char output[OUTPUT_SIZE_MAX];
    char number[ANSWER_SIZE_MAX];
    if (kvctl->values[OPTION_DATA] == NULL) {
        kvctl_complain("--data DIR is missing: the data folder of the node to go on with");
        return KVCTL_USAGE;
    }
    enum kvctl_exit code = kvnode_run(kvctl, "raft-examine", output);
    if (code != KVCTL_OK) {
        return code;
    }
    if (!node_of(output, number)) {
        kvctl_complain("the node program did not say whose folder it is");
        return KVCTL_FAILURE;
    }
    if (kvctl->values[OPTION_YES] == NULL && !confirmed(number)) {
        kvctl_complain("nothing was done");
        return KVCTL_FAILURE;
    }
    code = output_bytes(slice_text("\n"));
    return code == KVCTL_OK ? kvnode_run(kvctl, "raft-recover", output) : code;
}
