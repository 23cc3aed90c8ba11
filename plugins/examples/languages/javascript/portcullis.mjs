// What the author of a Portcullis policy in JavaScript uses: settings, state, addresses
// and verdicts. A policy is one plain function; `policy` makes a plugin of it.
//
// Lengths of time are whole milliseconds, as in the interface: `ban`, `wait`, `keep` and
// `attempt.atMs` take and give them, and so does a setting of kind `SECONDS`, which the
// operator writes in seconds. Every number is a Number, the interface's u64 and s64
// included: QuickJS's bindings round what is beyond 2^53, and the interface has nothing
// there but an operator's own mistakes. Nothing outside a call may be remembered: the host
// calls any instance it likes, in any order.

import log from "portcullis:policy/log@0.1.0";

const DURATION_MS_MAX = Number.MAX_SAFE_INTEGER;

// Settings

// A type that a setting can have: the interface's, and what of its values is let in:
// `read` gives the value as the policy sees it, or undefined.
const kind = (wire, expected, read = (value) => value) => ({ wire, expected, read });
const within = (low, high) => (value) => (low <= value && value <= high ? value : undefined);
const all = (isGood) => (values) => (values.every(isGood) ? values : undefined);

// A number of seconds in milliseconds, rounded up. Over nanoseconds, as the SDK for Rust
// does, so that policies of all languages agree to the last bit.
function milliseconds(seconds) {
    if (!(seconds >= 0 && seconds < Math.floor(DURATION_MS_MAX / 1000))) {
        return undefined;
    }
    const whole = Math.trunc(seconds);
    const nanos = Math.trunc((seconds - whole) * 1e9 + 0.5);
    return whole * 1000 + Math.ceil(nanos / 1e6);
}

export const BOOLEAN = kind("boolean", "true or false");
export const INTEGER = kind("integer", "a whole number");
export const U16 = kind("integer", "a whole number from 0 to 65535", within(0, 0xffff));
export const U32 = kind("integer", "a whole number from 0 to 4294967295", within(0, 0xffffffff));
export const U64 = kind("integer", "a whole number that is not negative", within(0, Infinity));
export const NUMBER = kind("number", "a number", (value) => (Number.isFinite(value) ? value : undefined));
export const SECONDS = kind("number", "a number of seconds, 0 or more and below 9007199254740", milliseconds);
export const TEXT = kind("text", "a text");
export const INTEGERS = kind("integers", "a list of whole numbers");
export const U16S = kind("integers", "a list of whole numbers from 0 to 65535", all((n) => 0 <= n && n <= 0xffff));
export const NUMBERS = kind("numbers", "a list of numbers", all(Number.isFinite));
export const TEXTS = kind("texts", "a list of texts");
export const JSON_TEXT = kind("json", "JSON");

// One setting: its kind, its default (null: the operator must set it) and one line with
// the unit. `check(value)` may return what is expected instead.
export function setting(kind, defaultValue, doc, check = () => undefined) {
    return { kind, defaultValue, doc, check };
}

function spec(name, { kind, defaultValue, doc }) {
    return { name, kind: kind.wire, defaultValue: defaultValue === null ? null : { tag: kind.wire, val: defaultValue }, doc };
}

// The settings by name, and every mistake.
function readSettings(specs, given, validate) {
    const left = new Map(given.map(({ name, value }) => [name, value]));
    const values = {};
    const errors = [];
    for (const [name, { kind, check }] of Object.entries(specs)) {
        const found = left.get(name);
        left.delete(name);
        if (found === undefined) {
            errors.push({ name, message: `missing, expected ${kind.expected}` });
            continue;
        }
        values[name] = found.tag === kind.wire ? kind.read(found.val) : undefined;
        const expected = values[name] === undefined ? kind.expected : check(values[name]);
        if (expected !== undefined) {
            errors.push({ name, message: `found ${shown(found)}, expected ${expected}` });
        }
    }
    if (errors.length === 0) {
        errors.push(...validate(values).map(([name, message]) => ({ name, message })));
    }
    for (const name of left.keys()) {
        errors.push({ name, message: "no such setting" });
    }
    return [Object.freeze(values), errors];
}

// A value as an operator should see it in a message; long ones are cut.
function shown({ tag, val }) {
    const one = { boolean: String, integer: String, integers: String, number: shownNumber, numbers: shownNumber }[tag];
    if (!Array.isArray(val)) {
        return (one ?? shownText)(val);
    }
    const few = Array.from(val.slice(0, 8), (value) => (one ?? shownText)(value));
    return `[${(val.length > 8 ? [...few, "…"] : few).join(", ")}]`;
}

function shownText(value) {
    let [start, bytes] = ["", 0];
    for (const character of value) {
        bytes += utf8(character).length;
        if (bytes > 40) {
            return `"${start}…"`;
        }
        start += character;
    }
    return `"${start}"`;
}

function shownNumber(value) {
    if (Number.isNaN(value)) {
        return "not a number";
    }
    const size = Math.abs(value);
    return (value < 0 ? "-" : "") + (size > 1e15 ? "(more than 10^15)" : thousandths(Math.trunc(size * 1000 + 0.5)));
}

function thousandths(value) {
    const rest = value % 1000;
    const whole = String((value - rest) / 1000);
    return rest === 0 ? whole : `${whole}.${String(rest).padStart(3, "0")}`.replace(/0+$/, "");
}

// Milliseconds as people write them: `20s`, `1.5s`.
export function secondsText(durationMs) {
    return `${thousandths(durationMs)}s`;
}

// State: borsh (https://borsh.io), the same bytes in every language

// A field's type: how it is written to a list of bytes, and read from what is left.
const codec = (write, read) => ({ write, read });

function take(data, count) {
    if (data.at + count > data.bytes.length) {
        throw new Unreadable("Unexpected length of input");
    }
    data.at += count;
    return data.bytes.subarray(data.at - count, data.at);
}

class Unreadable extends Error {}

// Whole numbers of up to 8 bytes; a Number is exact below 2^53.
function number(count) {
    const write = (value, bytes) => {
        for (let n = 0; n < count; n += 1) {
            bytes.push(value % 256);
            value = Math.floor(value / 256);
        }
    };
    const read = (data) => {
        const bytes = take(data, count);
        let value = 0;
        for (let n = count - 1; n >= 0; n -= 1) {
            value = value * 256 + bytes[n];
        }
        return value;
    };
    return codec(write, read);
}

export const u8 = number(1);
export const u16 = number(2);
export const u32 = number(4);
// Read back exactly only if it is below 2^53, as everything in the interface is.
export const u64 = number(8);

export const bool = codec(
    (value, bytes) => bytes.push(value ? 1 : 0),
    (data) => {
        const [byte] = take(data, 1);
        if (byte > 1) {
            throw new Unreadable(`Invalid bool representation: ${byte}`);
        }
        return byte === 1;
    },
);

export const bytes = codec(
    (value, to) => {
        u32.write(value.length, to);
        to.push(...value);
    },
    (data) => take(data, u32.read(data)).slice(),
);

export const text = codec(
    (value, to) => bytes.write(utf8(value), to),
    (data) => fromUtf8(bytes.read(data)),
);

// A list of what is of that type.
export function listOf(item) {
    const write = (values, to) => {
        u32.write(values.length, to);
        values.forEach((value) => item.write(value, to));
    };
    const read = (data) => {
        const values = [];
        for (let left = u32.read(data); left > 0; left -= 1) {
            values.push(item.read(data));
        }
        return values;
    };
    return codec(write, read);
}

// Null, or what is of that type.
export function optionOf(item) {
    const write = (value, to) => {
        bool.write(value !== null, to);
        if (value !== null) {
            item.write(value, to);
        }
    };
    return codec(write, (data) => (bool.read(data) ? item.read(data) : null));
}

// QuickJS has neither TextEncoder nor TextDecoder.
function utf8(value) {
    return Uint8Array.from(unescape(encodeURIComponent(value)), (character) => character.charCodeAt(0));
}

function fromUtf8(value) {
    try {
        return decodeURIComponent(Array.from(value, (byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""));
    } catch {
        throw new Unreadable("invalid utf-8");
    }
}

// What the host keeps for a subject: an object with these fields. `format` names the
// layout: the host hands state only to plugins that name the same, so a changed layout
// needs a new name. `state("failures-in-a-row/1", { count: u32 })`
export function state(format, fields) {
    const layout = Object.entries(fields);
    const encode = (values) => {
        const to = [];
        for (const [name, field] of layout) {
            field.write(values[name], to);
        }
        return new Uint8Array(to);
    };
    // One whole state. Anything else counts as none, and a warning says so: an error would
    // fail the same subject again and again.
    const decode = (given) => {
        const data = { bytes: given, at: 0 };
        try {
            const values = {};
            for (const [name, field] of layout) {
                values[name] = field.read(data);
            }
            if (data.at < data.bytes.length) {
                throw new Unreadable("Not all bytes read");
            }
            return values;
        } catch (error) {
            if (!(error instanceof Unreadable)) {
                throw error;
            }
            warn(`state of format ${format} can't be read, starting anew: ${error.message}`);
            return null;
        }
    };
    return { format, encode, decode };
}

const NO_STATE = { format: "none/1", encode: () => new Uint8Array(), decode: () => null };

// Addresses

// A client's address: its `version` (4 or 6), its `bytes`, most significant first, its
// `text`, and whether it is `within("203.0.113.0/24")`.
class Address {
    constructor(bytes) {
        this.bytes = bytes;
        this.version = bytes.length === 4 ? 4 : 6;
    }

    static of({ tag, val }) {
        const parts = tag === "ipv4" ? [val] : val;
        return new Address(parts.flatMap((part) => [part >>> 24, (part >>> 16) & 255, (part >>> 8) & 255, part & 255]));
    }

    get text() {
        if (this.version === 4) {
            return this.bytes.join(".");
        }
        const words = Array.from({ length: 8 }, (_, n) => this.bytes[2 * n] * 256 + this.bytes[2 * n + 1]);
        // The first of the longest runs of two zeros or more is left out.
        let [from, length] = [0, 1];
        for (let n = 0; n < 8; n += 1) {
            let end = n;
            while (end < 8 && words[end] === 0) {
                end += 1;
            }
            if (end - n > length) {
                [from, length] = [n, end - n];
            }
        }
        const text = (some) => some.map((word) => word.toString(16)).join(":");
        return length < 2 ? text(words) : `${text(words.slice(0, from))}::${text(words.slice(from + length))}`;
    }

    within(network) {
        const [address, length] = network.split("/");
        const bytes = parseAddress(address);
        const bits = length === undefined ? bytes.length * 8 : Number(length);
        if (bytes.length !== this.bytes.length) {
            return false;
        }
        return bytes.every((byte, n) => {
            const mask = (0xff00 >> Math.min(Math.max(bits - n * 8, 0), 8)) & 255;
            return (byte & mask) === (this.bytes[n] & mask);
        });
    }
}

function parseAddress(text) {
    if (!text.includes(":")) {
        return text.split(".").map(Number);
    }
    const [before, after] = text.split("::").map((half) => (half === "" ? [] : half.split(":")));
    const zeros = after === undefined ? [] : Array(8 - before.length - after.length).fill("0");
    return [...before, ...zeros, ...(after ?? [])].flatMap((word) => {
        const value = parseInt(word, 16);
        return [value >> 8, value & 255];
    });
}

// Events

// An attempt or a request, as the policy sees it.
class Event {
    #wire;

    constructor(wire) {
        this.#wire = wire;
        this.atMs = wire.at;
        this.clientAuthId = wire.clientAuthId;
    }

    get source() {
        return Address.of(this.#wire.source);
    }

    // The value of one attribute that the interest asked for, or undefined.
    attribute(name) {
        return this.#wire.attributes.find((found) => found.name === name)?.value;
    }
}

// One finished login attempt; null where the host can't tell.
class Attempt extends Event {
    constructor(wire) {
        super(wire);
        this.succeeded = wire.outcome === "success";
        this.failed = !this.succeeded;
        this.clientKnown = wire.clientKnown;
        this.secretFingerprint = wire.secretFingerprint;
    }
}

// One answered request.
class Request extends Event {
    constructor(wire) {
        super(wire);
        this.method = wire.method;
        this.path = wire.path;
        this.status = wire.status;
        this.authenticated = wire.clientAuthId !== null;
    }
}

// Verdicts

// What a judge answers: pass or an order, and what becomes of the state. Without `keep` or
// `forget` the state and its remaining time stay as they are.
class Verdict {
    constructor(order) {
        this.order = order;
        this.kept = null;
        this.forgotten = false;
        this.ttl = null;
    }

    // The host keeps this state from now on, until it needs the room or for so long from
    // the event on. The very same state without a ttl keeps the time it has.
    keep(kept, ttlMs = null) {
        this.kept = kept;
        this.forgotten = false;
        this.ttl = ttlMs;
        return this;
    }

    // The host keeps nothing for this subject any more.
    forget() {
        this.kept = null;
        this.forgotten = true;
        return this;
    }

    toKeep(layout, before, readable) {
        if (this.kept !== null) {
            const data = layout.encode(this.kept);
            if (this.ttl === null && before !== null && equal(before, data)) {
                return { tag: "unchanged" };
            }
            return { tag: "put", val: { data, ttl: this.ttl === null ? null : duration(this.ttl) } };
        }
        // What couldn't be read is of no use to anyone.
        const stays = before === null || (readable && !this.forgotten);
        return { tag: stays ? "unchanged" : "forget" };
    }
}

function equal(a, b) {
    return a.length === b.length && b.every((byte, n) => byte === a[n]);
}

// Orders nothing; a running wait or ban goes on.
export function pass() {
    return new Verdict(null);
}

// Makes the subject wait. The code is short and stable, `[a-z0-9-]{1,32}`; the text is one
// line for operators.
export function wait(durationMs, code, text) {
    return new Verdict({ tag: "wait", val: { duration: duration(durationMs), reason: { code, text } } });
}

// Bans the event's source, or the network of so many bits around it.
export function ban(durationMs, code, text, network = null) {
    const val = { duration: duration(durationMs), prefixLength: network, reason: { code, text } };
    return new Verdict({ tag: "ban", val });
}

function duration(durationMs) {
    return Math.min(Math.ceil(durationMs), DURATION_MS_MAX);
}

// Lines for debugging; the host counts, bounds and escapes them.

export const debug = (message) => log.log("debug", message);
export const info = (message) => log.log("info", message);
export const warn = (message) => log.log("warn", message);

// The plugin

// What a plugin of that kind (`wait`, `ban` or `scanner`) exports: `plugin`, and `judge` to
// be exported under the kind's name. `judge(settings, event, state)` returns a verdict and
// depends on nothing else; the state is null where nothing was kept. `interest(settings)`
// says what to be asked about: `statuses` as pairs of the lowest and the highest (scanner
// only; none: every request) and names of `attributes`. `validate(settings)` returns pairs
// of a setting's name and its mistake, for what no setting can know alone.
export function policy(kind, about) {
    const { name, version, doc, judge, settings = {}, state: layout = NO_STATE } = about;
    const { interest = () => ({}), validate = () => [] } = about;
    const Seen = kind === "scanner" ? Request : Attempt;
    // The only thing that an instance may remember.
    let configured = null;

    const plugin = {
        describe() {
            const specs = Object.entries(settings).map(([name, of]) => spec(name, of));
            return { name, version, doc, stateFormat: layout.format, settings: specs };
        },
        configure(given) {
            const [read, errors] = readSettings(settings, given, validate);
            if (errors.length === 0 && configured !== null) {
                errors.push({ name: "", message: "configure was called twice on one instance" });
            }
            if (errors.length > 0) {
                throw errors;
            }
            configured = read;
            const { statuses = [], attributes = [] } = interest(read);
            return { statuses: statuses.map(([first, last]) => ({ first, last })), attributes };
        },
    };

    const judging = {
        judge(wire, before) {
            if (configured === null) {
                throw "judge was called before configure";
            }
            try {
                const kept = before === null ? null : layout.decode(new Uint8Array(before));
                const verdict = judge(configured, new Seen(wire), kept);
                return { verdict: verdict.order ?? { tag: "pass" }, keep: verdict.toKeep(layout, before, kept !== null) };
            } catch (error) {
                // Told to the host, which has another way to judge; a trap would say less.
                throw String(error);
            }
        },
    };

    return { plugin, judge: judging };
}
