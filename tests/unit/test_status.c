/* tests/unit/test_status.c -- every status has a name of its own. */
#include <string.h>

#include <criterion/criterion.h>

#include "base/status.h"

/* A status added behind it fails the second test, which is then to be told. */
#define STATUS_LAST STATUS_FORGOTTEN

static const char *name_of(int number)
{
    return status_name((enum status)number);
}

Test(status, each_has_a_name_of_its_own)
{
    for (int number = STATUS_OK; number <= STATUS_LAST; number++) {
        cr_expect_neq(strlen(name_of(number)), 0, "status %d", number);
        cr_expect_str_neq(name_of(number), "unknown status", "status %d", number);
        for (int other = STATUS_OK; other < number; other++) {
            cr_expect_str_neq(name_of(number), name_of(other), "status %d and %d", number, other);
        }
    }
}

/* A newer peer may send what we do not know. */
Test(status, a_number_of_no_status_is_named_unknown)
{
    cr_expect_str_eq(name_of(STATUS_LAST + 1), "unknown status");
    cr_expect_str_eq(name_of(255), "unknown status");
    cr_expect_str_eq(name_of(-1), "unknown status");
}
