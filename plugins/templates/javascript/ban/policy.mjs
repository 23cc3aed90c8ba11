// {{doc}}

import { SECONDS, U32, ban, pass, policy, setting, state, u32 } from "./portcullis.mjs";

const atLeastOne = (count) => (count > 0 ? undefined : "at least 1");

// What the operator can set.
const settings = {
    max_failed_login: setting(U32, 5, "Failed logins in a row that ban the source, at least 1.", atLeastOne),
    ban_time: setting(SECONDS, 3600, "Seconds that a ban lasts, fractions count."),
    forget_after: setting(SECONDS, 86400, "Seconds after the last failed login when the count is forgotten, fractions count."),
};

// What the host keeps for a source: failures since the last success or ban. Whoever changes
// the fields changes the format's name, too.
const failures = state("{{name}}/1", { count: u32 });

// Judges one attempt. Depends on nothing else: the host calls any instance it likes.
function judge(settings, attempt, failures) {
    if (attempt.succeeded) {
        return pass().forget();
    }
    const count = (failures?.count ?? 0) + 1;
    if (count < settings.max_failed_login) {
        return pass().keep({ count }, settings.forget_after);
    }
    return ban(settings.ban_time, "too-many-failures", `${count} failed logins in a row.`).forget();
}

const { plugin, judge: judging } = policy("ban", {
    name: "{{name}}",
    version: "0.1.0",
    doc: "{{doc}}",
    settings,
    state: failures,
    judge,
});

export { plugin, judging as ban };
