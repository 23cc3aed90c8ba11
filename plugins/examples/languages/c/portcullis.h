// What the author of a Portcullis policy in C uses: settings, state, addresses and
// verdicts. The policy's one file says of which kind it is and includes this:
//
//     #define PORTCULLIS_BAN // or PORTCULLIS_WAIT, or PORTCULLIS_SCANNER
//     #include "portcullis.h"
//
// It then defines `struct settings`, `struct state` if it keeps any, a judge, and `policy`,
// which says all of that. The exports are in here.
//
// Lengths of time are whole milliseconds, as in the interface. Nothing outside a call may
// be remembered: the host calls any instance it likes, in any order. There is no need to
// free anything: what the judge is given is freed after it, and all that it answers is
// plain values.
#ifndef PORTCULLIS_H
#define PORTCULLIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// The generated bindings have the world's name in the names of types that the interface
// doesn't name itself.
#if defined(PORTCULLIS_WAIT)
#include "wait_policy.h"
#define GENERATED(name) wait_policy_##name
#elif defined(PORTCULLIS_BAN)
#include "ban_policy.h"
#define GENERATED(name) ban_policy_##name
#elif defined(PORTCULLIS_SCANNER)
#include "scanner_policy.h"
#define GENERATED(name) scanner_policy_##name
#else
#error "say of which kind the policy is: PORTCULLIS_WAIT, PORTCULLIS_BAN or PORTCULLIS_SCANNER"
#endif

#define DURATION_MS_MAX ((UINT64_C(1) << 53) - 1)

// The interface's own: `ptr` and `len`, without a zero at the end.
typedef GENERATED(string_t) string;
typedef GENERATED(list_s64_t) integers;
typedef GENERATED(list_f64_t) numbers;
typedef GENERATED(list_string_t) strings;
// One finished login attempt, as in the interface: `at`, `source`, `client_auth_id`,
// `outcome`, `client_known`, `secret_fingerprint`.
typedef portcullis_policy_types_attempt_t attempt;
// One answered request, as in the interface: `at`, `source`, `client_auth_id`, `method`,
// `path`, `status`.
typedef portcullis_policy_types_request_t request;
#if defined(PORTCULLIS_SCANNER)
typedef request event;
#else
typedef attempt event;
#endif

static inline bool succeeded(const attempt *attempt)
{
    return attempt->outcome == PORTCULLIS_POLICY_TYPES_OUTCOME_SUCCESS;
}

static inline bool authenticated(const request *request)
{
    return request->client_auth_id.is_some;
}

static inline bool is(string left, const char *right)
{
    return left.len == strlen(right) && memcmp(left.ptr, right, left.len) == 0;
}

static inline bool starts_with(string whole, string start)
{
    return start.len <= whole.len && memcmp(whole.ptr, start.ptr, start.len) == 0;
}

// The value of one attribute that the interest asked for, or NULL.
static inline const string *attribute(const event *event, const char *name)
{
    for (size_t n = 0; n < event->attributes.len; n++)
        if (is(event->attributes.ptr[n].name, name))
            return &event->attributes.ptr[n].value;
    return NULL;
}

// Texts

// A short text; what is over is cut, as the host would. Begin with `struct text text = {0}`.
struct text {
    size_t len;
    char bytes[512];
};

static inline void add_bytes(struct text *text, const void *bytes, size_t len)
{
    size_t room = sizeof text->bytes - text->len;
    if (len > room) {
        len = room;
        // No character may be cut in two.
        while (len > 0 && (((const uint8_t *)bytes)[len] & 0xc0) == 0x80)
            len--;
    }
    memcpy(text->bytes + text->len, bytes, len);
    text->len += len;
}

static inline void add(struct text *text, const char *more)
{
    add_bytes(text, more, strlen(more));
}

static inline void add_number(struct text *text, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    add_bytes(text, digits + at, sizeof digits - at);
}

static inline void add_thousandths(struct text *text, uint64_t value)
{
    add_number(text, value / 1000);
    unsigned rest = (unsigned)(value % 1000);
    if (rest == 0)
        return;
    add(text, ".");
    for (unsigned unit = 100; rest > 0; rest %= unit, unit /= 10)
        add_number(text, rest / unit);
}

// Milliseconds as people write them: `20s`, `1.5s`.
static inline void add_seconds(struct text *text, uint64_t duration_ms)
{
    add_thousandths(text, duration_ms);
    add(text, "s");
}

// Addresses

// A client's address: 4 or 16 bytes, most significant first.
struct address {
    uint8_t len;
    uint8_t bytes[16];
};

static inline struct address source(const event *event)
{
    const portcullis_policy_types_ip_address_t *wire = &event->source;
    uint32_t parts[4] = {wire->val.ipv4, 0, 0, 0};
    struct address address = {.len = 4, .bytes = {0}};
    if (wire->tag == PORTCULLIS_POLICY_TYPES_IP_ADDRESS_IPV6) {
        parts[0] = wire->val.ipv6.f0;
        parts[1] = wire->val.ipv6.f1;
        parts[2] = wire->val.ipv6.f2;
        parts[3] = wire->val.ipv6.f3;
        address.len = 16;
    }
    for (unsigned n = 0; n < address.len; n++)
        address.bytes[n] = (uint8_t)(parts[n / 4] >> (24 - 8 * (n % 4)));
    return address;
}

static inline struct address ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct address){.len = 4, .bytes = {a, b, c, d}};
}

// Whether both are in one network of so many bits.
static inline bool same_network(struct address left, struct address right, unsigned bits)
{
    if (left.len != right.len || bits > left.len * 8u)
        return false;
    if (memcmp(left.bytes, right.bytes, bits / 8) != 0)
        return false;
    uint8_t mask = (uint8_t)(0xff00u >> (bits % 8));
    return bits % 8 == 0 || ((left.bytes[bits / 8] ^ right.bytes[bits / 8]) & mask) == 0;
}

// Lines for debugging; the host counts, bounds and escapes them.

static inline void write_log(portcullis_policy_log_level_t level, const struct text *message)
{
    string line = {.ptr = (uint8_t *)message->bytes, .len = message->len};
    portcullis_policy_log_log(level, &line);
}

static inline void debug(const struct text *message)
{
    write_log(PORTCULLIS_POLICY_LOG_LEVEL_DEBUG, message);
}

static inline void info(const struct text *message)
{
    write_log(PORTCULLIS_POLICY_LOG_LEVEL_INFO, message);
}

static inline void warn(const struct text *message)
{
    write_log(PORTCULLIS_POLICY_LOG_LEVEL_WARN, message);
}

// Settings

// What the operator can set; the policy defines it.
struct settings;

// The type of a setting's field in `struct settings`, and what of its values is let in.
enum setting_kind {
    BOOLEAN,  // bool
    INTEGER,  // int64_t
    U16,      // uint16_t
    U32,      // uint32_t
    U64,      // uint64_t
    NUMBER,   // double
    SECONDS,  // uint64_t: milliseconds; the operator writes a number of seconds
    TEXT,     // string
    INTEGERS, // integers
    U16S,     // integers, each from 0 to 65535
    NUMBERS,  // numbers
    TEXTS,    // strings
    JSON,     // string: JSON text
};

// One setting. `SETTING` makes one for the field of that name.
struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;
    // One line, with the unit.
    const char *doc;
    // The operator must set it; else the default of its kind applies.
    bool required;
    bool boolean;
    int64_t integer;
    // Seconds, too.
    double number;
    // JSON, too.
    const char *text;
    const int64_t *integers;
    const double *numbers;
    const char *const *texts;
    // Of whichever list it is.
    size_t count;
    // NULL, or what is expected instead; the field is as in `struct settings`.
    const char *(*check)(const void *field);
};

// `{SETTING(U32, maxretry, "Hits that ban the source."), .integer = 2}`
#define SETTING(of_kind, field, one_line) \
    .name = #field, .kind = of_kind, .offset = offsetof(struct settings, field), .doc = one_line

// State

// What the host keeps for a subject; the policy defines it if it keeps any.
struct state;

// The host keeps at most so many bytes unless the operator allows more.
#define STATE_BYTES_MAX 1024

// Reads or writes a state: borsh (https://borsh.io), the same bytes in every language. One
// function says the layout for both ways:
//     static void layout(struct codec *codec, struct state *state) { u32(codec, &state->count); }
struct codec {
    bool writing;
    size_t at;
    size_t len;
    uint8_t *bytes;
    // NULL as long as all went well.
    const char *wrong;
};

static inline uint8_t *take(struct codec *codec, size_t len)
{
    if (codec->wrong != NULL || len > codec->len - codec->at) {
        codec->wrong = "Unexpected length of input";
        return NULL;
    }
    codec->at += len;
    return codec->bytes + codec->at - len;
}

// Whole numbers are little-endian, and so is this machine.
static inline void raw(struct codec *codec, void *value, size_t len)
{
    uint8_t *bytes = take(codec, len);
    if (bytes == NULL)
        return;
    memcpy(codec->writing ? (void *)bytes : value, codec->writing ? value : (void *)bytes, len);
}

static inline void u8(struct codec *codec, uint8_t *value)
{
    raw(codec, value, sizeof *value);
}

static inline void u16(struct codec *codec, uint16_t *value)
{
    raw(codec, value, sizeof *value);
}

static inline void u32(struct codec *codec, uint32_t *value)
{
    raw(codec, value, sizeof *value);
}

static inline void u64(struct codec *codec, uint64_t *value)
{
    raw(codec, value, sizeof *value);
}

static inline void boolean(struct codec *codec, bool *value)
{
    uint8_t byte = *value;
    u8(codec, &byte);
    if (byte > 1)
        codec->wrong = "Invalid bool representation";
    *value = byte == 1;
}

// A text or any bytes; what is read lies in the state's own bytes.
static inline void text(struct codec *codec, string *value)
{
    uint32_t len = (uint32_t)value->len;
    u32(codec, &len);
    uint8_t *bytes = codec->wrong == NULL ? take(codec, len) : NULL;
    if (bytes == NULL)
        return;
    if (codec->writing)
        memcpy(bytes, value->ptr, len);
    else
        *value = (string){.ptr = bytes, .len = len};
}

// The length of a list of at most so many items, which come after it one by one.
static inline void length(struct codec *codec, uint32_t *count, uint32_t count_max)
{
    u32(codec, count);
    if (codec->wrong == NULL && *count > count_max) {
        codec->wrong = "A list is longer than it may be";
        *count = 0;
    }
}

// Verdicts

// What a judge answers: pass or an order, and what becomes of the state. Without `keep` or
// `forget` the state and its remaining time stay as they are.
struct verdict {
    bool order;
    uint64_t duration_ms;
    // Bits of the source's network; 0 for the source alone.
    uint8_t network;
    const char *code;
    struct text text;
    enum { STAYS, FORGOTTEN, KEPT } state;
    bool has_ttl;
    uint64_t ttl_ms;
    size_t len;
    uint8_t bytes[STATE_BYTES_MAX];
    // NULL, or why there is no verdict at all.
    const char *error;
};

// Orders nothing; a running wait or ban goes on.
static inline struct verdict pass(void)
{
    return (struct verdict){0};
}

// Orders a wait or a ban, whichever the policy is for. The code is short and stable,
// `[a-z0-9-]{1,32}`, and stays where it is, as a literal does; the text is one line for
// operators. `.network` bans the network of so many bits around the source.
static inline struct verdict order(uint64_t duration_ms, const char *code, struct text text)
{
    return (struct verdict){.order = true, .duration_ms = duration_ms, .code = code, .text = text};
}

// The host keeps nothing for this subject any more.
static inline struct verdict forget(struct verdict verdict)
{
    verdict.state = FORGOTTEN;
    return verdict;
}

// The host keeps this state from now on, until it needs the room. The very same state
// keeps the time it has.
static inline struct verdict keep(struct verdict verdict, const struct state *state);

// The same, for so long from the event on.
static inline struct verdict keep_for(struct verdict verdict, const struct state *state, uint64_t ttl_ms);

// The plugin

// What the policy is to be asked about; the host may spare it the rest.
struct interest {
    // Pairs of the lowest and the highest; scanner only; none: every request.
    const portcullis_policy_types_status_range_t *statuses;
    size_t statuses_count;
    // Such as `user-agent`.
    const char *const *attributes;
    size_t attributes_count;
};

// Everything about a policy; the author defines `policy`.
struct policy {
    const char *name;
    const char *version;
    // One line: what it is for.
    const char *doc;
    const struct setting *settings;
    size_t settings_count;
    // sizeof(struct settings)
    size_t settings_size;
    // Names the layout of the state: the host hands state only to plugins that name the
    // same, so a changed layout needs a new name. NULL: nothing is kept.
    const char *state_format;
    // sizeof(struct state)
    size_t state_size;
    void (*layout)(struct codec *codec, struct state *state);
    // What the state holds is NULL where nothing was kept. Depends on nothing else.
    struct verdict (*judge)(const struct settings *settings, const event *event, const struct state *state);
    struct interest interest;
};

extern const struct policy policy;

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static inline struct verdict keep(struct verdict verdict, const struct state *state)
{
    struct codec codec = {.writing = true, .len = sizeof verdict.bytes, .bytes = verdict.bytes};
    // A layout only reads what is written.
    policy.layout(&codec, (struct state *)state);
    if (codec.wrong != NULL)
        verdict.error = "the state is longer than STATE_BYTES_MAX";
    verdict.state = KEPT;
    verdict.len = codec.at;
    return verdict;
}

static inline struct verdict keep_for(struct verdict verdict, const struct state *state, uint64_t ttl_ms)
{
    verdict.has_ttl = true;
    verdict.ttl_ms = ttl_ms;
    return keep(verdict, state);
}

// The rest is what makes a plugin of it; no author needs it.

// The only thing that an instance may remember.
static struct settings *configured;

static inline void *allocated(size_t bytes)
{
    void *room = calloc(1, bytes > 0 ? bytes : 1);
    if (room == NULL)
        abort();
    return room;
}

// What is handed to the host is freed by the bindings, so it has to be a copy.
static inline string copy_of(const char *bytes, size_t len)
{
    string copy = {.ptr = allocated(len), .len = len};
    memcpy(copy.ptr, bytes, len);
    return copy;
}

static inline string copied(const char *text)
{
    return copy_of(text, strlen(text));
}

static inline portcullis_policy_types_setting_type_t type_of(enum setting_kind kind)
{
    switch (kind) {
    case BOOLEAN:
        return PORTCULLIS_POLICY_TYPES_SETTING_TYPE_BOOLEAN;
    case INTEGER:
    case U16:
    case U32:
    case U64:
        return PORTCULLIS_POLICY_TYPES_SETTING_TYPE_INTEGER;
    case NUMBER:
    case SECONDS:
        return PORTCULLIS_POLICY_TYPES_SETTING_TYPE_NUMBER;
    case TEXT:
        return PORTCULLIS_POLICY_TYPES_SETTING_TYPE_TEXT;
    case INTEGERS:
    case U16S:
        return PORTCULLIS_POLICY_TYPES_SETTING_TYPE_INTEGERS;
    case NUMBERS:
        return PORTCULLIS_POLICY_TYPES_SETTING_TYPE_NUMBERS;
    case TEXTS:
        return PORTCULLIS_POLICY_TYPES_SETTING_TYPE_TEXTS;
    case JSON:
        return PORTCULLIS_POLICY_TYPES_SETTING_TYPE_JSON;
    }
    abort();
}

static inline portcullis_policy_types_setting_value_t default_of(const struct setting *setting)
{
    // The types of settings and of values are the same, in the same order.
    portcullis_policy_types_setting_value_t value = {.tag = type_of(setting->kind)};
    size_t count = setting->count;
    switch (value.tag) {
    case PORTCULLIS_POLICY_TYPES_SETTING_TYPE_BOOLEAN:
        value.val.boolean = setting->boolean;
        break;
    case PORTCULLIS_POLICY_TYPES_SETTING_TYPE_INTEGER:
        value.val.integer = setting->integer;
        break;
    case PORTCULLIS_POLICY_TYPES_SETTING_TYPE_NUMBER:
        value.val.number = setting->number;
        break;
    case PORTCULLIS_POLICY_TYPES_SETTING_TYPE_INTEGERS:
        value.val.integers = (integers){.ptr = allocated(count * sizeof(int64_t)), .len = count};
        if (count > 0)
            memcpy(value.val.integers.ptr, setting->integers, count * sizeof(int64_t));
        break;
    case PORTCULLIS_POLICY_TYPES_SETTING_TYPE_NUMBERS:
        value.val.numbers = (numbers){.ptr = allocated(count * sizeof(double)), .len = count};
        if (count > 0)
            memcpy(value.val.numbers.ptr, setting->numbers, count * sizeof(double));
        break;
    case PORTCULLIS_POLICY_TYPES_SETTING_TYPE_TEXTS:
        value.val.texts = (strings){.ptr = allocated(count * sizeof(string)), .len = count};
        for (size_t n = 0; n < count; n++)
            value.val.texts.ptr[n] = copied(setting->texts[n]);
        break;
    default:
        value.val.text = copied(setting->text != NULL ? setting->text : "");
        break;
    }
    return value;
}

void exports_portcullis_policy_plugin_describe(exports_portcullis_policy_plugin_description_t *ret)
{
    ret->name = copied(policy.name);
    ret->version = copied(policy.version);
    ret->doc = copied(policy.doc);
    ret->state_format = copied(policy.state_format != NULL ? policy.state_format : "none/1");
    ret->settings.len = policy.settings_count;
    ret->settings.ptr = allocated(policy.settings_count * sizeof *ret->settings.ptr);
    for (size_t n = 0; n < policy.settings_count; n++) {
        const struct setting *setting = &policy.settings[n];
        portcullis_policy_types_setting_spec_t *spec = &ret->settings.ptr[n];
        spec->name = copied(setting->name);
        spec->kind = type_of(setting->kind);
        spec->default_value.is_some = !setting->required;
        if (!setting->required)
            spec->default_value.val = default_of(setting);
        spec->doc = copied(setting->doc);
    }
}

// Milliseconds, rounded up. Over nanoseconds, as the SDK for Rust does, so that policies of
// all languages agree to the last bit.
static inline bool to_milliseconds(double seconds, uint64_t *duration_ms)
{
    // Also false for what is not a number.
    if (!(seconds >= 0 && seconds < (double)(DURATION_MS_MAX / 1000)))
        return false;
    uint64_t whole = (uint64_t)seconds;
    uint64_t nanos = (uint64_t)((seconds - (double)whole) * 1e9 + 0.5);
    *duration_ms = whole * 1000 + (nanos + 999999) / 1000000;
    return true;
}

static inline bool is_finite(double value)
{
    return value - value == 0;
}

// Puts a value of the right type into its field; NULL, or what is expected.
static inline const char *take_setting(
    const struct setting *setting, const portcullis_policy_types_setting_value_t *value, void *field)
{
    int64_t integer = value->val.integer;
    switch (setting->kind) {
    case BOOLEAN:
        *(bool *)field = value->val.boolean;
        break;
    case INTEGER:
        *(int64_t *)field = integer;
        break;
    case U16:
        if (integer < 0 || integer > UINT16_MAX)
            return "a whole number from 0 to 65535";
        *(uint16_t *)field = (uint16_t)integer;
        break;
    case U32:
        if (integer < 0 || integer > UINT32_MAX)
            return "a whole number from 0 to 4294967295";
        *(uint32_t *)field = (uint32_t)integer;
        break;
    case U64:
        if (integer < 0)
            return "a whole number that is not negative";
        *(uint64_t *)field = (uint64_t)integer;
        break;
    case NUMBER:
        if (!is_finite(value->val.number))
            return "a number";
        *(double *)field = value->val.number;
        break;
    case SECONDS:
        if (!to_milliseconds(value->val.number, field))
            return "a number of seconds, 0 or more and below 9007199254740";
        break;
    case U16S:
        for (size_t n = 0; n < value->val.integers.len; n++)
            if (value->val.integers.ptr[n] < 0 || value->val.integers.ptr[n] > UINT16_MAX)
                return "a list of whole numbers from 0 to 65535";
        *(integers *)field = value->val.integers;
        break;
    case INTEGERS:
        *(integers *)field = value->val.integers;
        break;
    case NUMBERS:
        for (size_t n = 0; n < value->val.numbers.len; n++)
            if (!is_finite(value->val.numbers.ptr[n]))
                return "a list of numbers";
        *(numbers *)field = value->val.numbers;
        break;
    case TEXTS:
        *(strings *)field = value->val.texts;
        break;
    case TEXT:
    case JSON:
        *(string *)field = value->val.text;
        break;
    }
    return setting->check != NULL ? setting->check(field) : NULL;
}

static inline void show_integer(struct text *text, int64_t value)
{
    if (value < 0)
        add(text, "-");
    add_number(text, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

static inline void show_number(struct text *text, double value)
{
    if (value != value) {
        add(text, "not a number");
        return;
    }
    if (value < 0)
        add(text, "-");
    double size = value < 0 ? -value : value;
    if (size > 1e15)
        add(text, "(more than 10^15)");
    else
        add_thousandths(text, (uint64_t)(size * 1000 + 0.5));
}

static inline void show_text(struct text *text, string value)
{
    size_t len = value.len;
    if (len > 40)
        for (len = 40; (value.ptr[len] & 0xc0) == 0x80;)
            len--;
    add(text, "\"");
    add_bytes(text, value.ptr, len);
    add(text, len < value.len ? "…\"" : "\"");
}

// A value as an operator should see it; long ones are cut.
static inline void show(struct text *text, const portcullis_policy_types_setting_value_t *value)
{
    size_t len;
    switch (value->tag) {
    case PORTCULLIS_POLICY_TYPES_SETTING_VALUE_BOOLEAN:
        add(text, value->val.boolean ? "true" : "false");
        return;
    case PORTCULLIS_POLICY_TYPES_SETTING_VALUE_INTEGER:
        show_integer(text, value->val.integer);
        return;
    case PORTCULLIS_POLICY_TYPES_SETTING_VALUE_NUMBER:
        show_number(text, value->val.number);
        return;
    case PORTCULLIS_POLICY_TYPES_SETTING_VALUE_INTEGERS:
        len = value->val.integers.len;
        break;
    case PORTCULLIS_POLICY_TYPES_SETTING_VALUE_NUMBERS:
        len = value->val.numbers.len;
        break;
    case PORTCULLIS_POLICY_TYPES_SETTING_VALUE_TEXTS:
        len = value->val.texts.len;
        break;
    default:
        show_text(text, value->val.text);
        return;
    }
    add(text, "[");
    for (size_t n = 0; n < len && n < 8; n++) {
        if (n > 0)
            add(text, ", ");
        if (value->tag == PORTCULLIS_POLICY_TYPES_SETTING_VALUE_INTEGERS)
            show_integer(text, value->val.integers.ptr[n]);
        else if (value->tag == PORTCULLIS_POLICY_TYPES_SETTING_VALUE_NUMBERS)
            show_number(text, value->val.numbers.ptr[n]);
        else
            show_text(text, value->val.texts.ptr[n]);
    }
    add(text, len > 8 ? ", …]" : "]");
}

static inline void add_error(
    exports_portcullis_policy_plugin_list_setting_error_t *errors, string name, const struct text *message)
{
    errors->ptr[errors->len].name = copy_of((const char *)name.ptr, name.len);
    errors->ptr[errors->len].message = copy_of(message->bytes, message->len);
    errors->len++;
}

static inline const struct setting *setting_of(string name)
{
    for (size_t n = 0; n < policy.settings_count; n++)
        if (is(name, policy.settings[n].name))
            return &policy.settings[n];
    return NULL;
}

static inline const portcullis_policy_types_setting_value_t *given_for(
    const exports_portcullis_policy_plugin_list_setting_t *given, const char *name)
{
    for (size_t n = 0; n < given->len; n++)
        if (is(given->ptr[n].name, name))
            return &given->ptr[n].value;
    return NULL;
}

// What is in the settings stays: texts and lists are used as they lie.
bool exports_portcullis_policy_plugin_configure(
    exports_portcullis_policy_plugin_list_setting_t *given, exports_portcullis_policy_plugin_interest_t *ret,
    exports_portcullis_policy_plugin_list_setting_error_t *err)
{
    struct settings *settings = allocated(policy.settings_size);
    err->len = 0;
    err->ptr = allocated((policy.settings_count + given->len + 1) * sizeof *err->ptr);
    for (size_t n = 0; n < policy.settings_count; n++) {
        const struct setting *setting = &policy.settings[n];
        const portcullis_policy_types_setting_value_t *value = given_for(given, setting->name);
        struct text message = {0};
        if (value == NULL) {
            add(&message, "missing");
        } else {
            const char *expected = "another type";
            if (value->tag == type_of(setting->kind))
                expected = take_setting(setting, value, (char *)settings + setting->offset);
            if (expected == NULL)
                continue;
            add(&message, "found ");
            show(&message, value);
            add(&message, ", expected ");
            add(&message, expected);
        }
        add_error(err, (string){.ptr = (uint8_t *)setting->name, .len = strlen(setting->name)}, &message);
    }
    for (size_t n = 0; n < given->len; n++) {
        if (setting_of(given->ptr[n].name) == NULL) {
            struct text message = {0};
            add(&message, "no such setting");
            add_error(err, given->ptr[n].name, &message);
        }
    }
    if (err->len == 0 && configured != NULL) {
        struct text message = {0};
        add(&message, "configure was called twice on one instance");
        add_error(err, (string){0}, &message);
    }
    if (err->len > 0)
        return false;
    free(err->ptr);
    configured = settings;
    const struct interest *interest = &policy.interest;
    ret->statuses.len = interest->statuses_count;
    ret->statuses.ptr = allocated(interest->statuses_count * sizeof *ret->statuses.ptr);
    for (size_t n = 0; n < interest->statuses_count; n++)
        ret->statuses.ptr[n] = interest->statuses[n];
    ret->attributes.len = interest->attributes_count;
    ret->attributes.ptr = allocated(interest->attributes_count * sizeof *ret->attributes.ptr);
    for (size_t n = 0; n < interest->attributes_count; n++)
        ret->attributes.ptr[n] = copied(interest->attributes[n]);
    return true;
}

// One whole state. Anything else counts as none, and a warning says so: an error would fail
// the same subject again and again.
static inline bool read_state(const GENERATED(list_u8_t) * bytes, struct state *state)
{
    struct codec codec = {.len = bytes->len, .bytes = bytes->ptr};
    policy.layout(&codec, state);
    if (codec.wrong == NULL && codec.at < codec.len)
        codec.wrong = "Not all bytes read";
    if (codec.wrong == NULL)
        return true;
    struct text message = {0};
    add(&message, "state of format ");
    add(&message, policy.state_format);
    add(&message, " can't be read, starting anew: ");
    add(&message, codec.wrong);
    warn(&message);
    return false;
}

static inline uint64_t bounded(uint64_t duration_ms)
{
    return duration_ms < DURATION_MS_MAX ? duration_ms : DURATION_MS_MAX;
}

static inline portcullis_policy_types_keep_t to_keep(
    const struct verdict *verdict, const GENERATED(list_u8_t) * before, bool readable)
{
    portcullis_policy_types_keep_t keep = {.tag = PORTCULLIS_POLICY_TYPES_KEEP_UNCHANGED};
    if (verdict->state == KEPT) {
        bool same = before != NULL && before->len == verdict->len && memcmp(before->ptr, verdict->bytes, before->len) == 0;
        if (same && !verdict->has_ttl)
            return keep;
        string data = copy_of((const char *)verdict->bytes, verdict->len);
        keep.tag = PORTCULLIS_POLICY_TYPES_KEEP_PUT;
        keep.val.put.data.ptr = data.ptr;
        keep.val.put.data.len = data.len;
        keep.val.put.ttl.is_some = verdict->has_ttl;
        keep.val.put.ttl.val = bounded(verdict->ttl_ms);
    } else if (before != NULL && (verdict->state == FORGOTTEN || !readable)) {
        // What couldn't be read is of no use to anyone.
        keep.tag = PORTCULLIS_POLICY_TYPES_KEEP_FORGET;
    }
    return keep;
}

#if defined(PORTCULLIS_WAIT)
#define JUDGE exports_portcullis_policy_wait_judge
#define JUDGEMENT portcullis_policy_types_wait_judgement_t
#define ORDER wait
#define FREE_EVENT portcullis_policy_types_attempt_free
#elif defined(PORTCULLIS_BAN)
#define JUDGE exports_portcullis_policy_ban_judge
#define JUDGEMENT portcullis_policy_types_ban_judgement_t
#define ORDER ban
#define FREE_EVENT portcullis_policy_types_attempt_free
#else
#define JUDGE exports_portcullis_policy_scanner_judge
#define JUDGEMENT portcullis_policy_types_ban_judgement_t
#define ORDER ban
#define FREE_EVENT portcullis_policy_types_request_free
#endif

bool JUDGE(event *event, GENERATED(list_u8_t) * before, JUDGEMENT *ret, string *err)
{
    if (configured == NULL) {
        *err = copied("judge was called before configure");
        return false;
    }
    struct state *state = policy.layout != NULL && before != NULL ? allocated(policy.state_size) : NULL;
    bool readable = state != NULL && read_state(before, state);
    struct verdict verdict = policy.judge(configured, event, readable ? state : NULL);
    bool judged = verdict.error == NULL;
    if (judged) {
        ret->keep = to_keep(&verdict, before, readable);
        // An order's tag follows that of pass, in either type of verdict.
        ret->verdict.tag = verdict.order;
        if (verdict.order) {
            ret->verdict.val.ORDER.duration = bounded(verdict.duration_ms);
            ret->verdict.val.ORDER.reason.code = copied(verdict.code);
            ret->verdict.val.ORDER.reason.text = copy_of(verdict.text.bytes, verdict.text.len);
#if !defined(PORTCULLIS_WAIT)
            ret->verdict.val.ORDER.prefix_length.is_some = verdict.network > 0;
            ret->verdict.val.ORDER.prefix_length.val = verdict.network;
#endif
        }
    } else {
        *err = copied(verdict.error);
    }
    free(state);
    FREE_EVENT(event);
    if (before != NULL)
        GENERATED(list_u8_free)(before);
    return judged;
}

#endif
