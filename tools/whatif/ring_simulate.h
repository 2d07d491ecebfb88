/*
 * tools/whatif/ring_simulate.h -- what the files of the program share: the request, and its report.
 *
 * The program is `kvctl ring simulate`: it prints with kvctl's own rows and ends with its codes
 * (client/kvctl.h), and names itself as kvctl does.
 */
#ifndef TOOLS_WHATIF_RING_SIMULATE_H
#define TOOLS_WHATIF_RING_SIMULATE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/kvctl.h"
#include "tools/whatif/what_if.h"

/* The command line, understood. */
struct simulation {
    struct what_if_nodes nodes;
    struct what_if_change changes[WHAT_IF_CHANGE_COUNT_MAX];
    uint32_t change_count;
    uint32_t replica_count;
    uint32_t range_count;
    const char *keys_file;               /* "-": standard input. NULL: none. */
    struct key_load_synthesis synthesis; /* count 0: none. */
    const char *svg_file;                /* NULL: none. */
    enum kvctl_output output;
};

/* KVCTL_USAGE after complaining. */
enum kvctl_exit simulation_parse(struct simulation *simulation, int argc, char **argv);

/* Prints all steps in the form asked for. */
enum kvctl_exit simulation_report(const struct simulation *simulation,
                                  const struct what_if_input *input,
                                  const struct what_if_step *steps);

#endif
