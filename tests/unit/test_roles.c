/* node/roles.c: the steps it asks for are taken on a model of the group until there is none left.
 */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/prng.h"
#include "node/roles.h"

#define MEMBER_COUNT_MAX 12
#define STEP_COUNT_MAX 60

struct fixture {
    struct topology topology;
    struct topology_member members[MEMBER_COUNT_MAX];
    struct group_configuration configuration;
    uint64_t silent_ms[MEMBER_COUNT_MAX + 1];
    uint32_t self;
    uint32_t step_count;
    uint32_t transfer_count;
    uint32_t voter_count_min;
    uint32_t voter_count_max;
};

static uint64_t silent_ms(void *context, uint32_t id)
{
    const struct fixture *fixture = context;
    return id <= MEMBER_COUNT_MAX ? fixture->silent_ms[id] : UINT64_MAX;
}

static struct roles_view view_of(struct fixture *fixture)
{
    return (struct roles_view){.topology = &fixture->topology,
                               .configuration = &fixture->configuration,
                               .self = fixture->self,
                               .silent_ms = silent_ms,
                               .context = fixture,
                               .led_ms = 100000,
                               .answer_ms = 2000,
                               .patience_ms = 60000};
}

/* Members 1 to `count`, of which the first `voter_count` vote; the first one leads. `zones` gives a
 * letter for each; "" puts all in one. */
static void fixture_init(struct fixture *fixture, uint32_t count, uint32_t voter_count,
                         const char *zones)
{
    *fixture = (struct fixture){.self = 1};
    fixture->topology =
        (struct topology){.cluster_id = 1, .member_count = count, .members = fixture->members};
    for (uint32_t i = 0; i < count; i++) {
        struct topology_member *member = &fixture->members[i];
        *member = (struct topology_member){.id = i + 1, .weight = 1, .state = TOPOLOGY_ACTIVE};
        (void)snprintf(member->zone, sizeof member->zone, "%c", zones[0] == 0 ? 'a' : zones[i]);
    }
    fixture->configuration.committed = true;
    for (uint32_t id = 1; id <= voter_count; id++) {
        fixture->configuration.servers[fixture->configuration.server_count++] =
            (struct group_server){.id = id, .duty = GROUP_VOTER};
    }
}

static struct group_server *server_of(struct fixture *fixture, uint32_t id)
{
    for (uint32_t i = 0; i < fixture->configuration.server_count; i++) {
        if (fixture->configuration.servers[i].id == id) {
            return &fixture->configuration.servers[i];
        }
    }
    return NULL;
}

static uint32_t count_of(const struct fixture *fixture, enum group_duty duty)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < fixture->configuration.server_count; i++) {
        count += fixture->configuration.servers[i].duty == duty ? 1 : 0;
    }
    return count;
}

/* As the group would: what it refuses must not be asked for. */
static void step_take(struct fixture *fixture, const struct group_change *change)
{
    struct group_configuration *configuration = &fixture->configuration;
    struct group_server *server = server_of(fixture, change->id);
    cr_assert_neq(change->id, fixture->self, "a change of the leader itself");
    switch (change->kind) {
    case GROUP_ADD:
        cr_assert(server == NULL || server->duty == GROUP_SPARE);
        if (server == NULL) {
            cr_assert_lt(configuration->server_count, GROUP_SERVER_COUNT_MAX);
            server = &configuration->servers[configuration->server_count++];
        }
        *server = (struct group_server){.id = change->id, .duty = GROUP_STANDBY};
        break;
    case GROUP_PROMOTE:
        cr_assert_eq(server->duty, GROUP_STANDBY);
        server->duty = GROUP_VOTER;
        break;
    case GROUP_DEMOTE:
        cr_assert_eq(server->duty, GROUP_VOTER);
        server->duty = GROUP_STANDBY;
        break;
    case GROUP_REMOVE:
        cr_assert_neq(server->duty, GROUP_VOTER);
        *server = configuration->servers[--configuration->server_count];
        break;
    case GROUP_TRANSFER:
        cr_assert_eq(server->duty, GROUP_VOTER);
        fixture->self = change->id;
        fixture->transfer_count++;
        break;
    }
}

static void settle(struct fixture *fixture)
{
    fixture->voter_count_min = UINT32_MAX;
    fixture->voter_count_max = 0;
    for (fixture->step_count = 0;; fixture->step_count++) {
        uint32_t voter_count = count_of(fixture, GROUP_VOTER);
        if (voter_count < fixture->voter_count_min) {
            fixture->voter_count_min = voter_count;
        }
        if (voter_count > fixture->voter_count_max) {
            fixture->voter_count_max = voter_count;
        }
        struct group_change change = {0};
        struct roles_view view = view_of(fixture);
        if (!roles_next(&view, &change)) {
            return;
        }
        cr_assert_lt(fixture->step_count, STEP_COUNT_MAX, "it comes to no end");
        step_take(fixture, &change);
    }
}

static bool votes(struct fixture *fixture, uint32_t id)
{
    struct group_server *server = server_of(fixture, id);
    return server != NULL && server->duty == GROUP_VOTER;
}

Test(roles, one_three_or_five_vote_and_two_stand_by)
{
    static const struct {
        uint32_t members, voters, standbys;
    } cases[] = {{1, 1, 0}, {2, 1, 1}, {3, 3, 0}, {4, 3, 1}, {5, 5, 0}, {6, 5, 1}, {9, 5, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture fixture;
        fixture_init(&fixture, cases[i].members, 1, "");
        settle(&fixture);
        cr_assert_eq(count_of(&fixture, GROUP_VOTER), cases[i].voters, "%u members",
                     cases[i].members);
        cr_assert_eq(count_of(&fixture, GROUP_STANDBY), cases[i].standbys, "%u members",
                     cases[i].members);
        cr_assert_eq(fixture.transfer_count, 0);
    }
}

Test(roles, nothing_is_asked_for_when_all_is_as_wanted)
{
    struct fixture fixture;
    fixture_init(&fixture, 9, 5, "");
    settle(&fixture);
    settle(&fixture);
    cr_assert_eq(fixture.step_count, 0);
}

Test(roles, nothing_is_asked_for_while_a_configuration_is_not_committed)
{
    struct fixture fixture;
    fixture_init(&fixture, 9, 1, "");
    fixture.configuration.committed = false;
    settle(&fixture);
    cr_assert_eq(fixture.step_count, 0);
}

Test(roles, who_is_lost_or_leaves_is_replaced_and_then_goes)
{
    for (int lost = 0; lost < 2; lost++) {
        struct fixture fixture;
        fixture_init(&fixture, 4, 3, "");
        settle(&fixture);
        fixture.members[2].state = TOPOLOGY_LEAVING;
        fixture.members[2].lost = lost == 1;
        fixture.silent_ms[3] = lost == 1 ? 9000 : 0;
        settle(&fixture);
        cr_assert(votes(&fixture, 4));
        cr_assert_null(server_of(&fixture, 3));
        cr_assert_eq(fixture.voter_count_min, 3, "a voter went before another came");
        cr_assert_eq(fixture.voter_count_max, 4);
    }
}

Test(roles, a_leader_that_leaves_hands_over_last)
{
    struct fixture fixture;
    fixture_init(&fixture, 5, 3, "");
    fixture.members[0].state = TOPOLOGY_LEAVING;
    settle(&fixture);
    cr_assert_eq(fixture.transfer_count, 1);
    cr_assert_neq(fixture.self, 1);
    cr_assert_null(server_of(&fixture, 1));
    cr_assert_eq(count_of(&fixture, GROUP_VOTER), 3);
}

Test(roles, silence_replaces_a_voter_after_its_time_if_another_answers)
{
    struct fixture fixture;
    fixture_init(&fixture, 4, 3, "");
    settle(&fixture);
    fixture.silent_ms[2] = 59000;
    settle(&fixture);
    cr_assert(votes(&fixture, 2), "too soon");
    fixture.silent_ms[2] = 60000;
    fixture.silent_ms[4] = 5000;
    settle(&fixture);
    cr_assert(votes(&fixture, 2), "nobody is there instead");
    fixture.silent_ms[4] = 0;
    settle(&fixture);
    cr_assert_not(votes(&fixture, 2));
    cr_assert(votes(&fixture, 4));
    cr_assert_not_null(server_of(&fixture, 2), "it may stand by when it is back");
}

Test(roles, voters_are_spread_over_zones)
{
    struct fixture fixture;
    fixture_init(&fixture, 9, 3, "aaabbbccc");
    settle(&fixture);
    uint32_t of_zone[3] = {0};
    for (uint32_t id = 1; id <= 9; id++) {
        of_zone[(id - 1) / 3] += votes(&fixture, id) ? 1 : 0;
    }
    for (int zone = 0; zone < 3; zone++) {
        cr_assert_geq(of_zone[zone], 1);
        cr_assert_leq(of_zone[zone], 2);
    }
    cr_assert(votes(&fixture, 1), "the leader is not moved for that");
}

Test(roles, a_server_that_is_no_member_goes)
{
    struct fixture fixture;
    fixture_init(&fixture, 3, 3, "");
    fixture.configuration.servers[3] = (struct group_server){.id = 40, .duty = GROUP_VOTER};
    fixture.configuration.servers[4] = (struct group_server){.id = 41, .duty = GROUP_SPARE};
    fixture.configuration.server_count = 5;
    settle(&fixture);
    cr_assert_eq(fixture.configuration.server_count, 3);
    cr_assert_null(server_of(&fixture, 40));
}

Test(roles, an_addition_that_was_cut_short_is_completed)
{
    struct fixture fixture;
    fixture_init(&fixture, 4, 3, "");
    fixture.configuration.servers[3] = (struct group_server){.id = 4, .duty = GROUP_SPARE};
    fixture.configuration.server_count = 4;
    settle(&fixture);
    cr_assert_eq(server_of(&fixture, 4)->duty, GROUP_STANDBY);
}

/* Any members, zones, states and silences: it ends, no one unfit votes while a fit one that answers
 * does not, and the voters never fall below what there was or is wanted, whoever answers. */
Test(roles, whatever_there_is_it_comes_to_an_end)
{
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct fixture fixture;
        char zones[MEMBER_COUNT_MAX];
        for (size_t i = 0; i < MEMBER_COUNT_MAX; i++) {
            zones[i] = (char)('a' + prng_below(&prng, 3));
        }
        uint32_t count = 1 + (uint32_t)prng_below(&prng, MEMBER_COUNT_MAX);
        uint32_t voter_count = 1 + (uint32_t)prng_below(&prng, count < 5 ? count : 5);
        fixture_init(&fixture, count, voter_count, zones);
        uint32_t active_count = 0;
        bool spare_voters = false;
        for (uint32_t i = 0; i < count; i++) {
            static const uint64_t silences[] = {0, 0, 0, 5000, 70000};
            static const enum topology_member_state states[] = {TOPOLOGY_ACTIVE, TOPOLOGY_ACTIVE,
                                                                TOPOLOGY_ACTIVE, TOPOLOGY_JOINING,
                                                                TOPOLOGY_LEAVING};
            fixture.members[i].state = states[prng_below(&prng, 5)];
            fixture.silent_ms[i + 1] = i == 0 ? 0 : silences[prng_below(&prng, 5)];
            bool active = fixture.members[i].state == TOPOLOGY_ACTIVE;
            active_count += active ? 1 : 0;
        }
        settle(&fixture);
        uint32_t wanted = active_count >= 5 ? 5 : active_count >= 3 ? 3 : 1;
        uint32_t least = voter_count < wanted ? voter_count : wanted;
        for (uint32_t i = 0; i < count; i++) {
            bool fit = fixture.members[i].state == TOPOLOGY_ACTIVE;
            spare_voters =
                spare_voters || (fit && fixture.silent_ms[i + 1] == 0 && !votes(&fixture, i + 1));
        }
        for (uint32_t i = 0; i < count; i++) {
            bool fit = fixture.members[i].state == TOPOLOGY_ACTIVE;
            cr_assert(fit || i + 1 == fixture.self || !votes(&fixture, i + 1) || !spare_voters,
                      "seed %zu: %u votes", (size_t)seed, i + 1);
        }
        /* A leader that may not vote stays while none of those that may answers. */
        bool leader_is_fit = fixture.members[fixture.self - 1].state == TOPOLOGY_ACTIVE;
        cr_assert_leq(count_of(&fixture, GROUP_VOTER), wanted + (leader_is_fit ? 0 : 1), "seed %zu",
                      (size_t)seed);
        cr_assert_geq(fixture.voter_count_min, least, "seed %zu", (size_t)seed);
    }
}

Test(roles, the_topology_is_told_who_votes_when_it_does_not_know)
{
    struct fixture fixture;
    fixture_init(&fixture, 4, 3, "");
    uint32_t voters[TOPOLOGY_VOTER_COUNT_MAX];
    uint32_t count = 0;
    struct roles_view view = view_of(&fixture);
    cr_assert(roles_voters(&view, voters, &count));
    cr_assert_eq(count, 3);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(voters[i], i + 1);
        fixture.members[i].voter = true;
    }
    cr_assert_not(roles_voters(&view, voters, &count), "it says so already");
    fixture.configuration.servers[2].duty = GROUP_STANDBY;
    cr_assert(roles_voters(&view, voters, &count));
    cr_assert_eq(count, 2);
    fixture.configuration.committed = false;
    cr_assert_not(roles_voters(&view, voters, &count));
}
