"""Undoing faults on a Toxiproxy server, Shopify's or ours, synchronously and with time-outs.

Runs in the guardian and in sweeps, so it stands on `http.client` alone. Every operation is idempotent. A target that is
gone counts as healed: a toxic or proxy that answers 404, or, on loopback, a refused connection (the server keeps its
state in memory, so nothing of the fault survives it). Elsewhere a refused connection may be a firewall: it is a failure.

Each connect and each read takes at most `TIMEOUT_S`, and an answer at most `MAX_ANSWER_BYTES`.
"""

import http.client
import ipaddress
import json
from typing import Any, Final
from urllib.parse import quote, urlsplit

from faults.undo.model import Undo

__all__ = [
    "MAX_ANSWER_BYTES",
    "TIMEOUT_S",
    "UndoFailed",
    "enable",
    "is_enabled",
    "remove_toxic",
    "toxic_is_gone",
]

TIMEOUT_S: Final = 1.0
MAX_ANSWER_BYTES: Final = 1 << 20
_GONE: Final = 404


class UndoFailed(Exception):  # noqa: N818 - it states an outcome
    """The target could not be reached, or refused; trying again may help."""


def remove_toxic(undo: Undo) -> bool:
    """Delete `args.toxic` of `args.proxy`; True if it was there, False if there was nothing to remove."""
    status, body = _call(undo, "DELETE", _toxic_path(undo))
    if status in {200, 204}:
        return True
    if status == _GONE:
        return False
    raise UndoFailed(f"deleting the toxic answered {status}: {_excerpt(body)}")


def toxic_is_gone(undo: Undo) -> bool:
    """Ask whether `args.toxic` is gone, together with its proxy or alone."""
    status, body = _call(undo, "GET", _toxic_path(undo))
    if status not in {200, _GONE}:
        raise UndoFailed(f"asking for the toxic answered {status}: {_excerpt(body)}")
    return status == _GONE


def enable(undo: Undo) -> bool:
    """Set `enabled` of `args.proxy` back to `args.enabled`; True if it had another value."""
    if is_enabled(undo):
        return False
    # POST and not PATCH: Shopify's server before 2.6 knows only POST, later ones and ours take both.
    body = json.dumps({"enabled": _wanted(undo)}).encode()
    status, answer = _call(undo, "POST", _proxy_path(undo), body)
    if status == _GONE:
        return False
    if status != 200:
        raise UndoFailed(f"setting the proxy's `enabled` back answered {status}: {_excerpt(answer)}")
    return True


def is_enabled(undo: Undo) -> bool:
    """Ask whether `args.proxy` has the value `args.enabled`, or is gone."""
    status, body = _call(undo, "GET", _proxy_path(undo))
    if status == _GONE:
        return True
    if status != 200:
        raise UndoFailed(f"asking for the proxy answered {status}: {_excerpt(body)}")
    try:
        value = json.loads(body)["enabled"]
    except (ValueError, KeyError, TypeError) as error:
        raise UndoFailed(f"the proxy's description is not understood: {_excerpt(body)}") from error
    return bool(value) == _wanted(undo)


def _wanted(undo: Undo) -> bool:
    return bool(undo.args.get("enabled", True))


def _proxy_path(undo: Undo) -> str:
    return f"/proxies/{quote(str(undo.args['proxy']), safe='')}"


def _toxic_path(undo: Undo) -> str:
    return f"{_proxy_path(undo)}/toxics/{quote(str(undo.args['toxic']), safe='')}"


def _excerpt(body: bytes) -> str:
    return body[:200].decode("utf-8", "replace").strip()


def _call(undo: Undo, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Send one request; a refused connection on loopback answers as if everything there were gone (404)."""
    parts = urlsplit(str(undo.args["admin_url"]))
    host = parts.hostname or ""
    kind: Any = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if undo.secret is not None:
        headers["Authorization"] = f"Bearer {undo.secret}"
    connection = kind(host, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, parts.path.rstrip("/") + path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_ANSWER_BYTES)
    except ConnectionRefusedError as error:
        if _is_loopback(host):
            return _GONE, b"connection refused"
        raise UndoFailed(f"{host} refuses connections") from error
    except (OSError, http.client.HTTPException) as error:
        raise UndoFailed(f"{method} {path}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
