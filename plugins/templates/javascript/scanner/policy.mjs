// {{doc}}

import { SECONDS, U16S, U32, ban, pass, policy, secondsText, setting, state, u32, u64 } from "./portcullis.mjs";

const atLeastOneStatus = (statuses) => (statuses.length > 0 ? undefined : "at least one status");
const atLeastOne = (count) => (count > 0 ? undefined : "at least 1");

// What the operator can set.
const settings = {
    statuses: setting(U16S, [404], "HTTP statuses that are a hit, at least one.", atLeastOneStatus),
    max_hits: setting(U32, 5, "Hits within a window that ban the source, at least 1.", atLeastOne),
    window: setting(SECONDS, 60, "Seconds that a window lasts, from its first hit on, fractions count."),
    ban_time: setting(SECONDS, 3600, "Seconds that a ban lasts, fractions count."),
};

// What the host keeps for a source: hits in this window, and when the first of them came, in
// milliseconds since the Unix epoch. Whoever changes the fields changes the format's name, too.
const hits = state("{{name}}/1", { count: u32, first_ms: u64 });

// Judges one request. Depends on nothing else: the host calls any instance it likes.
function judge(settings, request, hits) {
    if (request.authenticated || !settings.statuses.includes(request.status)) {
        return pass();
    }
    const open = hits !== null && request.atMs - hits.first_ms < settings.window;
    const { count: before, first_ms } = open ? hits : { count: 0, first_ms: request.atMs };
    const count = before + 1;
    if (count < settings.max_hits) {
        return pass().keep({ count, first_ms }, settings.window - (request.atMs - first_ms));
    }
    const text = `${count} hits within ${secondsText(settings.window)}.`;
    return ban(settings.ban_time, "too-many-hits", text).forget();
}

// Only these answers are judged: the host spares the policy the rest.
function interest(settings) {
    return { statuses: Array.from(settings.statuses, (status) => [status, status]) };
}

const { plugin, judge: judging } = policy("scanner", {
    name: "{{name}}",
    version: "0.1.0",
    doc: "{{doc}}",
    settings,
    state: hits,
    judge,
    interest,
});

export { plugin, judging as scanner };
