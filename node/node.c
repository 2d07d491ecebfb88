/*
 * node/node.c -- puts a node together, takes it through its states, and takes it apart.
 *
 * Opening: listeners first (so that a second node on the same address fails at once), then one pool
 * job that recovers identity, engine and Raft log, then peers and coordinator on the loop.
 * Stopping goes the other way in steps, each begun when the one before has ended: sessions answer
 * what they owe, the coordinator ends, Raft ends, connections close, the engine syncs and ends.
 */
#include "node/node.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "lsm/lsm.h"
#include "node/acceptor.h"
#include "node/autoscaler.h"
#include "node/coordinator.h"
#include "node/driver_link.h"
#include "node/healer.h"
#include "node/holding.h"
#include "node/identity.h"
#include "node/joiner.h"
#include "node/load.h"
#include "node/load_gather.h"
#include "node/membership.h"
#include "node/peers.h"
#include "node/proposals.h"
#include "node/replacer.h"
#include "node/replica.h"
#include "node/server.h"
#include "node/service.h"
#include "node/stream_files.h"
#include "node/stream_source.h"
#include "node/stream_target.h"
#include "node/timekeeper.h"

#define STEP_MS 10 /* Between looks at whether a step of opening or stopping is over. */

enum stop_step {
    STOP_NONE,
    STOP_SESSIONS,
    STOP_COORDINATOR,
    STOP_MEMBERSHIP,
    STOP_PEERS,
    STOP_ENGINE,
    STOP_OVER,
};

struct node {
    struct env *env;
    struct config config;
    struct node_events events;
    enum node_state state;
    enum stop_step stop_step;
    uint64_t stop_deadline_ms;
    struct env_timer timer;
    struct env_job open_job;
    enum status open_status;
    bool open_under_way;
    struct identity identity;
    struct lsm *lsm;
    struct healer healer;
    struct timekeeper timekeeper;
    struct membership *membership;
    struct peers *peers;
    struct holding holding;
    struct proposals *proposals;
    struct joiner joiner;
    struct replica replica;
    struct acceptor acceptor;
    struct load load;
    struct load_gather load_gather;
    struct autoscaler autoscaler;
    struct stream_pace stream_pace;
    struct stream_source stream_source;
    struct stream_target stream_target;
    struct driver_link driver_link;
    struct replacer replacer;
    struct service service;
    struct coordinator *coordinator;
    struct server *server;
    struct lsm_stop lsm_stop;
    struct node_counters counters;
    struct histogram read_latency_us;
    struct histogram write_latency_us;
    struct topology no_topology; /* Shown before membership is open. */
};

static void state_set(struct node *node, enum node_state state, enum status why)
{
    static const char *const names[] = {
        [NODE_OPENING] = "opening", [NODE_JOINING] = "joining",   [NODE_SERVING] = "serving",
        [NODE_REMOVED] = "removed", [NODE_STOPPING] = "stopping", [NODE_STOPPED] = "stopped",
        [NODE_FAILED] = "failed"};
    if (node->state == state || node->state == NODE_FAILED || node->state == NODE_STOPPED) {
        return;
    }
    node->state = state;
    log_info(node->env, "node.state", "id=%u state=%s status=\"%s\"", node->config.id, names[state],
             status_name(why));
    if (node->events.changed != NULL) {
        node->events.changed(node->events.context, state, why);
    }
}

/* No range comes or goes any more, but for jobs and writes under way. */
static void moves_stop(struct node *node)
{
    driver_link_stop(&node->driver_link);
    replacer_stop(&node->replacer);
    holding_stop(&node->holding);
    stream_target_stop(&node->stream_target);
    stream_source_stop(&node->stream_source);
    autoscaler_stop(&node->autoscaler);
    load_gather_stop(&node->load_gather);
    load_stop(&node->load);
}

static void node_fail(struct node *node, enum status why)
{
    if (node->state == NODE_FAILED || node->state == NODE_STOPPED) {
        return;
    }
    log_error(node->env, "node.failed", "id=%u data_dir=%s status=\"%s\"", node->config.id,
              node->config.data_dir, status_name(why));
    node->env->ops->timer_stop(node->env, &node->timer);
    healer_stop(&node->healer);
    if (node->coordinator != NULL) {
        node->service.stopping = true;
        coordinator_stop(node->coordinator);
        joiner_stop(&node->joiner);
        proposals_stop(node->proposals);
    }
    moves_stop(node);
    if (node->server != NULL) {
        server_stop(node->server);
    }
    if (node->peers != NULL) {
        peers_stop(node->peers);
    }
    state_set(node, NODE_FAILED, why);
}

/* ------------------------------------------------------------------ events of the parts */

static void engine_failed(void *context, enum status status)
{
    struct node *node = context;
    healer_broken(&node->healer, status);
}

static void membership_failed(void *context, enum status status)
{
    node_fail(context, status);
}

static void topology_adopted(void *context)
{
    struct node *node = context;
    enum status status = holding_adopted(&node->holding);
    if (status == STATUS_OK) {
        status = replica_resize(&node->replica);
    }
    if (status == STATUS_OK) {
        status = load_resize(&node->load, &node->replica);
    }
    if (status != STATUS_OK) {
        node_fail(node, status);
        return;
    }
    stream_source_adopted(&node->stream_source);
    stream_target_adopted(&node->stream_target);
    coordinator_adopted(node->coordinator);
    driver_adopted(node->driver_link.driver);
    if (node->state == NODE_SERVING &&
        topology_member_find(node_topology(node), node->config.id) == NULL) {
        state_set(node, NODE_REMOVED, STATUS_OK);
    }
}

static void holding_changed(void *context)
{
    struct node *node = context;
    stream_target_adopted(&node->stream_target);
}

static void frame_fill(void *context, struct frame *frame)
{
    const struct node *node = context;
    frame->sender = node->config.id;
    frame->time = hlc_now(&node->timekeeper.hlc);
    frame->stamp = node_topology(node)->stamp;
}

static void frame_heard(void *context, const struct frame *frame)
{
    struct node *node = context;
    /* A clock that leads by more is its owner's trouble: its writes are refused, not followed. */
    bool followed = hlc_hear(&node->timekeeper.hlc, frame->time, node->config.clock_lead_ms / 2);
    (void)followed;
    membership_heard(node->membership, frame);
}

static void hello_fill(void *context, struct message_hello *hello)
{
    const struct node *node = context;
    membership_hello(node->membership, hello);
}

static enum status hello_judge(void *context, const struct message_hello *hello)
{
    struct node *node = context;
    enum status status = membership_greeted(node->membership, hello);
    if (status == STATUS_OK) {
        driver_greeted(node->driver_link.driver, hello);
    }
    return status;
}

static void hello_refused(void *context, enum status status)
{
    struct node *node = context;
    joiner_refused(&node->joiner, status);
}

static uint64_t request_rate(const struct node *node)
{
    return (uint64_t)(node->load.sum.reads + node->load.sum.writes);
}

static void ping_fill(void *context, struct message_ping *ping)
{
    const struct node *node = context;
    struct lsm_stats stats;
    lsm_stats(node->lsm, &stats);
    ping->key_estimate = stats.key_estimate;
    ping->stored_size = stats.table_size;
    ping->space_free = node->load.space_free;
    ping->request_rate = request_rate(node);
}

static void request_serve(void *context, struct peer_link *link, const struct frame *request)
{
    struct node *node = context;
    service_request(&node->service, link, request);
}

static void raft_deliver(void *context, const struct frame *frame, uint64_t connection,
                         uint64_t sequence, struct slice message)
{
    struct node *node = context;
    membership_raft(node->membership, frame, connection, sequence, message);
}

static const struct peers_events peers_events = {
    .fill = frame_fill,
    .hello = hello_fill,
    .greeted = hello_judge,
    .refused = hello_refused,
    .ping = ping_fill,
    .heard = frame_heard,
    .request = request_serve,
    .raft = raft_deliver,
};

static void command_decided(void *context, const struct membership_decision *decision)
{
    struct node *node = context;
    proposals_decided(node->proposals, decision);
    driver_link_decided(&node->driver_link, decision);
}

static void group_led(void *context, bool leads)
{
    struct node *node = context;
    struct message_hello own = {0};
    membership_hello(node->membership, &own);
    driver_greeted(node->driver_link.driver, &own);
    driver_lead(node->driver_link.driver, leads);
    replacer_lead(&node->replacer, leads);
}

static const struct membership_events membership_events = {
    .decided = command_decided,
    .adopted = topology_adopted,
    .led = group_led,
    .failed = membership_failed,
};

/* ------------------------------------------------------------------ opening */

static enum status engine_open(struct node *node)
{
    char path[CONFIG_PATH_SIZE_MAX + sizeof(CONFIG_ENGINE_DIR) + 1];
    (void)snprintf(path, sizeof(path), "%s/%s", node->config.data_dir, CONFIG_ENGINE_DIR);
    struct lsm_options options = {
        .path = path,
        .memory_size = node->config.memory_size,
        .memtable_size = node->config.memtable_size,
        .wal_segment_size = node->config.wal_segment_size,
        .open_files_max = node->config.open_files_max,
        .failed = engine_failed,
        .context = node,
    };
    return lsm_open(node->env, &options, &node->lsm);
}

static void open_run(struct env_job *job)
{
    struct node *node = container_of(job, struct node, open_job);
    const char *part = "identity";
    enum status status =
        identity_open(node->env, node->config.data_dir, node->config.id, &node->identity);
    if (status == STATUS_OK) {
        part = "engine";
        status = engine_open(node);
    }
    if (status == STATUS_OK) {
        part = "stream files";
        status = stream_files_open(node->env, node->config.data_dir);
    }
    if (status == STATUS_OK) {
        part = "range records";
        status = holding_open(&node->holding, node->env, node->lsm, node->config.id);
    }
    if (status == STATUS_OK) {
        part = "clock record";
        status = timekeeper_open(&node->timekeeper, node->env, node->lsm);
    }
    if (status == STATUS_OK) {
        part = "topology and raft log";
        struct membership_options options = {.config = &node->config,
                                             .identity = &node->identity,
                                             .events = &membership_events,
                                             .context = node};
        status = membership_open(node->env, node->lsm, &options, &node->membership);
    }
    if (status != STATUS_OK) {
        log_error(node->env, "node.open_failed", "part=\"%s\" status=\"%s\"", part,
                  status_name(status));
    }
    node->open_status = status;
}

/* Once there are peers. */
static void streams_open(struct node *node)
{
    const struct topology *topology = membership_topology(node->membership);
    stream_pace_init(&node->stream_pace, node->config.stream_rate, node->config.stream_p99_ms,
                     &node->read_latency_us, &node->write_latency_us, env_monotonic_ns(node->env));
    const struct stream_source_options source_options = {.config = &node->config,
                                                         .lsm = node->lsm,
                                                         .holding = &node->holding,
                                                         .peers = node->peers,
                                                         .topology = topology,
                                                         .pace = &node->stream_pace,
                                                         .counters = &node->counters};
    stream_source_init(&node->stream_source, node->env, &source_options);
    const struct stream_target_options target_options = {.config = &node->config,
                                                         .lsm = node->lsm,
                                                         .holding = &node->holding,
                                                         .replica = &node->replica,
                                                         .peers = node->peers,
                                                         .topology = topology,
                                                         .pace = &node->stream_pace,
                                                         .counters = &node->counters};
    stream_target_init(&node->stream_target, node->env, &target_options);
}

/* Once there are peers, and what answers them. */
static void loads_open(struct node *node)
{
    load_init(&node->load, node->env, node->lsm, &node->config);
    const struct load_gather_options options = {.config = &node->config,
                                                .load = &node->load,
                                                .peers = node->peers,
                                                .topology = membership_topology(node->membership)};
    load_gather_init(&node->load_gather, node->env, &options);
    node->service.gather = &node->load_gather;
    autoscaler_start(&node->autoscaler, node->env, node);
}

/* What changes the topology, on this node's part. */
static enum status changes_open(struct node *node)
{
    struct proposals_options proposals_options = {
        .config = &node->config, .membership = node->membership, .peers = node->peers};
    enum status status = proposals_open(node->env, &proposals_options, &node->proposals);
    if (status != STATUS_OK) {
        return status;
    }
    const struct driver_link_options driver_options = {.config = &node->config,
                                                       .membership = node->membership,
                                                       .peers = node->peers,
                                                       .holding = &node->holding,
                                                       .target = &node->stream_target};
    status = driver_link_open(&node->driver_link, node->env, &driver_options);
    if (status != STATUS_OK) {
        return status;
    }
    const struct replacer_options replacer_options = {.config = &node->config,
                                                      .membership = node->membership,
                                                      .peers = node->peers,
                                                      .proposals = node->proposals};
    replacer_init(&node->replacer, node->env, &replacer_options);
    return STATUS_OK;
}

static void service_init(struct node *node, const struct topology *topology)
{
    acceptor_init(&node->acceptor, &node->replica);
    node->service = (struct service){.peers = node->peers,
                                     .membership = node->membership,
                                     .proposals = node->proposals,
                                     .replica = &node->replica,
                                     .acceptor = &node->acceptor,
                                     .holding = &node->holding,
                                     .source = &node->stream_source,
                                     .target = &node->stream_target,
                                     .topology = topology,
                                     .config = &node->config};
}

/* The parts on the loop, once everything on disk was recovered. */
static enum status parts_open(struct node *node)
{
    const struct topology *topology = membership_topology(node->membership);
    node->replica = (struct replica){
        .env = node->env,
        .lsm = node->lsm,
        .config = &node->config,
        .topology = topology,
        .holding = &node->holding,
        .hlc = &node->timekeeper.hlc,
        .counters = &node->counters,
    };
    const struct holding_events holding_events = {.changed = holding_changed, .context = node};
    holding_start(&node->holding, topology, &holding_events);
    struct peers_options peers_options = {.config = &node->config,
                                          .boot = node->identity.boot,
                                          .events = &peers_events,
                                          .context = node,
                                          .counters = &node->counters};
    enum status status = peers_open(node->env, &peers_options, &node->peers);
    if (status == STATUS_CANCELLED) {
        return status; /* The program ends before this node was open; it has said why. */
    }
    if (status != STATUS_OK) {
        log_error(node->env, "node.listen_failed", "peer=%s status=\"%s\"", node->config.peer,
                  status_name(status));
        return status;
    }
    streams_open(node);
    status = changes_open(node);
    if (status != STATUS_OK) {
        return status;
    }
    service_init(node, topology);
    loads_open(node);
    struct coordinator_options coordinator_options = {
        .config = &node->config,
        .peers = node->peers,
        .replica = &node->replica,
        .timekeeper = &node->timekeeper,
        .topology = topology,
        .counters = &node->counters,
        .hot_keys = &node->load.hot_keys,
        .read_latency_us = &node->read_latency_us,
        .write_latency_us = &node->write_latency_us,
    };
    status = coordinator_open(node->env, &coordinator_options, &node->coordinator);
    if (status == STATUS_OK) {
        status = replica_init(&node->replica);
    }
    if (status == STATUS_OK) {
        status = load_resize(&node->load, &node->replica);
    }
    if (status == STATUS_OK) {
        status = membership_start(node->membership, node->peers);
    }
    struct joiner_options joiner_options = {.config = &node->config,
                                            .membership = node->membership,
                                            .peers = node->peers,
                                            .proposals = node->proposals,
                                            .failed = membership_failed,
                                            .context = node};
    return status == STATUS_OK ? joiner_start(&node->joiner, node->env, &joiner_options) : status;
}

/*
 * After a restart our HLC begins above its mark, ahead of our clock: we serve once the lead is one
 * that peers accept. Peers whose clocks are ahead may keep it that large for ever (frame_heard), so
 * less must not be asked.
 */
static bool may_serve(const struct node *node)
{
    const struct topology *topology = node_topology(node);
    if (topology->cluster_id == 0 || topology_member_find(topology, node->config.id) == NULL) {
        return false;
    }
    if (!membership_recorded(node->membership)) {
        return false; /* Else a crash could take us back behind an epoch we served. */
    }
    int64_t wall_ms = node->env->ops->realtime_ms(node->env);
    uint64_t clock_ms = hlc_unix_ms(hlc_now(&node->timekeeper.hlc));
    return clock_ms <= (uint64_t)wall_ms + node->config.clock_lead_ms / 2;
}

static void open_done(struct env_job *job, enum status status)
{
    struct node *node = container_of(job, struct node, open_job);
    node->open_under_way = false;
    status = status == STATUS_OK ? node->open_status : status;
    if (node->lsm != NULL) {
        healer_begin(&node->healer, node->lsm);
    }
    if (status == STATUS_OK && node->stop_step == STOP_NONE) {
        status = parts_open(node);
    }
    if (status != STATUS_OK) {
        node_fail(node, status);
        return;
    }
    if (node->stop_step == STOP_NONE) {
        state_set(node, NODE_JOINING, STATUS_OK);
    }
    env_timer_start_ms(node->env, &node->timer, 0);
}

/* ------------------------------------------------------------------ stopping */

static void membership_stopped(void *context)
{
    struct node *node = context;
    node->stop_step = STOP_PEERS;
    peers_stop(node->peers);
    env_timer_start_ms(node->env, &node->timer, 0);
}

static void engine_stopped(struct lsm_stop *stop)
{
    struct node *node = container_of(stop, struct node, lsm_stop);
    node->stop_step = STOP_OVER;
    state_set(node, NODE_STOPPED, STATUS_OK);
}

static void engine_stop(struct node *node)
{
    node->stop_step = STOP_ENGINE;
    healer_stop(&node->healer);
    node->lsm_stop.stopped = engine_stopped;
    lsm_stop(node->lsm, &node->lsm_stop);
}

static bool moves_stopped(const struct node *node)
{
    return stream_source_stopped(&node->stream_source) &&
           stream_target_stopped(&node->stream_target) && load_stopped(&node->load) &&
           load_gather_stopped(&node->load_gather);
}

/* True if it moved to the next step, or that step tells of its end by itself. */
static bool stop_advance(struct node *node, bool overdue)
{
    switch (node->stop_step) {
    case STOP_SESSIONS:
        if (node->open_under_way || (!server_stopped(node->server) && !overdue)) {
            return false;
        }
        if (node->coordinator == NULL) {
            node->stop_step = STOP_OVER; /* Never got as far as having parts to stop. */
            state_set(node, NODE_STOPPED, STATUS_OK);
            return true;
        }
        node->stop_step = STOP_COORDINATOR;
        node->service.stopping = true;
        timekeeper_close(&node->timekeeper);
        moves_stop(node);
        coordinator_stop(node->coordinator);
        joiner_stop(&node->joiner);
        proposals_stop(node->proposals);
        return true;
    case STOP_COORDINATOR:
        if (!coordinator_stopped(node->coordinator) || node->service.under_way > 0 ||
            !moves_stopped(node)) {
            return false;
        }
        node->stop_step = STOP_MEMBERSHIP;
        membership_stop(node->membership, membership_stopped);
        return true;
    case STOP_PEERS:
        if (!peers_stopped(node->peers) && !overdue) {
            return false;
        }
        engine_stop(node);
        return true;
    case STOP_NONE:
    case STOP_MEMBERSHIP:
    case STOP_ENGINE:
    case STOP_OVER:
        return true;
    }
    UNREACHABLE("stop step");
}

static void node_fired(struct env_timer *timer)
{
    struct node *node = container_of(timer, struct node, timer);
    if (node->stop_step == STOP_NONE) {
        if (node->state == NODE_JOINING && may_serve(node)) {
            state_set(node, NODE_SERVING, STATUS_OK);
        }
        if (node->state == NODE_JOINING) {
            env_timer_start_ms(node->env, timer, STEP_MS);
        }
        return;
    }
    bool overdue = env_monotonic_ms(node->env) >= node->stop_deadline_ms;
    bool advanced = stop_advance(node, overdue);
    if (node->stop_step == STOP_SESSIONS || node->stop_step == STOP_COORDINATOR ||
        node->stop_step == STOP_PEERS) {
        env_timer_start_ms(node->env, timer, advanced ? 0 : STEP_MS);
    }
}

void node_stop(struct node *node)
{
    if (node->stop_step != STOP_NONE || node->state == NODE_FAILED) {
        return;
    }
    node->stop_step = STOP_SESSIONS;
    node->stop_deadline_ms = env_monotonic_ms(node->env) + node->config.shutdown_ms;
    state_set(node, NODE_STOPPING, STATUS_OK);
    server_stop(node->server);
    env_timer_start_ms(node->env, &node->timer, 0);
}

/* ------------------------------------------------------------------ life */

enum status node_open(struct env *env, const struct config *config,
                      const struct node_events *events, struct node **out)
{
    struct node *node = memory_allocate_zeroed(1, sizeof(*node));
    if (node == NULL) {
        return STATUS_NO_MEMORY;
    }
    node->env = env;
    node->config = *config;
    node->events = *events;
    node->state = NODE_OPENING;
    node->timer.fired = node_fired;
    healer_init(&node->healer, env);
    topology_init(&node->no_topology);
    enum status status = server_open(node, &node->server);
    if (status != STATUS_OK) {
        log_error(env, "node.listen_failed", "client=%s status=\"%s\"", config->client,
                  status_name(status));
        memory_free(node);
        return status;
    }
    node->open_job = (struct env_job){.run = open_run, .done = open_done};
    node->open_under_way = true;
    env_submit(env, ENV_LANE_POOL, &node->open_job);
    *out = node;
    return STATUS_OK;
}

void node_abandon(struct node *node)
{
    if (node != NULL && node->coordinator != NULL && node->state != NODE_STOPPED) {
        node->service.stopping = true;
        healer_stop(&node->healer);
        timekeeper_close(&node->timekeeper);
        moves_stop(node);
        coordinator_stop(node->coordinator);
        joiner_stop(&node->joiner);
        proposals_stop(node->proposals);
    }
}

void node_close(struct node *node)
{
    if (node == NULL) {
        return;
    }
    server_close(node->server);
    coordinator_close(node->coordinator);
    load_close(&node->load);
    acceptor_deinit(&node->acceptor);
    replica_deinit(&node->replica);
    stream_source_close(&node->stream_source);
    peers_close(node->peers);
    membership_close(node->membership);
    driver_link_close(&node->driver_link);
    proposals_close(node->proposals);
    if (node->lsm != NULL) {
        lsm_close(node->lsm); /* Which tells those that wait for it. */
    }
    stream_target_close(&node->stream_target);
    holding_close(&node->holding);
    memory_free(node);
}

/* ------------------------------------------------------------------ views */

enum node_state node_state(const struct node *node)
{
    return node->state;
}

const struct config *node_config(const struct node *node)
{
    return &node->config;
}

struct env *node_env(const struct node *node)
{
    return node->env;
}

const struct topology *node_topology(const struct node *node)
{
    bool opened = !node->open_under_way && node->membership != NULL;
    return opened ? membership_topology(node->membership) : &node->no_topology;
}

const struct load *node_load(const struct node *node)
{
    return node->coordinator == NULL ? NULL : &node->load;
}

const struct autoscaler *node_autoscaler(const struct node *node)
{
    return node->coordinator == NULL ? NULL : &node->autoscaler;
}

struct load_gather *node_load_gather(struct node *node)
{
    return node->coordinator == NULL ? NULL : &node->load_gather;
}

struct coordinator *node_coordinator(struct node *node)
{
    return node->coordinator;
}

struct proposals *node_proposals(struct node *node)
{
    return node->proposals;
}

const struct driver *node_driver(const struct node *node)
{
    return node->driver_link.driver;
}

struct server *node_server(const struct node *node)
{
    return node->server;
}

const struct node_counters *node_counters(const struct node *node)
{
    return &node->counters;
}

const struct histogram *node_read_latency_us(const struct node *node)
{
    return &node->read_latency_us;
}

const struct histogram *node_write_latency_us(const struct node *node)
{
    return &node->write_latency_us;
}

void node_lsm_stats(const struct node *node, struct lsm_stats *stats)
{
    memset(stats, 0, sizeof(*stats));
    if (!node->open_under_way && node->lsm != NULL) {
        lsm_stats(node->lsm, stats);
    }
}

bool node_read_only(const struct node *node)
{
    return !node->open_under_way && healer_is_broken(&node->healer);
}

bool node_resume(struct node *node)
{
    return healer_try(&node->healer);
}

void node_resumes(const struct node *node, uint64_t *resume_count, uint64_t *failure_count)
{
    *resume_count = node->healer.resume_count;
    *failure_count = node->healer.failure_count;
}

struct lsm *node_engine(const struct node *node)
{
    return node->open_under_way ? NULL : node->lsm;
}

const struct holding *node_holding(const struct node *node)
{
    return node->open_under_way ? NULL : &node->holding;
}

static void self_info(const struct node *node, struct node_peer_info *info)
{
    struct lsm_stats stats;
    node_lsm_stats(node, &stats);
    *info = (struct node_peer_info){.id = node->config.id,
                                    .state = NODE_PEER_UP,
                                    .key_estimate = stats.key_estimate,
                                    .stored_size = stats.table_size,
                                    .space_free = node->load.space_free,
                                    .request_rate = request_rate(node),
                                    .epoch = node_topology(node)->stamp.epoch};
}

/* Peers are kept that are no members any more, so that they learn of it. Returns how many are left;
 * all of them as long as there is no topology to name any. */
static uint32_t members_keep(const struct node *node, struct node_peer_info *infos, uint32_t count)
{
    const struct topology *topology = node_topology(node);
    uint32_t kept = 0;
    for (uint32_t index = 0; index < count; index++) {
        if (topology->cluster_id == 0 || topology_member_find(topology, infos[index].id) != NULL) {
            infos[kept++] = infos[index];
        }
    }
    return kept;
}

uint32_t node_peers(const struct node *node, struct node_peer_info *infos, uint32_t capacity)
{
    if (capacity == 0) {
        return 0;
    }
    uint32_t count = 0;
    if (node->peers != NULL) {
        count = members_keep(node, infos, peers_list(node->peers, infos, capacity - 1));
    }
    uint32_t at = count++;
    for (; at > 0 && infos[at - 1].id > node->config.id; at--) {
        infos[at] = infos[at - 1];
    }
    self_info(node, &infos[at]);
    return count;
}

uint64_t node_now_ms(const struct node *node)
{
    if (node->coordinator == NULL) {
        return (uint64_t)node->env->ops->realtime_ms(node->env);
    }
    return hlc_unix_ms(hlc_now(&node->timekeeper.hlc));
}

uint64_t node_key_estimate(const struct node *node)
{
    const struct topology *topology = node_topology(node);
    struct node_peer_info infos[RING_MEMBER_COUNT_MAX];
    uint32_t count = node_peers(node, infos, RING_MEMBER_COUNT_MAX);
    uint64_t sum = 0;
    for (uint32_t index = 0; index < count; index++) {
        sum += infos[index].key_estimate;
    }
    return topology->replica_count == 0 ? 0 : sum / topology->replica_count;
}

void node_ranges_moving(const struct node *node, uint32_t *entering, uint32_t *leaving)
{
    holding_counts(&node->holding, entering, leaving);
}

bool node_group_info(const struct node *node, struct group_info *info)
{
    return !node->open_under_way && node->membership != NULL &&
           membership_group_info(node->membership, info);
}

bool node_group_configuration(const struct node *node, struct group_configuration *configuration)
{
    return !node->open_under_way && node->membership != NULL &&
           membership_group_configuration(node->membership, configuration);
}
