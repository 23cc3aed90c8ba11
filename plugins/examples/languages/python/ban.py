"""Bans a source after too many failed logins in a row, however far apart they are.
A success sets the count back, and after a ban it starts again."""

from portcullis import SECONDS, U32, Setting, ban, pass_, policy, state

# What the operator can set.
SETTINGS = [
    Setting("max_failed_login", U32, 5, "Failed logins in a row that ban the source; 0 turns the policy off."),
    Setting("ban_time", SECONDS, 3600.0, "Seconds that a ban lasts, fractions count; 0 turns the policy off."),
]

# What is kept for a source: failures since the last success or ban.
Failures = state("failures-in-a-row/1", count=U32)


def judge(settings, attempt, failures):
    """Judges one attempt."""
    limit = settings.max_failed_login
    off = limit == 0 or settings.ban_time == 0
    if attempt.succeeded or off:
        return pass_().forget()
    count = (failures.count if failures else 0) + 1
    if count < limit:
        return pass_().keep(Failures(count))
    return ban(settings.ban_time, "max-failed-login", f"Maximum of {limit} login attempts reached.").forget()


Plugin, Ban = policy(
    "ban",
    name="ban",
    version="0.1.0",
    doc="Bans a source after too many failed logins in a row.",
    settings=SETTINGS,
    state=Failures,
    judge=judge,
)
