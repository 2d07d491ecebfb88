/* node/revival.c -- see revival.h. */
#include "node/revival.h"

#include <stdio.h>

#include "base/log.h"
#include "node/reading.h"
#include "node/records.h"
#include "raft/group_recovery.h"

#define PATH_SIZE_MAX (CONFIG_PATH_SIZE_MAX + 16)

/* ---- what the log says ---- */

static void log_compare(struct revival *revival)
{
    const struct topology_stamp *ours = &revival->machine.stamp;
    const struct topology_stamp *told = &revival->record.stamp;
    if (told->epoch != 0 && topology_stamp_compare(ours, told) == 0) {
        revival->diverged = ours->hash != told->hash;
    }
}

static enum status log_applied(void *context, uint64_t index, struct slice command)
{
    struct revival *revival = context;
    const char *reason = "";
    (void)index;
    enum status status = topology_apply(&revival->machine, command, &reason);
    log_compare(revival);
    return status == STATUS_NO_MEMORY ? status : STATUS_OK; /* What was refused stays so. */
}

static enum status log_restored(void *context, struct slice snapshot)
{
    struct revival *revival = context;
    enum status status =
        reading_topology(revival->env, "raft snapshot", snapshot, &revival->machine);
    log_compare(revival);
    return status;
}

static enum status log_read(struct revival *revival, const struct group_folder *folder)
{
    struct group_examination examination = {
        .applied = log_applied, .restored = log_restored, .context = revival};
    enum status status = group_examine(revival->env, folder, &examination);
    revival->log = revival->machine.stamp;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* ---- what it was told ---- */

static enum status engine_open(struct revival *revival)
{
    char path[PATH_SIZE_MAX];
    const struct config *config = &revival->config;
    (void)snprintf(path, sizeof(path), "%s/%s", config->data_dir, CONFIG_ENGINE_DIR);
    struct lsm_options options = {
        .path = path,
        .memory_size = config->memory_size,
        .memtable_size = config->memtable_size,
        .wal_segment_size = config->wal_segment_size,
        .open_files_max = config->open_files_max,
    };
    return lsm_open(revival->env, &options, &revival->lsm);
}

static enum status record_read(struct revival *revival)
{
    struct buffer scratch = {0};
    struct cell cell;
    enum status status = records_read(revival->lsm, RECORDS_TOPOLOGY, 0, &scratch, &cell);
    if (status == STATUS_OK) {
        status = reading_topology(revival->env, "record", cell.value, &revival->record);
    }
    buffer_deinit(&scratch);
    revival->told = revival->record.stamp;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* ---- deciding ---- */

static enum status topology_choose(struct revival *revival)
{
    bool log_is_greater =
        revival->machine.cluster_id != 0 && !revival->diverged &&
        (revival->record.cluster_id == 0 ||
         topology_stamp_compare(&revival->machine.stamp, &revival->record.stamp) >= 0);
    const struct topology *chosen = log_is_greater ? &revival->machine : &revival->record;
    if (chosen->cluster_id == 0) {
        return STATUS_NOT_FOUND;
    }
    if (topology_member_find(chosen, revival->identity.id) == NULL) {
        return STATUS_REFUSED;
    }
    return topology_copy(&revival->topology, chosen);
}

static enum status topology_recover(struct revival *revival, const struct group_folder *folder)
{
    struct buffer state = {0};
    struct topology *topology = &revival->topology;
    topology_generation_begin(topology, env_random(revival->env) | 1, revival->identity.id);
    topology_encode(&state, topology);
    enum status status = buffer_status(&state);
    if (status == STATUS_OK) {
        status = group_recover(revival->env, folder, buffer_slice(&state));
    }
    buffer_deinit(&state);
    return status;
}

static void revival_run(struct env_job *job)
{
    struct revival *revival = container_of(job, struct revival, job);
    char path[PATH_SIZE_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", revival->config.data_dir, CONFIG_RAFT_DIR);
    struct group_folder folder = {.path = path};
    enum status status = identity_look(revival->env, revival->config.data_dir, &revival->identity);
    if (status == STATUS_OK) {
        folder.id = revival->identity.id;
        status = engine_open(revival);
    }
    if (status == STATUS_OK) {
        status = record_read(revival);
    }
    if (status == STATUS_OK) {
        status = log_read(revival, &folder);
    }
    if (status == STATUS_OK) {
        status = topology_choose(revival);
    }
    if (status == STATUS_OK && revival->carry_out) {
        status = topology_recover(revival, &folder);
    }
    revival->status = status;
}

static void revival_done(struct env_job *job, enum status status)
{
    struct revival *revival = container_of(job, struct revival, job);
    revival->status = status == STATUS_OK ? revival->status : status;
    revival->done(revival);
}

void revival_begin(struct revival *revival, struct env *env)
{
    revival->env = env;
    topology_init(&revival->topology);
    topology_init(&revival->machine);
    topology_init(&revival->record);
    revival->job = (struct env_job){.run = revival_run, .done = revival_done};
    env_submit(env, ENV_LANE_POOL, &revival->job);
}

void revival_deinit(struct revival *revival)
{
    if (revival->lsm != NULL) {
        lsm_close(revival->lsm);
    }
    topology_deinit(&revival->topology);
    topology_deinit(&revival->machine);
    topology_deinit(&revival->record);
}
