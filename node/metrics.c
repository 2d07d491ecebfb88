/*
 * node/metrics.c -- the node's counters as Prometheus text.
 *
 * Names end in their unit; counters in _total. Source of the format: Prometheus, "Exposition
 * formats", text format 0.0.4.
 */
#include <inttypes.h>

#include "base/histogram.h"
#include "lsm/lsm.h"
#include "node/autoscaler.h"
#include "node/load.h"
#include "node/node.h"
#include "node/report.h"
#include "node/server.h"
#include "raft/group.h"

static void metric(struct buffer *to, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    buffer_append_format(to, "# HELP ringkv_%s %s\n# TYPE ringkv_%s %s\nringkv_%s %" PRIu64 "\n",
                         name, help, name, type, name, value);
}

static void counter(struct buffer *to, const char *name, const char *help, uint64_t value)
{
    metric(to, name, "counter", help, value);
}

static void gauge(struct buffer *to, const char *name, const char *help, uint64_t value)
{
    metric(to, name, "gauge", help, value);
}

static void latency(struct buffer *to, const char *name, const char *help,
                    const struct histogram *histogram)
{
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    buffer_append_format(to, "# HELP ringkv_%s %s\n# TYPE ringkv_%s summary\n", name, help, name);
    for (size_t index = 0; index < ARRAY_COUNT(quantiles); index++) {
        uint64_t value_us = histogram_quantile(histogram, quantiles[index]);
        buffer_append_format(to, "ringkv_%s{quantile=\"%g\"} %.6f\n", name, quantiles[index],
                             (double)value_us / 1e6);
    }
    buffer_append_format(to, "ringkv_%s_sum %.6f\nringkv_%s_count %" PRIu64 "\n", name,
                         (double)histogram->sum / 1e6, name, histogram->count);
}

static void node_metrics(const struct node *node, struct buffer *to)
{
    const struct node_counters *counters = node_counters(node);
    counter(to, "reads_total", "Reads coordinated here.", counters->reads);
    counter(to, "writes_total", "Writes coordinated here.", counters->writes);
    counter(to, "scans_total", "Scan pages coordinated here.", counters->scans);
    counter(to, "read_errors_total", "Reads that failed.", counters->read_errors);
    counter(to, "write_errors_total", "Writes that failed or stayed open.", counters->write_errors);
    counter(to, "unavailable_total", "Refused: too few replicas up.", counters->unavailable);
    counter(to, "timeouts_total", "Operations past their deadline.", counters->timeouts);
    counter(to, "indeterminate_total", "Writes that may have been applied.",
            counters->indeterminate);
    counter(to, "overloaded_total", "Refused: too much under way.", counters->overloaded);
    counter(to, "superseded_total", "Writes that met a newer version.", counters->superseded);
    counter(to, "read_repairs_total", "Copies sent to replicas that lagged.",
            counters->read_repairs);
    counter(to, "read_hedges_total", "Reads that asked one more replica.", counters->read_hedges);
    counter(to, "replica_reads_total", "Reads served to coordinators.", counters->replica_reads);
    counter(to, "replica_writes_total", "Writes served to coordinators.", counters->replica_writes);
    counter(to, "replica_scans_total", "Scan pages served to coordinators.",
            counters->replica_scans);
    counter(to, "stale_refused_total", "Requests older than a fence.", counters->stale_refused);
    counter(to, "behind_refused_total", "Requests newer than our topology.",
            counters->behind_refused);
    counter(to, "peer_frames_in_total", "Frames from peers.", counters->frames_in);
    counter(to, "peer_frames_out_total", "Frames to peers.", counters->frames_out);
    counter(to, "peer_in_bytes_total", "Bytes of frames from peers.", counters->bytes_in);
    counter(to, "peer_out_bytes_total", "Bytes of frames to peers.", counters->bytes_out);
    counter(to, "peer_frames_bad_total", "Frames that failed their check.", counters->frames_bad);
    gauge(to, "inflight", "Operations under way.", counters->inflight_count);
    gauge(to, "inflight_bytes", "Bytes of operations under way.", counters->inflight_size);
    latency(to, "read_latency_seconds", "Of reads coordinated here.", node_read_latency_us(node));
    latency(to, "write_latency_seconds", "Of writes coordinated here.",
            node_write_latency_us(node));
}

static void stream_metrics(const struct node *node, struct buffer *to)
{
    const struct node_counters *counters = node_counters(node);
    uint32_t entering;
    uint32_t leaving;
    node_ranges_moving(node, &entering, &leaving);
    gauge(to, "ranges_entering", "Ranges this node is entering.", entering);
    gauge(to, "ranges_leaving", "Ranges it left that are not yet gone from its disk.", leaving);
    counter(to, "stream_in_bytes_total", "Bytes of ranges that came.", counters->stream_bytes_in);
    counter(to, "stream_out_bytes_total", "Bytes of ranges that went.", counters->stream_bytes_out);
    counter(to, "stream_in_chunks_total", "Chunks that were taken in.", counters->stream_chunks_in);
    counter(to, "stream_out_chunks_total", "Chunks that were exported.",
            counters->stream_chunks_out);
    counter(to, "stream_errors_total", "Tries of streams that failed, and are made again.",
            counters->stream_errors);
}

static void load_metrics(const struct node *node, struct buffer *to)
{
    const struct load *load = node_load(node);
    if (load == NULL) {
        return;
    }
    struct load_view hottest = {0};
    for (uint32_t range = 0; range < load->range_count; range++) {
        struct load_view view = load_range_view(load, range);
        hottest.bytes = view.bytes > hottest.bytes ? view.bytes : hottest.bytes;
        hottest.reads = view.reads > hottest.reads ? view.reads : hottest.reads;
        hottest.writes = view.writes > hottest.writes ? view.writes : hottest.writes;
    }
    gauge(to, "load_read_rate", "Reads a second served by this replica, decayed.",
          (uint64_t)load->sum.reads);
    gauge(to, "load_write_rate", "Writes a second taken by this replica, decayed.",
          (uint64_t)load->sum.writes);
    gauge(to, "load_range_read_rate_max", "Of its range with most of them.",
          (uint64_t)hottest.reads);
    gauge(to, "load_range_write_rate_max", "Likewise.", (uint64_t)hottest.writes);
    gauge(to, "load_range_bytes_max", "Of its largest range, roughly.", hottest.bytes);
    const struct autoscaler *autoscaler = node_autoscaler(node);
    if (autoscaler->judgement.begun) {
        gauge(to, "autoscale_nodes", "Members that hold ranges.", autoscaler->judgement.node_count);
        gauge(to, "autoscale_nodes_wanted", "So many there should be.",
              autoscaler->judgement.wanted);
    }
    gauge(to, "load_space_free_bytes", "Free on the disk of the data folder.", load->space_free);
}

static void client_metrics(const struct node *node, struct buffer *to)
{
    const struct server_counters *counters = server_counters(node_server(node));
    gauge(to, "client_connections", "Client connections open.", counters->connections_now);
    counter(to, "client_connections_total", "Client connections accepted.",
            counters->connections_accepted);
    counter(to, "client_connections_refused_total", "Over the bound.",
            counters->connections_refused);
    counter(to, "client_commands_total", "Commands received.", counters->commands);
    counter(to, "client_errors_total", "Error replies.", counters->errors);
    counter(to, "client_protocol_errors_total", "Malformed requests.", counters->protocol_errors);
    counter(to, "client_in_bytes_total", "Bytes from clients.", counters->bytes_in);
    counter(to, "client_out_bytes_total", "Bytes to clients.", counters->bytes_out);
}

static void engine_metrics(const struct node *node, struct buffer *to)
{
    struct lsm_stats stats;
    node_lsm_stats(node, &stats);
    gauge(to, "engine_keys", "Cells stored, roughly.", stats.key_estimate);
    gauge(to, "engine_tables", "Tables.", stats.table_count);
    gauge(to, "engine_table_bytes", "Bytes of tables.", stats.table_size);
    gauge(to, "engine_memtable_bytes", "Bytes of memtables.", stats.memtable_size);
    gauge(to, "engine_wal_bytes", "Bytes of live log segments.", stats.wal_size);
    gauge(to, "engine_wal_queue_bytes", "Bytes not yet synced.", stats.wal_queue_size);
    gauge(to, "engine_runs", "Places a get may look in.", stats.run_count);
    gauge(to, "engine_compaction_debt_bytes", "Bytes above the aimed shape.",
          stats.compaction_debt);
    gauge(to, "engine_read_only", "1 after a disk fault.", stats.read_only);
    uint64_t resume_count;
    uint64_t failure_count;
    node_resumes(node, &resume_count, &failure_count);
    counter(to, "engine_resumes_total", "Times it took writes again.", resume_count);
    counter(to, "engine_resume_failures_total", "Tries of that in vain.", failure_count);
    counter(to, "engine_user_written_bytes_total", "Bytes of accepted batches.",
            stats.user_written);
    counter(to, "engine_wal_written_bytes_total", "Bytes written to the log.", stats.wal_written);
    counter(to, "engine_flush_written_bytes_total", "Bytes of flushed tables.",
            stats.flush_written);
    counter(to, "engine_compaction_written_bytes_total", "Bytes of merged tables.",
            stats.compaction_written);
    counter(to, "engine_compaction_read_bytes_total", "Bytes read by merges.",
            stats.compaction_read);
    counter(to, "engine_syncs_total", "Syncs of the log.", stats.sync_count);
    counter(to, "engine_groups_total", "Groups written to the log.", stats.group_count);
    counter(to, "engine_writes_total", "Batches accepted.", stats.write_count);
    counter(to, "engine_gets_total", "Gets.", stats.get_count);
    counter(to, "engine_table_gets_total", "Tables read by gets.", stats.get_table_count);
    counter(to, "engine_filter_skips_total", "Tables a filter spared.", stats.filter_skip_count);
    counter(to, "engine_filter_false_total", "Tables a filter failed to spare.",
            stats.filter_false_count);
    counter(to, "engine_cache_hits_total", "Gets in a table whose block was in memory.",
            stats.cache_hit_count);
    counter(to, "engine_cache_misses_total", "Gets and seeks that read a block.",
            stats.cache_miss_count);
    counter(to, "engine_cache_inserts_total", "Blocks let into the cache.",
            stats.cache_insert_count);
    counter(to, "engine_cache_evictions_total", "Blocks evicted from it.", stats.cache_evict_count);
    counter(to, "engine_index_reads_total", "Parts of indexes that were read again.",
            stats.index_read_count);
    gauge(to, "engine_table_files_open", "Table files that are open.", stats.table_open_count);
    counter(to, "engine_table_files_reopened_total", "Times a closed one was opened again.",
            stats.table_reopen_count);
    counter(to, "engine_overloaded_total", "Batches refused for now.", stats.overloaded_count);
    counter(to, "engine_stalls_total", "Batches answered later for debt.", stats.stall_count);
    counter(to, "engine_stall_milliseconds_total", "Time that answers were held back.",
            stats.stall_ns / 1000000);
    gauge(to, "engine_pace_rate_bytes", "Bytes a second at which answers leave; 0: unbounded.",
          stats.pace_rate);
}

static void cluster_metrics(const struct node *node, struct buffer *to)
{
    const struct topology *topology = node_topology(node);
    struct node_peer_info infos[RING_MEMBER_COUNT_MAX];
    uint32_t count = node_peers(node, infos, RING_MEMBER_COUNT_MAX);
    gauge(to, "serving", "1 while the node is serving.", node_state(node) == NODE_SERVING);
    gauge(to, "epoch", "Epoch of the topology this node goes by.", topology->stamp.epoch);
    gauge(to, "members", "Members of the cluster.", topology->member_count);
    buffer_append_text(to, "# HELP ringkv_peer_up 1 while the peer is heard of.\n"
                           "# TYPE ringkv_peer_up gauge\n");
    for (uint32_t index = 0; index < count; index++) {
        buffer_append_format(to, "ringkv_peer_up{peer=\"%" PRIu32 "\"} %d\n", infos[index].id,
                             infos[index].state == NODE_PEER_UP);
    }
    buffer_append_text(to, "# HELP ringkv_peer_state 0 up, 1 suspect, 2 down.\n"
                           "# TYPE ringkv_peer_state gauge\n");
    for (uint32_t index = 0; index < count; index++) {
        buffer_append_format(to, "ringkv_peer_state{peer=\"%" PRIu32 "\"} %d\n", infos[index].id,
                             (int)infos[index].state);
    }
    buffer_append_text(to, "# HELP ringkv_peer_phi How unlikely a peer's silence is (log10).\n"
                           "# TYPE ringkv_peer_phi gauge\n");
    for (uint32_t index = 0; index < count; index++) {
        buffer_append_format(to, "ringkv_peer_phi{peer=\"%" PRIu32 "\"} %.3f\n", infos[index].id,
                             (double)infos[index].phi_milli / 1000);
    }
    struct group_info group;
    if (node_group_info(node, &group)) {
        gauge(to, "raft_leader", "1 while this node leads the Raft group.",
              group.role == GROUP_LEADER);
        gauge(to, "raft_term", "Raft term.", group.term);
        gauge(to, "raft_applied_index", "Last command applied.", group.applied_index);
        counter(to, "raft_guard_drops_total", "Messages kept from the library.", group.guard_drops);
    }
}

void report_metrics(const struct node *node, struct buffer *to)
{
    cluster_metrics(node, to);
    node_metrics(node, to);
    stream_metrics(node, to);
    load_metrics(node, to);
    client_metrics(node, to);
    engine_metrics(node, to);
}
