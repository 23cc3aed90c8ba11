// {{doc}}

#define PORTCULLIS_SCANNER
#include "portcullis.h"

// What the operator can set; lengths of time are milliseconds here and seconds there.
struct settings {
    integers statuses;
    uint32_t max_hits;
    uint64_t window;
    uint64_t ban_time;
};

static const char *at_least_one_status(const void *statuses)
{
    return ((const integers *)statuses)->len > 0 ? NULL : "at least one status";
}

static const char *at_least_one(const void *count)
{
    return *(const uint32_t *)count > 0 ? NULL : "at least 1";
}

static const struct setting SETTINGS[] = {
    {SETTING(U16S, statuses, "HTTP statuses that are a hit, at least one."),
     .integers = (const int64_t[]){404}, .count = 1, .check = at_least_one_status},
    {SETTING(U32, max_hits, "Hits within a window that ban the source, at least 1."),
     .integer = 5, .check = at_least_one},
    {SETTING(SECONDS, window, "Seconds that a window lasts, from its first hit on, fractions count."),
     .number = 60},
    {SETTING(SECONDS, ban_time, "Seconds that a ban lasts, fractions count."),
     .number = 3600},
};

// What the host keeps for a source. Whoever changes the fields changes the format's name, too.
struct state {
    // Hits in this window.
    uint32_t count;
    // When the first of them came, in milliseconds since the Unix epoch.
    uint64_t first_ms;
};

static void layout(struct codec *codec, struct state *hits)
{
    u32(codec, &hits->count);
    u64(codec, &hits->first_ms);
}

static bool is_hit(const struct settings *settings, const request *request)
{
    for (size_t n = 0; n < settings->statuses.len; n++)
        if (settings->statuses.ptr[n] == request->status)
            return !authenticated(request);
    return false;
}

// Judges one request. Depends on nothing else: the host calls any instance it likes.
static struct verdict judge(const struct settings *settings, const request *request, const struct state *hits)
{
    if (!is_hit(settings, request))
        return pass();
    bool open = hits != NULL && request->at - hits->first_ms < settings->window;
    uint64_t first_ms = open ? hits->first_ms : request->at;
    // In 64 bits: the highest count has none after it in 32.
    uint64_t count = (open ? hits->count : 0) + UINT64_C(1);
    if (count < settings->max_hits) {
        struct state now = {.count = (uint32_t)count, .first_ms = first_ms};
        return keep_for(pass(), &now, settings->window - (request->at - first_ms));
    }
    struct text why = {0};
    add_number(&why, count);
    add(&why, " hits within ");
    add_seconds(&why, settings->window);
    add(&why, ".");
    return forget(order(settings->ban_time, "too-many-hits", why));
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
