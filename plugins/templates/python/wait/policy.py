"""{{doc}}"""

from portcullis import SECONDS, U8, Setting, pass_, policy, state, wait

# More doublings than these are past any wait.
DOUBLINGS_MAX = 32

# What the operator can set.
SETTINGS = [
    Setting(
        "first_wait",
        SECONDS,
        1.0,
        "Seconds to wait after the first failed login, fractions count; 0 turns the policy off.",
    ),
    Setting("longest_wait", SECONDS, 60.0, "Seconds to wait at most, fractions count."),
    Setting(
        "forget_after",
        SECONDS,
        900.0,
        "Seconds after the last failed login when it starts again with `first_wait`, fractions count.",
    ),
]

# What the host keeps for a client auth id: failures since the last success. Whoever changes
# the fields changes the format's name, too.
Failures = state("{{name}}/1", count=U8)


def judge(settings, attempt, failures):
    """Judges one attempt. Depends on nothing else: the host calls any instance it likes."""
    if attempt.succeeded or settings.first_wait == 0:
        return pass_().forget()
    before = min(failures.count if failures else 0, DOUBLINGS_MAX)
    time = min(settings.first_wait << before, settings.longest_wait)
    count = before + 1
    verdict = wait(time, "failed-login", f"Failed login number {count}.")
    return verdict.keep(Failures(count), settings.forget_after)


Plugin, Wait = policy(
    "wait",
    name="{{name}}",
    version="0.1.0",
    doc="{{doc}}",
    settings=SETTINGS,
    state=Failures,
    judge=judge,
)
