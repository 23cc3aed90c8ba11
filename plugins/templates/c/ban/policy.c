// {{doc}}

#define PORTCULLIS_BAN
#include "portcullis.h"

// What the operator can set; lengths of time are milliseconds here and seconds there.
struct settings {
    uint32_t max_failed_login;
    uint64_t ban_time;
    uint64_t forget_after;
};

static const char *at_least_one(const void *count)
{
    return *(const uint32_t *)count > 0 ? NULL : "at least 1";
}

static const struct setting SETTINGS[] = {
    {SETTING(U32, max_failed_login, "Failed logins in a row that ban the source, at least 1."),
     .integer = 5, .check = at_least_one},
    {SETTING(SECONDS, ban_time, "Seconds that a ban lasts, fractions count."),
     .number = 3600},
    {SETTING(SECONDS, forget_after,
             "Seconds after the last failed login when the count is forgotten, fractions count."),
     .number = 86400},
};

// What the host keeps for a source. Whoever changes the fields changes the format's name, too.
struct state {
    // Failures since the last success or ban.
    uint32_t count;
};

static void layout(struct codec *codec, struct state *failures)
{
    u32(codec, &failures->count);
}

// Judges one attempt. Depends on nothing else: the host calls any instance it likes.
static struct verdict judge(const struct settings *settings, const attempt *attempt, const struct state *failures)
{
    if (succeeded(attempt))
        return forget(pass());
    // In 64 bits: the highest count has none after it in 32.
    uint64_t count = (failures != NULL ? failures->count : 0) + UINT64_C(1);
    if (count < settings->max_failed_login)
        return keep_for(pass(), &(struct state){.count = (uint32_t)count}, settings->forget_after);
    struct text why = {0};
    add_number(&why, count);
    add(&why, " failed logins in a row.");
    return forget(order(settings->ban_time, "too-many-failures", why));
}

const struct policy policy = {
    .name = "{{name}}",
    .version = "0.1.0",
    .doc = "{{doc}}",
    .settings = SETTINGS,
    .settings_count = COUNT_OF(SETTINGS),
    .settings_size = sizeof(struct settings),
    .state_format = "{{name}}/1",
    .state_size = sizeof(struct state),
    .layout = layout,
    .judge = judge,
};
