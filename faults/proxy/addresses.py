"""Addresses as Toxiproxy writes them, and Go's words for those that are wrong. Pure: nothing is looked up here.

`host:port`, `:port` or an empty text; IPv6 hosts stand in brackets. A port may be a number or, since Go
allows it, the name of a service; names of services are looked up by the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Address", "AddressError", "format_address", "parse_address"]


class AddressError(ValueError):
    """What Go's net package would have said, without the `listen tcp: ` before it."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address; an empty host means every interface; `port` is 0 for any."""

    host: str
    port: int


def format_address(host: str, port: int) -> str:
    """Write an address; IPv6 hosts get their brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, services: dict[str, int] | None = None) -> Address:
    """Read `text`; raise `AddressError` in Go's words. `services` names ports that are not numbers."""
    if not text:
        return Address("", 0)
    host, port_text = _split_host_port(text)
    return Address(host, _parse_port(port_text, services or {}))


def _split_host_port(text: str) -> tuple[str, str]:
    """Port of Go's net.SplitHostPort, its five complaints included."""
    colon = text.rfind(":")
    if colon < 0:
        raise AddressError(f"address {text}: missing port in address")
    rest_from = 0
    if text.startswith("["):
        closing = text.find("]")
        if closing < 0:
            raise AddressError(f"address {text}: missing ']' in address")
        if closing + 1 == len(text):
            raise AddressError(f"address {text}: missing port in address")
        if closing + 1 != colon:
            reason = "too many colons in address" if text[closing + 1] == ":" else "missing port in address"
            raise AddressError(f"address {text}: {reason}")
        host = text[1:closing]
        rest_from = closing + 1
    else:
        host = text[:colon]
        if ":" in host:
            raise AddressError(f"address {text}: too many colons in address")
    if "[" in text[1 if rest_from else 0 :]:
        raise AddressError(f"address {text}: unexpected '[' in address")
    if "]" in text[rest_from:]:
        raise AddressError(f"address {text}: unexpected ']' in address")
    return host, text[colon + 1 :]


def _parse_port(text: str, services: dict[str, int]) -> int:
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not text:
        return 0
    if digits and all(character in "0123456789" for character in digits):
        port = int(text)
        if not 0 <= port <= 65535:
            raise AddressError(f"address {text}: invalid port")
        return port
    if text in services:
        return services[text]
    raise AddressError(f"lookup tcp/{text}: unknown port")
