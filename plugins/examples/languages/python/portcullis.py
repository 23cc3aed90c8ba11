"""What the author of a Portcullis policy in Python uses: settings, state, addresses and
verdicts. A policy is one plain function; `policy` makes a plugin of it.

Lengths of time are whole milliseconds, as in the interface: `ban`, `wait`, `keep` and
`attempt.at_ms` take and give them, and so does a setting of kind `SECONDS`, which the
operator writes in seconds. Nothing outside a call may be remembered: the host calls any
instance it likes, in any order.
"""

from collections import namedtuple
from ipaddress import IPv4Address, IPv6Address
from math import ceil, isfinite, isnan

from componentize_py_types import Err
from wit_world.imports import log as _log, types

__all__ = [
    "BOOL", "BOOLEAN", "BYTES", "I64", "INTEGER", "INTEGERS", "Interest", "JSON", "NUMBER", "NUMBERS",
    "SECONDS", "Setting", "TEXT", "TEXTS", "U16", "U16S", "U32", "U64", "U8", "ban", "debug", "info",
    "list_of", "option_of", "pass_", "policy", "seconds_text", "state", "wait", "warn",
]  # fmt: skip

DURATION_MS_MAX = 2**53 - 1


# Settings


class _Kind:
    """A type that a setting can have: the interface's, and what of its values is let in."""

    def __init__(self, wire, expected, read):
        self.kind = types.SettingType[wire.upper()]
        self.wire = getattr(types, "SettingValue_" + wire.capitalize())
        self.expected = expected
        # The value as the policy sees it, or None if it is not what is expected.
        self.read = read


def _whole(low, high):
    return lambda value: value if low <= value <= high else None


def _wholes(low, high):
    return lambda values: values if all(low <= value <= high for value in values) else None


def _milliseconds(seconds):
    """A number of seconds in milliseconds, rounded up. Over nanoseconds, as the SDK for
    Rust does, so that policies of all languages agree to the last bit."""
    if not 0.0 <= seconds < DURATION_MS_MAX // 1000:
        return None
    whole = int(seconds)
    nanos = int((seconds - whole) * 1e9 + 0.5)
    return whole * 1000 + -(-nanos // 1_000_000)


BOOLEAN = _Kind("boolean", "true or false", lambda value: value)
INTEGER = _Kind("integer", "a whole number", lambda value: value)
U16 = _Kind("integer", "a whole number from 0 to 65535", _whole(0, 2**16 - 1))
U32 = _Kind("integer", "a whole number from 0 to 4294967295", _whole(0, 2**32 - 1))
U64 = _Kind("integer", "a whole number that is not negative", _whole(0, 2**63 - 1))
NUMBER = _Kind("number", "a number", lambda value: value if isfinite(value) else None)
SECONDS = _Kind("number", "a number of seconds, 0 or more and below 9007199254740", _milliseconds)
TEXT = _Kind("text", "a text", lambda value: value)
INTEGERS = _Kind("integers", "a list of whole numbers", lambda values: values)
U16S = _Kind("integers", "a list of whole numbers from 0 to 65535", _wholes(0, 2**16 - 1))
NUMBERS = _Kind("numbers", "a list of numbers", lambda values: values if all(map(isfinite, values)) else None)
TEXTS = _Kind("texts", "a list of texts", lambda values: values)
JSON = _Kind("json", "JSON", lambda value: value)


class Setting:
    """One setting: its name, its kind, its default (None: the operator must set it) and
    one line with the unit. `check(value)` may return what is expected instead."""

    def __init__(self, name, kind, default, doc, check=None):
        self.name, self.kind, self.check = name, kind, check
        default = None if default is None else kind.wire(default)
        self.spec = types.SettingSpec(name, kind.kind, default, doc)

    def _read(self, given):
        """The value and None, or None and what is wrong."""
        if given is None:
            return None, f"missing, expected {self.kind.expected}"
        if not isinstance(given, self.kind.wire):
            return None, f"found {_shown(given)}, expected {self.kind.expected}"
        value = self.kind.read(given.value)
        expected = self.kind.expected if value is None else self.check and self.check(value)
        if expected:
            return None, f"found {_shown(given)}, expected {expected}"
        return value, None


def _read_settings(kept, settings, given, validate):
    """The settings as a tuple of that type, and every mistake."""
    left = {setting.name: setting.value for setting in reversed(given)}
    values, errors = [], []
    for setting in settings:
        value, error = setting._read(left.pop(setting.name, None))
        values.append(value)
        if error:
            errors.append(types.SettingError(setting.name, error))
    read = kept._make(values)
    if not errors and validate:
        errors = [types.SettingError(name, message) for name, message in validate(read)]
    errors += [types.SettingError(name, "no such setting") for name in reversed(left)]
    return read, errors


def _shown(value):
    """A value as an operator should see it in a message; long ones are cut."""
    value = value.value
    if isinstance(value, list):
        return "[" + ", ".join([_shown_one(one) for one in value[:8]] + ["…"] * (len(value) > 8)) + "]"
    return _shown_one(value)


def _shown_one(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        start = value.encode()[:40].decode(errors="ignore")
        return f'"{start}"' if start == value else f'"{start}…"'
    if isnan(value):
        return "not a number"
    sign = "-" if value < 0 else ""
    return sign + ("(more than 10^15)" if abs(value) > 1e15 else _thousandths(int(abs(value) * 1000 + 0.5)))


def _thousandths(value):
    whole, rest = divmod(value, 1000)
    return f"{whole}.{rest:03}".rstrip("0") if rest else str(whole)


def seconds_text(duration_ms):
    """Milliseconds as people write them: `20s`, `1.5s`."""
    return _thousandths(duration_ms) + "s"


# State: borsh (https://borsh.io), the same bytes in every language


class _Bytes:
    """What is left to read."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise ValueError("Unexpected length of input")
        return self.data[start : self.at]


class _Codec:
    """A field's type: how it is written, and read from `_Bytes`."""

    def __init__(self, write, read):
        self.write, self.read = write, read


def _number(count, signed=False):
    return _Codec(
        lambda value: value.to_bytes(count, "little", signed=signed),
        lambda data: int.from_bytes(data.take(count), "little", signed=signed),
    )


def _read_bool(data):
    (byte,) = data.take(1)
    if byte > 1:
        raise ValueError(f"Invalid bool representation: {byte}")
    return byte == 1


# A setting's kind stands for a field's type of the same name.
_CODECS = {U16: _number(2), U32: _number(4), U64: _number(8)}
U8 = _number(1)
I64 = _number(8, signed=True)
BOOL = _Codec(lambda value: b"\1" if value else b"\0", _read_bool)
BYTES = _Codec(
    lambda value: len(value).to_bytes(4, "little") + value,
    lambda data: bytes(data.take(int.from_bytes(data.take(4), "little"))),
)
_CODECS[TEXT] = _Codec(lambda value: BYTES.write(value.encode()), lambda data: BYTES.read(data).decode())


def list_of(kind):
    """A list of what is of that type."""
    codec, length = _CODECS.get(kind, kind), _CODECS[U32]
    return _Codec(
        lambda values: length.write(len(values)) + b"".join(map(codec.write, values)),
        lambda data: [codec.read(data) for _ in range(length.read(data))],
    )


def option_of(kind):
    """None, or what is of that type."""
    codec = _CODECS.get(kind, kind)
    return _Codec(
        lambda value: b"\0" if value is None else b"\1" + codec.write(value),
        lambda data: codec.read(data) if _read_bool(data) else None,
    )


def state(format, **fields):
    """A tuple with named fields that the host keeps for a subject. `format` names the
    layout: the host hands state only to plugins that name the same, so a changed layout
    needs a new name. `Failures = state("failures-in-a-row/1", count=U32)`"""
    kept = namedtuple("State", fields)
    codecs = [_CODECS.get(kind, kind) for kind in fields.values()]
    kept.format = format
    kept.write = lambda values: b"".join(codec.write(value) for codec, value in zip(codecs, values))
    kept.decode = lambda data: _decode(kept, codecs, data)
    return kept


def _decode(kept, codecs, data):
    """One whole state. Anything else counts as none, and a warning says so: an error
    would fail the same subject again and again."""
    data = _Bytes(data)
    try:
        read = kept(*[codec.read(data) for codec in codecs])
        if data.at == len(data.data):
            return read
        why = "Not all bytes read"
    except ValueError as error:
        why = str(error)
    warn(f"state of format {kept.format} can't be read, starting anew: {why}")
    return None


# Events


class _Event:
    """An attempt or a request."""

    def __init__(self, wire):
        self._wire = wire
        self.at_ms = wire.at
        self.client_auth_id = wire.client_auth_id

    @property
    def source(self):
        """The client's address, an `ipaddress.IPv4Address` or `IPv6Address`."""
        wire = self._wire.source
        if isinstance(wire, types.IpAddress_Ipv4):
            return IPv4Address(wire.value)
        a, b, c, d = wire.value
        return IPv6Address(a << 96 | b << 64 | c << 32 | d)

    def attribute(self, name):
        """The value of one attribute that `Interest` asked for, or None."""
        return next((found.value for found in self._wire.attributes if found.name == name), None)


_SUCCESS = types.Outcome.SUCCESS


class Attempt(_Event):
    """One finished login attempt, judged by `wait` and `ban` policies."""

    def __init__(self, wire):
        super().__init__(wire)
        self.succeeded = wire.outcome is _SUCCESS
        self.failed = not self.succeeded
        self.client_known = wire.client_known
        self.secret_fingerprint = wire.secret_fingerprint


class Request(_Event):
    """One answered request, judged by `scanner` policies."""

    def __init__(self, wire):
        super().__init__(wire)
        self.method, self.path, self.status = wire.method, wire.path, wire.status
        self.authenticated = wire.client_auth_id is not None


# Verdicts


class Verdict:
    """What a judge answers: pass or an order, and what becomes of the state. Without
    `keep` or `forget` the state and its remaining time stay as they are."""

    def __init__(self, order=None):
        self.order, self.kept, self.forgotten, self.ttl = order, None, False, None

    def keep(self, state, ttl_ms=None):
        """The host keeps this state from now on, until it needs the room or for so long
        from the event on. The very same state without a ttl keeps the time it has."""
        self.kept, self.forgotten, self.ttl = state, False, ttl_ms
        return self

    def forget(self):
        """The host keeps nothing for this subject any more."""
        self.kept, self.forgotten = None, True
        return self

    def _keep(self, before, readable):
        if self.kept is not None:
            data = self.kept.write()
            if self.ttl is None and data == before:
                return types.Keep_Unchanged()
            ttl = None if self.ttl is None else _duration(self.ttl)
            return types.Keep_Put(types.Kept(data, ttl))
        # What couldn't be read is of no use to anyone.
        if before is None or (readable and not self.forgotten):
            return types.Keep_Unchanged()
        return types.Keep_Forget()


def pass_():
    """Orders nothing; a running wait or ban goes on."""
    return Verdict()


def wait(duration_ms, code, text):
    """Makes the subject wait. The code is short and stable, `[a-z0-9-]{1,32}`; the text
    is one line for operators."""
    return Verdict(types.WaitOrder(_duration(duration_ms), types.Reason(code, text)))


def ban(duration_ms, code, text, network=None):
    """Bans the event's source, or the network of so many bits around it."""
    return Verdict(types.BanOrder(_duration(duration_ms), network, types.Reason(code, text)))


def _duration(duration_ms):
    return min(ceil(duration_ms), DURATION_MS_MAX)


def Interest(statuses=(), attributes=()):
    """What the policy is to be asked about, the rest may be spared: statuses as pairs of
    the lowest and the highest (scanner only; none: every request), attributes by name."""
    return types.Interest([types.StatusRange(*pair) for pair in statuses], list(attributes))


# Lines for debugging; the host counts, bounds and escapes them


def debug(message):
    _log.log(_log.Level.DEBUG, message)


def info(message):
    _log.log(_log.Level.INFO, message)


def warn(message):
    _log.log(_log.Level.WARN, message)


# The plugin

_KINDS = {
    "wait": (Attempt, types.WaitVerdict_Pass, types.WaitVerdict_Wait, types.WaitJudgement),
    "ban": (Attempt, types.BanVerdict_Pass, types.BanVerdict_Ban, types.BanJudgement),
    "scanner": (Request, types.BanVerdict_Pass, types.BanVerdict_Ban, types.BanJudgement),
}


def policy(kind, *, name, version, doc, judge, settings=(), state=None, interest=None, validate=None):
    """The two classes that a plugin exports, to be bound to `Plugin` and to `Wait`, `Ban`
    or `Scanner`. `judge(settings, event, state)` returns a verdict and depends on nothing
    else; `state` is None where nothing was kept. `interest(settings)` returns an
    `Interest`; `validate(settings)` yields pairs of a setting's name and its mistake,
    for what no setting can know alone."""
    Event, Pass, Order, Judgement = _KINDS[kind]
    described = types.Description(name, version, doc, state.format if state else "none/1", [s.spec for s in settings])
    # Made here, while the component is built: making a type would be most of a start.
    Settings = namedtuple("Settings", [setting.name for setting in settings])
    # The only thing that an instance may remember.
    configured = []

    class Plugin:
        def describe(self):
            return described

        def configure(self, given):
            read, errors = _read_settings(Settings, settings, given, validate)
            if not errors and configured:
                errors = [types.SettingError("", "configure was called twice on one instance")]
            if errors:
                raise Err(errors)
            configured.append(read)
            return interest(read) if interest else Interest()

    class Judge:
        def judge(self, event, before):
            if not configured:
                raise Err("judge was called before configure")
            try:
                kept = None if state is None or before is None else state.decode(before)
                verdict = judge(configured[0], Event(event), kept)
                order = Pass() if verdict.order is None else Order(verdict.order)
                return Judgement(order, verdict._keep(before, kept is not None))
            except Exception as error:
                # Told to the host, which has another way to judge; a trap would say less.
                raise Err(f"{type(error).__name__}: {error}") from None

    return Plugin, Judge
