/*
 * tests/unit/test_catchup.c -- nodes that are behind are told what they lack, and no more.
 *
 * Two sides, a teacher and a learner. This file stands in for peers.c: what the learner asks waits
 * until the test has it answered.
 */
#include "node/catchup.h"
#include "node/message.h"
#include "tests/unit/topology_fixture.h"

struct side {
    struct env env;
    struct topology current;
    struct catchup catchup;
    uint32_t passed_count;
    uint64_t passed_epoch;
};

static struct side teacher;
static struct side learner;
static struct fixture cluster;
static struct peer_request *asked; /* NULL: nothing is under way. */
static struct buffer question;
static uint8_t form;          /* Of the last answer: its first byte. */
static uint32_t next_request; /* Numbers of commands. */

/* ------------------------------------------------------------------ what stands in */

enum status peers_request(struct peers *peers, struct peer_request *request, struct slice payload)
{
    (void)peers;
    cr_assert_null(asked);
    asked = request;
    request->id = 1;
    buffer_clear(&question);
    buffer_append_slice(&question, payload);
    return STATUS_OK;
}

void peers_cancel(struct peers *peers, struct peer_request *request)
{
    (void)peers;
    if (request->id != 0) {
        request->id = 0;
        asked = NULL;
    }
}

static uint64_t no_time(struct env *env)
{
    (void)env;
    return 0;
}

static void no_log(struct env *env, enum log_level level, struct slice line)
{
    (void)env;
    (void)level;
    (void)line;
}

static const struct env_ops ops = {.monotonic_ns = no_time, .log_write = no_log};

static enum status learned(void *context, struct topology *topology)
{
    struct side *side = context;
    cr_assert_gt(topology->stamp.epoch, side->current.stamp.epoch);
    topology_deinit(&side->current);
    side->current = *topology;
    topology_init(topology);
    return STATUS_OK;
}

static void passed(void *context, struct slice command, uint64_t epoch)
{
    struct side *side = context;
    cr_assert_gt(command.size, 0);
    cr_assert_gt(epoch, side->passed_epoch);
    side->passed_epoch = epoch;
    side->passed_count++;
}

static const struct catchup_events events = {.learned = learned, .passed = passed};

/* ------------------------------------------------------------------ the two sides */

static void side_init(struct side *side)
{
    *side = (struct side){.env = {.ops = &ops}};
    topology_init(&side->current);
    side->catchup = (struct catchup){
        .env = &side->env, .current = &side->current, .events = &events, .context = side};
    catchup_start(&side->catchup, NULL);
}

static void side_deinit(struct side *side)
{
    catchup_stop(&side->catchup);
    catchup_deinit(&side->catchup);
    topology_deinit(&side->current);
}

/* A command is accepted at this side, as by its Raft group. */
static void accept(struct side *side, const struct topology_command *command)
{
    struct buffer bytes = {0};
    struct topology_stamp before = side->current.stamp;
    const char *reason = "";
    topology_command_encode(&bytes, command);
    cr_assert_eq(topology_apply(&side->current, buffer_slice(&bytes), &reason), STATUS_OK, "%s",
                 reason);
    catchup_keep(&side->catchup, &before, &side->current.stamp, buffer_slice(&bytes));
    buffer_deinit(&bytes);
}

/* Member 1 gives itself another address: `count` times. */
static void move_on(struct side *side, uint32_t count)
{
    for (uint32_t index = 0; index < count; index++) {
        struct topology_command command = {.type = TOPOLOGY_MEMBER_UPDATE,
                                           .request_id = ++next_request,
                                           .member = *topology_member_find(&side->current, 1)};
        (void)snprintf(command.member.peer_address, sizeof(command.member.peer_address),
                       "moved-%u:7401", next_request);
        accept(side, &command);
    }
}

static void both_open(void)
{
    side_init(&teacher);
    side_init(&learner);
    fixture_init(&cluster);
    accept(&teacher, &cluster.bootstrap);
    accept(&learner, &cluster.bootstrap);
}

static void both_close(void)
{
    side_deinit(&teacher);
    side_deinit(&learner);
    buffer_deinit(&question);
}

/* The question under way is answered by the teacher as it is now. */
static void answer(void)
{
    cr_assert_not_null(asked);
    struct peer_request *request = asked;
    struct buffer payload = {0};
    cr_assert_eq(catchup_answer(&teacher.catchup, buffer_slice(&question), &payload), STATUS_OK);
    struct frame reply = {.type = FRAME_TOPOLOGY,
                          .flags = FRAME_FLAG_REPLY,
                          .stamp = teacher.current.stamp,
                          .payload = buffer_slice(&payload)};
    form = payload.data[0];
    asked = NULL;
    request->id = 0;
    request->done(request, STATUS_OK, &reply);
    buffer_deinit(&payload);
}

static void ask(void)
{
    catchup_ask(&learner.catchup, 1);
    answer();
}

static void expect_equal(void)
{
    cr_assert_eq(learner.current.stamp.epoch, teacher.current.stamp.epoch);
    cr_assert_eq(learner.current.stamp.hash, teacher.current.stamp.hash);
    struct buffer ours = {0};
    struct buffer theirs = {0};
    topology_encode(&ours, &learner.current);
    topology_encode(&theirs, &teacher.current);
    cr_assert(slice_equal(buffer_slice(&ours), buffer_slice(&theirs)));
    buffer_deinit(&ours);
    buffer_deinit(&theirs);
}

#define WHOLE 1
#define COMMANDS 2

/* ------------------------------------------------------------------ tests */

Test(catchup, who_lacks_little_is_told_the_commands)
{
    both_open();
    move_on(&teacher, 3);
    ask();
    cr_assert_eq(form, COMMANDS);
    expect_equal();
    cr_assert_eq(learner.passed_count, 3);
    cr_assert_eq(learner.passed_epoch, teacher.current.stamp.epoch);
    both_close();
}

Test(catchup, who_learned_from_commands_can_pass_them_on)
{
    both_open();
    move_on(&teacher, 2);
    struct topology_stamp before = learner.current.stamp;
    ask();
    struct buffer commands = {0};
    cr_assert(
        chronicle_between(&learner.catchup.chronicle, &before, &learner.current.stamp, &commands));
    buffer_deinit(&commands);
    both_close();
}

Test(catchup, who_lacks_more_than_is_kept_is_told_the_whole)
{
    both_open();
    move_on(&teacher, CHRONICLE_COUNT_MAX);
    ask();
    cr_assert_eq(form, COMMANDS);
    expect_equal();
    move_on(&teacher, CHRONICLE_COUNT_MAX + 1);
    ask();
    cr_assert_eq(form, WHOLE);
    expect_equal();
    both_close();
}

Test(catchup, who_has_nothing_is_told_the_whole)
{
    both_open();
    side_deinit(&learner);
    side_init(&learner);
    move_on(&teacher, 1);
    ask();
    cr_assert_eq(form, WHOLE);
    expect_equal();
    both_close();
}

/* A snapshot leaves no commands: what is kept from before it leads nowhere. */
Test(catchup, a_teacher_that_jumped_tells_the_whole)
{
    both_open();
    struct side third;
    side_init(&third);
    accept(&third, &cluster.bootstrap);
    uint32_t same = next_request;
    move_on(&third, 5);
    next_request = same;
    move_on(&teacher, 2);
    cr_assert_eq(topology_copy(&teacher.current, &third.current), STATUS_OK);
    ask();
    cr_assert_eq(form, WHOLE);
    expect_equal();
    move_on(&teacher, 1);
    ask();
    cr_assert_eq(form, COMMANDS);
    expect_equal();
    side_deinit(&third);
    both_close();
}

Test(catchup, a_learner_that_moved_on_meanwhile_takes_the_rest)
{
    both_open();
    catchup_ask(&learner.catchup, 1);
    uint32_t same = next_request;
    move_on(&teacher, 4);
    next_request = same;
    move_on(&learner, 2); /* The same commands came another way. */
    answer();
    cr_assert_eq(form, COMMANDS);
    expect_equal();
    cr_assert_eq(learner.passed_count, 2);
    both_close();
}

Test(catchup, a_learner_that_is_ahead_by_then_takes_nothing)
{
    both_open();
    catchup_ask(&learner.catchup, 1);
    uint32_t same = next_request;
    move_on(&teacher, 1);
    next_request = same;
    move_on(&learner, 2);
    uint64_t epoch = learner.current.stamp.epoch;
    answer();
    cr_assert_eq(learner.current.stamp.epoch, epoch);
    cr_assert_eq(learner.passed_count, 0);
    both_close();
}

/* Commands that lead elsewhere are not adopted, and the whole is asked for next. */
Test(catchup, another_history_is_noticed_by_its_hash)
{
    both_open();
    catchup_ask(&learner.catchup, 1);
    move_on(&learner, 1);
    move_on(&teacher, 2); /* Other commands than the learner's. */
    struct topology_stamp before = learner.current.stamp;
    answer();
    cr_assert_eq(form, COMMANDS);
    cr_assert(chronicle_same_stamp(&learner.current.stamp, &before));
    cr_assert_eq(learner.passed_count, 0);
    ask();
    cr_assert_eq(form, WHOLE);
    expect_equal();
    both_close();
}

Test(catchup, one_question_at_a_time)
{
    both_open();
    move_on(&teacher, 1);
    catchup_ask(&learner.catchup, 1);
    catchup_ask(&learner.catchup, 2); /* peers_request would refuse a second. */
    answer();
    expect_equal();
    both_close();
}

Test(catchup, a_malformed_question_is_refused)
{
    both_open();
    struct buffer to = {0};
    const uint8_t bytes[29] = {0};
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        enum status status = catchup_answer(&teacher.catchup, slice_make(bytes, size), &to);
        cr_assert_eq(status, size == 28 ? STATUS_OK : STATUS_CORRUPT, "%zu bytes", size);
    }
    buffer_deinit(&to);
    both_close();
}
