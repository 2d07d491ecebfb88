/* base/status.c -- the names of statuses, for logs and messages. */
#include "base/status.h"

const char *status_name(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return "ok";
    case STATUS_NOT_FOUND:
        return "not found";
    case STATUS_EXISTS:
        return "exists";
    case STATUS_INVALID:
        return "invalid";
    case STATUS_CORRUPT:
        return "corrupt";
    case STATUS_IO:
        return "io error";
    case STATUS_NO_SPACE:
        return "no space";
    case STATUS_NO_MEMORY:
        return "no memory";
    case STATUS_READ_ONLY:
        return "read only";
    case STATUS_WOULD_BLOCK:
        return "would block";
    case STATUS_CANCELLED:
        return "cancelled";
    case STATUS_TIMEOUT:
        return "timeout";
    case STATUS_CLOSED:
        return "closed";
    case STATUS_OVERLOADED:
        return "overloaded";
    case STATUS_UNAVAILABLE:
        return "unavailable";
    case STATUS_INDETERMINATE:
        return "indeterminate";
    case STATUS_STALE:
        return "stale";
    case STATUS_BEHIND:
        return "behind";
    case STATUS_SUPERSEDED:
        return "superseded";
    case STATUS_NOT_LEADER:
        return "not leader";
    case STATUS_TOO_LARGE:
        return "too large";
    case STATUS_UNSUPPORTED:
        return "unsupported";
    case STATUS_BUDGET:
        return "budget spent";
    case STATUS_LOCKED:
        return "locked";
    case STATUS_REFUSED:
        return "refused";
    case STATUS_PREEMPTED:
        return "preempted";
    case STATUS_FORGOTTEN:
        return "forgotten";
    }
    /* A number of a newer peer's, which travels in replies. */
    return "unknown status";
}
