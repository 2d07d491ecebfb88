/*
 * node/config.c -- the one table of settings, and all that reads it.
 *
 * Source of the file syntax: inih, strict: a key that the table does not name is an error.
 */
#include "node/config.h"

#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/decay.h"
#include "node/detector.h"
#include "node/hot_keys.h"

enum value_type {
    TYPE_U32,
    TYPE_SIZE, /* uint64_t; k, m and g as suffixes */
    TYPE_SIZE32,
    TYPE_TEXT,
    TYPE_SWITCH,
    TYPE_LEVEL,
    TYPE_LOG_LEVEL,
    TYPE_BOOTSTRAP,
};

struct setting {
    struct config_key key;
    enum value_type type;
    size_t offset;
    uint64_t low; /* Of numbers; for text `high` is its capacity. */
    uint64_t high;
};

#define AT(field) offsetof(struct config, field)
#define CAPACITY(field) 0, sizeof(((struct config *)NULL)->field)
#define GIB (UINT64_C(1) << 30)
STATIC_ASSERT(INI_MAX_LINE == CONFIG_INI_LINE_SIZE, "inih reads lines as long as config.h says");

static const struct setting settings[] = {
    {{"node", "id", "id", "N", "This node's number, 1 and above; fixed for the life of its data."},
     TYPE_U32,
     AT(id),
     1,
     UINT32_MAX},
    {{"node", "data_dir", "data-dir", "DIR", "Where the node keeps all its files."},
     TYPE_TEXT,
     AT(data_dir),
     CAPACITY(data_dir)},
    {{"node", "zone", "zone", "NAME", "Failure zone: replicas of a range go to different ones."},
     TYPE_TEXT,
     AT(zone),
     CAPACITY(zone)},
    {{"node", "weight", "weight", "W", "Share of the ring relative to other nodes, 1 to 64."},
     TYPE_U32,
     AT(weight),
     1,
     RING_WEIGHT_MAX},
    {{"node", "advertise", "advertise", "HOST", "Host under which others reach this node."},
     TYPE_TEXT,
     AT(advertise),
     CAPACITY(advertise)},
    {{"node", "log_level", "log-level", "LEVEL", "error, warn, info or debug."},
     TYPE_LOG_LEVEL,
     AT(log_level),
     0,
     0},
    {{"node", "insecure", "insecure", NULL,
      "Allow addresses other than loopback, without encryption or passwords."},
     TYPE_SWITCH,
     AT(insecure),
     0,
     0},
    {{"listen", "client", "client", "HOST:PORT", "Port for Redis clients."},
     TYPE_TEXT,
     AT(client),
     CAPACITY(client)},
    {{"listen", "peer", "peer", "HOST:PORT", "Port for the other nodes."},
     TYPE_TEXT,
     AT(peer),
     CAPACITY(peer)},
    {{"listen", "admin", "admin", "HOST:PORT", "Port for health and metrics over HTTP, or off."},
     TYPE_TEXT,
     AT(admin),
     CAPACITY(admin)},
    {{"cluster", "bootstrap", "bootstrap", "ID=HOST:PEERPORT,...",
      "The nodes of a new cluster, the same list on each; used until the cluster exists."},
     TYPE_BOOTSTRAP,
     AT(bootstrap),
     0,
     0},
    {{"cluster", "join", "join", "HOST:PEERPORT",
      "A member of the cluster that this node is to join; instead of a bootstrap list."},
     TYPE_TEXT,
     AT(join),
     CAPACITY(join)},
    {{"cluster", "replicas", "replicas", "N", "Copies of every key; fixed at bootstrap."},
     TYPE_U32,
     AT(replicas),
     1,
     RING_REPLICA_COUNT_MAX},
    {{"cluster", "ranges", "ranges", "N",
      "Ranges the ring is cut into, a power of two; fixed at bootstrap."},
     TYPE_U32,
     AT(ranges),
     1,
     RING_RANGE_COUNT_MAX},
    {{"cluster", "suspect_phi", "cluster-suspect-phi", "PHI",
      "A peer is suspect when only 1 of 10^PHI live ones would be silent for so long."},
     TYPE_U32,
     AT(suspect_phi),
     1,
     DETECTOR_PHI_MAX},
    {{"cluster", "down_phi", "cluster-down-phi", "PHI",
      "And down at this one, if the nodes that are asked do not hear it either."},
     TYPE_U32,
     AT(down_phi),
     1,
     DETECTOR_PHI_MAX},
    {{"cluster", "auto_replace_after_s", "cluster-auto-replace-after-s", "S",
      "A member down for so long is replaced by one that joined and waits; 0 is never."},
     TYPE_U32,
     AT(auto_replace_after_s),
     0,
     31536000},
    {{"client", "connections_max", "client-connections-max", "N", "Client connections at a time."},
     TYPE_U32,
     AT(connections_max),
     1,
     1000000},
    {{"client", "key_size_max", "client-key-size-max", "SIZE", "Longest key, at most 64k."},
     TYPE_SIZE32,
     AT(key_size_max),
     1,
     64u << 10},
    {{"client", "value_size_max", "client-value-size-max", "SIZE", "Largest value, at most 64m."},
     TYPE_SIZE32,
     AT(value_size_max),
     1,
     64u << 20},
    {{"client", "request_size_max", "client-request-size-max", "SIZE",
      "Largest request; more than the largest value."},
     TYPE_SIZE,
     AT(request_size_max),
     64u << 10,
     GIB},
    {{"client", "pipeline_max", "client-pipeline-max", "N",
      "Requests of one connection under way at a time."},
     TYPE_U32,
     AT(pipeline_max),
     1,
     65536},
    {{"client", "read_level", "client-read-level", "LEVEL", "one, quorum or all."},
     TYPE_LEVEL,
     AT(read_level),
     0,
     0},
    {{"client", "write_level", "client-write-level", "LEVEL", "one, quorum or all."},
     TYPE_LEVEL,
     AT(write_level),
     0,
     0},
    {{"timeouts", "request_ms", "timeouts-request-ms", "MS", "From a request to its answer."},
     TYPE_U32,
     AT(request_timeout_ms),
     1,
     3600000},
    {{"timeouts", "hedge_ms", "timeouts-hedge-ms", "MS", "Until a read asks one more replica."},
     TYPE_U32,
     AT(hedge_timeout_ms),
     1,
     3600000},
    {{"timeouts", "heartbeat_ms", "timeouts-heartbeat-ms", "MS", "Between heartbeats of peers."},
     TYPE_U32,
     AT(heartbeat_ms),
     1,
     60000},
    {{"timeouts", "suspect_ms", "timeouts-suspect-ms", "MS",
      "Silence after which a peer is suspect, however irregular it always was."},
     TYPE_U32,
     AT(suspect_ms),
     1,
     600000},
    {{"timeouts", "down_ms", "timeouts-down-ms", "MS",
      "Silence after which it is down, unless others hear it."},
     TYPE_U32,
     AT(down_ms),
     1,
     3600000},
    {{"timeouts", "election_ms", "timeouts-election-ms", "MS", "Raft election time-out."},
     TYPE_U32,
     AT(election_ms),
     50,
     600000},
    {{"timeouts", "voter_patience_ms", "timeouts-voter-patience-ms", "MS",
      "Silence after which another node votes in the Raft group instead; 0 is never."},
     TYPE_U32,
     AT(voter_patience_ms),
     0,
     UINT32_MAX},
    {{"timeouts", "shutdown_ms", "timeouts-shutdown-ms", "MS",
      "For answering what is owed at shutdown."},
     TYPE_U32,
     AT(shutdown_ms),
     1,
     600000},
    {{"timeouts", "clock_lead_ms", "timeouts-clock-lead-ms", "MS",
      "How far the clock of a writing node may lead a replica's."},
     TYPE_U32,
     AT(clock_lead_ms),
     10,
     600000},
    {{"limits", "inflight_size", "limits-inflight-size", "SIZE",
      "Bytes of requests under way; more is refused as -OVERLOADED."},
     TYPE_SIZE,
     AT(inflight_size_max),
     1u << 20,
     64 * GIB},
    {{"limits", "inflight_count", "limits-inflight-count", "N", "Operations under way; likewise."},
     TYPE_U32,
     AT(inflight_count_max),
     1,
     1000000},
    {{"limits", "stream_rate", "limits-stream-rate", "SIZE",
      "Bytes a second of ranges that move, in and out."},
     TYPE_SIZE,
     AT(stream_rate),
     64u << 10,
     64 * GIB},
    {{"limits", "stream_chunk", "limits-stream-chunk", "SIZE",
      "Part of a range that is streamed and taken in at a time."},
     TYPE_SIZE32,
     AT(stream_chunk),
     4u << 10,
     32u << 20},
    {{"limits", "streams", "limits-streams", "N", "Ranges streamed at a time, in and out."},
     TYPE_U32,
     AT(streams),
     1,
     64},
    {{"limits", "moves", "limits-moves", "N",
      "Ranges on their way to other nodes at a time, as the Raft leader is told."},
     TYPE_U32,
     AT(moves),
     1,
     RING_RANGE_COUNT_MAX},
    {{"limits", "stream_p99_ms", "limits-stream-p99-ms", "MS",
      "Streams slow down while 1 of 100 client requests takes longer."},
     TYPE_U32,
     AT(stream_p99_ms),
     1,
     60000},
    {{"load", "half_life_s", "load-half-life-s", "S",
      "Of rates: what lies so far back counts half."},
     TYPE_U32,
     AT(half_life_s),
     1,
     DECAY_HALF_LIFE_S_MAX},
    {{"load", "survey_s", "load-survey-s", "S",
      "Between looks at what ranges hold; 0 is only when asked."},
     TYPE_U32,
     AT(survey_s),
     0,
     86400},
    {{"load", "hot_key_stride", "load-hot-key-stride", "N",
      "One of N operations is sampled for hot keys; 0 is none."},
     TYPE_U32,
     AT(hot_key_stride),
     0,
     HOT_KEYS_STRIDE_MAX},
    {{"load", "hot_key_bytes", "load-hot-key-bytes", "N",
      "So many bytes of a hot key are kept and shown; 0 is its hash alone."},
     TYPE_U32,
     AT(hot_key_bytes),
     0,
     HOT_KEYS_BYTES_MAX},
    {{"autoscale", "disk_high_pct", "autoscale-disk-high-pct", "PERCENT",
      "More nodes above this part of the disks, or of one of them."},
     TYPE_U32,
     AT(disk_high_pct),
     1,
     100},
    {{"autoscale", "request_high_pct", "autoscale-request-high-pct", "PERCENT",
      "More nodes above this part of node_requests."},
     TYPE_U32,
     AT(request_high_pct),
     1,
     1000},
    {{"autoscale", "target_pct", "autoscale-target-pct", "PERCENT",
      "What a wanted number of nodes is to come to."},
     TYPE_U32,
     AT(target_pct),
     1,
     99},
    {{"autoscale", "node_requests", "autoscale-node-requests", "N",
      "Requests a second that a node is good for; 0 is not judged."},
     TYPE_U32,
     AT(node_requests),
     0,
     UINT32_MAX},
    {{"autoscale", "nodes_min", "autoscale-nodes-min", "N", "Never fewer nodes than this."},
     TYPE_U32,
     AT(nodes_min),
     0,
     RING_MEMBER_COUNT_MAX},
    {{"autoscale", "nodes_max", "autoscale-nodes-max", "N", "Never more; 0 is no bound."},
     TYPE_U32,
     AT(nodes_max),
     0,
     RING_MEMBER_COUNT_MAX},
    {{"autoscale", "grow_s", "autoscale-grow-s", "S",
      "How long a limit is passed before more are wanted."},
     TYPE_U32,
     AT(grow_s),
     1,
     86400},
    {{"autoscale", "shrink_s", "autoscale-shrink-s", "S",
      "How long fewer would do before fewer are wanted."},
     TYPE_U32,
     AT(shrink_s),
     1,
     604800},
    {{"storage", "memory", "storage-memory", "SIZE", "What the engine may keep in memory."},
     TYPE_SIZE,
     AT(memory_size),
     1u << 20,
     1024 * GIB},
    {{"storage", "memtable", "storage-memtable", "SIZE",
      "A memtable is written to disk at this; 0: an eighth of the memory."},
     TYPE_SIZE,
     AT(memtable_size),
     0,
     64 * GIB},
    {{"storage", "wal_segment", "storage-wal-segment", "SIZE", "Files of the write-ahead log."},
     TYPE_SIZE,
     AT(wal_segment_size),
     64u << 10,
     GIB},
    {{"storage", "open_files_max", "storage-open-files-max", "N",
      "Table files kept open; others are opened again when they are read."},
     TYPE_U32,
     AT(open_files_max),
     16,
     1u << 20},
    {{"storage", "pool_threads", "storage-pool-threads", "N",
      "Threads for flush, compaction and reads that miss memory."},
     TYPE_U32,
     AT(pool_threads),
     1,
     64},
};

static const char *const level_names[] = {
    [LEVEL_ONE] = "one", [LEVEL_QUORUM] = "quorum", [LEVEL_ALL] = "all"};
static const char *const log_level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

void config_defaults(struct config *config)
{
    *config = (struct config){
        .weight = 1,
        .zone = "default",
        .log_level = LOG_INFO,
        .client = "127.0.0.1:7400",
        .peer = "127.0.0.1:7401",
        .admin = "127.0.0.1:7402",
        .replicas = 3,
        .ranges = RING_RANGE_COUNT_DEFAULT,
        .suspect_phi = 5,
        .down_phi = 12,
        .connections_max = 10000,
        .key_size_max = 64u << 10,
        .value_size_max = 8u << 20,
        .request_size_max = 64u << 20,
        .pipeline_max = 1024,
        .read_level = LEVEL_QUORUM,
        .write_level = LEVEL_QUORUM,
        .request_timeout_ms = 5000,
        .hedge_timeout_ms = 50,
        .heartbeat_ms = 200,
        .suspect_ms = 3000,
        .down_ms = 10000,
        .election_ms = 1000,
        .voter_patience_ms = 300000,
        .shutdown_ms = 10000,
        .clock_lead_ms = 500,
        .inflight_size_max = 256u << 20,
        .inflight_count_max = 100000,
        .stream_rate = 64u << 20,
        .stream_chunk = 4u << 20,
        .streams = 4,
        .moves = 64,
        .stream_p99_ms = 50,
        .half_life_s = 60,
        .survey_s = 10,
        .hot_key_stride = 16,
        .hot_key_bytes = HOT_KEYS_BYTES_MAX,
        .disk_high_pct = 80,
        .request_high_pct = 75,
        .target_pct = 60,
        .grow_s = 60,
        .shrink_s = 900,
        .memory_size = 512u << 20,
        .wal_segment_size = 16u << 20,
        .open_files_max = 512,
        .pool_threads = 2,
    };
}

/* ------------------------------------------------------------------ values from text */

static bool number_parse(const char *text, bool suffix, uint64_t *value)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (suffix && *end != '\0') {
        char unit = (char)(*end | 0x20);
        shift = unit == 'k' ? 10 : unit == 'm' ? 20 : unit == 'g' ? 30 : 0;
        end += shift > 0;
    }
    if (errno != 0 || *end != '\0' || number > UINT64_MAX >> shift) {
        return false;
    }
    *value = number << shift;
    return true;
}

static bool name_parse(const char *text, const char *const *names, uint32_t count, uint32_t *value)
{
    for (uint32_t index = 0; index < count; index++) {
        if (names[index] != NULL && strcasecmp(text, names[index]) == 0) {
            *value = index;
            return true;
        }
    }
    return false;
}

static bool switch_parse(const char *text, bool *value)
{
    static const char *const names[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    uint32_t index;
    if (!name_parse(text, names, ARRAY_COUNT(names), &index)) {
        return false;
    }
    *value = index % 2 == 1;
    return true;
}

static bool bootstrap_add(struct config *config, const char *entry, size_t size)
{
    char text[ADDRESS_TEXT_SIZE_MAX + 16];
    if (size >= sizeof(text) || config->bootstrap_count == CONFIG_BOOTSTRAP_COUNT_MAX) {
        return false;
    }
    memcpy(text, entry, size);
    text[size] = '\0';
    char *equals = strchr(text, '=');
    uint64_t id;
    struct address address;
    if (equals == NULL) {
        return false;
    }
    *equals = '\0';
    if (!number_parse(text, false, &id) || id == 0 || id > UINT32_MAX ||
        address_parse(equals + 1, &address) != STATUS_OK) {
        return false;
    }
    uint32_t at = config->bootstrap_count;
    for (; at > 0 && config->bootstrap[at - 1].id >= id; at--) {
        if (config->bootstrap[at - 1].id == id) {
            return false;
        }
        config->bootstrap[at] = config->bootstrap[at - 1];
    }
    config->bootstrap[at].id = (uint32_t)id;
    address_format(&address, config->bootstrap[at].peer_address);
    config->bootstrap_count++;
    return true;
}

static bool bootstrap_parse(struct config *config, const char *text)
{
    config->bootstrap_count = 0;
    while (*text != '\0') {
        size_t size = strcspn(text, ",");
        if (!bootstrap_add(config, text, size)) {
            return false;
        }
        text += size;
        text += *text == ',' && text[1] != '\0';
        if (*text == ',') {
            return false;
        }
    }
    return true;
}

/* What a value of the setting must be, for messages. */
static void expectation(const struct setting *setting, struct buffer *to)
{
    switch (setting->type) {
    case TYPE_U32:
        buffer_append_format(to, "a number from %" PRIu64 " to %" PRIu64, setting->low,
                             setting->high);
        return;
    case TYPE_SIZE:
    case TYPE_SIZE32:
        buffer_append_format(to, "a size (k, m and g as suffixes) from %" PRIu64 " to %" PRIu64,
                             setting->low, setting->high);
        return;
    case TYPE_TEXT:
        buffer_append_format(to, "a text of at most %" PRIu64 " bytes", setting->high - 1);
        return;
    case TYPE_SWITCH:
        buffer_append_text(to, "yes or no");
        return;
    case TYPE_LEVEL:
        buffer_append_text(to, "one, quorum or all");
        return;
    case TYPE_LOG_LEVEL:
        buffer_append_text(to, "error, warn, info or debug");
        return;
    case TYPE_BOOTSTRAP:
        buffer_append_text(to, "a list like 1=host:7401,2=host:7401 of distinct nodes");
        return;
    }
    UNREACHABLE("value type");
}

static bool value_take(struct config *config, const struct setting *setting, const char *text)
{
    void *field = (char *)config + setting->offset;
    uint64_t number = 0;
    uint32_t index = 0;
    switch (setting->type) {
    case TYPE_U32:
    case TYPE_SIZE32:
        if (!number_parse(text, setting->type == TYPE_SIZE32, &number) || number < setting->low ||
            number > setting->high) {
            return false;
        }
        *(uint32_t *)field = (uint32_t)number;
        return true;
    case TYPE_SIZE:
        if (!number_parse(text, true, &number) || number < setting->low || number > setting->high) {
            return false;
        }
        *(uint64_t *)field = number;
        return true;
    case TYPE_TEXT:
        if (strlen(text) >= setting->high) {
            return false;
        }
        memcpy(field, text, strlen(text) + 1);
        return true;
    case TYPE_SWITCH:
        return switch_parse(text, field);
    case TYPE_LEVEL:
        if (!name_parse(text, level_names, ARRAY_COUNT(level_names), &index)) {
            return false;
        }
        *(enum level *)field = (enum level)index;
        return true;
    case TYPE_LOG_LEVEL:
        if (!name_parse(text, log_level_names, ARRAY_COUNT(log_level_names), &index)) {
            return false;
        }
        *(enum log_level *)field = (enum log_level)index;
        return true;
    case TYPE_BOOTSTRAP:
        return bootstrap_parse(config, text);
    }
    UNREACHABLE("value type");
}

enum status config_set(struct config *config, const char *section, const char *key,
                       const char *value, const char *source, struct buffer *message)
{
    for (size_t index = 0; index < ARRAY_COUNT(settings); index++) {
        const struct setting *setting = &settings[index];
        if (strcmp(setting->key.section, section) != 0 || strcmp(setting->key.key, key) != 0) {
            continue;
        }
        if (value_take(config, setting, value)) {
            return STATUS_OK;
        }
        buffer_append_format(message, "%s: [%s] %s = \"%s\": it must be ", source, section, key,
                             value);
        expectation(setting, message);
        return STATUS_INVALID;
    }
    buffer_append_format(message, "%s: there is no setting [%s] %s", source, section, key);
    return STATUS_INVALID;
}

/* ------------------------------------------------------------------ files and variables */

struct parse {
    struct config *config;
    const char *name;
    struct buffer *message;
    enum status status;
};

static int parse_pair(void *context, const char *section, const char *key, const char *value)
{
    struct parse *parse = context;
    if (parse->status == STATUS_OK && section[0] == '\0') {
        buffer_append_format(parse->message, "%s: %s stands above the first [section]", parse->name,
                             key);
        parse->status = STATUS_INVALID;
    } else if (parse->status == STATUS_OK) {
        parse->status = config_set(parse->config, section, key, value == NULL ? "" : value,
                                   parse->name, parse->message);
    }
    return parse->status == STATUS_OK;
}

/* The number of the first line that inih would cut in two; 0: none. */
static uint32_t line_too_long(const char *text)
{
    for (uint32_t line = 1; *text != '\0'; line++) {
        size_t size = strcspn(text, "\n");
        if (size > CONFIG_LINE_SIZE_MAX) {
            return line;
        }
        text += size;
        text += *text == '\n';
    }
    return 0;
}

enum status config_parse(struct config *config, const char *text, const char *name,
                         struct buffer *message)
{
    uint32_t long_line = line_too_long(text);
    if (long_line > 0) {
        buffer_append_format(message, "%s: line %" PRIu32 " has more than %d bytes", name,
                             long_line, CONFIG_LINE_SIZE_MAX);
        return STATUS_INVALID;
    }
    struct parse parse = {.config = config, .name = name, .message = message};
    int line = ini_parse_string(text, parse_pair, &parse);
    if (parse.status != STATUS_OK) {
        if (line > 0) {
            buffer_append_format(message, " (line %d)", line);
        }
        return parse.status;
    }
    if (line != 0) {
        buffer_append_format(message, "%s: line %d is no \"key = value\" and no [section]", name,
                             line);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static void variable_name(const struct setting *setting, char *name, size_t capacity)
{
    (void)snprintf(name, capacity, "KV_%s_%s", setting->key.section, setting->key.key);
    for (char *at = name; *at != '\0'; at++) {
        if (*at >= 'a' && *at <= 'z') {
            *at = (char)(*at - ('a' - 'A'));
        }
    }
}

enum status config_environment(struct config *config, const char *(*lookup)(const char *name),
                               struct buffer *message)
{
    for (size_t index = 0; index < ARRAY_COUNT(settings); index++) {
        const struct setting *setting = &settings[index];
        char name[64];
        variable_name(setting, name, sizeof(name));
        const char *value = lookup(name);
        if (value == NULL) {
            continue;
        }
        enum status status =
            config_set(config, setting->key.section, setting->key.key, value, name, message);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

bool config_variable_known(const char *variable)
{
    for (size_t index = 0; index < ARRAY_COUNT(settings); index++) {
        char name[64];
        variable_name(&settings[index], name, sizeof(name));
        if (strcmp(name, variable) == 0) {
            return true;
        }
    }
    return false;
}

const struct config_key *config_key_at(uint32_t index)
{
    return index < ARRAY_COUNT(settings) ? &settings[index].key : NULL;
}

/* With the greatest suffix that loses nothing. */
static void size_print(uint64_t size, struct buffer *to)
{
    static const char suffixes[] = {'k', 'm', 'g'};
    size_t count = 0;
    while (count < sizeof(suffixes) && size > 0 && size % 1024 == 0) {
        size /= 1024;
        count++;
    }
    buffer_append_format(to, "%" PRIu64, size);
    if (count > 0) {
        buffer_append(to, &suffixes[count - 1], 1);
    }
}

static void value_print(const struct config *config, const struct setting *setting,
                        struct buffer *to)
{
    const void *field = (const char *)config + setting->offset;
    switch (setting->type) {
    case TYPE_U32:
        buffer_append_format(to, "%" PRIu32, *(const uint32_t *)field);
        return;
    case TYPE_SIZE32:
        size_print(*(const uint32_t *)field, to);
        return;
    case TYPE_SIZE:
        size_print(*(const uint64_t *)field, to);
        return;
    case TYPE_TEXT:
        buffer_append_text(to, field);
        return;
    case TYPE_SWITCH:
        buffer_append_text(to, *(const bool *)field ? "yes" : "no");
        return;
    case TYPE_LEVEL:
        buffer_append_text(to, level_names[*(const enum level *)field]);
        return;
    case TYPE_LOG_LEVEL:
        buffer_append_text(to, log_level_names[*(const enum log_level *)field]);
        return;
    case TYPE_BOOTSTRAP:
        for (uint32_t index = 0; index < config->bootstrap_count; index++) {
            buffer_append_format(to, "%s%" PRIu32 "=%s", index == 0 ? "" : ",",
                                 config->bootstrap[index].id,
                                 config->bootstrap[index].peer_address);
        }
        return;
    }
    UNREACHABLE("value type");
}

void config_value_print(const struct config *config, uint32_t index, struct buffer *to)
{
    ASSERT(index < ARRAY_COUNT(settings));
    value_print(config, &settings[index], to);
}

void config_print(const struct config *config, struct buffer *to)
{
    const char *section = "";
    for (size_t index = 0; index < ARRAY_COUNT(settings); index++) {
        const struct setting *setting = &settings[index];
        if (strcmp(section, setting->key.section) != 0) {
            buffer_append_format(to, "%s[%s]\n", index == 0 ? "" : "\n", setting->key.section);
            section = setting->key.section;
        }
        /* The node's id has no default: it stands there to be filled in. */
        bool unset = setting->type == TYPE_U32 &&
                     *(const uint32_t *)(const void *)((const char *)config + setting->offset) <
                         setting->low;
        buffer_append_format(to, "; %s\n%s%s = ", setting->key.help, unset ? "; " : "",
                             setting->key.key);
        value_print(config, setting, to);
        buffer_append_text(to, "\n");
    }
}

/* ------------------------------------------------------------------ the whole */

static enum status address_check(const struct config *config, const char *key, const char *text,
                                 struct buffer *message)
{
    struct address address;
    if (address_parse(text, &address) != STATUS_OK) {
        buffer_append_format(message, "[listen] %s = \"%s\" is no HOST:PORT", key, text);
        return STATUS_INVALID;
    }
    if (!config->insecure && !address_is_loopback(&address)) {
        buffer_append_format(message,
                             "[listen] %s = \"%s\" is not loopback: there is no encryption and no "
                             "password yet, so say --insecure if the network is trusted",
                             key, text);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static bool in_bootstrap(const struct config *config)
{
    for (uint32_t index = 0; index < config->bootstrap_count; index++) {
        if (config->bootstrap[index].id == config->id) {
            return true;
        }
    }
    return false;
}

static const char *contradiction(const struct config *config)
{
    if (config->id == 0) {
        return "--id is missing: give this node a number, 1 or above";
    }
    if (config->data_dir[0] == '\0') {
        return "--data-dir is missing: name the folder for this node's files";
    }
    if (config->zone[0] == '\0') {
        return "[node] zone is empty";
    }
    if (config->bootstrap_count == 0 && config->join[0] == '\0') {
        return "--bootstrap is missing: name the nodes of the cluster, this one among them; or "
               "--join one that exists";
    }
    if (config->bootstrap_count > 0 && config->join[0] != '\0') {
        return "--bootstrap and --join exclude each other: a node begins a cluster or joins one";
    }
    struct address contact;
    if (config->join[0] != '\0' && address_parse(config->join, &contact) != STATUS_OK) {
        return "--join must be HOST:PEERPORT";
    }
    if (config->bootstrap_count > 0 && !in_bootstrap(config)) {
        return "--bootstrap does not name this node's own id";
    }
    if (strcmp(config->client, config->peer) == 0 || strcmp(config->client, config->admin) == 0 ||
        strcmp(config->peer, config->admin) == 0) {
        return "[listen] client, peer and admin must be different";
    }
    if ((config->ranges & (config->ranges - 1)) != 0) {
        return "[cluster] ranges must be a power of two";
    }
    if (config->request_size_max <= config->value_size_max) {
        return "[client] request_size_max must be more than value_size_max";
    }
    if (config->down_phi < config->suspect_phi) {
        return "[cluster] must have suspect_phi <= down_phi";
    }
    if (config->target_pct >= config->disk_high_pct ||
        config->target_pct >= config->request_high_pct) {
        return "[autoscale] must have target_pct < disk_high_pct and request_high_pct";
    }
    if (config->nodes_max > 0 && config->nodes_max < config->nodes_min) {
        return "[autoscale] must have nodes_min <= nodes_max";
    }
    if (config->suspect_ms <= config->heartbeat_ms || config->down_ms < config->suspect_ms) {
        return "[timeouts] must have heartbeat_ms < suspect_ms <= down_ms";
    }
    return NULL;
}

enum status config_check(const struct config *config, struct buffer *message)
{
    const char *wrong = contradiction(config);
    if (wrong != NULL) {
        buffer_append_text(message, wrong);
        return STATUS_INVALID;
    }
    enum status status = address_check(config, "client", config->client, message);
    if (status == STATUS_OK) {
        status = address_check(config, "peer", config->peer, message);
    }
    if (status == STATUS_OK && strcmp(config->admin, "off") != 0) {
        status = address_check(config, "admin", config->admin, message);
    }
    return status;
}
