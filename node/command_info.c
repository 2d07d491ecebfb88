/* node/command_info.c -- INFO, CONFIG GET and the KV. reports. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/histogram.h"
#include "lsm/lsm.h"
#include "node/command.h"
#include "node/report.h"
#include "node/session.h"
#include "raft/group.h"

/* ------------------------------------------------------------------ INFO */

static void info_server(const struct server *server, struct buffer *to)
{
    const struct config *config = node_config(server->node);
    struct address address = {0};
    enum status status = address_parse(config->client, &address);
    uint64_t up_s = (env_monotonic_ns(server->env) - server->started_ns) / UINT64_C(1000000000);
    buffer_append_format(to,
                         "# Server\r\nredis_version:7.0.15\r\nringkv_version:%s\r\n"
                         "redis_mode:standalone\r\nos:Linux\r\narch_bits:64\r\nrun_id:%016" PRIx64
                         "%016" PRIx64 "\r\ntcp_port:%u\r\nuptime_in_seconds:%" PRIu64
                         "\r\nuptime_in_days:%" PRIu64 "\r\n",
                         REPORT_VERSION, server->run_id[0], server->run_id[1],
                         status == STATUS_OK ? address.port : 0u, up_s, up_s / 86400);
}

static void info_clients(const struct server *server, struct buffer *to)
{
    buffer_append_format(to,
                         "# Clients\r\nconnected_clients:%" PRIu64 "\r\nmaxclients:%" PRIu32
                         "\r\nblocked_clients:0\r\n",
                         server->counters.connections_now,
                         node_config(server->node)->connections_max);
}

static void info_memory(const struct server *server, struct buffer *to)
{
    struct lsm_stats stats;
    node_lsm_stats(server->node, &stats);
    buffer_append_format(to,
                         "# Memory\r\nused_memory:%" PRIu64 "\r\nmaxmemory:%" PRIu64
                         "\r\nmaxmemory_policy:noeviction\r\n",
                         stats.memtable_size, node_config(server->node)->memory_size);
}

static void info_persistence(const struct server *server, struct buffer *to)
{
    struct lsm_stats stats;
    node_lsm_stats(server->node, &stats);
    bool loading = node_state(server->node) == NODE_OPENING;
    buffer_append_format(to,
                         "# Persistence\r\nloading:%d\r\nasync_loading:0\r\naof_enabled:1\r\n"
                         "rdb_bgsave_in_progress:0\r\nengine_read_only:%d\r\n"
                         "engine_tables:%" PRIu64 "\r\nengine_table_size:%" PRIu64
                         "\r\nengine_wal_size:%" PRIu64 "\r\nengine_syncs:%" PRIu64 "\r\n",
                         loading, stats.read_only, stats.table_count, stats.table_size,
                         stats.wal_size, stats.sync_count);
}

static void info_stats(const struct server *server, struct buffer *to)
{
    const struct node_counters *node = node_counters(server->node);
    buffer_append_format(
        to,
        "# Stats\r\ntotal_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
        "\r\nrejected_connections:%" PRIu64 "\r\ntotal_net_input_bytes:%" PRIu64
        "\r\ntotal_net_output_bytes:%" PRIu64 "\r\ntotal_error_replies:%" PRIu64
        "\r\ncoordinated_reads:%" PRIu64 "\r\ncoordinated_writes:%" PRIu64
        "\r\nunavailable:%" PRIu64 "\r\ntimeouts:%" PRIu64 "\r\nindeterminate:%" PRIu64
        "\r\noverloaded:%" PRIu64 "\r\nsuperseded:%" PRIu64 "\r\nread_repairs:%" PRIu64
        "\r\nread_p99_us:%" PRIu64 "\r\nwrite_p99_us:%" PRIu64 "\r\n",
        server->counters.connections_accepted, server->counters.commands,
        server->counters.connections_refused, server->counters.bytes_in, server->counters.bytes_out,
        server->counters.errors, node->reads, node->writes, node->unavailable, node->timeouts,
        node->indeterminate, node->overloaded, node->superseded, node->read_repairs,
        histogram_quantile(node_read_latency_us(server->node), 0.99),
        histogram_quantile(node_write_latency_us(server->node), 0.99));
}

static void info_replication(const struct server *server, struct buffer *to)
{
    (void)server;
    buffer_append_text(to, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"
                           "master_repl_offset:0\r\n");
}

static void info_cluster(const struct server *server, struct buffer *to)
{
    const struct topology *topology = node_topology(server->node);
    struct group_info group = {0};
    bool part = node_group_info(server->node, &group);
    buffer_append_format(
        to,
        "# Cluster\r\ncluster_enabled:0\r\nnode_id:%" PRIu32
        "\r\nnode_state:%s\r\ncluster_id:%016" PRIx64 "\r\nepoch:%" PRIu64 "\r\nmembers:%" PRIu32
        "\r\nranges:%" PRIu32 "\r\nreplicas:%" PRIu32 "\r\nraft_leader:%" PRIu32 "\r\n",
        node_config(server->node)->id, report_state_name(server->node), topology->cluster_id,
        topology->stamp.epoch, topology->member_count, topology->range_count,
        topology->replica_count, part ? group.leader_id : 0);
}

static void info_keyspace(const struct server *server, struct buffer *to)
{
    buffer_append_format(to, "# Keyspace\r\ndb0:keys=%" PRIu64 ",expires=0,avg_ttl=0\r\n",
                         node_key_estimate(server->node));
    const struct topology *topology = node_topology(server->node);
    for (uint32_t index = 0; index < topology->keyspace_count; index++) {
        const struct topology_keyspace *keyspace = &topology->keyspaces[index];
        buffer_append_format(to, "keyspace%" PRIu16 ":name=%s,class=%s,ttl_ms=%" PRIu64 "\r\n",
                             keyspace->number, keyspace->name,
                             keyspace->class == TOPOLOGY_STRONG ? "strong" : "eventual",
                             keyspace->ttl_ms);
    }
}

static const struct {
    const char *name;
    void (*write)(const struct server *server, struct buffer *to);
} info_sections[] = {
    {"server", info_server},   {"clients", info_clients},
    {"memory", info_memory},   {"persistence", info_persistence},
    {"stats", info_stats},     {"replication", info_replication},
    {"cluster", info_cluster}, {"keyspace", info_keyspace},
};

static bool section_wanted(const struct request *request, const char *name)
{
    if (request->argument_count == 1) {
        return true;
    }
    for (uint32_t index = 1; index < request->argument_count; index++) {
        struct slice word = request->arguments[index];
        if (argument_is(word, name) || argument_is(word, "all") ||
            argument_is(word, "everything") || argument_is(word, "default")) {
            return true;
        }
    }
    return false;
}

static void text_answer(struct request *request, struct buffer *text)
{
    if (buffer_status(text) == STATUS_OK) {
        resp_bulk(&request->writer, buffer_slice(text));
    } else {
        request_error(request, "OVERLOADED out of memory");
    }
    buffer_deinit(text);
    request_finish(request);
}

void command_info(struct request *request)
{
    struct buffer text = {0};
    for (size_t index = 0; index < ARRAY_COUNT(info_sections); index++) {
        if (section_wanted(request, info_sections[index].name)) {
            if (text.size > 0) {
                buffer_append_text(&text, "\r\n");
            }
            info_sections[index].write(request->server, &text);
        }
    }
    text_answer(request, &text);
}

/* ------------------------------------------------------------------ CONFIG */

/* Names that clients and benchmarks of Redis ask for, as they are true here. */
static const struct {
    const char *name;
    const char *value;
} config_values[] = {
    {"appendfsync", "always"},
    {"appendonly", "yes"},
    {"cluster-enabled", "no"},
    {"databases", "2"},
    {"maxmemory-policy", "noeviction"},
    {"save", ""},
    {"timeout", "0"},
};

void command_config(struct request *request)
{
    if (!argument_is(request->arguments[1], "get")) {
        request_error(request, "ERR CONFIG has only GET here: the configuration is kvnode's file, "
                               "flags and KV_ variables");
        request_finish(request);
        return;
    }
    size_t found[ARRAY_COUNT(config_values)];
    size_t count = 0;
    for (size_t value = 0; value < ARRAY_COUNT(config_values); value++) {
        bool wanted = false;
        for (uint32_t index = 2; index < request->argument_count; index++) {
            wanted = wanted ||
                     command_glob(request->arguments[index], slice_text(config_values[value].name));
        }
        if (wanted) {
            found[count++] = value;
        }
    }
    resp_map(&request->writer, count);
    for (size_t index = 0; index < count; index++) {
        resp_bulk_text(&request->writer, config_values[found[index]].name);
        resp_bulk_text(&request->writer, config_values[found[index]].value);
    }
    request_finish(request);
}

/* ------------------------------------------------------------------ reports */

void command_kv_ring(struct request *request)
{
    struct buffer text = {0};
    report_ring(request->server->node, &text);
    text_answer(request, &text);
}

void command_kv_status(struct request *request)
{
    struct buffer text = {0};
    report_status(request->server->node, &text);
    text_answer(request, &text);
}

void command_kv_autoscale(struct request *request)
{
    struct buffer text = {0};
    report_autoscale(request->server->node, &text);
    text_answer(request, &text);
}

void command_kv_resume(struct request *request)
{
    resp_simple(&request->writer, node_resume(request->server->node) ? "RESUMING" : "OK");
    request_finish(request);
}

void command_kv_locate(struct request *request)
{
    struct buffer text = {0};
    report_locate(request->server->node, request->keyspace, request->arguments[1], &text);
    text_answer(request, &text);
}
