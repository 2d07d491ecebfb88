/* tests/unit/test_svg.c -- what text may not do to a picture. */
#include <string.h>

#include <criterion/criterion.h>

#include "tools/whatif/svg.h"

static const struct svg_text place = {
    .x = 1, .y = 2.5, .size = 11, .anchor = "start", .fill = "#000000"};

static const char *drawn(struct buffer *to)
{
    buffer_append(to, "", 1);
    cr_assert_eq(buffer_status(to), STATUS_OK);
    return (const char *)to->data;
}

Test(svg, markup_in_text_is_escaped)
{
    struct buffer to = {0};
    svg_text_draw(&to, &place, "%s", "a<b>&\"c\"");
    cr_assert_str_eq(drawn(&to), "<text x=\"1.00\" y=\"2.50\" font-size=\"11.0\" "
                                 "text-anchor=\"start\" fill=\"#000000\">"
                                 "a&lt;b&gt;&amp;&quot;c&quot;</text>\n");
    buffer_deinit(&to);
}

Test(svg, bytes_that_are_not_printable_become_question_marks)
{
    struct buffer to = {0};
    svg_rect_draw(&to, &(struct svg_rect){.fill = "#fff", .tip = "\x01\xff\x7f~"});
    cr_assert_not_null(strstr(drawn(&to), "<title>???~</title></rect>"));
    buffer_deinit(&to);
}

Test(svg, long_text_is_cut)
{
    char text[2 * SVG_TEXT_SIZE_MAX];
    struct buffer to = {0};
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    svg_text_draw(&to, &place, "%s", text);
    const char *content = strchr(drawn(&to), 'x');
    content = strstr(content, ">x") + 1;
    cr_assert_eq(strspn(content, "x"), SVG_TEXT_SIZE_MAX - 1);
    buffer_deinit(&to);
}
