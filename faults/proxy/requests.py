"""What the bodies of requests mean: fields, types and defaults of Toxiproxy's structs, with Go's complaints. Pure.

Keys match in any case, unknown ones are ignored, null keeps the default. A field of the wrong type does not stop
the ones after it from being read: the first complaint is raised at the end, and a toxic update keeps what was
read before, as Toxiproxy does (`ToxicChange.error`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from faults.model import Direction
from faults.proxy.golang_json import GoJSONError, Members, Number, Tree, decode_first
from faults.proxy.store import ApiError, StoredToxic
from faults.proxy.wire import float32
from faults.toxics import Toxic, attribute_types, only_stream, toxic_class

__all__ = [
    "ProxyRequest",
    "ToxicChange",
    "read_listed_toxics",
    "read_populate",
    "read_proxy",
    "read_toxic",
    "read_toxic_change",
]

_MOST_DIGITS = 20  # of an int64, with its sign

_PROXY_FIELDS = {
    "name": "string",
    "listen": "string",
    "upstream": "string",
    "enabled": "bool",
    "Logger": "zerolog.Logger",
}
_POPULATE_TYPE = '[]struct { toxiproxy.Proxy; Enabled *bool "json:\\"enabled\\"" }'


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """The fields of a proxy in a request; `toxics` is what stood under that name, None where nothing did."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: Tree = None


@dataclass(frozen=True, slots=True)
class ToxicChange:
    """An update of a toxic: what it becomes, and the complaint that goes with it, None if all was well."""

    toxic: StoredToxic
    error: ApiError | None


def _bad_body(message: str) -> ApiError:
    return ApiError(400, f"bad request body: {message}")


def _decode(body: bytes) -> Tree:
    try:
        return decode_first(body)
    except GoJSONError as error:
        raise _bad_body(str(error)) from None


def _kind(value: Tree, *, spelt: bool = False) -> str:
    if isinstance(value, Number):
        return f"number {value.text}" if spelt else "number"
    if isinstance(value, Members):
        return "object"
    if isinstance(value, bool):
        return "bool"
    return "array" if isinstance(value, list) else "string"


class _Struct:
    """Reads the members of one Go struct; remembers the first complaint."""

    def __init__(self, name: str, prefix: str = "", *, embedded: tuple[str, ...] = ()) -> None:
        self._name = name
        self._prefix = prefix
        self._embedded = embedded  # fields that Go finds in the embedded struct Proxy
        self.complaint: str | None = None

    def complain(self, field: str, value: Tree, go_type: str, *, spelt: bool = False) -> None:
        inner = "Proxy." if field in self._embedded else ""
        where = f"{self._name}.{self._prefix}{inner}{field}"
        text = f"json: cannot unmarshal {_kind(value, spelt=spelt)} into Go struct field {where} of type {go_type}"
        self.complaint = self.complaint or text

    def read(self, members: Members, types: Mapping[str, str]) -> dict[str, object]:
        """Return the fields that were there, in Go's types; what is of a wrong type is left out."""
        found: dict[str, object] = {}
        folded = {name.casefold(): name for name in types}
        for key, value in members.pairs:
            name = key if key in types else folded.get(key.casefold())
            if name is None or value is None:
                continue
            converted = self._convert(name, value, types[name])
            before = found.get(name)
            if isinstance(converted, Members) and isinstance(before, Members):
                # Go decodes into what the first of two equal keys left: members add up.
                converted = Members(before.pairs + converted.pairs)
            if converted is not None:
                found[name] = converted
        return found

    def _convert(self, name: str, value: Tree, go_type: str) -> object | None:
        if go_type == "string" and isinstance(value, str):
            return value
        if go_type == "bool" and isinstance(value, bool):
            return value
        if isinstance(value, Number) and go_type in {"int", "int64", "float32", "float64"}:
            number = _number(value, go_type)
            if number is None:
                self.complain(name, value, go_type, spelt=True)
            return number
        if go_type.startswith(("toxics.", "zerolog.")) and isinstance(value, Members):
            return value
        self.complain(name, value, go_type)
        return None


def _number(value: Number, go_type: str) -> object | None:
    if go_type == "float64":
        number = float(value.text)
        return number if math.isfinite(number) else None
    if go_type == "float32":
        try:
            return float32(float(value.text))
        except OverflowError:
            return None
    if any(character in value.text for character in ".eE"):
        return None
    if len(value.text) > _MOST_DIGITS:
        return None
    whole = int(value.text)
    return whole if -(2**63) <= whole < 2**63 else None


def _member(members: Tree, wanted: str) -> Tree:
    """Find the last member of that name, in any case; None where there is none."""
    if not isinstance(members, Members):
        return None
    return next((value for key, value in reversed(members.pairs) if key.casefold() == wanted), None)


def read_proxy(body: bytes, defaults: ProxyRequest) -> ProxyRequest:
    """Read a proxy over `defaults`; raise the 400 in Go's words."""
    tree = _decode(body)
    if tree is None:
        return defaults
    if not isinstance(tree, Members):
        raise _bad_body(f"json: cannot unmarshal {_kind(tree)} into Go value of type toxiproxy.Proxy")
    struct = _Struct("Proxy")
    request = _proxy(struct, tree, defaults)
    if struct.complaint:
        raise _bad_body(struct.complaint)
    return request


def _proxy(struct: _Struct, tree: Members, defaults: ProxyRequest) -> ProxyRequest:
    found = struct.read(tree, _PROXY_FIELDS)
    found.pop("Logger", None)
    return replace(defaults, **found, toxics=_member(tree, "toxics"))  # type: ignore[arg-type]  # read() gives the fields' types


def read_populate(body: bytes) -> tuple[ProxyRequest, ...]:
    """Read the array of /populate and of the config file; raise the 400 in Go's words."""
    tree = _decode(body)
    if tree is None:
        return ()
    if not isinstance(tree, list):
        raise _bad_body(f"json: cannot unmarshal {_kind(tree)} into Go value of type {_POPULATE_TYPE}")
    struct = _Struct("", embedded=tuple(name for name in _PROXY_FIELDS if name != "enabled"))
    requests = []
    for element in tree:
        entry = Members(()) if element is None else element
        if not isinstance(entry, Members):
            struct.complaint = struct.complaint or (
                f"json: cannot unmarshal {_kind(entry)} into Go value of type {_POPULATE_TYPE.removeprefix('[]')}"
            )
            continue
        requests.append(_proxy(struct, entry, ProxyRequest("", "", "", enabled=True)))
    if struct.complaint:
        raise _bad_body(struct.complaint)
    for number, request in enumerate(requests, start=1):
        if not request.name:
            raise ApiError(400, f"missing required field: name at proxy {number}")
        if not request.upstream:
            raise ApiError(400, f"missing required field: upstream at proxy {number}")
    return tuple(requests)


_GO_TYPES = {str: "string", float: "float64"}


def _attribute_types(toxic: type[Toxic] | Toxic) -> dict[str, str]:
    integer = "int" if toxic.kind == "slicer" else "int64"
    return {name: _GO_TYPES.get(kind, integer) for name, kind in attribute_types(toxic).items()}


def _go_name(kind: str) -> str:
    if kind == "reset_peer":
        return "ResetToxic"
    return "".join(word.capitalize() for word in kind.split("_")) + "Toxic"


def _attributes(toxic: Toxic, members: Members) -> tuple[Toxic, str | None]:
    struct = _Struct(_go_name(toxic.kind), "attributes.")
    found = struct.read(members, _attribute_types(toxic))
    return replace(toxic, **found), struct.complaint  # type: ignore[type-var]  # every toxic is a dataclass


def read_toxic(body: bytes, taken: frozenset[str], *, own: bool) -> StoredToxic:
    """Read a new toxic; names in `taken` are refused; `own` reads what only this server knows.

    Checks in Toxiproxy's order: JSON, stream, type, name, attributes.
    """
    return _toxic(_decode(body), taken, own=own)


def read_listed_toxics(tree: Tree, *, where: str) -> tuple[StoredToxic, ...] | None:
    """Read the `toxics` of a proxy in a body; None where there are none. `where` names the proxy in complaints."""
    if tree is None:
        return None
    if not isinstance(tree, list):
        raise ApiError(400, f"bad request body: toxics{where} must be an array")
    found: list[StoredToxic] = []
    for number, element in enumerate(tree, start=1):
        try:
            found.append(_toxic(element, frozenset(toxic.name for toxic in found), own=True))
        except ApiError as error:
            raise ApiError(error.status, f"{error.message} (toxic {number}{where})") from None
    return tuple(found)


def _ttl_ms(tree: Members) -> int | None:
    value = _member(tree, "ttl_ms")
    if value is None:
        return None
    ttl_ms = _number(value, "int64") if isinstance(value, Number) else None
    if not isinstance(ttl_ms, int) or ttl_ms <= 0:
        raise ApiError(400, "bad request body: ttl_ms must be a positive integer of milliseconds")
    return ttl_ms


def _toxic(tree: Tree, taken: frozenset[str], *, own: bool) -> StoredToxic:
    if tree is None:
        tree = Members(())
    if not isinstance(tree, Members):
        raise _bad_body(f"json: cannot unmarshal {_kind(tree)} into Go value of type toxics.ToxicWrapper")
    struct = _Struct("ToxicWrapper")
    types = {
        "attributes": "toxics.NoopToxic",
        "name": "string",
        "type": "string",
        "stream": "string",
        "toxicity": "float32",
    }
    found = struct.read(tree, types)
    if struct.complaint:
        raise _bad_body(struct.complaint)
    kind = str(found.get("type", ""))
    made = toxic_class(kind, own=own)
    aim = None if made is None else only_stream(made)
    stream = str(found.get("stream", "downstream" if aim is None else aim.value))
    direction = Direction.parse(stream)
    if direction is None:
        raise ApiError(400, "stream was invalid, can be either upstream or downstream")
    if aim is not None and direction is not aim:
        raise ApiError(400, f"stream of {kind} must be {aim.value}")
    if made is None:
        raise ApiError(400, "invalid toxic type")
    name = str(found.get("name", "")) or f"{kind}_{stream}"
    if name in taken:
        raise ApiError(409, "toxic already exists")
    toxic: Toxic = made()
    members = found.get("attributes")
    if isinstance(members, Members):
        toxic, complaint = _attributes(toxic, members)
        if complaint:
            raise _bad_body(complaint)
    toxicity = found.get("toxicity", 1.0)
    assert isinstance(toxicity, float)
    return StoredToxic(name, stream, direction, toxicity, toxic, ttl_ms=_ttl_ms(tree) if own else None)


def read_toxic_change(body: bytes, stored: StoredToxic, *, own: bool) -> ToxicChange:
    """Read an update: attributes are merged, toxicity replaced, everything else is ignored.

    With `own`, `ttl_ms` starts a new time to live; without it in the body the old one runs on.
    """
    tree = _decode(body)
    if tree is None:
        return ToxicChange(stored, None)
    if not isinstance(tree, Members):
        shape = 'struct { Attributes interface {} "json:\\"attributes\\""; Toxicity float32 "json:\\"toxicity\\"" }'
        raise _bad_body(f"json: cannot unmarshal {_kind(tree)} into Go value of type {shape}")
    struct = _Struct("")
    found = struct.read(tree, {"attributes": f"toxics.{_go_name(stored.toxic.kind)}", "toxicity": "float32"})
    toxic, complaint = stored.toxic, None
    members = found.get("attributes")
    if isinstance(members, Members):
        toxic, complaint = _attributes(toxic, members)
    complaint = struct.complaint or complaint
    if complaint:
        # What was readable of the attributes stays changed; the toxicity does not.
        return ToxicChange(replace(stored, toxic=toxic), _bad_body(complaint))
    toxicity = found.get("toxicity", stored.toxicity)
    assert isinstance(toxicity, float)
    changed = replace(stored, toxic=toxic, toxicity=toxicity)
    ttl_ms = _ttl_ms(tree) if own else None
    if ttl_ms is not None:
        changed = replace(changed, ttl_ms=ttl_ms, expires_ns=None)
    return ToxicChange(changed, None)
