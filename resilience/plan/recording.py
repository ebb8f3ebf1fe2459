"""What may be written down of a plan. Pure.

The record must be read back without an environment and come to the same timeline, and must hold no secret. So every value
stands as it was filled in, except where the schema takes free text that may hold secrets: there the text stands as it was
written, `${...}` and all, and literal credentials are masked. `faults.redact` says what a credential looks like, for
this record as for every other; it is a net, not a proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from faults.redact import REDACTED, redact
from resilience.plan.schema.breakers import REMOTE_KEYS
from resilience.plan.schema.calls import DRIVERS
from resilience.plan.variables import around_variables, with_variables_aside

_HTTP_TEXTS = ("url", "headers", "json", "form", "body", "data", "variables", "expect_headers", "expect_json")
_CALL_TEXTS = frozenset(
    {*_HTTP_TEXTS, "dsn", "params", "command", "commands", "expect", "first", "send", "welcome", "answer"}
)
"""Where a call holds free text, whatever its driver. What is recorded or extracted names places, and is no secret."""
_EXTERNAL_TEXTS = ("admin_url", "tap_url")
_SCHEME = re.compile(r"\s*(?:basic|bearer|digest|token)\s+", re.IGNORECASE)


def recordable(written: Mapping[str, Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    """The record's values of a valid plan: `written` has the variables, `filled` what they came to."""
    recorded = dict(filled)
    recorded["load"] = {
        name: {
            key: _free(written["load"][name].get(key), value) if key in DRIVERS else value
            for key, value in stream.items()
        }
        for name, stream in filled.get("load", {}).items()
    }
    if filled.get("stimulus"):
        recorded["stimulus"] = {
            name: _stimulus(written["stimulus"][name], stimulus)
            for name, stimulus in filled["stimulus"].items()
        }
    if filled.get("breakers"):
        recorded["breakers"] = {
            name: _breaker(written["breakers"][name], breaker) for name, breaker in filled["breakers"].items()
        }
    if filled.get("external") is not None:
        recorded["external"] = _external(written["external"], filled["external"])
    if filled.get("system") is not None:
        ready = _texts(("url",), written["system"]["ready"], filled["system"]["ready"])
        recorded["system"] = {**filled["system"], "ready": ready}
    return recorded


def _breaker(written: Mapping[str, Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    """Addresses of observers are somebody's, too."""
    if not isinstance(filled.get("observe"), dict):
        return dict(filled)
    before, after = written["observe"], filled["observe"]
    observe = _texts(REMOTE_KEYS, before, after)
    for key in REMOTE_KEYS:
        if isinstance(after.get(key), dict):
            observe[key] = _texts(("url",), before[key], after[key])
    return {**filled, "observe": observe}


def _stimulus(written: Mapping[str, Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    stimulus = {**filled, "http": _texts(_HTTP_TEXTS, written["http"], filled["http"])}
    if "answer" in filled:
        stimulus["answer"] = _texts(("headers", "json"), written["answer"], filled["answer"])
    return stimulus


def _external(written: Mapping[str, Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    external = _texts(("base_url", "addresses"), written, filled)
    if "proxies" in filled:
        external["proxies"] = {
            name: _texts(_EXTERNAL_TEXTS, written["proxies"][name], proxy)
            for name, proxy in filled["proxies"].items()
        }
    if "instances" in filled:
        external["instances"] = [
            _texts(_EXTERNAL_TEXTS, before, after)
            for before, after in zip(written["instances"], filled["instances"], strict=True)
        ]
    return external


def _free(written: Any, filled: Any) -> Any:
    """What one call is, at any depth: free texts as they were written and masked, everything else as it was filled in."""
    if isinstance(filled, dict):
        before = written if isinstance(written, dict) else {}
        return {
            key: masked(before[key] if type(before.get(key)) is type(value) else value, key)
            if key in _CALL_TEXTS
            else _free(before.get(key), value)
            for key, value in filled.items()
        }
    if isinstance(filled, list):
        before_all = written if isinstance(written, list) and len(written) == len(filled) else filled
        return [_free(before, after) for before, after in zip(before_all, filled, strict=True)]
    return filled


def _texts(keys: tuple[str, ...], written: Mapping[str, Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    # Rows read from a file stand in no text: what was filled in is what was written.
    source = {key: written[key] if type(written[key]) is type(filled[key]) else filled[key] for key in filled}
    return {key: masked(source[key], key) if key in keys else value for key, value in filled.items()}


def masked(value: Any, name: str = "", *, secret: bool = False) -> Any:
    """The value without literal credentials: below a key that names a secret all of it, elsewhere what looks like one."""
    secret = secret or redact({name: ""}) == {name: REDACTED}
    if isinstance(value, dict):
        return {key: masked(item, key, secret=secret) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, secret=secret) for item in value]
    if not secret:
        return with_variables_aside(value, _redacted_text) if isinstance(value, str) else value
    if not isinstance(value, str):
        return None if value is None else REDACTED
    scheme = _SCHEME.match(value)
    start = scheme.end() if scheme else 0
    return value[:start] + around_variables(value[start:], _masked_literal, _masked_literal)


def _masked_literal(text: str) -> str:
    return REDACTED if text.strip() else text


def _redacted_text(text: str) -> str:
    # Brackets before an @ would be taken for an IPv6 address by whoever reads the URL again.
    return str(redact(text)).replace(f"://{REDACTED}@", "://redacted@")
