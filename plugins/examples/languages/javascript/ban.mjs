// Bans a source after too many failed logins in a row, however far apart they are.
// A success sets the count back, and after a ban it starts again.

import { SECONDS, U32, ban, pass, policy, setting, state, u32 } from "./portcullis.mjs";

// What the operator can set.
const settings = {
    max_failed_login: setting(U32, 5, "Failed logins in a row that ban the source; 0 turns the policy off."),
    ban_time: setting(SECONDS, 3600, "Seconds that a ban lasts, fractions count; 0 turns the policy off."),
};

// What is kept for a source: failures since the last success or ban.
const failures = state("failures-in-a-row/1", { count: u32 });

// Judges one attempt.
function judge(settings, attempt, failures) {
    const limit = settings.max_failed_login;
    const off = limit === 0 || settings.ban_time === 0;
    if (attempt.succeeded || off) {
        return pass().forget();
    }
    const count = (failures?.count ?? 0) + 1;
    if (count < limit) {
        return pass().keep({ count });
    }
    return ban(settings.ban_time, "max-failed-login", `Maximum of ${limit} login attempts reached.`).forget();
}

const { plugin, judge: judging } = policy("ban", {
    name: "ban",
    version: "0.1.0",
    doc: "Bans a source after too many failed logins in a row.",
    settings,
    state: failures,
    judge,
});

export { plugin, judging as ban };
