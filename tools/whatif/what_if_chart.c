/* tools/whatif/what_if_chart.c -- panels of bars. */
#include "tools/whatif/what_if_chart.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/contract.h"
#include "tools/whatif/svg.h"

#define WIDTH 960
#define LEFT 64.0
#define RIGHT 24.0
#define PLOT_WIDTH (WIDTH - LEFT - RIGHT)
#define HEADER_HEIGHT 86
#define PANEL_HEIGHT 176 /* Of one scheme, with its heading and the names below. */
#define MOVED_HEIGHT 236
#define PLOT_TOP 28.0 /* Within a panel. */
#define PLOT_BOTTOM_SPACE 36.0
#define GRID_LINE_COUNT_MAX 6
#define SCALE_LEAST 1.2    /* So that the line of 100 % does not lie at the top. */
#define NAME_SPACING 26.0  /* Pixels that the name of a node needs. */
#define LABEL_SPACING 90.0 /* Pixels that the name of a change needs. */
#define FIGURE_SPACING 30.0
#define BAR_WIDTH_MAX 28.0
#define BAR_FILL 0.8 /* Of the room a bar has. */
#define INK "#222222"
#define INK_PALE "#666666"
#define INK_GRID "#dddddd"

/* Told apart by those who do not see colours alike too (Okabe and Ito, 2008), with a pale one for
 * the second figure of a node. */
static const struct {
    const char *full;
    const char *pale;
    const char *words;
} looks[] = {
    [SCHEME_RING] = {"#0072b2", "#9ccbe6", "ring: bounded loads, zones"},
    [SCHEME_MODULO] = {"#d55e00", "#f2bf99", "modulo: hash % nodes"},
    [SCHEME_VIRTUAL] = {"#009e73", "#99d8c7", "virtual: plain virtual nodes"},
};

/* Where one panel stands, and its scale. */
struct panel {
    struct buffer *to;
    double top;    /* Of the plot. */
    double bottom; /* Of the plot. */
    double scale;  /* The value at its top. */
};

static double panel_y(const struct panel *panel, double value)
{
    return panel->bottom - (panel->bottom - panel->top) * value / panel->scale;
}

static void words_draw(const struct panel *panel, double x, double y, const char *anchor,
                       const char *words)
{
    svg_text_draw(panel->to,
                  &(struct svg_text){.x = x, .y = y, .size = 11, .anchor = anchor, .fill = INK},
                  "%s", words);
}

/* 1, 2 or 5 times a power of ten, so that few lines take the scale. */
static double grid_step(double scale)
{
    static const double factors[] = {1, 2, 5};
    double unit = pow(10, floor(log10(scale / GRID_LINE_COUNT_MAX)));
    for (size_t i = 0; i < ARRAY_COUNT(factors); i++) {
        if (scale / (unit * factors[i]) <= GRID_LINE_COUNT_MAX) {
            return unit * factors[i];
        }
    }
    return unit * 10;
}

static void grid_draw(const struct panel *panel)
{
    double step = grid_step(panel->scale);
    for (uint32_t line = 0; line * step <= panel->scale; line++) {
        double y = panel_y(panel, line * step);
        svg_line_draw(panel->to, &(struct svg_line){.from_x = LEFT,
                                                    .from_y = y,
                                                    .to_x = LEFT + PLOT_WIDTH,
                                                    .to_y = y,
                                                    .width = 1,
                                                    .stroke = INK_GRID});
        svg_text_draw(panel->to,
                      &(struct svg_text){
                          .x = LEFT - 6, .y = y + 4, .size = 11, .anchor = "end", .fill = INK_PALE},
                      "%.4g %%", line * step * 100);
    }
}

/* ------------------------------------------------------------------ loads of nodes */

/* Load over due, by tokens or by keys; 0 for a node that is due none. */
static double ratio_of(const struct what_if_load *load, double key_replica_count)
{
    double part = key_replica_count > 0 ? (double)load->key_count / key_replica_count : load->share;
    return load->due > 0 ? part / load->due : 0;
}

static double key_replicas_of(const struct what_if_input *input, const struct what_if_step *step,
                              enum scheme scheme)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; input->keys->total > 0 && i < step->nodes.count; i++) {
        sum += step->results[scheme].loads[i].key_count;
    }
    return (double)sum;
}

static void node_bars_draw(const struct panel *panel, const struct what_if_step *step,
                           enum scheme scheme, double key_replica_count)
{
    uint32_t count = step->nodes.count;
    uint32_t bars = key_replica_count > 0 ? 2 : 1;
    double room = PLOT_WIDTH / count;
    double width = fmin(room * BAR_FILL / bars, BAR_WIDTH_MAX);
    uint32_t name_every = (uint32_t)ceil(NAME_SPACING / room);
    for (uint32_t i = 0; i < count; i++) {
        const struct what_if_load *load = &step->results[scheme].loads[i];
        double middle = LEFT + room * (i + 0.5);
        for (uint32_t bar = 0; bar < bars; bar++) {
            char tip[SVG_TEXT_SIZE_MAX];
            bool keys = bars == 1 ? false : bar == 1;
            double ratio = ratio_of(load, keys ? key_replica_count : 0);
            double y = panel_y(panel, ratio);
            (void)snprintf(tip, sizeof(tip), "node %" PRIu32 ": %.1f %% of its due %s",
                           step->nodes.nodes[i].id, ratio * 100, keys ? "of keys" : "by ranges");
            svg_rect_draw(panel->to,
                          &(struct svg_rect){.x = middle + width * (bar - bars / 2.0),
                                             .y = y,
                                             .width = width,
                                             .height = panel->bottom - y,
                                             .fill = keys || bars == 1 ? looks[scheme].full
                                                                       : looks[scheme].pale,
                                             .tip = tip});
        }
        if (i % name_every == 0) {
            char name[16];
            (void)snprintf(name, sizeof(name), "%" PRIu32, step->nodes.nodes[i].id);
            words_draw(panel, middle, panel->bottom + 14, "middle", name);
        }
    }
}

static void load_panel_draw(struct panel *panel, const struct what_if_input *input,
                            const struct what_if_step *step, enum scheme scheme)
{
    const struct what_if_result *result = &step->results[scheme];
    double key_replica_count = key_replicas_of(input, step, scheme);
    struct svg_text heading = {.x = LEFT,
                               .y = panel->top - 10,
                               .size = 13,
                               .anchor = "start",
                               .fill = looks[scheme].full,
                               .weight = "bold"};
    svg_text_draw(panel->to, &heading, "%s", looks[scheme].words);
    heading = (struct svg_text){
        .x = LEFT + PLOT_WIDTH, .y = panel->top - 10, .size = 12, .anchor = "end", .fill = INK};
    if (key_replica_count > 0) {
        svg_text_draw(panel->to, &heading,
                      "greatest over mean: ranges %.3f (pale), keys %.3f (full)",
                      result->ranges.max_over_mean, result->keys.max_over_mean);
    } else {
        svg_text_draw(panel->to, &heading, "greatest over mean: ranges %.3f",
                      result->ranges.max_over_mean);
    }
    grid_draw(panel);
    node_bars_draw(panel, step, scheme, key_replica_count);
    svg_line_draw(panel->to, &(struct svg_line){.from_x = LEFT,
                                                .from_y = panel_y(panel, 1),
                                                .to_x = LEFT + PLOT_WIDTH,
                                                .to_y = panel_y(panel, 1),
                                                .width = 1,
                                                .stroke = INK,
                                                .dashes = "5 3"});
}

static double load_scale(const struct what_if_step *step)
{
    double scale = SCALE_LEAST;
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        scale = fmax(scale, step->results[scheme].ranges.max_over_mean);
        scale = fmax(scale, step->results[scheme].keys.max_over_mean);
    }
    return scale;
}

/* ------------------------------------------------------------------ moves of steps */

const char *what_if_change_text(const struct what_if_change *change,
                                char text[WHAT_IF_CHANGE_TEXT_SIZE_MAX])
{
    if (change == NULL) {
        return "start";
    }
    switch (change->type) {
    case WHAT_IF_ADD:
        (void)snprintf(text, WHAT_IF_CHANGE_TEXT_SIZE_MAX, "add %" PRIu32, change->node.id);
        return text;
    case WHAT_IF_REMOVE:
        (void)snprintf(text, WHAT_IF_CHANGE_TEXT_SIZE_MAX, "remove %" PRIu32, change->node.id);
        return text;
    case WHAT_IF_WEIGHT:
        (void)snprintf(text, WHAT_IF_CHANGE_TEXT_SIZE_MAX, "weight %" PRIu32 " to %" PRIu32,
                       change->node.id, change->node.weight);
        return text;
    }
    UNREACHABLE("what_if_change_type");
}

static void moved_bar_draw(const struct panel *panel, const struct what_if_step *step,
                           enum scheme scheme, double x, double width)
{
    char change[WHAT_IF_CHANGE_TEXT_SIZE_MAX];
    char tip[SVG_TEXT_SIZE_MAX];
    const struct what_if_figures *figures = &step->results[scheme].ranges;
    double y = panel_y(panel, figures->moved);
    (void)snprintf(tip, sizeof(tip), "%s, %s: %.2f %% moved, at least %.2f %%",
                   what_if_change_text(step->change, change), scheme_name(scheme),
                   figures->moved * 100, figures->moved_least * 100);
    svg_rect_draw(panel->to, &(struct svg_rect){.x = x,
                                                .y = y,
                                                .width = width,
                                                .height = panel->bottom - y,
                                                .fill = looks[scheme].full,
                                                .tip = tip});
    svg_line_draw(panel->to, &(struct svg_line){.from_x = x,
                                                .from_y = panel_y(panel, figures->moved_least),
                                                .to_x = x + width,
                                                .to_y = panel_y(panel, figures->moved_least),
                                                .width = 2,
                                                .stroke = INK});
    if (width >= FIGURE_SPACING) {
        char figure[16];
        (void)snprintf(figure, sizeof(figure), "%.1f", figures->moved * 100);
        words_draw(panel, x + width / 2, y - 4, "middle", figure);
    }
}

static void moved_panel_draw(struct panel *panel, const struct what_if_input *input,
                             const struct what_if_step *steps)
{
    double room = PLOT_WIDTH / input->change_count;
    double width = fmin(room * BAR_FILL / SCHEME_COUNT, 2 * BAR_WIDTH_MAX);
    uint32_t name_every = (uint32_t)ceil(LABEL_SPACING / room);
    const struct svg_text heading = {.x = LEFT,
                                     .y = panel->top - 16,
                                     .size = 13,
                                     .anchor = "start",
                                     .fill = INK,
                                     .weight = "bold"};
    svg_text_draw(panel->to, &heading,
                  "Replicas moved in each step, of all (black line: the least that could be)");
    grid_draw(panel);
    for (uint32_t index = 0; index < input->change_count; index++) {
        const struct what_if_step *step = &steps[index + 1];
        char change[WHAT_IF_CHANGE_TEXT_SIZE_MAX];
        double middle = LEFT + room * (index + 0.5);
        for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
            moved_bar_draw(panel, step, (enum scheme)scheme,
                           middle + width * (scheme - SCHEME_COUNT / 2.0), width * BAR_FILL);
        }
        if (index % name_every == 0) {
            words_draw(panel, middle, panel->bottom + 16, "middle",
                       what_if_change_text(step->change, change));
        }
    }
}

static double moved_scale(const struct what_if_input *input, const struct what_if_step *steps)
{
    double scale = 0.01;
    for (uint32_t index = 1; index <= input->change_count; index++) {
        for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
            scale = fmax(scale, steps[index].results[scheme].ranges.moved);
        }
    }
    return scale * 1.1;
}

/* ------------------------------------------------------------------ the picture */

static void header_draw(struct buffer *to, const struct what_if_input *input,
                        const struct what_if_step *last)
{
    struct svg_text text = {
        .x = LEFT, .y = 32, .size = 18, .anchor = "start", .fill = INK, .weight = "bold"};
    svg_text_draw(to, &text, "Load of each node, in per cent of what it is due");
    text = (struct svg_text){.x = LEFT, .y = 54, .size = 12, .anchor = "start", .fill = INK_PALE};
    svg_text_draw(to, &text,
                  "After the last step: %" PRIu32 " nodes, %" PRIu32 " replicas of %" PRIu32
                  " ranges, %" PRIu64 " keys. Below the bars: ids of nodes.",
                  last->nodes.count, input->replica_count, input->range_count, input->keys->total);
}

void what_if_chart(struct buffer *to, const struct what_if_input *input,
                   const struct what_if_step *steps)
{
    const struct what_if_step *last = &steps[input->change_count];
    uint32_t height =
        HEADER_HEIGHT + SCHEME_COUNT * PANEL_HEIGHT + (input->change_count > 0 ? MOVED_HEIGHT : 0);
    svg_begin(to, WIDTH, height, "kvctl ring simulate: load of nodes and moves of steps");
    header_draw(to, input, last);
    for (uint32_t scheme = 0; scheme < SCHEME_COUNT; scheme++) {
        double top = HEADER_HEIGHT + scheme * PANEL_HEIGHT;
        struct panel panel = {.to = to,
                              .top = top + PLOT_TOP,
                              .bottom = top + PANEL_HEIGHT - PLOT_BOTTOM_SPACE,
                              .scale = load_scale(last)};
        load_panel_draw(&panel, input, last, (enum scheme)scheme);
    }
    if (input->change_count > 0) {
        double top = HEADER_HEIGHT + SCHEME_COUNT * PANEL_HEIGHT;
        struct panel panel = {.to = to,
                              .top = top + PLOT_TOP + 12,
                              .bottom = top + MOVED_HEIGHT - PLOT_BOTTOM_SPACE,
                              .scale = moved_scale(input, steps)};
        moved_panel_draw(&panel, input, steps);
    }
    svg_end(to);
}
