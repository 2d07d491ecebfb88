/* tests/sim/sim_program.c -- see sim_program.h. */
#include "tests/sim/sim_program.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool number_parse(const char *text, uint64_t least, uint64_t greatest, uint64_t *number)
{
    char *end = NULL;
    *number = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && *number >= least &&
           *number <= greatest;
}

bool plant_parse(const char *text, enum world_plant *plant)
{
    *plant = strcmp(text, "clock") == 0 ? WORLD_PLANT_CLOCK : WORLD_PLANT_ADDRESS;
    return strcmp(text, "clock") == 0 || strcmp(text, "address") == 0;
}

bool traces_alike(uint64_t seed, uint64_t trace, uint64_t again)
{
    if (again != trace) {
        (void)printf("seed %" PRIu64 ": went another way the second time (trace %016" PRIx64
                     ", then %016" PRIx64 ")\n",
                     seed, trace, again);
    }
    return again == trace;
}

const struct sim_mutant *sim_mutant_find(const struct sim_mutant *mutants, size_t count,
                                         const char *name)
{
    for (size_t index = 0; index < count; index++) {
        if (strcmp(name, mutants[index].name) == 0) {
            return &mutants[index];
        }
    }
    return NULL;
}

int caught_print(const char *mutant, uint64_t after, uint64_t tried)
{
    if (after == 0) {
        (void)printf("%s NOT caught within %" PRIu64 " seeds\n", mutant, tried);
        return EXIT_BROKEN;
    }
    (void)printf("%s caught by the %" PRIu64 ". seed of at most %" PRIu64 "\n", mutant, after,
                 tried);
    return 0;
}
