/* node/reading.c -- see reading.h. */
#include "node/reading.h"

#include "base/log.h"

enum status reading_topology(struct env *env, const char *from, struct slice bytes,
                             struct topology *topology)
{
    struct topology_fault fault = {.why = "", .range = TOPOLOGY_NO_RANGE};
    enum status status = topology_decode_judged(topology, bytes, &fault);
    if (status == STATUS_CORRUPT && fault.range != TOPOLOGY_NO_RANGE) {
        log_error(env, "topology.unreadable", "from=\"%s\" size=%zu range=%u why=\"%s\"", from,
                  bytes.size, fault.range, fault.why);
    } else if (status == STATUS_CORRUPT) {
        log_error(env, "topology.unreadable", "from=\"%s\" size=%zu why=\"%s\"", from, bytes.size,
                  fault.why);
    }
    return status;
}
