/* tools/whatif/svg.c -- elements of SVG, text escaped. */
#include "tools/whatif/svg.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static void escaped_append(struct buffer *to, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        switch (*at) {
        case '&':
            buffer_append_text(to, "&amp;");
            break;
        case '<':
            buffer_append_text(to, "&lt;");
            break;
        case '>':
            buffer_append_text(to, "&gt;");
            break;
        case '"':
            buffer_append_text(to, "&quot;");
            break;
        default:
            buffer_append(to, *at >= ' ' && *at <= '~' ? at : "?", 1);
        }
    }
}

void svg_begin(struct buffer *to, uint32_t width, uint32_t height, const char *title)
{
    buffer_append_format(to,
                         "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%" PRIu32
                         "\" height=\"%" PRIu32 "\" viewBox=\"0 0 %" PRIu32 " %" PRIu32
                         "\" role=\"img\" font-family=\"sans-serif\">\n<title>",
                         width, height, width, height);
    escaped_append(to, title);
    buffer_append_text(to, "</title>\n");
    svg_rect_draw(to, &(struct svg_rect){.width = width, .height = height, .fill = "#ffffff"});
}

void svg_end(struct buffer *to)
{
    buffer_append_text(to, "</svg>\n");
}

void svg_rect_draw(struct buffer *to, const struct svg_rect *rect)
{
    buffer_append_format(to,
                         "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"",
                         rect->x, rect->y, rect->width, rect->height, rect->fill);
    if (rect->tip == NULL) {
        buffer_append_text(to, "/>\n");
        return;
    }
    buffer_append_text(to, "><title>");
    escaped_append(to, rect->tip);
    buffer_append_text(to, "</title></rect>\n");
}

void svg_line_draw(struct buffer *to, const struct svg_line *line)
{
    buffer_append_format(to,
                         "<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"%s\" "
                         "stroke-width=\"%.2f\"",
                         line->from_x, line->from_y, line->to_x, line->to_y, line->stroke,
                         line->width);
    if (line->dashes != NULL) {
        buffer_append_format(to, " stroke-dasharray=\"%s\"", line->dashes);
    }
    buffer_append_text(to, "/>\n");
}

void svg_text_draw(struct buffer *to, const struct svg_text *text, const char *format, ...)
{
    char content[SVG_TEXT_SIZE_MAX];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(content, sizeof(content), format, list);
    va_end(list);
    buffer_append_format(
        to, "<text x=\"%.2f\" y=\"%.2f\" font-size=\"%.1f\" text-anchor=\"%s\" fill=\"%s\"",
        text->x, text->y, text->size, text->anchor, text->fill);
    if (text->weight != NULL) {
        buffer_append_format(to, " font-weight=\"%s\"", text->weight);
    }
    buffer_append_text(to, ">");
    escaped_append(to, content);
    buffer_append_text(to, "</text>\n");
}
