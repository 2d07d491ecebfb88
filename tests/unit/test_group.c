/* raft/group.h: groups of real servers in one process, over the real env and real files. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/env_uv.h"
#include "base/memory.h"
#include "raft/group.h"

#define SERVER_COUNT_MAX 5
#define TURN_COUNT_MAX 200000

struct cluster;

struct server {
    struct cluster *cluster;
    uint32_t id;
    struct group *group;
    char path[128];
    uint64_t applied_count;
    uint64_t applied_hash;
    uint64_t applied_index;
    enum group_role role;
    enum status failure;
    struct group_stop stop;
    bool stopped;
    enum status apply_status;
};

struct packet {
    struct list_node node;
    uint32_t from;
    uint32_t to;
    uint64_t sequence;
    struct buffer bytes;
};

struct cluster {
    struct env *env;
    char folder[64];
    uint32_t count;
    uint32_t threshold;
    struct server servers[SERVER_COUNT_MAX];
    struct list_node packets;
    struct env_timer delivery;
    uint64_t sequence;
    uint32_t cut; /* Bit of a server: nothing reaches or leaves it. */
};

static enum status on_applied(void *context, uint64_t index, struct slice command)
{
    struct server *server = context;
    cr_assert_gt(index, server->applied_index, "gap or repetition at %zu", (size_t)index);
    server->applied_index = index;
    server->applied_count++;
    server->applied_hash = checksum64(command, server->applied_hash);
    return server->apply_status;
}

static void on_snapshot(void *context, struct buffer *to)
{
    struct server *server = context;
    codec_put_u64(to, server->applied_count);
    codec_put_u64(to, server->applied_hash);
    codec_put_u64(to, server->applied_index);
}

static enum status on_restored(void *context, struct slice snapshot)
{
    struct server *server = context;
    struct codec_reader reader = codec_reader_make(snapshot);
    server->applied_count = codec_get_u64(&reader);
    server->applied_hash = codec_get_u64(&reader);
    server->applied_index = codec_get_u64(&reader);
    return codec_reader_done(&reader) ? STATUS_OK : STATUS_CORRUPT;
}

static void on_send(void *context, uint32_t to, struct slice message)
{
    struct server *server = context;
    struct cluster *cluster = server->cluster;
    struct packet *packet = memory_allocate_zeroed(1, sizeof *packet);
    packet->from = server->id;
    packet->to = to;
    packet->sequence = ++cluster->sequence;
    buffer_append_slice(&packet->bytes, message);
    if (list_empty(&cluster->packets)) {
        env_timer_start_ms(cluster->env, &cluster->delivery, 0);
    }
    list_append(&cluster->packets, &packet->node);
}

static void on_changed(void *context, enum group_role role, uint32_t leader_id, uint64_t term)
{
    struct server *server = context;
    (void)leader_id;
    (void)term;
    server->role = role;
}

static void on_failed(void *context, enum status status)
{
    struct server *server = context;
    server->failure = status;
}

static void packet_free(struct packet *packet)
{
    buffer_deinit(&packet->bytes);
    memory_free(packet);
}

static void on_delivery(struct env_timer *timer)
{
    struct cluster *cluster = container_of(timer, struct cluster, delivery);
    struct list_node now;
    list_init(&now);
    while (!list_empty(&cluster->packets)) {
        list_append(&now, list_take_first(&cluster->packets));
    }
    for (struct list_node *node = list_take_first(&now); node != NULL;
         node = list_take_first(&now)) {
        struct packet *packet = container_of(node, struct packet, node);
        struct server *server = &cluster->servers[packet->to - 1];
        bool cut = ((cluster->cut >> packet->to) | (cluster->cut >> packet->from)) & 1u;
        if (server->group != NULL && !cut) {
            group_receive(server->group, packet->from, 1, packet->sequence,
                          buffer_slice(&packet->bytes));
        }
        packet_free(packet);
    }
}

static enum status server_open(struct cluster *cluster, uint32_t id)
{
    static const uint32_t ids[SERVER_COUNT_MAX] = {1, 2, 3, 4, 5};
    struct server *server = &cluster->servers[id - 1];
    *server = (struct server){.cluster = cluster, .id = id, .role = GROUP_STOPPED};
    (void)snprintf(server->path, sizeof server->path, "%s/%u", cluster->folder, id);
    struct group_options options = {
        .path = server->path,
        .id = id,
        .voters = ids,
        .voter_count = cluster->count,
        .election_timeout_ms = 150, /* A busy machine stops us for tens of them. */
        .heartbeat_timeout_ms = 15,
        .snapshot_threshold = cluster->threshold,
        .snapshot_trailing = 4,
        .events = {.applied = on_applied,
                   .snapshot = on_snapshot,
                   .restored = on_restored,
                   .send = on_send,
                   .changed = on_changed,
                   .failed = on_failed},
        .context = server,
    };
    return group_open(cluster->env, &options, &server->group);
}

static void server_start(struct cluster *cluster, uint32_t id)
{
    cr_assert_eq(server_open(cluster, id), STATUS_OK);
    cr_assert_eq(group_start(cluster->servers[id - 1].group), STATUS_OK);
}

static void on_stopped(struct group_stop *stop)
{
    struct server *server = container_of(stop, struct server, stop);
    server->stopped = true;
}

static void server_stop(struct cluster *cluster, uint32_t id)
{
    struct server *server = &cluster->servers[id - 1];
    server->stop.stopped = on_stopped;
    group_stop(server->group, &server->stop);
    for (int turn = 0; turn < TURN_COUNT_MAX && !server->stopped; turn++) {
        env_uv_run_once(cluster->env);
    }
    cr_assert(server->stopped);
    group_close(server->group);
    server->group = NULL;
}

static void cluster_open(struct cluster *cluster, uint32_t count, uint32_t threshold)
{
    *cluster = (struct cluster){.count = count, .threshold = threshold};
    struct env_uv_options options = {.log_level = LOG_ERROR};
    cr_assert_eq(env_uv_open(&options, &cluster->env), STATUS_OK);
    (void)snprintf(cluster->folder, sizeof cluster->folder, "/tmp/test-group-XXXXXX");
    cr_assert_not_null(mkdtemp(cluster->folder));
    list_init(&cluster->packets);
    cluster->delivery.fired = on_delivery;
    for (uint32_t id = 1; id <= count; id++) {
        server_start(cluster, id);
    }
}

static void cluster_close(struct cluster *cluster)
{
    for (uint32_t id = 1; id <= cluster->count; id++) {
        if (cluster->servers[id - 1].group != NULL) {
            server_stop(cluster, id);
        }
    }
    cluster->env->ops->timer_stop(cluster->env, &cluster->delivery);
    for (struct list_node *node = list_take_first(&cluster->packets); node != NULL;
         node = list_take_first(&cluster->packets)) {
        packet_free(container_of(node, struct packet, node));
    }
    env_uv_close(cluster->env);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", cluster->folder);
    cr_assert_eq(system(command), 0);
}

static struct server *leader_wait(struct cluster *cluster)
{
    for (int turn = 0; turn < TURN_COUNT_MAX; turn++) {
        for (uint32_t i = 0; i < cluster->count; i++) {
            struct server *server = &cluster->servers[i];
            if (server->group != NULL && server->role == GROUP_LEADER) {
                return server;
            }
        }
        env_uv_run_once(cluster->env);
    }
    cr_assert_fail("no leader");
    return NULL;
}

struct proposal {
    struct group_proposal base;
    bool done;
    enum status status;
    uint64_t index;
};

static void on_done(struct group_proposal *base, enum status status, uint64_t index)
{
    struct proposal *proposal = container_of(base, struct proposal, base);
    proposal->done = true;
    proposal->status = status;
    proposal->index = index;
}

static enum status propose_wait(struct cluster *cluster, struct server *server,
                                struct slice command)
{
    struct proposal proposal = {.base = {.done = on_done}};
    enum status status = group_propose(server->group, command, &proposal.base);
    if (status != STATUS_OK) {
        return status;
    }
    for (int turn = 0; turn < TURN_COUNT_MAX && !proposal.done; turn++) {
        env_uv_run_once(cluster->env);
    }
    cr_assert(proposal.done);
    if (proposal.status == STATUS_OK) {
        cr_assert_eq(proposal.index, server->applied_index);
    }
    return proposal.status;
}

static void propose_many(struct cluster *cluster, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "command %u", i);
        enum status status = STATUS_NOT_LEADER;
        for (int attempt = 0; attempt < 20 && status != STATUS_OK; attempt++) {
            status = propose_wait(cluster, leader_wait(cluster), slice_text(text));
        }
        cr_assert_eq(status, STATUS_OK);
    }
}

static bool servers_agree(const struct cluster *cluster)
{
    const struct server *first = NULL;
    for (uint32_t i = 0; i < cluster->count; i++) {
        const struct server *server = &cluster->servers[i];
        if (server->group == NULL) {
            continue;
        }
        first = first == NULL ? server : first;
        if (server->applied_count != first->applied_count ||
            server->applied_hash != first->applied_hash) {
            return false;
        }
    }
    return true;
}

static void agreement_wait(struct cluster *cluster, uint64_t count_min)
{
    for (int turn = 0; turn < TURN_COUNT_MAX; turn++) {
        const struct server *leader = leader_wait(cluster); /* First: it lets time pass. */
        if (leader->applied_count >= count_min && servers_agree(cluster)) {
            return;
        }
        env_uv_run_once(cluster->env);
    }
    cr_assert_fail("servers do not agree");
}

Test(group, one_server_leads_at_once_and_commits)
{
    struct cluster cluster;
    cluster_open(&cluster, 1, 0);
    propose_many(&cluster, 10);
    cr_assert_eq(cluster.servers[0].applied_count, 10);
    struct group_info info;
    group_info(cluster.servers[0].group, &info);
    cr_assert_eq(info.role, GROUP_LEADER);
    cr_assert_eq(info.voter_count, 1);
    cr_assert_eq(info.applied_index, cluster.servers[0].applied_index);
    cluster_close(&cluster);
}

Test(group, one_server_has_its_commands_after_a_restart)
{
    struct cluster cluster;
    cluster_open(&cluster, 1, 0);
    propose_many(&cluster, 10);
    uint64_t hash = cluster.servers[0].applied_hash;
    server_stop(&cluster, 1);
    server_start(&cluster, 1);
    (void)leader_wait(&cluster);
    cr_assert_eq(cluster.servers[0].applied_count, 10);
    cr_assert_eq(cluster.servers[0].applied_hash, hash);
    propose_many(&cluster, 3);
    cr_assert_eq(cluster.servers[0].applied_count, 13);
    cluster_close(&cluster);
}

Test(group, three_servers_apply_the_same_commands)
{
    struct cluster cluster;
    cluster_open(&cluster, 3, 0);
    propose_many(&cluster, 20);
    agreement_wait(&cluster, 20);
    cluster_close(&cluster);
}

Test(group, a_cut_off_server_catches_up)
{
    struct cluster cluster;
    cluster_open(&cluster, 3, 0);
    propose_many(&cluster, 1);
    uint32_t follower = leader_wait(&cluster)->id % 3 + 1;
    cluster.cut = BIT(follower);
    propose_many(&cluster, 20);
    cr_assert(!servers_agree(&cluster));
    cluster.cut = 0;
    agreement_wait(&cluster, 21);
    cluster_close(&cluster);
}

Test(group, a_server_behind_the_log_gets_a_snapshot)
{
    struct cluster cluster;
    cluster_open(&cluster, 3, 8);
    propose_many(&cluster, 1);
    uint32_t follower = leader_wait(&cluster)->id % 3 + 1;
    server_stop(&cluster, follower);
    propose_many(&cluster, 50);
    server_start(&cluster, follower);
    agreement_wait(&cluster, 51);
    struct group_info info;
    group_info(cluster.servers[follower - 1].group, &info);
    cr_assert_gt(info.snapshot_index, 20);
    cluster_close(&cluster);
}

Test(group, all_servers_have_their_commands_after_a_restart_from_snapshots)
{
    struct cluster cluster;
    cluster_open(&cluster, 3, 8);
    propose_many(&cluster, 50);
    agreement_wait(&cluster, 50);
    uint64_t hash = cluster.servers[0].applied_hash;
    uint64_t count = cluster.servers[0].applied_count;
    for (uint32_t id = 1; id <= 3; id++) {
        server_stop(&cluster, id);
    }
    for (uint32_t id = 1; id <= 3; id++) {
        server_start(&cluster, id);
    }
    agreement_wait(&cluster, 50);
    /* A command answered as indeterminate, and proposed again, may have come in addition. */
    cr_assert_geq(cluster.servers[0].applied_count, count);
    cr_assert(cluster.servers[0].applied_count > count || cluster.servers[0].applied_hash == hash);
    propose_many(&cluster, 5);
    agreement_wait(&cluster, 55);
    cluster_close(&cluster);
}

Test(group, another_leader_takes_over)
{
    struct cluster cluster;
    cluster_open(&cluster, 5, 0);
    propose_many(&cluster, 5);
    uint32_t first = leader_wait(&cluster)->id;
    server_stop(&cluster, first);
    propose_many(&cluster, 5);
    cr_assert_neq(leader_wait(&cluster)->id, first);
    server_start(&cluster, first);
    agreement_wait(&cluster, 10);
    cluster_close(&cluster);
}

Test(group, a_follower_refuses_proposals)
{
    struct cluster cluster;
    cluster_open(&cluster, 3, 0);
    uint32_t follower = leader_wait(&cluster)->id % 3 + 1;
    struct proposal proposal = {.base = {.done = on_done}};
    cr_assert_eq(
        group_propose(cluster.servers[follower - 1].group, slice_text("x"), &proposal.base),
        STATUS_NOT_LEADER);
    cr_assert(!proposal.done);
    cluster_close(&cluster);
}

Test(group, a_cut_off_leader_answers_indeterminate)
{
    struct cluster cluster;
    cluster_open(&cluster, 3, 0);
    struct server *leader = leader_wait(&cluster);
    cluster.cut = BIT(leader->id);
    cr_assert_eq(propose_wait(&cluster, leader, slice_text("lost or not")), STATUS_INDETERMINATE);
    cluster.cut = 0;
    propose_many(&cluster, 1);
    agreement_wait(&cluster, 1);
    cluster_close(&cluster);
}

Test(group, commands_and_their_number_in_flight_are_bounded)
{
    static uint8_t large[GROUP_COMMAND_SIZE_MAX + 1];
    struct cluster cluster;
    struct proposal proposals[80] = {0};
    cluster_open(&cluster, 1, 0);
    struct server *leader = leader_wait(&cluster);
    cr_assert_eq(propose_wait(&cluster, leader, slice_make(large, sizeof large)), STATUS_TOO_LARGE);
    cr_assert_eq(propose_wait(&cluster, leader, slice_make(large, sizeof large - 1)), STATUS_OK);
    cr_assert_eq(propose_wait(&cluster, leader, slice_make(NULL, 0)), STATUS_OK);
    int taken = 0;
    for (int i = 0; i < 80; i++) {
        proposals[i].base.done = on_done;
        enum status status = group_propose(leader->group, slice_text("x"), &proposals[i].base);
        cr_assert(status == STATUS_OK || status == STATUS_OVERLOADED);
        taken += status == STATUS_OK;
    }
    cr_assert_eq(taken, 64);
    cluster_close(&cluster); /* Stopping lets the disk finish, so these may be OK or cancelled. */
    for (int i = 0; i < taken; i++) {
        cr_assert(proposals[i].done);
        cr_assert(proposals[i].status == STATUS_OK || proposals[i].status == STATUS_CANCELLED);
    }
}

Test(group, a_command_that_cannot_be_applied_ends_the_group)
{
    struct cluster cluster;
    cluster_open(&cluster, 1, 0);
    struct server *leader = leader_wait(&cluster);
    leader->apply_status = STATUS_NO_SPACE;
    cr_assert_eq(propose_wait(&cluster, leader, slice_text("x")), STATUS_INDETERMINATE);
    cr_assert_eq(leader->failure, STATUS_NO_SPACE);
    cr_assert_eq(propose_wait(&cluster, leader, slice_text("y")), STATUS_NOT_LEADER);
    cluster_close(&cluster);
}

Test(group, a_locked_folder_is_refused)
{
    struct cluster cluster;
    cluster_open(&cluster, 1, 0);
    struct server saved = cluster.servers[0];
    cr_assert_eq(server_open(&cluster, 1), STATUS_LOCKED);
    cluster.servers[0] = saved;
    cluster_close(&cluster);
}

Test(group, a_closed_group_need_not_have_been_started)
{
    struct cluster cluster;
    cluster_open(&cluster, 1, 0);
    server_stop(&cluster, 1);
    cr_assert_eq(server_open(&cluster, 1), STATUS_OK);
    group_close(cluster.servers[0].group);
    cluster.servers[0].group = NULL;
    cluster_close(&cluster);
}

Test(group, malformed_messages_are_dropped)
{
    struct cluster cluster;
    cluster_open(&cluster, 3, 0);
    propose_many(&cluster, 1);
    uint8_t noise[200];
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (uint8_t)(i * 37);
    }
    struct group_info before;
    struct group_info after;
    group_info(cluster.servers[0].group, &before);
    for (size_t size = 0; size < sizeof noise; size++) {
        group_receive(cluster.servers[0].group, 2, 1, UINT64_MAX, slice_make(noise, size));
    }
    group_info(cluster.servers[0].group, &after);
    cr_assert_eq(after.guard_drops, before.guard_drops + sizeof noise);
    propose_many(&cluster, 1);
    agreement_wait(&cluster, 2);
    cluster_close(&cluster);
}
