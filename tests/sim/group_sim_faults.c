/* tests/sim/group_sim_faults.c -- clients, an operator and faults; see group_sim.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/contract.h"
#include "base/memory.h"
#include "tests/sim/group_sim.h"

/* ---- clients and faults ---- */

struct command {
    struct group_proposal base;
    struct server *server;
    uint64_t value;
};

static void command_done(struct group_proposal *proposal, enum status status, uint64_t index)
{
    struct command *command = container_of(proposal, struct command, base);
    struct sim *sim = command->server->sim;
    if (status == STATUS_OK) {
        sim->counts.acknowledged++;
        sim->acknowledged[command->value] = true;
        sim->last_value_done = command->value;
        if (index >= INDEX_MAX || sim->chosen[index] != command->value ||
            command->server->applied_index < index) {
            sim_violation(sim, "acknowledged, and not applied there", index, command->value);
        }
    } else {
        sim->counts.indeterminate++;
        if (status != STATUS_INDETERMINATE && status != STATUS_CANCELLED) {
            sim_violation(sim, "an answer a proposal does not have", status, command->value);
        }
    }
    memory_free(command);
}

static void propose(struct server *server)
{
    struct sim *sim = server->sim;
    if (sim->value + 1 >= VALUE_MAX) {
        return;
    }
    struct command *command = memory_allocate_zeroed(1, sizeof *command);
    ASSERT(command != NULL);
    command->base.done = command_done;
    command->server = server;
    command->value = ++sim->value;
    uint8_t bytes[64] = {0};
    codec_store_u64(bytes, command->value);
    enum status status =
        group_propose(server->group, slice_make(bytes, 8 + command->value % 50), &command->base);
    if (status != STATUS_OK) {
        memory_free(command);
    }
}

void sim_client_turn(void *context)
{
    struct server *server = context;
    struct sim *sim = server->sim;
    if (server->host->up && server->group != NULL && server->role == GROUP_LEADER &&
        (!sim->quiet || sim_draw(sim, 20) == 0)) {
        uint64_t burst = sim_draw(sim, 10) == 0 ? 1 + sim_draw(sim, 20) : 1;
        for (uint64_t i = 0; i < burst; i++) {
            propose(server);
        }
    }
    lab_at(&sim->lab, (1 + sim_draw(sim, 10)) * MILLISECOND, NULL, sim_client_turn, server);
}

/* ---- an operator, who changes the configuration ---- */

struct order {
    struct group_change base;
    struct sim *sim;
};

static void order_done(struct group_change *change, enum status status)
{
    struct order *order = container_of(change, struct order, base);
    struct sim *sim = order->sim;
    if (status == STATUS_OK) {
        sim->counts.committed[change->kind]++;
        if (change->kind == GROUP_REMOVE && sim_draw(sim, 2) == 0) {
            server_wipe(&sim->servers[change->id - 1]);
        }
    } else if (status != STATUS_TIMEOUT && status != STATUS_INDETERMINATE &&
               status != STATUS_CANCELLED) {
        sim_violation(sim, "an answer a change does not have", status, change->id);
    }
    memory_free(order);
}

static void order_give(struct server *leader, enum group_change_kind kind, uint32_t id)
{
    struct sim *sim = leader->sim;
    struct order *order = memory_allocate_zeroed(1, sizeof *order);
    ASSERT(order != NULL);
    *order = (struct order){.base = {.kind = kind, .id = id, .done = order_done}, .sim = sim};
    sim->counts.asked[kind]++;
    enum status status = group_change(leader->group, &order->base);
    if (status != STATUS_OK) {
        sim->counts.refused[kind]++;
        memory_free(order);
    }
}

static const struct group_server *member_of(const struct group_configuration *configuration,
                                            uint32_t id)
{
    for (uint32_t i = 0; i < configuration->server_count; i++) {
        if (configuration->servers[i].id == id) {
            return &configuration->servers[i];
        }
    }
    return NULL;
}

/* Some change that makes sense for `id`; the group itself refuses what is unsafe. */
static enum group_change_kind order_choose(struct sim *sim, const struct server *leader,
                                           const struct group_server *member)
{
    if (member == NULL) {
        return GROUP_ADD;
    }
    switch (member->duty) {
    case GROUP_SPARE:
        return sim_draw(sim, 3) == 0 ? GROUP_REMOVE : GROUP_ADD;
    case GROUP_STANDBY:
        return sim_draw(sim, 3) == 0 ? GROUP_REMOVE : GROUP_PROMOTE;
    case GROUP_VOTER:
        break;
    }
    return member->id == leader->host->index + 1 || sim_draw(sim, 4) == 0 ? GROUP_TRANSFER
                                                                          : GROUP_DEMOTE;
}

static void order_draw(struct server *leader)
{
    struct sim *sim = leader->sim;
    struct group_configuration configuration;
    group_configuration(leader->group, &configuration);
    uint32_t id = 1 + (uint32_t)sim_draw(sim, sim->server_count);
    enum group_change_kind kind = order_choose(sim, leader, member_of(&configuration, id));
    bool itself = id == leader->host->index + 1;
    order_give(leader, kind, kind == GROUP_TRANSFER && itself ? 0 : id);
}

void sim_operator_turn(void *context)
{
    struct sim *sim = context;
    if (sim->quiet) {
        return;
    }
    for (unsigned i = 0; i < sim->server_count; i++) {
        struct server *server = &sim->servers[i];
        if (server->host->up && server->group != NULL && server->role == GROUP_LEADER &&
            !server->failed && sim_draw(sim, sim->change_one_in) == 0) {
            order_draw(server);
        }
    }
    lab_at(&sim->lab, (1 + sim_draw(sim, 10)) * MILLISECOND, NULL, sim_operator_turn, sim);
}

/* ---- faults ---- */

static void cut_some(struct sim *sim)
{
    uint64_t sides = sim_draw(sim, UINT64_C(1) << sim->server_count);
    bool one_way = sim_draw(sim, 4) == 0;
    for (unsigned from = 0; from < sim->server_count; from++) {
        for (unsigned to = 0; to < sim->server_count; to++) {
            bool apart = ((sides >> from) & 1) != ((sides >> to) & 1);
            sim->cut[from][to] = apart && (!one_way || ((sides >> from) & 1));
        }
    }
}

static void disturb(struct sim *sim, struct server *server)
{
    if (!server->host->up) {
        return;
    }
    switch (sim_draw(sim, 4)) {
    case 0:
        server_crash(server, sim->power && sim_draw(sim, 2) == 0);
        break;
    case 1:
        if (sim->power) {
            server->host->crash_in = 1 + (unsigned)sim_draw(sim, 12);
        }
        break;
    case 2:
        server_stop(server);
        break;
    default:
        server_crash(server, sim->power);
        break;
    }
}

void sim_faults_turn(void *context)
{
    struct sim *sim = context;
    if (sim->quiet) {
        return;
    }
    uint64_t kind = sim_draw(sim, 10);
    if (kind < 4) {
        cut_some(sim);
    } else if (kind < 5) {
        memset(sim->cut, 0, sizeof sim->cut);
    } else if (kind < 8) {
        disturb(sim, &sim->servers[sim_draw(sim, sim->server_count)]);
    }
    for (unsigned i = 0; i < sim->server_count; i++) {
        struct server *server = &sim->servers[i];
        if (server->host->up && server->failed && sim_draw(sim, 2) == 0) {
            server_crash(server, true);
        } else if (!server->host->up && sim_draw(sim, 3) == 0) {
            server->stop.stopped = NULL;
            server_boot(server);
        }
    }
    sim->loss_ppm = sim_draw(sim, 3) == 0 ? (uint32_t)sim_draw(sim, 150000) : 0;
    lab_at(&sim->lab, (10 + sim_draw(sim, 120)) * MILLISECOND, NULL, sim_faults_turn, sim);
}
/* ---- the end of the faults ---- */

static bool has_majority(const struct sim *sim, const struct group_configuration *configuration)
{
    uint32_t voter_count = 0;
    uint32_t up_count = 0;
    for (uint32_t i = 0; i < configuration->server_count; i++) {
        if (configuration->servers[i].duty == GROUP_VOTER) {
            voter_count++;
            up_count += sim->servers[configuration->servers[i].id - 1].host->up ? 1 : 0;
        }
    }
    return up_count > voter_count / 2;
}

/* Whether those that are up can go on by every configuration that one of them goes by. */
static bool majorities_are_up(const struct sim *sim)
{
    bool member = false;
    for (unsigned i = 0; i < sim->server_count; i++) {
        const struct server *server = &sim->servers[i];
        struct group_configuration configuration = {0};
        if (server->group != NULL) {
            group_configuration(server->group, &configuration);
        }
        if (configuration.server_count > 0 && !has_majority(sim, &configuration)) {
            return false;
        }
        member = member || configuration.server_count > 0;
    }
    return member;
}

static void server_recover(struct server *server)
{
    server->host->crash_in = 0;
    if (server->host->up && (server->failed || server->stop.stopped != NULL)) {
        server_crash(server, true);
    }
    server->host->error_ppm = 0;
    if (!server->host->up) {
        server->stop.stopped = NULL;
        server_boot(server);
    }
}

/* All come back, but for one at times: what is left must do without it if it has the majorities. */
void sim_faults_stop(struct sim *sim)
{
    sim->quiet = true;
    sim->loss_ppm = 0;
    sim->lab.stall_one_in = 0;
    memset(sim->cut, 0, sizeof sim->cut);
    unsigned grave =
        sim_draw(sim, 2) == 0 ? (unsigned)sim_draw(sim, sim->server_count) : sim->server_count;
    for (unsigned i = 0; i < sim->server_count; i++) {
        if (i != grave) {
            server_recover(&sim->servers[i]);
        } else if (sim->servers[i].host->up) {
            server_crash(&sim->servers[i], true);
        }
    }
    if (grave < sim->server_count && majorities_are_up(sim)) {
        memset(sim->cut[grave], true, sizeof sim->cut[grave]); /* What it said last is lost. */
        sim->counts.graves++;
    } else if (grave < sim->server_count) {
        server_recover(&sim->servers[grave]);
    }
}
