/*
 * tools/whatif/what_if_chart.h -- the figures of a what-if as a picture.
 *
 * A panel a scheme: the load of every node at the end, in per cent of what it is due, all on one
 * scale. Below, if anything was changed: what each step moved under each scheme, and the least.
 */
#ifndef TOOLS_WHATIF_WHAT_IF_CHART_H
#define TOOLS_WHATIF_WHAT_IF_CHART_H

#include "base/buffer.h"
#include "tools/whatif/what_if.h"

/* Appends the SVG; the buffer's sticky failure is its owner's to check. */
void what_if_chart(struct buffer *to, const struct what_if_input *input,
                   const struct what_if_step *steps);

/* "start", "add 4", "remove 2", "weight 3 to 2". */
#define WHAT_IF_CHANGE_TEXT_SIZE_MAX 64
const char *what_if_change_text(const struct what_if_change *change,
                                char text[WHAT_IF_CHANGE_TEXT_SIZE_MAX]);

#endif
