// For native tests: events in one line, and a small host that keeps the state between them
// as the real one does: as bytes, for as long as the policy asked. It enforces nothing.
//
// Loaded before the tests (`node --import`), it also stands in for the host's `log`.

import { register } from "node:module";

const LOG = "portcullis:policy/log@0.1.0";
const STAND_IN = "export default { log: (level, message) => console.log(`${level}: ${message}`) };";
const HOOKS = `export async function resolve(name, context, next) {
    const url = ${JSON.stringify(`data:text/javascript,${encodeURIComponent(STAND_IN)}`)};
    return name === ${JSON.stringify(LOG)} ? { url, shortCircuit: true } : next(name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(HOOKS)}`);

function address(source) {
    if (!source.includes(":")) {
        return { tag: "ipv4", val: source.split(".").reduce((whole, part) => whole * 256 + Number(part), 0) };
    }
    const [start, end] = source.split("::").map((half) => half.split(":").filter((word) => word !== ""));
    const words = end === undefined ? start : [...start, ...Array(8 - start.length - end.length).fill("0"), ...end];
    const part = (n) => parseInt(words[2 * n], 16) * 65536 + parseInt(words[2 * n + 1], 16);
    return { tag: "ipv6", val: [0, 1, 2, 3].map(part) };
}

// A misspelt option would be a test of something else.
function onlyKnown(about, names) {
    const unknown = Object.keys(about).filter((name) => !names.includes(name));
    if (unknown.length > 0) {
        throw new TypeError(`no such options: ${unknown.join(", ")}; there are ${names.join(", ")}`);
    }
}

const list = (attributes) => Object.entries(attributes).map(([name, value]) => ({ name, value }));

// A failed attempt, unless said otherwise.
export function attempt(source, about = {}) {
    onlyKnown(about, ["client", "succeeded", "atMs", "known", "fingerprint", "attributes"]);
    const { client = null, succeeded = false, atMs = 0, known = null, fingerprint = null, attributes = {} } = about;
    return {
        at: atMs,
        source: address(source),
        clientAuthId: client,
        outcome: succeeded ? "success" : "failure",
        clientKnown: known,
        secretFingerprint: fingerprint,
        attributes: list(attributes),
    };
}

// An answered request; with a client, its own credentials were verified.
export function request(source, path = "/", status = 200, about = {}) {
    onlyKnown(about, ["client", "method", "atMs", "attributes"]);
    const { client = null, method = "GET", atMs = 0, attributes = {} } = about;
    return { at: atMs, source: address(source), clientAuthId: client, method, path, status, attributes: list(attributes) };
}

let hosts = 0;

// The policy with these settings instead of the defaults; what is wrong with them is thrown.
// What is kept goes by the client auth id for waits, where there is one, and else by the source.
export async function host(kind, settings = {}) {
    // An instance of its own: none is configured twice.
    hosts += 1;
    const { plugin, [kind]: judging } = await import(`./policy.mjs?${hosts}`);
    const specs = plugin.describe().settings;
    const unknown = Object.keys(settings).filter((name) => !specs.some((spec) => spec.name === name));
    if (unknown.length > 0) {
        throw new TypeError(`no such settings: ${unknown.join(", ")}`);
    }
    const given = specs.map(({ name, kind, defaultValue }) => {
        return { name, value: name in settings ? { tag: kind, val: settings[name] } : defaultValue };
    });
    try {
        plugin.configure(given);
    } catch (errors) {
        throw Array.isArray(errors) ? new Error(errors.map(({ name, message }) => `${name}: ${message}`).join("\n")) : errors;
    }
    const states = new Map();
    const subject = ({ clientAuthId, source }) => {
        return kind === "wait" && clientAuthId !== null ? clientAuthId : `${source.tag} ${source.val}`;
    };
    return {
        // The order that the policy gives, or null if it lets pass.
        judge(event) {
            const of = subject(event);
            if (states.get(of)?.endMs <= event.at) {
                states.delete(of);
            }
            const { verdict, keep } = judging.judge(event, states.get(of)?.data ?? null);
            if (keep.tag === "forget") {
                states.delete(of);
            } else if (keep.tag === "put") {
                const { data, ttl } = keep.val;
                states.set(of, { data, endMs: ttl === null ? Infinity : event.at + ttl });
            }
            return verdict.val ?? null;
        },
        // The bytes kept for the subject of such an event, or null.
        kept(event) {
            return states.get(subject(event))?.data ?? null;
        },
    };
}
