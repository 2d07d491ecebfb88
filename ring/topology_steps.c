/*
 * ring/topology_steps.c -- one range after the other from where it is to its goal.
 *
 * All steps of a command are judged before the first is taken. Ranges of a command rise, so no
 * step changes what another was judged by.
 */
#include "base/contract.h"
#include "ring/topology_rules.h"

static const uint32_t stage_steps[] = {
    [TOPOLOGY_STABLE] = BIT(TOPOLOGY_BEGIN),
    [TOPOLOGY_WRITE_BOTH_READ_OLD] = BIT(TOPOLOGY_READ_NEW) | BIT(TOPOLOGY_BACK),
    [TOPOLOGY_WRITE_BOTH_READ_NEW] = BIT(TOPOLOGY_FINISH),
};

/* ------------------------------------------------------------------ judging */

static const char *begin_fault(const struct topology *topology, const struct topology_range *range,
                               const struct topology_step *step)
{
    if (range->goal.count == 0) {
        return "the range is at its goal";
    }
    if (range->epoch != step->session) {
        return "the range has another epoch";
    }
    if (!step->merge_all && topology_must_merge_all(topology, range)) {
        return "the range cannot be taken over from single sources: all must merge";
    }
    return NULL;
}

static const char *step_fault(const struct topology *topology, const struct topology_step *step)
{
    if (step->range >= topology->range_count) {
        return "there is no such range";
    }
    const struct topology_range *range = &topology->ranges[step->range];
    if ((stage_steps[range->stage] & BIT(step->type)) == 0) {
        return "the range is not at the stage for this step";
    }
    if (step->type == TOPOLOGY_BEGIN) {
        return begin_fault(topology, range, step);
    }
    /* The step was on its way while its plan was aborted: some of those it leads to may be gone. */
    if (step->type == TOPOLOGY_READ_NEW && topology_range_goes_back(range)) {
        return "the range is to go back";
    }
    return range->session == step->session ? NULL : "the step is of another operation";
}

static const char *steps_fault(const struct topology *topology,
                               const struct topology_command *command)
{
    const char *fault = NULL;
    for (uint32_t i = 0; i < command->step_count && fault == NULL; i++) {
        if (i > 0 && command->steps[i].range <= command->steps[i - 1].range) {
            return "the ranges of the steps do not rise";
        }
        fault = step_fault(topology, &command->steps[i]);
    }
    return fault;
}

/* ------------------------------------------------------------------ taking them */

/* The goal goes if it is reached; its order of replicas is the wanted one. */
static void operation_end(struct topology_range *range)
{
    range->next = (struct ring_replicas){0};
    range->stage = TOPOLOGY_STABLE;
    range->session = 0;
    range->merge_all = false;
    if (ring_replicas_same(&range->goal, &range->replicas)) {
        range->replicas = range->goal;
        range->goal = (struct ring_replicas){0};
        range->loss_accepted = false;
    }
}

static void range_step(struct topology *topology, const struct topology_step *step)
{
    struct topology_range *range = &topology->ranges[step->range];
    range->epoch = topology->stamp.epoch + 1;
    switch (step->type) {
    case TOPOLOGY_BEGIN:
        range->stage = TOPOLOGY_WRITE_BOTH_READ_OLD;
        range->next = range->goal;
        range->merge_all = step->merge_all;
        range->session = range->epoch;
        break;
    case TOPOLOGY_READ_NEW:
        range->stage = TOPOLOGY_WRITE_BOTH_READ_NEW;
        break;
    case TOPOLOGY_FINISH:
        if (topology->running.id != 0) {
            topology->running.moved_count +=
                (uint32_t)ring_moves(&range->replicas, &range->next, 1);
        }
        range->replicas = range->next;
        range->loss_accepted = false;
        operation_end(range);
        break;
    case TOPOLOGY_BACK:
        operation_end(range);
        break;
    default:
        UNREACHABLE("a type of step");
    }
}

enum status topology_steps_apply(struct topology *topology, const struct topology_command *command,
                                 const char **reason)
{
    *reason = steps_fault(topology, command);
    if (*reason != NULL) {
        return STATUS_REFUSED;
    }
    for (uint32_t i = 0; i < command->step_count; i++) {
        range_step(topology, &command->steps[i]);
    }
    return STATUS_OK;
}
