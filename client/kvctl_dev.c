/*
 * client/kvctl_dev.c -- a cluster of real nodes on this machine, for trying and testing.
 *
 * DIR/cluster.json   the settings it was made with; later runs take them from there.
 * DIR/nodeN/data     the node's data. DIR/nodeN/log its output. DIR/nodeN/pid its process.
 * Node N listens on PORT + 10 * (N - 1) for clients, one above for peers, two above for admin.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "client/kvctl.h"
#include "client/kvctl_process.h"

#define NODE_COUNT_MAX 32
#define PORT_STEP 10
#define PORTS_PER_NODE 3
#define REPLICA_COUNT_DEFAULT 3
#define ZONES_SIZE_MAX 256
#define READY_TIMEOUT_MS 60000
#define READY_POLL_MS 100
#define STOP_GRACE_MS 15000
#define LOG_TAIL_SIZE 4096
#define FOLLOW_POLL_MS 200
#define BOOTSTRAP_SIZE_MAX (NODE_COUNT_MAX * 24)
#define FILE_NAME_SIZE_MAX (PATH_MAX + 64)

struct cluster {
    char dir[PATH_MAX];
    uint32_t node_count;
    uint32_t port;
    uint32_t replica_count;
    char zones[ZONES_SIZE_MAX]; /* "a,b,c"; empty: the node's default. */
    char kvnode[KVCTL_PATH_SIZE_MAX];
};

/* "DIR/nodeN/NAME" */
static void node_file(const struct cluster *cluster, uint32_t id, const char *name,
                      char text[FILE_NAME_SIZE_MAX])
{
    (void)snprintf(text, FILE_NAME_SIZE_MAX, "%s/node%" PRIu32 "/%s", cluster->dir, id, name);
}

static uint32_t node_port(const struct cluster *cluster, uint32_t id)
{
    return cluster->port + PORT_STEP * (id - 1);
}

static struct process node_process(const struct cluster *cluster, uint32_t id)
{
    char file[FILE_NAME_SIZE_MAX];
    node_file(cluster, id, "pid", file);
    return process_read(file);
}

/* ------------------------------------------------------------------ settings */

static bool dir_make(const char *dir)
{
    if (mkdir(dir, 0755) == 0 || errno == EEXIST) {
        return true;
    }
    kvctl_complain("%s: %s", dir, strerror(errno));
    return false;
}

/* DIR as an absolute path, since nodes and later runs start elsewhere. */
static bool dir_find(const struct kvctl *kvctl, bool make, struct cluster *cluster)
{
    const char *dir = kvctl->values[OPTION_DIR];
    if (dir == NULL) {
        dir = getenv("KVCTL_DEV_DIR");
    }
    if (dir == NULL || dir[0] == '\0') {
        dir = "ringkv-dev";
    }
    if (make && !dir_make(dir)) {
        return false;
    }
    if (realpath(dir, cluster->dir) == NULL) {
        kvctl_complain("%s: %s; --dir or KVCTL_DEV_DIR says where the cluster is", dir,
                       strerror(errno));
        return false;
    }
    return true;
}

/* jansson writes here too, since base/json.h has functions of the same names. */
static bool settings_write(const struct cluster *cluster)
{
    char name[FILE_NAME_SIZE_MAX];
    (void)snprintf(name, sizeof(name), "%s/cluster.json", cluster->dir);
    json_t *root = json_pack("{s:i, s:i, s:i, s:s, s:s}", "nodes", (int)cluster->node_count, "port",
                             (int)cluster->port, "replicas", (int)cluster->replica_count, "zones",
                             cluster->zones, "kvnode", cluster->kvnode);
    bool written = root != NULL && json_dump_file(root, name, JSON_INDENT(2)) == 0;
    json_decref(root);
    if (!written) {
        kvctl_complain("%s: cannot be written: %s", name, strerror(errno));
    }
    return written;
}

static bool setting_number(const json_t *root, const char *name, uint32_t max, uint32_t *to)
{
    json_int_t value = json_integer_value(json_object_get(root, name));
    *to = (uint32_t)value;
    return value >= 1 && value <= (json_int_t)max;
}

static bool setting_text(const json_t *root, const char *name, char *to, size_t capacity)
{
    const char *value = json_string_value(json_object_get(root, name));
    return value != NULL && snprintf(to, capacity, "%s", value) < (int)capacity;
}

enum settings { SETTINGS_FOUND, SETTINGS_NONE, SETTINGS_BAD };

static enum settings settings_read(struct cluster *cluster)
{
    char name[FILE_NAME_SIZE_MAX];
    (void)snprintf(name, sizeof(name), "%s/cluster.json", cluster->dir);
    if (access(name, F_OK) != 0) {
        return SETTINGS_NONE;
    }
    json_t *root = json_load_file(name, JSON_REJECT_DUPLICATES, NULL);
    bool read =
        root != NULL && setting_number(root, "nodes", NODE_COUNT_MAX, &cluster->node_count) &&
        setting_number(root, "port", UINT16_MAX - PORT_STEP * NODE_COUNT_MAX, &cluster->port) &&
        setting_number(root, "replicas", KV_REPLICA_COUNT_MAX, &cluster->replica_count) &&
        setting_text(root, "zones", cluster->zones, sizeof(cluster->zones)) &&
        setting_text(root, "kvnode", cluster->kvnode, sizeof(cluster->kvnode));
    json_decref(root);
    if (!read) {
        kvctl_complain("%s: cannot be read as the settings of a cluster", name);
    }
    return read ? SETTINGS_FOUND : SETTINGS_BAD;
}

bool kvctl_kvnode(const struct kvctl *kvctl, char path[KVCTL_PATH_SIZE_MAX])
{
    char beside[KVCTL_PATH_SIZE_MAX];
    const char *given = kvctl->values[OPTION_KVNODE];
    if (given == NULL) {
        if (!process_beside("kvnode", beside)) {
            return false;
        }
        given = beside;
    }
    if (realpath(given, path) == NULL || access(path, X_OK) != 0) {
        kvctl_complain("the node program %s: %s; --kvnode names another", given, strerror(errno));
        return false;
    }
    return true;
}

/* Settings of a new cluster, from the options. */
static enum kvctl_exit settings_new(const struct kvctl *kvctl, struct cluster *cluster)
{
    uint64_t nodes;
    uint64_t port;
    uint64_t replicas;
    if (!kvctl_number(kvctl, OPTION_NODES, NODE_COUNT_MAX, 3, &nodes) ||
        !kvctl_number(kvctl, OPTION_PORT, UINT16_MAX - PORT_STEP * NODE_COUNT_MAX, 7400, &port) ||
        !kvctl_number(kvctl, OPTION_REPLICAS, KV_REPLICA_COUNT_MAX,
                      nodes < REPLICA_COUNT_DEFAULT ? nodes : REPLICA_COUNT_DEFAULT, &replicas)) {
        return KVCTL_USAGE;
    }
    const char *zones = kvctl->values[OPTION_ZONES] != NULL ? kvctl->values[OPTION_ZONES] : "";
    if (replicas > nodes) {
        kvctl_complain("--replicas: %" PRIu64 " copies need as many nodes", replicas);
        return KVCTL_USAGE;
    }
    if (snprintf(cluster->zones, sizeof(cluster->zones), "%s", zones) >=
        (int)sizeof(cluster->zones)) {
        kvctl_complain("--zones: too long");
        return KVCTL_USAGE;
    }
    cluster->node_count = (uint32_t)nodes;
    cluster->port = (uint32_t)port;
    cluster->replica_count = (uint32_t)replicas;
    return kvctl_kvnode(kvctl, cluster->kvnode) ? KVCTL_OK : KVCTL_FAILURE;
}

/* An option given again must agree with what the cluster was made with. */
static bool settings_agree(const struct kvctl *kvctl, const struct cluster *cluster)
{
    const struct {
        enum option_id id;
        uint32_t value;
    } settings[] = {{OPTION_NODES, cluster->node_count},
                    {OPTION_PORT, cluster->port},
                    {OPTION_REPLICAS, cluster->replica_count}};
    for (size_t index = 0; index < ARRAY_COUNT(settings); index++) {
        uint64_t value;
        if (!kvctl_number(kvctl, settings[index].id, UINT32_MAX, settings[index].value, &value)) {
            return false;
        }
        if (value != settings[index].value) {
            kvctl_complain("--%s: the cluster in %s was made with %" PRIu32,
                           kvctl_options[settings[index].id].name, cluster->dir,
                           settings[index].value);
            return false;
        }
    }
    if (kvctl->values[OPTION_ZONES] != NULL &&
        strcmp(kvctl->values[OPTION_ZONES], cluster->zones) != 0) {
        kvctl_complain("--zones: the cluster in %s was made with '%s'", cluster->dir,
                       cluster->zones);
        return false;
    }
    return true;
}

/* The cluster a command is about. */
static bool cluster_find(const struct kvctl *kvctl, struct cluster *cluster)
{
    *cluster = (struct cluster){0};
    if (!dir_find(kvctl, false, cluster)) {
        return false;
    }
    enum settings found = settings_read(cluster);
    if (found == SETTINGS_NONE) {
        kvctl_complain("%s: no cluster here; see kvctl help dev cluster up", cluster->dir);
    }
    return found == SETTINGS_FOUND;
}

/* The cluster and the node that the operand names. */
static enum kvctl_exit node_find(const struct kvctl *kvctl, struct cluster *cluster, uint32_t *id)
{
    char *end;
    if (!cluster_find(kvctl, cluster)) {
        return KVCTL_FAILURE;
    }
    unsigned long value = strtoul(kvctl->operands[0], &end, 10);
    if (*end != '\0' || value < 1 || value > cluster->node_count) {
        kvctl_complain("nodes are numbered 1 to %" PRIu32 ", not %s", cluster->node_count,
                       kvctl->operands[0]);
        return KVCTL_USAGE;
    }
    *id = (uint32_t)value;
    return KVCTL_OK;
}

/* ------------------------------------------------------------------ starting a node */

/* Whether all ports of a node are free; complains of one that is not. */
static bool ports_free(const struct cluster *cluster, uint32_t id)
{
    for (uint32_t at = 0; at < PORTS_PER_NODE; at++) {
        uint16_t port = (uint16_t)(node_port(cluster, id) + at);
        const struct sockaddr_in address = {.sin_family = AF_INET,
                                            .sin_port = htons(port),
                                            .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
        int on = 1;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool bound = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                     bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
        int error = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        if (!bound) {
            kvctl_complain("port %u of node %" PRIu32 ": %s; --port chooses others", port, id,
                           strerror(error));
            return false;
        }
    }
    return true;
}

/* Zone number `index` of "a,b,c", round and round. */
static void zone_pick(const char *zones, uint32_t index, char *zone, size_t capacity)
{
    uint32_t count = 1;
    for (const char *at = zones; *at != '\0'; at++) {
        count += *at == ',' ? 1 : 0;
    }
    for (index %= count; index > 0; index--) {
        zones = strchr(zones, ',') + 1;
    }
    (void)snprintf(zone, capacity, "%.*s", (int)strcspn(zones, ","), zones);
}

static bool node_start(const struct cluster *cluster, uint32_t id)
{
    char dir[FILE_NAME_SIZE_MAX];
    char data[FILE_NAME_SIZE_MAX];
    char log[FILE_NAME_SIZE_MAX];
    char pid[FILE_NAME_SIZE_MAX];
    char zone[ZONES_SIZE_MAX];
    char bootstrap[BOOTSTRAP_SIZE_MAX] = "";
    char numbers[2][16];
    char addresses[PORTS_PER_NODE][32];
    size_t used = 0;
    for (uint32_t other = 1; other <= cluster->node_count; other++) {
        used += (size_t)snprintf(bootstrap + used, sizeof(bootstrap) - used,
                                 "%s%" PRIu32 "=127.0.0.1:%" PRIu32, other == 1 ? "" : ",", other,
                                 node_port(cluster, other) + 1);
    }
    node_file(cluster, id, "", dir);
    node_file(cluster, id, "data", data);
    node_file(cluster, id, "log", log);
    node_file(cluster, id, "pid", pid);
    (void)snprintf(numbers[0], sizeof(numbers[0]), "%" PRIu32, id);
    (void)snprintf(numbers[1], sizeof(numbers[1]), "%" PRIu32, cluster->replica_count);
    for (uint32_t at = 0; at < PORTS_PER_NODE; at++) {
        (void)snprintf(addresses[at], sizeof(addresses[at]), "127.0.0.1:%" PRIu32,
                       node_port(cluster, id) + at);
    }
    zone_pick(cluster->zones, id - 1, zone, sizeof(zone));
    char program[PATH_MAX];
    memcpy(program, cluster->kvnode, sizeof(program));
    char option[8][16] = {"--id",    "--data-dir",  "--client",   "--peer",
                          "--admin", "--bootstrap", "--replicas", "--zone"};
    char *arguments[] = {program,      option[0], numbers[0],   option[1],
                         data,         option[2], addresses[0], option[3],
                         addresses[1], option[4], addresses[2], option[5],
                         bootstrap,    option[6], numbers[1],   zone[0] != '\0' ? option[7] : NULL,
                         zone,         NULL};
    return dir_make(dir) && dir_make(data) && ports_free(cluster, id) &&
           process_start(arguments, log, pid);
}

/* The end of a node's log, to stderr. */
static void log_tail(const struct cluster *cluster, uint32_t id)
{
    char name[FILE_NAME_SIZE_MAX];
    char text[LOG_TAIL_SIZE];
    node_file(cluster, id, "log", name);
    FILE *file = fopen(name, "re");
    if (file == NULL) {
        return;
    }
    if (fseek(file, -(long)sizeof(text), SEEK_END) != 0) {
        rewind(file); /* It is shorter. */
    }
    size_t size = fread(text, 1, sizeof(text), file);
    (void)fclose(file);
    (void)fprintf(stderr, "---- the end of %s\n", name);
    (void)fwrite(text, 1, size, stderr);
    (void)fprintf(stderr, "----\n");
}

/* ------------------------------------------------------------------ waiting */

/* Whether the node serves and sees `wanted` nodes up. */
static bool node_ready(const struct cluster *cluster, uint32_t id, uint32_t wanted,
                       struct kv_status *status)
{
    char endpoint[32];
    struct kv_client *client = NULL;
    struct kv_result result;
    (void)snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%" PRIu32, node_port(cluster, id));
    const struct kv_options options = {
        .endpoints = endpoint, .timeout_ms = 1000, .try_count_max = 1, .no_routing = true};
    if (kv_open(&options, &client) != STATUS_OK) {
        return false;
    }
    bool ready =
        kv_status(client, NULL, status, &result) == KV_OK && strcmp(status->state, "serving") == 0;
    kv_close(client);
    uint32_t up = 0;
    for (uint32_t index = 0; ready && index < status->member_count; index++) {
        up += strcmp(status->members[index].state, "up") == 0 ? 1 : 0;
    }
    return ready && up >= wanted;
}

static uint32_t running_count(const struct cluster *cluster)
{
    uint32_t count = 0;
    for (uint32_t id = 1; id <= cluster->node_count; id++) {
        count += node_process(cluster, id).state == PROCESS_RUNNING ? 1 : 0;
    }
    return count;
}

/* Until nodes `first` to `last` serve and see `wanted` nodes up. False after complaining. */
static bool nodes_wait(const struct cluster *cluster, uint32_t first, uint32_t last,
                       uint32_t wanted, uint64_t timeout_ms)
{
    struct kv_status *status = memory_allocate_zeroed(1, sizeof(*status));
    uint64_t deadline_ms = process_now_ms() + timeout_ms;
    uint32_t id = first;
    while (status != NULL && id <= last) {
        bool gone = node_process(cluster, id).state == PROCESS_GONE;
        if (!gone && node_ready(cluster, id, wanted, status)) {
            id++;
            continue;
        }
        if (gone || process_now_ms() >= deadline_ms) {
            kvctl_complain("node %" PRIu32 " %s", id,
                           gone ? "ended by itself" : "is not ready in time");
            log_tail(cluster, id);
            break;
        }
        process_sleep_ms(READY_POLL_MS);
    }
    memory_free(status);
    return id > last;
}

/* ------------------------------------------------------------------ commands */

static bool node_stop(const struct cluster *cluster, uint32_t id)
{
    char pid[FILE_NAME_SIZE_MAX];
    node_file(cluster, id, "pid", pid);
    bool stopped = process_stop(pid, STOP_GRACE_MS);
    if (!stopped) {
        kvctl_complain("node %" PRIu32 " does not end", id);
    }
    return stopped;
}

static enum kvctl_exit endpoints_print(struct kvctl *kvctl, const struct cluster *cluster)
{
    static const struct output_column columns[] = {
        {"node", true}, {"client", false}, {"peer", false}, {"admin", false}};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    for (uint32_t id = 1; id <= cluster->node_count; id++) {
        uint32_t port = node_port(cluster, id);
        output_cell(&rows, "%" PRIu32, id);
        output_cell(&rows, "127.0.0.1:%" PRIu32, port);
        output_cell(&rows, "127.0.0.1:%" PRIu32, port + 1);
        output_cell(&rows, "127.0.0.1:%" PRIu32, port + 2);
    }
    return output_print(kvctl, &rows);
}

/* Starts what does not run; notes in `started` what it started. */
static bool nodes_start(const struct cluster *cluster, bool started[NODE_COUNT_MAX])
{
    for (uint32_t id = 1; id <= cluster->node_count; id++) {
        char pid[FILE_NAME_SIZE_MAX];
        node_file(cluster, id, "pid", pid);
        struct process process = process_read(pid);
        if (process.state == PROCESS_PAUSED) {
            (void)process_signal(pid, SIGCONT);
        } else if (process.state == PROCESS_GONE) {
            started[id - 1] = node_start(cluster, id);
            if (!started[id - 1]) {
                return false;
            }
        }
    }
    return true;
}

/* The cluster that `up` is about: the one in the directory, or a new one as the options say, which
 * is written down only if its ports can be had, since they are settled with it. */
static enum kvctl_exit cluster_choose(const struct kvctl *kvctl, struct cluster *cluster)
{
    if (!dir_find(kvctl, true, cluster)) {
        return KVCTL_FAILURE;
    }
    enum settings found = settings_read(cluster);
    if (found == SETTINGS_BAD) {
        return KVCTL_FAILURE;
    }
    if (found == SETTINGS_FOUND) {
        if (!settings_agree(kvctl, cluster)) {
            return KVCTL_USAGE;
        }
        bool other = kvctl->values[OPTION_KVNODE] != NULL;
        return !other || (kvctl_kvnode(kvctl, cluster->kvnode) && settings_write(cluster))
                   ? KVCTL_OK
                   : KVCTL_FAILURE;
    }
    enum kvctl_exit code = settings_new(kvctl, cluster);
    for (uint32_t id = 1; code == KVCTL_OK && id <= cluster->node_count; id++) {
        code = ports_free(cluster, id) ? KVCTL_OK : KVCTL_FAILURE;
    }
    if (code == KVCTL_OK && !settings_write(cluster)) {
        code = KVCTL_FAILURE;
    }
    return code;
}

enum kvctl_exit command_dev_up(struct kvctl *kvctl)
{
    struct cluster cluster = {0};
    bool started[NODE_COUNT_MAX] = {0};
    uint64_t timeout_ms;
    if (!kvctl_number(kvctl, OPTION_TIMEOUT, INT32_MAX, READY_TIMEOUT_MS, &timeout_ms)) {
        return KVCTL_USAGE;
    }
    enum kvctl_exit code = cluster_choose(kvctl, &cluster);
    if (code != KVCTL_OK) {
        return code;
    }
    if (nodes_start(&cluster, started) &&
        nodes_wait(&cluster, 1, cluster.node_count, cluster.node_count, timeout_ms)) {
        return endpoints_print(kvctl, &cluster);
    }
    for (uint32_t id = 1; id <= cluster.node_count; id++) {
        if (started[id - 1]) {
            (void)node_stop(&cluster, id);
        }
    }
    kvctl_complain("the cluster is not up; what this run started is stopped again");
    return KVCTL_FAILURE;
}

enum kvctl_exit command_dev_down(struct kvctl *kvctl)
{
    struct cluster cluster;
    if (!cluster_find(kvctl, &cluster)) {
        return KVCTL_FAILURE;
    }
    /* All are told first, so that they end side by side. */
    for (uint32_t id = 1; id <= cluster.node_count; id++) {
        char pid[FILE_NAME_SIZE_MAX];
        node_file(&cluster, id, "pid", pid);
        if (process_signal(pid, SIGTERM)) {
            (void)process_signal(pid, SIGCONT);
        }
    }
    enum kvctl_exit code = KVCTL_OK;
    for (uint32_t id = 1; id <= cluster.node_count; id++) {
        char pid[FILE_NAME_SIZE_MAX];
        node_file(&cluster, id, "pid", pid);
        if (!process_wait_gone(pid, STOP_GRACE_MS)) {
            kvctl_complain("node %" PRIu32 " did not end by itself", id);
            if (!process_signal(pid, SIGKILL) || !process_wait_gone(pid, STOP_GRACE_MS)) {
                code = KVCTL_FAILURE;
            }
        }
        (void)unlink(pid);
    }
    return code;
}

enum kvctl_exit command_dev_ps(struct kvctl *kvctl)
{
    static const struct output_column columns[] = {
        {"node", true}, {"pid", true}, {"state", false}, {"memory", true}, {"client", false}};
    static const char *const states[] = {
        [PROCESS_GONE] = "stopped", [PROCESS_RUNNING] = "running", [PROCESS_PAUSED] = "paused"};
    struct output_rows rows = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    struct cluster cluster;
    if (!cluster_find(kvctl, &cluster)) {
        return KVCTL_FAILURE;
    }
    for (uint32_t id = 1; id <= cluster.node_count; id++) {
        struct process process = node_process(&cluster, id);
        char size[OUTPUT_NUMBER_SIZE_MAX] = "-";
        char pid[OUTPUT_NUMBER_SIZE_MAX] = "-";
        if (process.state != PROCESS_GONE) {
            (void)snprintf(pid, sizeof(pid), "%ld", (long)process.pid);
            if (kvctl->output == KVCTL_TABLE) {
                (void)output_size(process.resident_size, size);
            } else {
                (void)snprintf(size, sizeof(size), "%" PRIu64, process.resident_size);
            }
        }
        output_cell(&rows, "%" PRIu32, id);
        output_cell(&rows, "%s", pid);
        output_cell(&rows, "%s", states[process.state]);
        output_cell(&rows, "%s", size);
        output_cell(&rows, "127.0.0.1:%" PRIu32, node_port(&cluster, id));
    }
    return output_print(kvctl, &rows);
}

static enum kvctl_exit node_signal(struct kvctl *kvctl, int signal_number, bool wait_gone)
{
    struct cluster cluster;
    uint32_t id;
    char pid[FILE_NAME_SIZE_MAX];
    enum kvctl_exit code = node_find(kvctl, &cluster, &id);
    if (code != KVCTL_OK) {
        return code;
    }
    node_file(&cluster, id, "pid", pid);
    if (!process_signal(pid, signal_number)) {
        kvctl_complain("node %" PRIu32 " does not run", id);
        return KVCTL_FAILURE;
    }
    if (wait_gone && !process_wait_gone(pid, STOP_GRACE_MS)) {
        kvctl_complain("node %" PRIu32 " does not end", id);
        return KVCTL_FAILURE;
    }
    return KVCTL_OK;
}

enum kvctl_exit command_dev_kill(struct kvctl *kvctl)
{
    return node_signal(kvctl, SIGKILL, true);
}

enum kvctl_exit command_dev_pause(struct kvctl *kvctl)
{
    return node_signal(kvctl, SIGSTOP, false);
}

enum kvctl_exit command_dev_resume(struct kvctl *kvctl)
{
    return node_signal(kvctl, SIGCONT, false);
}

enum kvctl_exit command_dev_restart(struct kvctl *kvctl)
{
    struct cluster cluster;
    uint32_t id;
    uint64_t timeout_ms;
    enum kvctl_exit code = node_find(kvctl, &cluster, &id);
    if (code != KVCTL_OK) {
        return code;
    }
    if (!kvctl_number(kvctl, OPTION_TIMEOUT, INT32_MAX, READY_TIMEOUT_MS, &timeout_ms)) {
        return KVCTL_USAGE;
    }
    if (!node_stop(&cluster, id) || !node_start(&cluster, id)) {
        return KVCTL_FAILURE;
    }
    if (kvctl->values[OPTION_WAIT] != NULL &&
        !nodes_wait(&cluster, id, id, running_count(&cluster), timeout_ms)) {
        return KVCTL_FAILURE;
    }
    return KVCTL_OK;
}

enum kvctl_exit command_dev_logs(struct kvctl *kvctl)
{
    struct cluster cluster;
    uint32_t id;
    char name[FILE_NAME_SIZE_MAX];
    char text[LOG_TAIL_SIZE];
    enum kvctl_exit code = node_find(kvctl, &cluster, &id);
    if (code != KVCTL_OK) {
        return code;
    }
    node_file(&cluster, id, "log", name);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        kvctl_complain("%s: %s", name, strerror(errno));
        return KVCTL_FAILURE;
    }
    for (;;) {
        ssize_t size = read(fd, text, sizeof(text));
        if (size > 0) {
            code = output_bytes(slice_make(text, (size_t)size));
        } else if (size < 0 && errno != EINTR) {
            kvctl_complain("%s: %s", name, strerror(errno));
            code = KVCTL_FAILURE;
        } else if (size == 0 && kvctl->values[OPTION_FOLLOW] == NULL) {
            break;
        } else if (fflush(stdout) == 0) {
            process_sleep_ms(FOLLOW_POLL_MS);
        } else {
            code = KVCTL_FAILURE;
        }
        if (code != KVCTL_OK) {
            break;
        }
    }
    (void)close(fd);
    return code;
}
