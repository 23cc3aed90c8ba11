"""{{doc}}"""

from portcullis import SECONDS, U32, Setting, ban, pass_, policy, state


def at_least_one(count):
    return None if count > 0 else "at least 1"


# What the operator can set.
SETTINGS = [
    Setting("max_failed_login", U32, 5, "Failed logins in a row that ban the source, at least 1.", check=at_least_one),
    Setting("ban_time", SECONDS, 3600.0, "Seconds that a ban lasts, fractions count."),
    Setting(
        "forget_after",
        SECONDS,
        86400.0,
        "Seconds after the last failed login when the count is forgotten, fractions count.",
    ),
]

# What the host keeps for a source: failures since the last success or ban. Whoever changes
# the fields changes the format's name, too.
Failures = state("{{name}}/1", count=U32)


def judge(settings, attempt, failures):
    """Judges one attempt. Depends on nothing else: the host calls any instance it likes."""
    if attempt.succeeded:
        return pass_().forget()
    count = (failures.count if failures else 0) + 1
    if count < settings.max_failed_login:
        return pass_().keep(Failures(count), settings.forget_after)
    return ban(settings.ban_time, "too-many-failures", f"{count} failed logins in a row.").forget()


Plugin, Ban = policy(
    "ban",
    name="{{name}}",
    version="0.1.0",
    doc="{{doc}}",
    settings=SETTINGS,
    state=Failures,
    judge=judge,
)
