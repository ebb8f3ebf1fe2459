"""The libraries whose breakers are judged: which service runs each, what it is asked to do, and under which dialect it is judged.

Every library is asked for the same breaker as nearly as it can be told to: three failures in a row open it for a second, one
probe is let in, its success closes. `parameters` are what differs, in the words of a specification.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Asked:
    """What a service's environment asks of its breaker. Durations are milliseconds."""

    failures: int = 3
    wait_ms: int = 1000
    permitted: int = 1
    successes: int = 1
    timeout_ms: int = 300

    def environ(self) -> dict[str, str]:
        """As the services read it."""
        return {
            "FAILURES": str(self.failures),
            "WAIT_MS": str(self.wait_ms),
            "PERMITTED": str(self.permitted),
            "SUCCESSES": str(self.successes),
            "CALL_TIMEOUT_MS": str(self.timeout_ms),
        }

    def spec(self) -> dict[str, Any]:
        """As the verifier reads it."""
        return {
            "failures": self.failures,
            "wait_ms": self.wait_ms,
            "permitted": self.permitted,
            "successes": self.successes,
            "timeout_ms": self.timeout_ms,
        }


@dataclass(frozen=True, slots=True)
class Candidate:
    """One library. `how` says in a few words what its breaker was built from, where that is not evident."""

    name: str
    language: str
    package: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    how: str = ""
    asks: Mapping[str, int] = field(default_factory=dict)  # what of `Asked` is another for this one
    counts_a_row: bool = True  # exactly so many failures in a row open it, whatever was before them
    hears_hang_up: bool = True  # a caller that goes away ends the call inside the breaker
    poll_ms: int = 100

    def asked(self, asked: Asked) -> Asked:
        """What this one is asked for."""
        return replace(asked, **self.asks)

    def spec(self, asked: Asked) -> dict[str, Any]:
        """What the breaker promises, under its own dialect."""
        return {"dialect": self.name, **self.asked(asked).spec(), **self.parameters}

    def version(self) -> str:
        """The pinned version, such as 1.4.1."""
        match self.language:
            case "python":
                return metadata.version(self.package)
            case "node":
                pins = json.loads((FOLDER / "node" / "package.json").read_text(encoding="utf-8"))
                return str(pins["dependencies"][self.package])
            case "go":
                pattern, pins_file = rf"{re.escape(self.package)} v(\S+)", "go/go.mod"
            case _:
                artifact = re.escape(f"<artifactId>{self.package}</artifactId>")
                pattern, pins_file = artifact + r"\s*<version>([^<]+)</version>", "java/pom.xml"
        found = re.search(pattern, (FOLDER / pins_file).read_text(encoding="utf-8"))
        assert found is not None, f"{self.package} is pinned in {pins_file}"
        return found[1]


_AS_FAILURE: Final = {"cancelled_as": "failure"}
"""Where the service hands a call that was cut off to the library as an error like any other."""

CANDIDATES: Final = (
    Candidate("pybreaker", "python", "pybreaker", how="called from threads", hears_hang_up=False),
    Candidate("aiobreaker", "python", "aiobreaker"),
    Candidate("purgatory", "python", "purgatory"),
    # It tells of half-open to whoever asks, and only then: it is asked often.
    Candidate("circuitbreaker", "python", "circuitbreaker", poll_ms=20),
    Candidate("hyx", "python", "hyx"),
    Candidate("fluxgate", "python", "fluxgate", how="FailureStreak, Cooldown, permits for all, one call at a time in half-open"),
    Candidate("pyresilience", "python", "pyresilience"),
    Candidate(
        "opossum",
        "node",
        "opossum",
        {"window_ms": 1000, "bucket_ms": 100, "minimum_calls": 3, **_AS_FAILURE},
        how="more than half of three calls or more within the last second",
        counts_a_row=False,
    ),
    Candidate("cockatiel", "node", "cockatiel", _AS_FAILURE, how="ConsecutiveBreaker"),
    Candidate("gobreaker", "go", "github.com/sony/gobreaker/v2", how="ReadyToTrip on consecutive failures; cancelled calls excluded"),
    Candidate("failsafe-go", "go", "github.com/failsafe-go/failsafe-go", _AS_FAILURE),
    Candidate(
        "resilience4j",
        "java",
        "resilience4j-circuitbreaker",
        {"window": 5, "minimum_calls": 5, "ratio": 0.6, "close_ratio": 0.6},
        asks={"permitted": 2},
        how="three failures among the last five calls; in half-open two calls are let in, and at least half of them must do well",
        counts_a_row=False,
        hears_hang_up=False,
    ),
    Candidate("failsafe", "java", "failsafe", hears_hang_up=False),
)  # fmt: skip
