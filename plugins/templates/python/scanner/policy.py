"""{{doc}}"""

from portcullis import SECONDS, U16S, U32, U64, Interest, Setting, ban, pass_, policy, seconds_text, state


def at_least_one_status(statuses):
    return None if statuses else "at least one status"


def at_least_one(count):
    return None if count > 0 else "at least 1"


# What the operator can set.
SETTINGS = [
    Setting("statuses", U16S, [404], "HTTP statuses that are a hit, at least one.", check=at_least_one_status),
    Setting("max_hits", U32, 5, "Hits within a window that ban the source, at least 1.", check=at_least_one),
    Setting("window", SECONDS, 60.0, "Seconds that a window lasts, from its first hit on, fractions count."),
    Setting("ban_time", SECONDS, 3600.0, "Seconds that a ban lasts, fractions count."),
]

# What the host keeps for a source: hits in this window, and when the first of them came, in
# milliseconds since the Unix epoch. Whoever changes the fields changes the format's name, too.
Hits = state("{{name}}/1", count=U32, first_ms=U64)


def judge(settings, request, hits):
    """Judges one request. Depends on nothing else: the host calls any instance it likes."""
    if request.authenticated or request.status not in settings.statuses:
        return pass_()
    if hits is None or request.at_ms - hits.first_ms >= settings.window:
        hits = Hits(0, request.at_ms)
    count = hits.count + 1
    if count < settings.max_hits:
        left = settings.window - (request.at_ms - hits.first_ms)
        return pass_().keep(Hits(count, hits.first_ms), left)
    text = f"{count} hits within {seconds_text(settings.window)}."
    return ban(settings.ban_time, "too-many-hits", text).forget()


def interest(settings):
    """Only these answers are judged: the host spares the policy the rest."""
    return Interest(statuses=[(status, status) for status in settings.statuses])


Plugin, Scanner = policy(
    "scanner",
    name="{{name}}",
    version="0.1.0",
    doc="{{doc}}",
    settings=SETTINGS,
    state=Hits,
    judge=judge,
    interest=interest,
)
