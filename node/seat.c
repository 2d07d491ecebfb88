/* node/seat.c -- see seat.h. */
#include "node/seat.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "node/mutant.h"
#include "node/reading.h"
#include "raft/group_recovery.h"

#define HEARTBEATS_OF_ELECTION 10
#define NAME_SIZE_MAX 64 /* Of a file of the Raft log. */
#define PATH_SIZE_MAX (CONFIG_PATH_SIZE_MAX + sizeof(CONFIG_RAFT_DIR) + 1)

static void folder_path(const struct seat *seat, char path[PATH_SIZE_MAX])
{
    (void)snprintf(path, PATH_SIZE_MAX, "%s/%s", seat->options.config->data_dir, CONFIG_RAFT_DIR);
}

struct group *seat_group(const struct seat *seat)
{
    return seat->council.group;
}

/* ------------------------------------------------------------------ the folder; these block */

static bool is_log_file(const char *name)
{
    return strcmp(name, "LOCK") != 0; /* Of the env; it stays. */
}

static void names_count(void *context, const char *name)
{
    uint32_t *count = context;
    *count += is_log_file(name) ? 1 : 0;
}

static void file_remove(void *context, const char *name)
{
    struct seat *seat = context;
    char path[PATH_SIZE_MAX];
    char file[PATH_SIZE_MAX + NAME_SIZE_MAX];
    folder_path(seat, path);
    (void)snprintf(file, sizeof(file), "%s/%s", path, name);
    if (is_log_file(name) && seat->job_status == STATUS_OK) {
        seat->job_status = seat->env->ops->name_remove(seat->env, file);
    }
}

static enum status folder_empty(struct seat *seat)
{
    char path[PATH_SIZE_MAX];
    folder_path(seat, path);
    seat->job_status = STATUS_OK;
    enum status status = seat->env->ops->dir_list(seat->env, path, file_remove, seat);
    if (status == STATUS_OK) {
        status = seat->job_status;
    }
    if (status == STATUS_OK) {
        status = seat->env->ops->dir_sync(seat->env, path);
    }
    log_warn(seat->env, "raft.emptied", "generation=%u status=\"%s\"", seat->generation,
             status_name(status));
    return status;
}

/* An empty log, unless there is one or it is of the founders. */
static enum status folder_open(const struct seat *seat, bool founds, struct group **group)
{
    const struct config *config = seat->options.config;
    char path[PATH_SIZE_MAX];
    folder_path(seat, path);
    struct group_options options = {
        .path = path,
        .id = config->id,
        .voters = seat->options.voters,
        .voter_count = founds ? seat->options.voter_count : 0,
        .standbys = seat->options.standbys,
        .standby_count = founds ? seat->options.standby_count : 0,
        .election_timeout_ms = config->election_ms,
        .heartbeat_timeout_ms = config->election_ms / HEARTBEATS_OF_ELECTION,
        .snapshot_threshold = config->raft_snapshot_threshold,
        .snapshot_trailing = config->raft_snapshot_trailing,
        .events = seat->options.events,
        .context = seat->options.context,
    };
    return group_open(seat->env, &options, group);
}

/* What a log on disk says, read without a group. */
struct excerpt {
    struct env *env;
    struct topology topology;
};

static enum status entry_applied(void *context, uint64_t index, struct slice command)
{
    struct excerpt *excerpt = context;
    const char *reason = "";
    (void)index;
    enum status status = topology_apply(&excerpt->topology, command, &reason);
    return status == STATUS_NO_MEMORY ? status : STATUS_OK;
}

static enum status snapshot_restored(void *context, struct slice snapshot)
{
    struct excerpt *excerpt = context;
    return reading_topology(excerpt->env, "raft snapshot", snapshot, &excerpt->topology);
}

/* Of which generation the whole log on disk is. A founder's is the first even before it says so. */
static enum status generation_read(struct seat *seat)
{
    struct excerpt excerpt = {.env = seat->env};
    char path[PATH_SIZE_MAX];
    folder_path(seat, path);
    topology_init(&excerpt.topology);
    struct group_folder folder = {.path = path, .id = seat->options.config->id};
    struct group_examination examination = {
        .applied = entry_applied, .restored = snapshot_restored, .context = &excerpt};
    enum status status = group_examine(seat->env, &folder, &examination);
    const struct topology *topology = &excerpt.topology;
    seat->generation = topology->cluster_id == 0 ? 1 : topology->stamp.generation.number;
    topology_deinit(&excerpt.topology);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        log_error(seat->env, "raft.unreadable", "path=%s status=\"%s\"", path, status_name(status));
    }
    return status;
}

static bool is_listed(const struct seat_options *options)
{
    bool listed = false;
    for (uint32_t index = 0; index < options->voter_count; index++) {
        listed = listed || options->voters[index] == options->config->id;
    }
    for (uint32_t index = 0; index < options->standby_count; index++) {
        listed = listed || options->standbys[index] == options->config->id;
    }
    return listed;
}

/* The log of a newcomer may not say yet of which generation it is: it is emptied at no loss. */
static enum status log_open(struct seat *seat, bool founds)
{
    const struct topology *current = seat->options.current;
    enum status status = generation_read(seat);
    if (status == STATUS_NOT_FOUND) { /* The first writing of it was cut short. */
        return folder_open(seat, founds, &seat->council.group);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (seat->generation < current->stamp.generation.number) {
        return folder_empty(seat);
    }
    return folder_open(seat, false, &seat->council.group);
}

enum status seat_open(struct seat *seat, struct env *env, const struct seat_options *options)
{
    *seat = (struct seat){.env = env, .options = *options, .generation = 1};
    seat->council = (struct council){.env = env, .config = options->config};
    char path[PATH_SIZE_MAX];
    uint32_t name_count = 0;
    folder_path(seat, path);
    enum status status = env->ops->dir_list(env, path, names_count, &name_count);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    bool founds = options->current->cluster_id == 0 && is_listed(options);
    if (name_count > 0) {
        return log_open(seat, founds);
    }
    return founds ? folder_open(seat, true, &seat->council.group) : STATUS_OK;
}

/* ------------------------------------------------------------------ opening and emptying */

static void job_run(struct env_job *job)
{
    struct seat *seat = container_of(job, struct seat, job);
    if (seat->work == SEAT_OPENING) {
        seat->job_status = folder_open(seat, false, &seat->opened);
    } else {
        group_files_close(seat->gone);
        seat->job_status = folder_empty(seat);
    }
}

static void group_stop_begin(struct seat *seat);

static void job_done(struct env_job *job, enum status status)
{
    struct seat *seat = container_of(job, struct seat, job);
    bool opened = seat->work == SEAT_OPENING;
    if (status == STATUS_OK) { /* Else its files are open yet, and seat_close() may block. */
        group_close(seat->gone);
        seat->gone = NULL;
    }
    status = status == STATUS_OK ? seat->job_status : status;
    seat->work = SEAT_REST;
    if (opened) {
        seat->council.group = seat->opened;
        seat->opened = NULL;
    }
    if (seat->stopping) {
        group_stop_begin(seat);
        return;
    }
    if (status == STATUS_OK && opened) {
        log_info(seat->env, "raft.joined", "generation=%u", seat->generation);
        status = group_start(seat->council.group);
    }
    if (status != STATUS_OK) {
        seat->options.events.failed(seat->options.context, status);
    }
}

static void job_begin(struct seat *seat, enum seat_work work)
{
    seat->work = work;
    seat->job = (struct env_job){.run = job_run, .done = job_done};
    env_submit(seat->env, ENV_LANE_POOL, &seat->job);
}

static void group_gone(struct group_stop *stop)
{
    struct seat *seat = container_of(stop, struct seat, group_stop);
    seat->gone = seat->council.group;
    seat->council.group = NULL;
    seat->options.ended(seat->options.context);
    job_begin(seat, SEAT_EMPTYING);
}

static void generation_end(struct seat *seat)
{
    log_warn(seat->env, "raft.generation_over", "ours=%u now=%u", seat->generation,
             seat->options.current->stamp.generation.number);
    seat->work = SEAT_ENDING;
    seat->group_stop.stopped = group_gone;
    group_stop(seat->council.group, &seat->group_stop);
}

/* False: there is no group that goes on. */
static bool generation_check(struct seat *seat)
{
    const struct topology *machine = seat->options.machine;
    if (seat->council.group == NULL || seat->work != SEAT_REST || seat->stopping) {
        return false;
    }
    if (machine->stamp.generation.number > seat->generation) {
        seat->generation = machine->stamp.generation.number;
    }
    if (seat->generation < seat->options.current->stamp.generation.number &&
        !MUTANT(OLD_GENERATION_LIVES)) {
        generation_end(seat);
        return false;
    }
    return true;
}

void seat_look(struct seat *seat)
{
    if (generation_check(seat)) {
        council_look(&seat->council, seat->options.machine);
    }
}

/* ------------------------------------------------------------------ messages */

static bool generations_differ(const struct topology_stamp *a, const struct topology_stamp *b)
{
    return a->epoch != 0 && b->epoch != 0 &&
           (a->generation.number != b->generation.number || a->generation.id != b->generation.id);
}

void seat_receive(struct seat *seat, const struct frame *frame, uint64_t connection,
                  uint64_t sequence, struct slice message)
{
    const struct topology *current = seat->options.current;
    if (generations_differ(&frame->stamp, &current->stamp)) {
        return;
    }
    if (generation_check(seat)) {
        group_receive(seat->council.group, frame->sender, connection, sequence, message);
    } else if (seat->council.group == NULL && seat->work == SEAT_REST && !seat->stopping &&
               topology_member_find(current, seat->options.config->id) != NULL) {
        seat->generation = current->stamp.generation.number;
        job_begin(seat, SEAT_OPENING);
    }
}

/* ------------------------------------------------------------------ life */

static uint64_t member_silent_ms(void *context, uint32_t id)
{
    const struct seat *seat = context;
    return id == seat->options.config->id ? 0 : peers_silence_ms(seat->peers, id);
}

enum status seat_start(struct seat *seat, struct peers *peers)
{
    seat->peers = peers;
    seat->council.silent_ms = member_silent_ms;
    seat->council.context = seat;
    return seat->council.group == NULL ? STATUS_OK : group_start(seat->council.group);
}

static void group_stopped(struct group_stop *stop)
{
    struct seat *seat = container_of(stop, struct seat, group_stop);
    seat->stopped(seat->options.context);
}

static void group_stop_begin(struct seat *seat)
{
    if (seat->council.group == NULL) {
        seat->stopped(seat->options.context);
        return;
    }
    seat->group_stop.stopped = group_stopped;
    group_stop(seat->council.group, &seat->group_stop);
}

static void handed_over(void *context)
{
    struct seat *seat = context;
    seat->stopping = true;
    if (seat->work == SEAT_REST) {
        group_stop_begin(seat); /* Else the end of what is under way does it. */
    }
}

void seat_stop(struct seat *seat, void (*stopped)(void *context))
{
    seat->stopped = stopped;
    seat->council.context = seat;
    council_hand_over(&seat->council, handed_over);
}

void seat_close(struct seat *seat)
{
    group_close(seat->council.group);
    group_close(seat->opened);
    group_close(seat->gone);
    seat->council.group = NULL;
    seat->opened = NULL;
    seat->gone = NULL;
}
