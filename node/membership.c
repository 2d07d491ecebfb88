/*
 * node/membership.c -- topology adopted from Raft and from peers; bootstrap; who may talk to us.
 *
 * Invariants:
 *  (1) `machine` is exactly the state of the Raft log as applied here; `current` is the greatest
 *      topology seen, and never goes back.
 *  (2) At most one question to a peer, one bootstrap and one record write are under way.
 */
#include "node/membership.h"

#include <stdio.h>
#include <string.h>

#include "base/checksum.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/memory.h"
#include "node/catchup.h"
#include "node/reading.h"
#include "node/seat.h"

#define TICK_MS 500 /* Of looking whether bootstrap or a first topology is due. */
#define STANDBY_COUNT_MAX 2

struct disk_record {
    uint32_t node;
    uint64_t disk_id; /* 0: nothing known. */
    struct records_write write;
    bool writing;
};

struct membership {
    struct env *env;
    struct lsm *lsm;
    const struct config *config;
    const struct identity *identity;
    const struct membership_events *events;
    void *context;
    struct peers *peers;
    struct seat seat;
    uint64_t bootstrap_digest;
    struct topology machine;
    struct topology current;
    struct disk_record *disks;
    uint32_t disk_count;
    struct env_timer tick;
    struct catchup catchup;
    struct group_proposal proposal;
    bool proposing;
    struct records_write record;
    bool recording;
    struct topology_stamp recorded; /* Of the record being written, or last written. */
    struct topology_stamp durable;  /* Of the record that a restart finds, at least. */
    bool leader;
    uint32_t leader_id;
    bool stopping;
    void (*stopped)(void *context);
};

/* ------------------------------------------------------------------ bootstrap settings */

/* The same on every node of a bootstrap, or they refuse each other. */
static uint64_t digest_of(const struct config *config)
{
    if (config->bootstrap_count == 0) {
        return 0;
    }
    struct buffer text = {0};
    for (uint32_t index = 0; index < config->bootstrap_count; index++) {
        codec_put_u32(&text, config->bootstrap[index].id);
        codec_put_bytes(&text, slice_text(config->bootstrap[index].peer_address));
    }
    codec_put_u32(&text, config->replicas);
    codec_put_u32(&text, config->ranges);
    uint64_t digest = checksum64(buffer_slice(&text), 0) | 1;
    buffer_deinit(&text);
    return digest;
}

/* The first 1, 3 or 5 of the list vote; one or two more stand by. */
static void roles_of(const struct config *config, uint32_t *voters, uint32_t *voter_count,
                     uint32_t *standbys, uint32_t *standby_count)
{
    uint32_t count = config->bootstrap_count;
    *voter_count = count >= 5 ? 5 : count >= 3 ? 3 : count >= 1 ? 1 : 0;
    *standby_count = 0;
    for (uint32_t index = 0; index < count; index++) {
        if (index < *voter_count) {
            voters[index] = config->bootstrap[index].id;
        } else if (*standby_count < STANDBY_COUNT_MAX) {
            standbys[(*standby_count)++] = config->bootstrap[index].id;
        }
    }
}

static bool listed(const uint32_t *ids, uint32_t count, uint32_t id)
{
    for (uint32_t index = 0; index < count; index++) {
        if (ids[index] == id) {
            return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ the record */

static void record_begin(struct membership *membership);

static void record_done(struct records_write *write, enum status status)
{
    struct membership *membership = container_of(write, struct membership, record);
    membership->recording = false;
    if (status != STATUS_OK) {
        log_warn(membership->env, "topology.record_failed", "status=\"%s\"", status_name(status));
        membership->recorded = membership->durable; /* The tick tries again. */
        return;
    }
    membership->durable = membership->recorded;
    record_begin(membership);
}

static struct version record_version(const struct topology *topology)
{
    return (struct version){.time = (uint64_t)topology->stamp.generation.number << 48 |
                                    topology->stamp.epoch,
                            .node = 1};
}

static void record_begin(struct membership *membership)
{
    const struct topology *topology = &membership->current;
    if (membership->recording || membership->stopping || topology->cluster_id == 0 ||
        topology_stamp_compare(&topology->stamp, &membership->recorded) <= 0) {
        return;
    }
    struct buffer bytes = {0};
    topology_encode(&bytes, topology);
    membership->record.done = record_done;
    enum status status = buffer_status(&bytes);
    if (status == STATUS_OK) {
        status = records_put(membership->lsm, RECORDS_TOPOLOGY, 0, record_version(topology),
                             buffer_slice(&bytes), &membership->record);
    }
    buffer_deinit(&bytes);
    if (status == STATUS_OK) {
        membership->recording = true;
        membership->recorded = topology->stamp;
    } else {
        log_warn(membership->env, "topology.record_failed", "status=\"%s\"", status_name(status));
    }
}

static enum status record_load(struct membership *membership)
{
    struct buffer scratch = {0};
    struct cell cell;
    enum status status = records_read(membership->lsm, RECORDS_TOPOLOGY, 0, &scratch, &cell);
    if (status == STATUS_OK) {
        status = reading_topology(membership->env, "record", cell.value, &membership->current);
        membership->recorded = membership->current.stamp;
        membership->durable = membership->recorded;
    } else if (status == STATUS_NOT_FOUND) {
        status = STATUS_OK;
    } else {
        log_error(membership->env, "topology.record_unread", "status=\"%s\"", status_name(status));
    }
    buffer_deinit(&scratch);
    return status;
}

/* ------------------------------------------------------------------ adopting */

static enum status peers_follow(struct membership *membership)
{
    const struct topology *topology = &membership->current;
    for (uint32_t index = 0; index < topology->member_count; index++) {
        const struct topology_member *member = &topology->members[index];
        if (member->id != membership->config->id) {
            enum status status = peers_set(membership->peers, member->id, member->peer_address);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

/* Who is neither a member nor a server of the group is dialled no more. */
static void peers_forget(struct membership *membership)
{
    struct node_peer_info infos[RING_MEMBER_COUNT_MAX];
    struct group_configuration configuration = {0};
    if (membership->current.cluster_id == 0) {
        return; /* The bootstrap list is all there is to go by. */
    }
    bool part = membership_group_configuration(membership, &configuration);
    uint32_t count = peers_list(membership->peers, infos, RING_MEMBER_COUNT_MAX);
    for (uint32_t index = 0; index < count; index++) {
        uint32_t id = infos[index].id;
        bool needed = topology_member_find(&membership->current, id) != NULL;
        for (uint32_t server = 0; part && server < configuration.server_count; server++) {
            needed = needed || configuration.servers[server].id == id;
        }
        if (!needed) {
            log_info(membership->env, "peer.dropped", "peer=%u", id);
            peers_drop(membership->peers, id);
        }
    }
}

/* Whether `topology` may take the place of the current one. STATUS_EXISTS: it is not newer. */
static enum status adoptable(const struct membership *membership, const struct topology *topology)
{
    const struct topology *current = &membership->current;
    if (topology->cluster_id == 0 ||
        (current->cluster_id != 0 &&
         topology_stamp_compare(&topology->stamp, &current->stamp) <= 0)) {
        return STATUS_EXISTS;
    }
    if (current->cluster_id != 0 && current->cluster_id != topology->cluster_id) {
        log_error(membership->env, "topology.other_cluster", "ours=%016llx theirs=%016llx",
                  (unsigned long long)current->cluster_id,
                  (unsigned long long)topology->cluster_id);
        return STATUS_REFUSED;
    }
    if (current->cluster_id != 0 && current->range_count != topology->range_count) {
        log_error(membership->env, "topology.other_ranges", "ours=%u theirs=%u",
                  current->range_count, topology->range_count);
        return STATUS_REFUSED; /* It is fixed at bootstrap, and replicas count on that. */
    }
    return STATUS_OK;
}

/* Takes what `topology` holds if it is newer than what we go by. */
static enum status adopt(struct membership *membership, struct topology *topology)
{
    struct topology *current = &membership->current;
    enum status status = adoptable(membership, topology);
    if (status != STATUS_OK) {
        return status == STATUS_EXISTS ? STATUS_OK : status;
    }
    topology_deinit(current);
    *current = *topology;
    topology_init(topology);
    log_info(membership->env, "topology.adopted", "epoch=%llu members=%u ranges=%u",
             (unsigned long long)current->stamp.epoch, current->member_count, current->range_count);
    status = peers_follow(membership);
    record_begin(membership);
    membership->events->adopted(membership->context);
    return status;
}

/* Takes a copy of `machine`, and tells the peers: who applies is the first to know. */
static enum status adopt_machine(struct membership *membership)
{
    if (adoptable(membership, &membership->machine) == STATUS_EXISTS) {
        return STATUS_OK;
    }
    struct topology copy;
    topology_init(&copy);
    enum status status = topology_copy(&copy, &membership->machine);
    if (status == STATUS_OK) {
        status = adopt(membership, &copy);
    }
    if (status == STATUS_OK) {
        peers_announce(membership->peers);
    }
    topology_deinit(&copy);
    return status;
}

static enum status topology_learned(void *context, struct topology *topology)
{
    struct membership *membership = context;
    enum status status = adopt(membership, topology);
    seat_look(&membership->seat); /* It may be of a newer generation. */
    return status;
}

static void command_passed(void *context, struct slice command, uint64_t epoch)
{
    const struct membership *membership = context;
    struct membership_decision decision = {
        .command = command, .status = STATUS_OK, .reason = "", .epoch = epoch};
    membership->events->decided(membership->context, &decision);
}

static const struct catchup_events catchup_events = {.learned = topology_learned,
                                                     .passed = command_passed};

/* ------------------------------------------------------------------ the Raft group's events */

static enum status group_applied(void *context, uint64_t index, struct slice command)
{
    struct membership *membership = context;
    struct topology *machine = &membership->machine;
    struct topology_stamp before = machine->stamp;
    const char *reason = "";
    enum status status = topology_apply(machine, command, &reason);
    if (status == STATUS_NO_MEMORY) {
        return status;
    }
    struct membership_decision decision = {.command = command,
                                           .status = status,
                                           .reason = status == STATUS_OK ? "" : reason,
                                           .epoch = machine->stamp.epoch};
    if (status == STATUS_OK) {
        catchup_keep(&membership->catchup, &before, &machine->stamp, command);
        status = adopt_machine(membership);
    } else {
        log_info(membership->env, "topology.command_refused", "index=%llu status=\"%s\" why=\"%s\"",
                 (unsigned long long)index, status_name(status), reason);
    }
    membership->events->decided(membership->context, &decision);
    return status == STATUS_NO_MEMORY ? status : STATUS_OK;
}

static void group_snapshot(void *context, struct buffer *to)
{
    const struct membership *membership = context;
    topology_encode(to, &membership->machine);
}

static enum status group_restored(void *context, struct slice snapshot)
{
    struct membership *membership = context;
    enum status status =
        reading_topology(membership->env, "raft snapshot", snapshot, &membership->machine);
    return status == STATUS_OK ? adopt_machine(membership) : status;
}

static void group_send(void *context, uint32_t server_id, struct slice message)
{
    const struct membership *membership = context;
    if (!membership->stopping) {
        peers_send_raft(membership->peers, server_id, message);
    }
}

static void leader_set(struct membership *membership, bool leads, uint32_t leader_id)
{
    bool led = membership->leader;
    membership->leader = leads;
    membership->leader_id = leader_id;
    if (led != leads) {
        membership->events->led(membership->context, leads);
    }
}

static void group_changed(void *context, enum group_role role, uint32_t leader_id, uint64_t term)
{
    struct membership *membership = context;
    log_info(membership->env, "raft.role", "role=%d leader=%u term=%llu", (int)role, leader_id,
             (unsigned long long)term);
    leader_set(membership, role == GROUP_LEADER, leader_id);
}

static void group_ended(void *context, enum status status)
{
    struct membership *membership = context;
    log_error(membership->env, "raft.failed", "status=\"%s\"", status_name(status));
    membership->events->failed(membership->context, status);
}

/* ------------------------------------------------------------------ bootstrap */

static void bootstrap_done(struct group_proposal *proposal, enum status status, uint64_t index)
{
    struct membership *membership = container_of(proposal, struct membership, proposal);
    membership->proposing = false;
    log_info(membership->env, "bootstrap.proposed", "status=\"%s\" index=%llu", status_name(status),
             (unsigned long long)index);
}

static void member_from_hello(struct topology_member *member, const struct message_hello *hello)
{
    *member = (struct topology_member){
        .id = hello->id,
        .weight = hello->weight,
        .state = TOPOLOGY_ACTIVE,
        .disk_id = hello->disk_id,
    };
    memcpy(member->zone, hello->zone, sizeof(member->zone));
    memcpy(member->peer_address, hello->peer_address, sizeof(member->peer_address));
    memcpy(member->client_address, hello->client_address, sizeof(member->client_address));
    memcpy(member->admin_address, hello->admin_address, sizeof(member->admin_address));
}

/* Every node of the list as it says hello; false while one was not heard. */
static bool bootstrap_members(const struct membership *membership, struct topology_member *members)
{
    const struct config *config = membership->config;
    uint32_t voters[GROUP_VOTER_COUNT_MAX];
    uint32_t standbys[STANDBY_COUNT_MAX];
    uint32_t voter_count;
    uint32_t standby_count;
    roles_of(config, voters, &voter_count, standbys, &standby_count);
    for (uint32_t index = 0; index < config->bootstrap_count; index++) {
        uint32_t id = config->bootstrap[index].id;
        struct message_hello own = {0};
        const struct message_hello *hello = &own;
        if (id == config->id) {
            membership_hello(membership, &own);
        } else {
            hello = peers_hello_of(membership->peers, id);
            if (hello == NULL) {
                return false;
            }
        }
        member_from_hello(&members[index], hello);
        members[index].voter = listed(voters, voter_count, id);
    }
    return true;
}

static void bootstrap_propose(struct membership *membership)
{
    const struct config *config = membership->config;
    struct topology_member *members =
        memory_allocate_zeroed(config->bootstrap_count, sizeof(*members));
    if (members == NULL || !bootstrap_members(membership, members)) {
        memory_free(members);
        return;
    }
    const struct topology_keyspace keyspace = {
        .number = 1, .class = TOPOLOGY_EVENTUAL, .name = "fast"};
    uint32_t replicas =
        config->replicas < config->bootstrap_count ? config->replicas : config->bootstrap_count;
    struct topology_command command = {
        .type = TOPOLOGY_BOOTSTRAP,
        .request_id = env_random(membership->env),
        .expected_epoch = 0,
        .cluster_id = env_random(membership->env) | 1,
        .generation_id = env_random(membership->env) | 1,
        .replica_count = replicas,
        .range_count = config->ranges,
        .members = members,
        .member_count = config->bootstrap_count,
        .keyspaces = &keyspace,
        .keyspace_count = 1,
    };
    struct buffer bytes = {0};
    topology_command_encode(&bytes, &command);
    membership->proposal = (struct group_proposal){.done = bootstrap_done};
    enum status status = buffer_status(&bytes);
    if (status == STATUS_OK) {
        status = group_propose(seat_group(&membership->seat), buffer_slice(&bytes),
                               &membership->proposal);
    }
    membership->proposing = status == STATUS_OK;
    buffer_deinit(&bytes);
    memory_free(members);
}

/* ------------------------------------------------------------------ what peers say and ask */

void membership_heard(struct membership *membership, const struct frame *frame)
{
    if (frame->stamp.epoch > 0 &&
        topology_stamp_compare(&frame->stamp, &membership->current.stamp) > 0) {
        catchup_ask(&membership->catchup, frame->sender);
    }
}

enum status membership_answer(const struct membership *membership, struct slice question,
                              struct buffer *to)
{
    return catchup_answer(&membership->catchup, question, to);
}

static void tick_fired(struct env_timer *timer)
{
    struct membership *membership = container_of(timer, struct membership, tick);
    bool waiting = membership->machine.cluster_id == 0;
    if (waiting && membership->leader && !membership->proposing) {
        bootstrap_propose(membership);
    }
    record_begin(membership);
    seat_look(&membership->seat);
    peers_forget(membership);
    env_timer_start_ms(membership->env, timer, TICK_MS);
}

/* ------------------------------------------------------------------ hellos */

static void address_of(const struct config *config, const char *bound,
                       char text[ADDRESS_TEXT_SIZE_MAX])
{
    struct address address;
    if (address_parse(bound, &address) != STATUS_OK) {
        text[0] = '\0'; /* "off": the topology knows such a port by an empty text. */
        return;
    }
    if (config->advertise[0] != '\0') {
        (void)snprintf(address.host, sizeof(address.host), "%s", config->advertise);
    }
    address_format(&address, text);
}

/* Whether this node asks to become a member. */
static bool joins(const struct membership *membership)
{
    const struct config *config = membership->config;
    return config->join[0] != '\0' &&
           topology_member_find(&membership->current, config->id) == NULL;
}

void membership_hello(const struct membership *membership, struct message_hello *hello)
{
    const struct config *config = membership->config;
    *hello = (struct message_hello){.id = config->id,
                                    .disk_id = membership->identity->disk_id,
                                    .cluster_id = membership->current.cluster_id,
                                    .bootstrap_digest = membership->bootstrap_digest,
                                    .features = joins(membership) ? MESSAGE_FEATURE_JOIN : 0,
                                    .weight = config->weight};
    (void)snprintf(hello->zone, sizeof(hello->zone), "%s", config->zone);
    address_of(config, config->peer, hello->peer_address);
    address_of(config, config->client, hello->client_address);
    address_of(config, config->admin, hello->admin_address);
}

void membership_member(const struct membership *membership, struct topology_member *member)
{
    struct message_hello hello;
    membership_hello(membership, &hello);
    member_from_hello(member, &hello);
    member->state = TOPOLOGY_JOINING;
}

static void disk_record_done(struct records_write *write, enum status status)
{
    struct disk_record *disk = container_of(write, struct disk_record, write);
    (void)status; /* Not written: written at its next hello after a restart. */
    disk->writing = false;
}

static struct disk_record *disk_of(const struct membership *membership, uint32_t node)
{
    for (uint32_t index = 0; index < membership->disk_count; index++) {
        if (membership->disks[index].node == node) {
            return &membership->disks[index];
        }
    }
    return NULL;
}

/* A node that was wiped, or another under its id, must not pass for the replica it was. */
static bool disk_matches(struct membership *membership, const struct message_hello *hello)
{
    const struct topology_member *member = topology_member_find(&membership->current, hello->id);
    if (member != NULL && member->disk_id != 0) {
        return member->disk_id == hello->disk_id;
    }
    struct disk_record *disk = disk_of(membership, hello->id);
    if (disk == NULL) {
        return true; /* No member of the list: nothing is remembered of it. */
    }
    if (disk->disk_id != 0) {
        return disk->disk_id == hello->disk_id;
    }
    disk->disk_id = hello->disk_id;
    uint8_t value[8];
    codec_store_u64(value, hello->disk_id);
    disk->write.done = disk_record_done;
    disk->writing = records_put(membership->lsm, RECORDS_DISK, hello->id,
                                (struct version){.time = 1, .node = 1},
                                slice_make(value, sizeof(value)), &disk->write) == STATUS_OK;
    return true;
}

static enum status refused(const struct membership *membership, const struct message_hello *hello,
                           enum status status, const char *why)
{
    log_warn(membership->env, "peer.hello_refused", "peer=%u why=\"%s\"", hello->id, why);
    return status;
}

/* One of the bootstrap list or a member; or one of us two asks to join the other's cluster. */
static bool acquainted(const struct membership *membership, const struct message_hello *hello)
{
    const struct topology *current = &membership->current;
    bool they_join = current->cluster_id != 0 && (hello->features & MESSAGE_FEATURE_JOIN) != 0;
    bool we_join = hello->cluster_id != 0 && joins(membership);
    return disk_of(membership, hello->id) != NULL ||
           topology_member_find(current, hello->id) != NULL || they_join || we_join;
}

enum status membership_greeted(struct membership *membership, const struct message_hello *hello)
{
    const struct topology *current = &membership->current;
    if (hello->id == membership->config->id) {
        bool ourselves = hello->disk_id == membership->identity->disk_id;
        return refused(membership, hello, ourselves ? STATUS_REFUSED : STATUS_EXISTS,
                       "it has our own node id");
    }
    if (current->cluster_id != 0 && hello->cluster_id != 0 &&
        current->cluster_id != hello->cluster_id) {
        return refused(membership, hello, STATUS_REFUSED, "it belongs to another cluster");
    }
    bool bootstrapping = current->cluster_id == 0 && hello->cluster_id == 0;
    if (bootstrapping && hello->bootstrap_digest != membership->bootstrap_digest) {
        return refused(membership, hello, STATUS_REFUSED,
                       "its bootstrap list, replicas or ranges differ");
    }
    if (!acquainted(membership, hello)) {
        return refused(membership, hello, STATUS_REFUSED,
                       "it is no member and not in the bootstrap list");
    }
    if (!disk_matches(membership, hello)) {
        return refused(membership, hello, STATUS_EXISTS,
                       "its data folder is not the one it had: replace it");
    }
    return STATUS_OK;
}

void membership_raft(struct membership *membership, const struct frame *frame, uint64_t connection,
                     uint64_t sequence, struct slice message)
{
    seat_receive(&membership->seat, frame, connection, sequence, message);
}

/* ------------------------------------------------------------------ life */

static enum status disks_load(struct membership *membership)
{
    const struct config *config = membership->config;
    membership->disks =
        memory_allocate_zeroed(config->bootstrap_count + 1, sizeof(*membership->disks));
    if (membership->disks == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct buffer scratch = {0};
    enum status status = STATUS_OK;
    for (uint32_t index = 0; index < config->bootstrap_count && status == STATUS_OK; index++) {
        struct disk_record *disk = &membership->disks[membership->disk_count++];
        disk->node = config->bootstrap[index].id;
        struct cell cell;
        status = records_read(membership->lsm, RECORDS_DISK, disk->node, &scratch, &cell);
        if (status == STATUS_OK && cell.value.size == 8) {
            disk->disk_id = codec_load_u64(cell.value.data);
        }
        status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
        if (status != STATUS_OK) {
            log_error(membership->env, "disk_record.unread", "node=%u status=\"%s\"", disk->node,
                      status_name(status));
        }
    }
    buffer_deinit(&scratch);
    return status;
}

/* The group is of a generation that is over, and gone. */
static void seat_ended(void *context)
{
    struct membership *membership = context;
    leader_set(membership, false, 0);
    topology_deinit(&membership->machine);
    topology_init(&membership->machine);
}

static enum status seat_make(struct membership *membership)
{
    uint32_t voters[GROUP_VOTER_COUNT_MAX];
    uint32_t standbys[STANDBY_COUNT_MAX];
    struct seat_options options = {
        .config = membership->config,
        .voters = voters,
        .standbys = standbys,
        .current = &membership->current,
        .machine = &membership->machine,
        .events = {.applied = group_applied,
                   .snapshot = group_snapshot,
                   .restored = group_restored,
                   .send = group_send,
                   .changed = group_changed,
                   .failed = group_ended},
        .ended = seat_ended,
        .context = membership,
    };
    roles_of(membership->config, voters, &options.voter_count, standbys, &options.standby_count);
    return seat_open(&membership->seat, membership->env, &options);
}

enum status membership_open(struct env *env, struct lsm *lsm,
                            const struct membership_options *options, struct membership **out)
{
    struct membership *membership = memory_allocate_zeroed(1, sizeof(*membership));
    if (membership == NULL) {
        return STATUS_NO_MEMORY;
    }
    membership->env = env;
    membership->lsm = lsm;
    membership->config = options->config;
    membership->identity = options->identity;
    membership->events = options->events;
    membership->context = options->context;
    membership->bootstrap_digest = digest_of(options->config);
    membership->catchup = (struct catchup){.env = env,
                                           .current = &membership->current,
                                           .events = &catchup_events,
                                           .context = membership};
    topology_init(&membership->machine);
    topology_init(&membership->current);
    enum status status = record_load(membership);
    if (status == STATUS_OK) {
        status = disks_load(membership);
    }
    if (status == STATUS_OK) {
        status = seat_make(membership);
    }
    if (status != STATUS_OK) {
        membership_close(membership);
        return status;
    }
    *out = membership;
    return STATUS_OK;
}

enum status membership_start(struct membership *membership, struct peers *peers)
{
    const struct config *config = membership->config;
    membership->peers = peers;
    catchup_start(&membership->catchup, peers);
    for (uint32_t index = 0; index < config->bootstrap_count; index++) {
        if (config->bootstrap[index].id != config->id) {
            enum status status = peers_set(peers, config->bootstrap[index].id,
                                           config->bootstrap[index].peer_address);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    enum status status = peers_follow(membership);
    if (status == STATUS_OK && membership->current.cluster_id != 0) {
        membership->events->adopted(membership->context);
    }
    if (status == STATUS_OK) {
        status = seat_start(&membership->seat, peers);
    }
    membership->tick.fired = tick_fired;
    env_timer_start_ms(membership->env, &membership->tick, TICK_MS / 10);
    return status;
}

static void seat_stopped(void *context)
{
    struct membership *membership = context;
    membership->stopping = true;
    catchup_stop(&membership->catchup);
    membership->stopped(membership->context);
}

void membership_stop(struct membership *membership, void (*stopped)(void *context))
{
    membership->stopped = stopped;
    membership->env->ops->timer_stop(membership->env, &membership->tick);
    seat_stop(&membership->seat, seat_stopped);
}

void membership_close(struct membership *membership)
{
    if (membership == NULL) {
        return;
    }
    seat_close(&membership->seat);
    catchup_deinit(&membership->catchup);
    topology_deinit(&membership->machine);
    topology_deinit(&membership->current);
    memory_free(membership->disks);
    memory_free(membership);
}

const struct topology *membership_topology(const struct membership *membership)
{
    return &membership->current;
}

bool membership_recorded(const struct membership *membership)
{
    return topology_stamp_compare(&membership->durable, &membership->current.stamp) >= 0;
}

uint32_t membership_leader(const struct membership *membership)
{
    return membership->leader ? membership->config->id : membership->leader_id;
}

enum status membership_propose(struct membership *membership, struct slice command,
                               struct group_proposal *proposal)
{
    struct group *group = seat_group(&membership->seat);
    if (group == NULL || membership->stopping) {
        return STATUS_NOT_LEADER;
    }
    return group_propose(group, command, proposal);
}

bool membership_group_info(const struct membership *membership, struct group_info *info)
{
    const struct group *group = seat_group(&membership->seat);
    if (group == NULL) {
        return false;
    }
    group_info(group, info);
    return true;
}

bool membership_group_configuration(const struct membership *membership,
                                    struct group_configuration *configuration)
{
    const struct group *group = seat_group(&membership->seat);
    if (group == NULL) {
        return false;
    }
    group_configuration(group, configuration);
    return true;
}
