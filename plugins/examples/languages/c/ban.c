// Bans a source after too many failed logins in a row, however far apart they are.
// A success sets the count back, and after a ban it starts again.

#define PORTCULLIS_BAN
#include "portcullis.h"

// What the operator can set.
struct settings {
    uint32_t max_failed_login;
    // In milliseconds.
    uint64_t ban_time;
};

static const struct setting SETTINGS[] = {
    {SETTING(U32, max_failed_login, "Failed logins in a row that ban the source; 0 turns the policy off."),
     .integer = 5},
    {SETTING(SECONDS, ban_time, "Seconds that a ban lasts, fractions count; 0 turns the policy off."),
     .number = 3600},
};

// What is kept for a source.
struct state {
    // Failures since the last success or ban.
    uint32_t count;
};

static void layout(struct codec *codec, struct state *failures)
{
    u32(codec, &failures->count);
}

// Judges one attempt.
static struct verdict judge(const struct settings *settings, const attempt *attempt, const struct state *failures)
{
    uint32_t limit = settings->max_failed_login;
    bool off = limit == 0 || settings->ban_time == 0;
    if (succeeded(attempt) || off)
        return forget(pass());
    // In 64 bits: the highest count has none after it in 32.
    uint64_t count = (failures != NULL ? failures->count : 0) + UINT64_C(1);
    if (count < limit)
        return keep(pass(), &(struct state){.count = (uint32_t)count});
    struct text why = {0};
    add(&why, "Maximum of ");
    add_number(&why, limit);
    add(&why, " login attempts reached.");
    return forget(order(settings->ban_time, "max-failed-login", why));
}

const struct policy policy = {
    .name = "ban",
    .version = "0.1.0",
    .doc = "Bans a source after too many failed logins in a row.",
    .settings = SETTINGS,
    .settings_count = COUNT_OF(SETTINGS),
    .settings_size = sizeof(struct settings),
    .state_format = "failures-in-a-row/1",
    .state_size = sizeof(struct state),
    .layout = layout,
    .judge = judge,
};
