"""Is the system whole? The same questions before, during and after a run; "after" must equal "before". Pure.

Asked of every instance (`health` events of the record): does it live, is it ready, does it reach its database and its cache, are its
breakers closed, is every connection of its pools back and idle, are its memory and its descriptors where they were. And of the record: is
any fault left. An instance that could not be asked, or a question that the system does not answer, is *unknown*, never well.

During the run only liveness is a demand: that dependencies are away and breakers open is what the run is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BEFORE, DURING, AFTER = "before", "during", "after"
WELL, ILL, UNKNOWN = "well", "ill", "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one instance answered at one time; None is "it does not say"."""

    stage: str
    instance: str
    at_ns: int
    live: bool | None = None
    ready: bool | None = None
    dependencies: Mapping[str, str] = field(default_factory=dict)
    breakers: Mapping[str, str] = field(default_factory=dict)
    connections: int | None = None
    idle: int | None = None
    rss_bytes: int | None = None
    descriptors: int | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Reading:
        """The reading that a `health` event holds."""
        return cls(
            stage=str(event["stage"]),
            instance=str(event["instance"]),
            at_ns=int(event["at"][1]),
            live=event.get("live"),
            ready=event.get("ready"),
            dependencies=event.get("dependencies") or {},
            breakers=event.get("breakers") or {},
            connections=event.get("connections"),
            idle=event.get("idle"),
            rss_bytes=event.get("rss_bytes"),
            descriptors=event.get("descriptors"),
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """By how much "after" may differ from "before", per instance."""

    memory_bytes: float = 100e6
    descriptors: int = 50


@dataclass(frozen=True, slots=True)
class StageHealth:
    """One stage's verdict, with a sentence for each thing that is not well or not known."""

    stage: str
    verdict: str
    ill: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    readings: int = 0

    def to_json(self) -> dict[str, Any]:
        """As it stands in `verdict.json`."""
        return {
            "verdict": self.verdict,
            "ill": list(self.ill),
            "unknown": list(self.unknown),
            "readings": self.readings,
        }


class SystemHealthValidator:
    """Judges the readings of one run."""

    def __init__(self, readings: Iterable[Reading], *, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._readings: dict[str, list[Reading]] = {BEFORE: [], DURING: [], AFTER: []}
        for reading in readings:
            self._readings.setdefault(reading.stage, []).append(reading)

    def before(self) -> StageHealth:
        """Everything that the run relies on is well before it starts."""
        return self._stage(BEFORE, self._last(BEFORE), self._whole)

    def during(self) -> StageHealth:
        """No instance stopped living."""
        return self._stage(DURING, self._readings[DURING], self._living)

    def after(self, faults_left: Sequence[str] = ()) -> StageHealth:
        """Everything is well again, and as it was before."""
        found = self._stage(AFTER, self._last(AFTER), self._whole)
        ill, unknown = list(found.ill), list(found.unknown)
        ill += [f"the fault {fault} is still in place" for fault in faults_left]
        earlier = {reading.instance: reading for reading in self._last(BEFORE)}
        for reading in self._last(AFTER):
            for sentence, known in self._compared(earlier.pop(reading.instance, None), reading):
                (ill if known else unknown).append(sentence)
        ill += [f"{name} was there before and is not now" for name in earlier]
        return StageHealth(
            AFTER, _verdict(ill, unknown, found.readings), tuple(ill), tuple(unknown), found.readings
        )

    def report(self, faults_left: Sequence[str] = ()) -> dict[str, StageHealth]:
        """All three stages."""
        return {BEFORE: self.before(), DURING: self.during(), AFTER: self.after(faults_left)}

    def _last(self, stage: str) -> list[Reading]:
        """The last reading of each instance: after a run, what counts is where it settles."""
        return list({reading.instance: reading for reading in self._readings[stage]}.values())

    def _stage(self, stage: str, readings: Sequence[Reading], ask: Any) -> StageHealth:
        ill: dict[str, None] = {}
        unknown: dict[str, None] = {}
        for reading in readings:
            for sentence, known in ask(reading):
                (ill if known else unknown)[f"{reading.instance} {sentence}"] = None
        return StageHealth(
            stage, _verdict(ill, unknown, len(readings)), tuple(ill), tuple(unknown), len(readings)
        )

    @staticmethod
    def _living(reading: Reading) -> list[tuple[str, bool]]:
        return [] if reading.live else [("does not live", reading.live is not None)]

    def _whole(self, reading: Reading) -> list[tuple[str, bool]]:
        found = self._living(reading)
        if found:
            return found
        if not reading.ready:
            found.append(("is not ready", reading.ready is not None))
        found += [(f"does not reach {n}", True) for n, how in reading.dependencies.items() if how != "up"]
        found += [
            (f"has its breaker {n} {how}", True) for n, how in reading.breakers.items() if how != "closed"
        ]
        if reading.connections is None or reading.idle is None:
            found.append(("does not say how its pool is", False))
        elif reading.idle < reading.connections:
            busy = reading.connections - reading.idle
            found.append((f"has {busy} of {reading.connections} connections still in use", True))
        return found

    def _compared(self, before: Reading | None, after: Reading) -> list[tuple[str, bool]]:
        if before is None:
            return [(f"{after.instance} was not there before", False)]
        found: list[tuple[str, bool]] = []
        for what, was, now, limit in (
            ("memory", before.rss_bytes, after.rss_bytes, self._limits.memory_bytes),
            ("descriptors", before.descriptors, after.descriptors, self._limits.descriptors),
        ):
            if was is None or now is None:
                found.append((f"{after.instance} does not say its {what}", False))
            elif now - was > limit:
                found.append((f"{after.instance} holds {now - was:,} more {what} than before", True))
        return found


def _verdict(ill: Iterable[str], unknown: Iterable[str], readings: int) -> str:
    if list(ill):
        return ILL
    return UNKNOWN if list(unknown) or not readings else WELL
