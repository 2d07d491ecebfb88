/*
 * ring/topology_rules.h -- what a topology must be, and the parts of topology_apply.
 *
 * Each part judges a decoded command before it changes anything: STATUS_REFUSED with *reason, and
 * STATUS_NO_MEMORY, leave every byte as it was. While it works, `stamp` is still that of before.
 */
#ifndef RING_TOPOLOGY_RULES_H
#define RING_TOPOLOGY_RULES_H

#include "ring/topology.h"
#include "ring/topology_codec.h"

/* NULL if every rule holds, else which one does not; static storage. Members sorted by id,
 * keyspaces by number. */
const char *topology_member_fault(const struct topology_member *member);
const char *topology_members_fault(const struct topology_member *members, uint32_t member_count);
const char *topology_keyspaces_fault(const struct topology_keyspace *keyspaces,
                                     uint32_t keyspace_count);
const char *topology_sizes_fault(uint32_t replica_count, uint32_t range_count);
const char *topology_zone_fault(const char *zone);
const char *topology_range_fault(const struct topology *topology,
                                 const struct topology_range *range);
const char *topology_plans_fault(const struct topology *topology);

struct topology_member *topology_member_at(const struct topology *topology, uint32_t id);
/* Room for the plans to come; NULL: no memory. */
struct topology_plan *topology_history_make(void);

MUST_USE enum status topology_bootstrap_apply(struct topology *topology,
                                              struct topology_command_owned *owned,
                                              const char **reason);
MUST_USE enum status topology_member_apply(struct topology *topology,
                                           const struct topology_command *command,
                                           const char **reason);
MUST_USE enum status topology_voters_apply(struct topology *topology,
                                           const struct topology_command *command,
                                           const char **reason);
MUST_USE enum status topology_steps_apply(struct topology *topology,
                                          const struct topology_command *command,
                                          const char **reason);
/* PLAN_STAGE, PLAN_CLEAR, PLAN_COMMIT, PLAN_ABORT. */
MUST_USE enum status topology_plan_apply(struct topology *topology,
                                         const struct topology_command *command,
                                         const char **reason);
MUST_USE enum status topology_loss_apply(struct topology *topology,
                                         const struct topology_command *command,
                                         const char **reason);
MUST_USE enum status topology_keyspace_apply(struct topology *topology,
                                             const struct topology_command *command,
                                             const char **reason);

/*
 * The topology as committing the staged plan would leave it, but for the plans and the epoch: into
 * `built`, which is initialised and the caller's to deinit whatever happens. *move_count: replicas
 * to copy until every goal is reached.
 */
MUST_USE enum status topology_plan_build(const struct topology *topology,
                                         const struct topology_plan *plan, struct topology *built,
                                         uint32_t *move_count, const char **reason);
/* Ends the running plan if nothing of it is left to do. After the epoch has grown. */
void topology_plan_settle(struct topology *topology);

#endif
