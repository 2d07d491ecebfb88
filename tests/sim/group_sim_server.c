/* tests/sim/group_sim_server.c -- one server of the run, as its owner; see group_sim.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"
#include "tests/sim/group_sim.h"

void sim_violation(struct sim *sim, const char *what, uint64_t a, uint64_t b)
{
    if (sim->violation_count++ == 0 || sim->lab.verbose) {
        (void)fprintf(stderr, "violation: %s (%llu, %llu) at %.3f ms\n", what,
                      (unsigned long long)a, (unsigned long long)b, (double)sim->lab.now_ns / 1e6);
    }
}

uint64_t sim_draw(struct sim *sim, uint64_t bound)
{
    return lab_below(&sim->lab, bound);
}

/* ---- the state machine of a server ---- */

static enum status on_applied(void *context, uint64_t index, struct slice command)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    ASSERT(index < INDEX_MAX);
    uint64_t value = command.size >= 8 ? codec_load_u64(command.data) : 0;
    if (value == 0 || value > sim->value || command.size != 8 + value % 50) {
        sim_violation(sim, "a command nobody proposed", index, value);
        return STATUS_OK;
    }
    if (index <= server->applied_index) {
        sim_violation(sim, "applied again", index, server->applied_index);
    }
    server->applied_index = index;
    server->applied_count++;
    server->applied_hash = checksum64(command, server->applied_hash ^ index);
    if (sim->chosen[index] == 0) {
        if (sim->index_of[value] != 0) {
            sim_violation(sim, "one command at two indices", sim->index_of[value], index);
        }
        sim->chosen[index] = value;
        sim->index_of[value] = index;
        sim->hash_after[index] = server->applied_hash;
    } else if (sim->chosen[index] != value) {
        sim_violation(sim, "two commands at one index", sim->chosen[index], value);
    } else if (sim->hash_after[index] != server->applied_hash) {
        sim_violation(sim, "a command was left out before", index, value);
    }
    return STATUS_OK;
}

static void on_snapshot(void *context, struct buffer *to)
{
    struct server *server = context;
    server->sim->counts.snapshots++;
    codec_put_u64(to, server->applied_index);
    codec_put_u64(to, server->applied_count);
    codec_put_u64(to, server->applied_hash);
    while (to->size < 24 + server->applied_count % 3000) {
        codec_put_u8(to, 7); /* Some sizes cross sectors, some do not. */
    }
}

static enum status on_restored(void *context, struct slice snapshot)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    struct codec_reader reader = codec_reader_make(snapshot);
    uint64_t before = server->applied_index;
    server->applied_index = codec_get_u64(&reader);
    server->applied_count = codec_get_u64(&reader);
    server->applied_hash = codec_get_u64(&reader);
    if (!codec_reader_ok(&reader) || server->applied_index < before ||
        (server->applied_index != 0 &&
         sim->hash_after[server->applied_index] != server->applied_hash)) {
        sim_violation(sim, "a snapshot of another state", server->applied_index, before);
    }
    return STATUS_OK;
}

static void on_changed(void *context, enum group_role role, uint32_t leader_id, uint64_t term)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    (void)leader_id;
    server->role = role;
    if (role != GROUP_LEADER) {
        return;
    }
    ASSERT(term < TERM_MAX);
    uint32_t id = server->host->index + 1;
    if (sim->leader_of[term] != 0 && sim->leader_of[term] != id) {
        sim_violation(sim, "two leaders in a term", sim->leader_of[term], id);
    }
    sim->counts.elections += sim->leader_of[term] == 0 ? 1 : 0;
    sim->leader_of[term] = id;
}

static void on_failed(void *context, enum status status)
{
    struct server *server = context;
    server->failed = true;
    server->sim->counts.failures++;
    if (status != STATUS_IO || server->host->error_ppm == 0) {
        sim_violation(server->sim, "failed without a cause", status, server->host->index);
    }
}

/* ---- messages ---- */

struct packet {
    struct sim *sim;
    unsigned from;
    unsigned to;
    uint64_t connection;
    uint64_t sequence;
    struct buffer bytes;
};

static void packet_arrive(void *context)
{
    struct packet *packet = context;
    struct sim *sim = packet->sim;
    struct server *server = &sim->servers[packet->to];
    if (server->host->up && server->group != NULL && !sim->cut[packet->from][packet->to]) {
        group_receive(server->group, packet->from + 1, packet->connection, packet->sequence,
                      buffer_slice(&packet->bytes));
    }
    buffer_deinit(&packet->bytes);
    memory_free(packet);
}

static void packet_post(struct server *server, unsigned to, uint64_t sequence, struct slice message)
{
    struct sim *sim = server->sim;
    unsigned from = server->host->index;
    struct packet *packet = memory_allocate_zeroed(1, sizeof *packet);
    ASSERT(packet != NULL);
    *packet = (struct packet){.sim = sim,
                              .from = from,
                              .to = to,
                              .connection = server->host->incarnation,
                              .sequence = sequence};
    buffer_append_slice(&packet->bytes, message);
    uint64_t delay_us = 300 + sim_draw(sim, sim_draw(sim, 8) == 0 ? 30000 : 3000);
    uint64_t at_ns = sim->lab.now_ns + delay_us * 1000;
    if (sim->fifo && at_ns <= sim->link_free_ns[from][to]) {
        at_ns = sim->link_free_ns[from][to] + 1;
    }
    sim->link_free_ns[from][to] = at_ns;
    lab_at(&sim->lab, at_ns - sim->lab.now_ns, NULL, packet_arrive, packet);
}

static void nervous_crash(void *context)
{
    server_crash(context, true);
}

static void nervous_restart(void *context)
{
    struct server *server = context;
    if (!server->host->up) {
        server->stop.stopped = NULL;
        server_boot(server);
    }
}

static void on_send(void *context, uint32_t to, struct slice message)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    ASSERT(to >= 1 && to <= sim->server_count);
    uint64_t sequence = ++sim->sequence;
    if (sim->nervous && !sim->quiet && sim_draw(sim, 100) == 0) {
        lab_at(&sim->lab, sim_draw(sim, 2000000), server->host, nervous_crash, server);
        lab_at(&sim->lab, (2 + sim_draw(sim, 20)) * MILLISECOND, NULL, nervous_restart, server);
    }
    lab_mix(&sim->lab, checksum64(message, to));
    if (sim->cut[server->host->index][to - 1] ||
        prng_chance(&sim->lab.prng, sim->loss_ppm, 1000000)) {
        return;
    }
    packet_post(server, to - 1, sequence, message);
    if (prng_chance(&sim->lab.prng, sim->double_ppm, 1000000)) {
        packet_post(server, to - 1, sequence, message);
    }
}

/* ---- life of a server ---- */

void server_boot(struct server *server)
{
    static const uint32_t ids[LAB_HOST_COUNT_MAX] = {1, 2, 3, 4, 5, 6, 7};
    struct sim *sim = server->sim;
    struct group_options options = {
        .path = "group",
        .id = server->host->index + 1,
        .voters = ids,
        .voter_count = server->joins ? 0 : sim->voter_count,
        .standbys = ids + sim->voter_count,
        .standby_count = server->joins ? 0 : sim->standby_count,
        .election_timeout_ms = ELECTION_MS,
        .heartbeat_timeout_ms = HEARTBEAT_MS,
        .snapshot_threshold = sim->threshold,
        .snapshot_trailing = sim->trailing,
        .events = {.applied = on_applied,
                   .snapshot = on_snapshot,
                   .restored = on_restored,
                   .send = on_send,
                   .changed = on_changed,
                   .failed = on_failed},
        .context = server,
    };
    lab_host_start(server->host);
    server->group = NULL;
    server->applied_index = 0;
    server->applied_count = 0;
    server->applied_hash = 0;
    server->role = GROUP_STOPPED;
    server->failed = false;
    uint32_t error_ppm = server->host->error_ppm;
    server->host->error_ppm = 0; /* Opening is tried without; the unit tests sweep its errors. */
    enum status status = group_open(&server->host->env, &options, &server->group);
    server->host->error_ppm = error_ppm;
    if (status == STATUS_OK) {
        status = group_start(server->group);
    }
    if (status != STATUS_OK) {
        sim_violation(sim, "a folder that does not open", status, server->host->index);
        server->group = NULL;
    }
}

void server_count_up(struct server *server)
{
    if (server->group != NULL) {
        struct group_info info;
        group_info(server->group, &info);
        server->sim->counts.rollbacks += info.guard_rollbacks;
        server->sim->counts.guard_drops += info.guard_drops;
    }
}

static void server_down(struct server *server)
{
    server->sim->counts.crashes++;
    if (server->stop.stopped == NULL) {
        server_count_up(server);
    }
    server->group = NULL; /* Abandoned, with all it held. */
    server->role = GROUP_STOPPED;
}

void server_crash(struct server *server, bool power)
{
    lab_host_crash(server->host, power);
    server_down(server);
}

void server_crashed_in_job(void *context, struct lab_host *host)
{
    struct sim *sim = context;
    server_down(&sim->servers[host->index]);
}

static void on_stopped(struct group_stop *stop)
{
    struct server *server = container_of(stop, struct server, stop);
    group_close(server->group);
    server->group = NULL;
    server->sim->counts.stops++;
    server->sim->counts.crashes--;
    server_crash(server, true); /* Nothing is left to lose. */
}

void server_stop(struct server *server)
{
    if (server->group != NULL && server->stop.stopped == NULL) {
        server_count_up(server);
        server->stop.stopped = on_stopped;
        group_stop(server->group, &server->stop);
    }
}

void server_wipe(struct server *server)
{
    if (server->host->up) {
        server_crash(server, false);
    }
    lab_host_erase(server->host);
    server->joins = true;
    server->sim->counts.wipes++;
}
