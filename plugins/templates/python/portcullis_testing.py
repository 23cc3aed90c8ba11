"""For native tests: events in one line, and a small host that keeps the state between them
as the real one does: as bytes, for as long as the policy asked. It enforces nothing."""

from importlib.util import find_spec, module_from_spec
from ipaddress import IPv4Address, ip_address

from componentize_py_types import Err
from wit_world.imports import log, types

# Lines of a policy's log go to the standard output.
log.log = lambda level, message: print(f"{level.name}: {message}")


class Refused(Exception):
    """The settings are wrong; all mistakes, line by line."""


def _address(source):
    address = ip_address(source)
    if isinstance(address, IPv4Address):
        return types.IpAddress_Ipv4(int(address))
    parts = tuple(int(address) >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0))
    return types.IpAddress_Ipv6(parts)


def _attributes(attributes):
    return [types.Attribute(name, value) for name, value in (attributes or {}).items()]


def attempt(source, client=None, *, succeeded=False, at_ms=0, known=None, fingerprint=None, attributes=None):
    """A failed attempt, unless said otherwise."""
    outcome = types.Outcome.SUCCESS if succeeded else types.Outcome.FAILURE
    return types.Attempt(at_ms, _address(source), client, outcome, known, fingerprint, _attributes(attributes))


def request(source, path="/", status=200, *, client=None, method="GET", at_ms=0, attributes=None):
    """An answered request; with a client, its own credentials were verified."""
    return types.Request(at_ms, _address(source), client, method, path, status, _attributes(attributes))


class Host:
    """The policy with these settings instead of the defaults: `Host("ban", max_failed_login=2)`.
    What is kept goes by the client auth id for waits, where there is one, and else by the
    source."""

    def __init__(self, kind, **settings):
        # An instance of its own: none is configured twice.
        spec = find_spec("policy")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        plugin, self._judge = module.Plugin(), getattr(module, kind.capitalize())()
        self._kind, self._states = kind, {}
        given = []
        for spec in plugin.describe().settings:
            value = spec.default_value
            if spec.name in settings:
                value = getattr(types, "SettingValue_" + spec.kind.name.capitalize())(settings.pop(spec.name))
            given.append(types.Setting(spec.name, value))
        if settings:
            raise TypeError(f"no such settings: {', '.join(settings)}")
        try:
            plugin.configure(given)
        except Err as error:
            raise Refused("\n".join(f"{wrong.name}: {wrong.message}" for wrong in error.value)) from None

    def judge(self, event):
        """The order that the policy gives, or None if it lets pass."""
        subject = self._subject(event)
        kept, end_ms = self._states.pop(subject, (None, None))
        if end_ms is not None and end_ms <= event.at:
            kept, end_ms = None, None
        judgement = self._judge.judge(event, kept)
        keep = judgement.keep
        if isinstance(keep, types.Keep_Put):
            ttl = keep.value.ttl
            self._states[subject] = keep.value.data, None if ttl is None else event.at + ttl
        elif isinstance(keep, types.Keep_Unchanged) and kept is not None:
            self._states[subject] = kept, end_ms
        return getattr(judgement.verdict, "value", None)

    def kept(self, event):
        """The bytes kept for the subject of such an event, or None."""
        return self._states.get(self._subject(event), (None, None))[0]

    def _subject(self, event):
        if self._kind == "wait" and event.client_auth_id is not None:
            return event.client_auth_id
        return repr(event.source)
