/*
 * node/admin_uv.c -- HTTP over libwebsockets, on a thread of its own.
 *
 * Invariants:
 *  (1) A page belongs to the HTTP thread, except from env_uv_post until it is in `ready`, when it
 *      is the loop's. `wsi` is read and written by the HTTP thread alone.
 *  (2) A connection has at most one page on its way; when it closes first, its page loses its wsi
 *      and is freed when it comes back.
 */
#include "node/admin_uv.h"

#include <libwebsockets.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/env_uv.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/mutex.h"
#include "node/node.h"
#include "node/report.h"

#define BEAT_MS 250   /* How often the loop shows that it turns. */
#define STUCK_MS 5000 /* Without a beat for so long, /livez says 503. */
#define HEADERS_SIZE_MAX 1024
#define PAGE_COUNT_MAX 64 /* On their way at a time; more are told 503. */

struct page {
    struct env_uv_post post;
    struct list_node node; /* In `ready`. */
    struct admin *admin;
    struct lws *wsi; /* NULL: the connection has closed. */
    void (*write)(const struct node *node, struct buffer *to); /* NULL: readyz. */
    const char *type;
    unsigned status;
    struct buffer body;
};

/* What libwebsockets keeps per connection. */
struct connection {
    struct page *page;
    bool ready; /* The page is back and may be written. */
};

struct admin {
    struct env *env;
    struct node *node;
    struct lws_context *context;
    pthread_t thread;
    bool thread_started;
    atomic_bool stopping;
    atomic_uint_fast64_t beat_ms; /* Monotonic time of the loop's last beat. */
    struct env_timer beat;
    struct mutex mutex; /* Holds `ready`. */
    struct list_node ready;
    unsigned page_count; /* The HTTP thread's. */
    char host[ADDRESS_HOST_SIZE_MAX];
};

static const char text_type[] = "text/plain; charset=utf-8";
static const char json_type[] = "application/json";
static const char metrics_type[] = "text/plain; version=0.0.4; charset=utf-8";

static void page_free(struct page *page)
{
    page->admin->page_count--;
    buffer_deinit(&page->body);
    memory_free(page);
}

/* ------------------------------------------------------------------ on the node's loop */

static void page_make(struct env_uv_post *post)
{
    struct page *page = container_of(post, struct page, post);
    struct admin *admin = page->admin;
    if (!atomic_load(&admin->stopping)) {
        if (page->write != NULL) {
            page->write(admin->node, &page->body);
        } else {
            bool read_only = node_read_only(admin->node);
            page->status = node_state(admin->node) == NODE_SERVING && !read_only
                               ? HTTP_STATUS_OK
                               : HTTP_STATUS_SERVICE_UNAVAILABLE;
            buffer_append_format(&page->body, "%s%s\n", report_state_name(admin->node),
                                 read_only ? " read-only" : "");
        }
    }
    mutex_lock(&admin->mutex);
    list_append(&admin->ready, &page->node);
    mutex_unlock(&admin->mutex);
    if (!atomic_load(&admin->stopping)) {
        lws_cancel_service(admin->context);
    }
}

static void beat_fired(struct env_timer *timer)
{
    struct admin *admin = container_of(timer, struct admin, beat);
    atomic_store(&admin->beat_ms, env_monotonic_ms(admin->env));
    env_timer_start_ms(admin->env, timer, BEAT_MS);
}

/* ------------------------------------------------------------------ on the HTTP thread */

static int answer_send(struct lws *wsi, unsigned status, const char *type, struct slice body)
{
    unsigned char headers[LWS_PRE + HEADERS_SIZE_MAX];
    unsigned char *start = headers + LWS_PRE;
    unsigned char *at = start;
    unsigned char *end = headers + sizeof(headers) - 1;
    if (lws_add_http_common_headers(wsi, status, type, body.size, &at, end) != 0 ||
        lws_finalize_write_http_header(wsi, start, &at, end) != 0) {
        return -1;
    }
    unsigned char *room = memory_allocate(LWS_PRE + body.size + 1);
    if (room == NULL) {
        return -1;
    }
    if (body.size > 0) {
        memcpy(room + LWS_PRE, body.data, body.size);
    }
    int written = lws_write(wsi, room + LWS_PRE, body.size, LWS_WRITE_HTTP_FINAL);
    memory_free(room);
    return written < 0 || lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

static int page_begin(struct admin *admin, struct lws *wsi, struct connection *connection,
                      const char *type, void (*write)(const struct node *node, struct buffer *to))
{
    static const char busy[] = "too many pages on their way\n";
    struct page *page = NULL;
    if (connection->page == NULL && admin->page_count < PAGE_COUNT_MAX) {
        page = memory_allocate_zeroed(1, sizeof(*page));
    }
    if (page == NULL) {
        return answer_send(wsi, HTTP_STATUS_SERVICE_UNAVAILABLE, text_type, slice_text(busy));
    }
    admin->page_count++;
    page->admin = admin;
    page->wsi = wsi;
    page->write = write;
    page->type = type;
    page->status = HTTP_STATUS_OK;
    page->post.run = page_make;
    connection->page = page;
    connection->ready = false;
    env_uv_post(admin->env, &page->post);
    return 0;
}

static int livez(struct admin *admin, struct lws *wsi)
{
    uint64_t beat_ms = atomic_load(&admin->beat_ms);
    uint64_t now_ms = env_monotonic_ms(admin->env);
    bool turns = now_ms < beat_ms + STUCK_MS;
    return answer_send(wsi, turns ? HTTP_STATUS_OK : HTTP_STATUS_SERVICE_UNAVAILABLE, text_type,
                       slice_text(turns ? "ok\n" : "the node's loop is stuck\n"));
}

static int request_answer(struct admin *admin, struct lws *wsi, struct connection *connection,
                          const char *path)
{
    static const char pages[] =
        "no such page; there are /livez /readyz /metrics /ring.json /status.json "
        "/autoscale\n";
    if (strcmp(path, "/livez") == 0) {
        return livez(admin, wsi);
    }
    if (strcmp(path, "/readyz") == 0) {
        return page_begin(admin, wsi, connection, text_type, NULL);
    }
    if (strcmp(path, "/metrics") == 0) {
        return page_begin(admin, wsi, connection, metrics_type, report_metrics);
    }
    if (strcmp(path, "/ring.json") == 0) {
        return page_begin(admin, wsi, connection, json_type, report_ring);
    }
    if (strcmp(path, "/status.json") == 0) {
        return page_begin(admin, wsi, connection, json_type, report_status);
    }
    if (strcmp(path, "/autoscale") == 0) {
        return page_begin(admin, wsi, connection, json_type, report_autoscale);
    }
    return answer_send(wsi, HTTP_STATUS_NOT_FOUND, text_type, slice_text(pages));
}

static int page_send(struct lws *wsi, struct connection *connection)
{
    struct page *page = connection->page;
    if (page == NULL || !connection->ready) {
        return 0;
    }
    connection->page = NULL;
    connection->ready = false;
    unsigned status = page->status;
    if (buffer_status(&page->body) != STATUS_OK) {
        buffer_deinit(&page->body);
        status = HTTP_STATUS_SERVICE_UNAVAILABLE;
    }
    int result = answer_send(wsi, status, page->type, buffer_slice(&page->body));
    page_free(page);
    return result;
}

static void pages_collect(struct admin *admin)
{
    for (;;) {
        mutex_lock(&admin->mutex);
        struct list_node *node = list_take_first(&admin->ready);
        mutex_unlock(&admin->mutex);
        if (node == NULL) {
            return;
        }
        struct page *page = container_of(node, struct page, node);
        if (page->wsi == NULL) {
            page_free(page);
            continue;
        }
        struct connection *connection = lws_wsi_user(page->wsi);
        connection->ready = true;
        lws_callback_on_writable(page->wsi);
    }
}

static void connection_closed(struct connection *connection)
{
    struct page *page = connection->page;
    if (page == NULL) {
        return;
    }
    connection->page = NULL;
    page->wsi = NULL;
    if (connection->ready) {
        page_free(page);
    }
}

static int http_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                      size_t size)
{
    (void)size;
    struct admin *admin = lws_context_user(lws_get_context(wsi));
    struct connection *connection = user;
    switch ((int)reason) {
    case LWS_CALLBACK_HTTP:
        return request_answer(admin, wsi, connection, in);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return page_send(wsi, connection);
    case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
        pages_collect(admin);
        return 0;
    case LWS_CALLBACK_CLOSED_HTTP:
        if (connection != NULL) {
            connection_closed(connection);
        }
        return 0;
    default:
        return 0;
    }
}

static void *http_thread(void *argument)
{
    struct admin *admin = argument;
    while (!atomic_load(&admin->stopping)) {
        if (lws_service(admin->context, 0) < 0) {
            break;
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------ life */

static const struct lws_protocols protocols[] = {
    {.name = "http", .callback = http_event, .per_session_data_size = sizeof(struct connection)},
    {0},
};

static enum status context_open(struct admin *admin, const char *text)
{
    struct address address;
    enum status status = address_parse(text, &address);
    if (status != STATUS_OK) {
        return status;
    }
    (void)snprintf(admin->host, sizeof(admin->host), "%s",
                   strcmp(address.host, "localhost") == 0 ? "127.0.0.1" : address.host);
    lws_set_log_level(0, NULL);
    struct lws_context_creation_info info = {
        .port = address.port,
        .iface = admin->host,
        .protocols = protocols,
        .user = admin,
        .count_threads = 1,
        .gid = -1,
        .uid = -1,
        .options = LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND,
    };
    /* With IPv6 allowed, libwebsockets takes an IPv4 address for "every address". */
    if (strchr(admin->host, ':') == NULL) {
        info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
    }
    admin->context = lws_create_context(&info);
    return admin->context == NULL ? STATUS_EXISTS : STATUS_OK;
}

enum status admin_open(struct env *env, struct node *node, const char *address, struct admin **out)
{
    struct admin *admin = memory_allocate_zeroed(1, sizeof(*admin));
    if (admin == NULL) {
        return STATUS_NO_MEMORY;
    }
    admin->env = env;
    admin->node = node;
    mutex_init(&admin->mutex);
    list_init(&admin->ready);
    admin->beat.fired = beat_fired;
    enum status status = context_open(admin, address);
    if (status == STATUS_OK) {
        beat_fired(&admin->beat);
        admin->thread_started = pthread_create(&admin->thread, NULL, http_thread, admin) == 0;
        status = admin->thread_started ? STATUS_OK : STATUS_NO_MEMORY;
    }
    if (status != STATUS_OK) {
        admin_stop(admin);
        admin_close(admin);
        return status;
    }
    *out = admin;
    return STATUS_OK;
}

void admin_stop(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    atomic_store(&admin->stopping, true);
    admin->env->ops->timer_stop(admin->env, &admin->beat);
    if (admin->thread_started) {
        lws_cancel_service(admin->context);
        int rc = pthread_join(admin->thread, NULL);
        ASSERT(rc == 0);
    }
    if (admin->context != NULL) {
        lws_context_destroy(admin->context);
    }
}

void admin_close(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    struct list_node *node;
    while ((node = list_take_first(&admin->ready)) != NULL) {
        page_free(container_of(node, struct page, node));
    }
    ASSERT(admin->page_count == 0);
    mutex_deinit(&admin->mutex);
    memory_free(admin);
}
