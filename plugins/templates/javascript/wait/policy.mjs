// {{doc}}

import { SECONDS, pass, policy, setting, state, u8, wait } from "./portcullis.mjs";

// More doublings than these are past any wait.
const DOUBLINGS_MAX = 32;

// What the operator can set.
const settings = {
    first_wait: setting(
        SECONDS,
        1,
        "Seconds to wait after the first failed login, fractions count; 0 turns the policy off.",
    ),
    longest_wait: setting(SECONDS, 60, "Seconds to wait at most, fractions count."),
    forget_after: setting(
        SECONDS,
        900,
        "Seconds after the last failed login when it starts again with `first_wait`, fractions count.",
    ),
};

// What the host keeps for a client auth id: failures since the last success. Whoever changes
// the fields changes the format's name, too.
const failures = state("{{name}}/1", { count: u8 });

// Judges one attempt. Depends on nothing else: the host calls any instance it likes.
function judge(settings, attempt, failures) {
    if (attempt.succeeded || settings.first_wait === 0) {
        return pass().forget();
    }
    const before = Math.min(failures?.count ?? 0, DOUBLINGS_MAX);
    const time = Math.min(settings.first_wait * 2 ** before, settings.longest_wait);
    const count = before + 1;
    return wait(time, "failed-login", `Failed login number ${count}.`).keep({ count }, settings.forget_after);
}

const { plugin, judge: judging } = policy("wait", {
    name: "{{name}}",
    version: "0.1.0",
    doc: "{{doc}}",
    settings,
    state: failures,
    judge,
});

export { plugin, judging as wait };
