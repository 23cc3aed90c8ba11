// {{doc}}

#define PORTCULLIS_WAIT
#include "portcullis.h"

// More doublings than these are past any wait.
#define DOUBLINGS_MAX 32

// What the operator can set; lengths of time are milliseconds here and seconds there.
struct settings {
    uint64_t first_wait;
    uint64_t longest_wait;
    uint64_t forget_after;
};

static const struct setting SETTINGS[] = {
    {SETTING(SECONDS, first_wait,
             "Seconds to wait after the first failed login, fractions count; 0 turns the policy off."),
     .number = 1},
    {SETTING(SECONDS, longest_wait, "Seconds to wait at most, fractions count."),
     .number = 60},
    {SETTING(SECONDS, forget_after,
             "Seconds after the last failed login when it starts again with `first_wait`, fractions count."),
     .number = 900},
};

// What the host keeps for a client auth id. Whoever changes the fields changes the format's
// name, too.
struct state {
    // Failures since the last success.
    uint8_t count;
};

static void layout(struct codec *codec, struct state *failures)
{
    u8(codec, &failures->count);
}

// Judges one attempt. Depends on nothing else: the host calls any instance it likes.
static struct verdict judge(const struct settings *settings, const attempt *attempt, const struct state *failures)
{
    if (succeeded(attempt) || settings->first_wait == 0)
        return forget(pass());
    unsigned before = failures != NULL ? failures->count : 0;
    if (before > DOUBLINGS_MAX)
        before = DOUBLINGS_MAX;
    uint64_t time = settings->first_wait, longest = settings->longest_wait;
    for (unsigned n = 0; n < before && time < longest; n++)
        time *= 2;
    struct text why = {0};
    add(&why, "Failed login number ");
    add_number(&why, before + 1);
    add(&why, ".");
    struct verdict verdict = order(time < longest ? time : longest, "failed-login", why);
    return keep_for(verdict, &(struct state){.count = (uint8_t)(before + 1)}, settings->forget_after);
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
