/*
 * tools/whatif/svg.h -- a picture as SVG, in one file that needs no other.
 *
 * Contract: what comes out is well-formed whatever text goes in: markup is escaped, and bytes that
 * are no printable ASCII become '?'. No styles, scripts or fonts from elsewhere.
 */
#ifndef TOOLS_WHATIF_SVG_H
#define TOOLS_WHATIF_SVG_H

#include <stdint.h>

#include "base/buffer.h"

#define SVG_TEXT_SIZE_MAX 256

/* Lengths are in pixels, from the upper left corner. */
struct svg_rect {
    double x;
    double y;
    double width;
    double height;
    const char *fill; /* A colour. */
    const char *tip;  /* Shown when pointed at; NULL: none. */
};

struct svg_line {
    double from_x;
    double from_y;
    double to_x;
    double to_y;
    double width;
    const char *stroke;
    const char *dashes; /* As stroke-dasharray; NULL: solid. */
};

struct svg_text {
    double x;
    double y; /* Of the base line. */
    double size;
    const char *anchor; /* "start", "middle" or "end". */
    const char *fill;
    const char *weight; /* NULL: normal. */
};

/* The picture is appended to a buffer, whose sticky failure its owner checks. */
void svg_begin(struct buffer *to, uint32_t width, uint32_t height, const char *title);
void svg_end(struct buffer *to);
void svg_rect_draw(struct buffer *to, const struct svg_rect *rect);
void svg_line_draw(struct buffer *to, const struct svg_line *line);
/* At most SVG_TEXT_SIZE_MAX bytes of it, the terminator included. */
void svg_text_draw(struct buffer *to, const struct svg_text *text, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
