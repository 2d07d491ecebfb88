/* base/contract.c -- what a failed assertion does. */
#include "base/contract.h"

#include <stdio.h>
#include <stdlib.h>

void contract_failed(const char *file, int line, const char *condition)
{
    (void)fprintf(stderr, "%s:%d: contract broken: %s\n", file, line, condition);
    (void)fflush(stderr);
    abort();
}
