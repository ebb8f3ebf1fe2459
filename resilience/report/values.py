"""The frozen values that make up one report.

Every renderer (console, page, JUnit) reads these and nothing else, so that they cannot disagree about a run.
All times are seconds since the epoch of the run as floats; intervals are `(start, end)` pairs; a missing figure is
None in tables and NaN in series, because a gap in a plot is honest where a zero would be a claim.

Texts in here are clean of control characters (see `texts.clean`) but not escaped: each renderer escapes for its own
medium. Nothing here computes; `model.py` builds these from a run record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OUTCOMES = ("ok", "degraded", "shed", "error", "timeout")
"""The outcome groups that are stacked in plots; they are exclusive and sum to what was offered."""

Span = tuple[float, float]


def label(breaker: str, instance: str) -> str:
    """Name a breaker in an instance as people do."""
    return f"{breaker}@{instance}" if instance else breaker


@dataclass(frozen=True, slots=True)
class Chip:
    """A small fact in the verdict strip: a label, its text, and a state that picks colour and sign."""

    label: str
    text: str
    state: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """A row of the expectation table; `id` is the same in console, page, JUnit and verdict.json."""

    id: str
    expected: str
    observed: str
    margin: str
    verdict: str
    at_s: float | None
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline: when, of what kind, and what happened."""

    at_s: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Breakage:
    """What fails first: the expectation, and where a breaker's rule is behind it, that rule and instance.

    `explanations` say why and what would explain it, `proof` is the verifier's smallest witness, `witness` the events
    of the run around that moment with the breakage (kind "broken") among them.
    """

    expectation: str
    sentence: str
    rule: str
    instance: str
    at_s: float | None
    explanations: tuple[str, ...]
    proof: tuple[str, ...]
    witness: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """A named window of the plan; phases that are not judged (warm-up) are drawn paler."""

    name: str
    start_s: float
    end_s: float
    judged: bool


@dataclass(frozen=True, slots=True)
class LoadSeries:
    """One load over time. All columns are as long as `start_s`; a bin spans `[start_s[i], start_s[i] + bin_s)`.

    Rates are per second; `outcomes` has a column of rates for each of OUTCOMES; quantiles are response times in ms.
    """

    name: str
    bin_s: float
    start_s: tuple[float, ...]
    offered_per_s: tuple[float, ...]
    completed_per_s: tuple[float, ...]
    goodput_per_s: tuple[float, ...]
    outcomes: Mapping[str, tuple[float, ...]]
    p50_ms: tuple[float, ...]
    p95_ms: tuple[float, ...]
    p99_ms: tuple[float, ...]
    max_ms: tuple[float, ...]
    objective_ms: float | None


@dataclass(frozen=True, slots=True)
class FaultLane:
    """One fault: planned window, when it was really on, and when its removal was verified."""

    id: str
    kind: str
    target: str
    planned: Span | None
    actual: Span | None
    verified_s: float | None
    verified: bool
    note: str
    recovery: Recovery | None


@dataclass(frozen=True, slots=True)
class Recovery:
    """How the system came back after a fault: from when its time counts to when it was well; `text` says how long.

    `span` ends with the run where it was not seen to be well again.
    """

    span: Span
    recovered: bool
    text: str


@dataclass(frozen=True, slots=True)
class StateSpan:
    """A breaker's state over a stretch of time."""

    state: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class BreakerLane:
    """One breaker in one instance and boot: its states, where it broke a rule, and calls let through half-open.

    A breaker that could not be followed has no states, and a note that says why.
    """

    breaker: str
    instance: str
    boot: str
    states: tuple[StateSpan, ...]
    marks: tuple[Moment, ...]
    probes_s: tuple[float, ...]
    left_out: int
    note: str = ""

    @property
    def label(self) -> str:
        """Breaker and instance as people name them."""
        return label(self.breaker, self.instance)

    @property
    def words(self) -> str:
        """What stands over the lane: its name, and why it is empty."""
        return f"{self.label}: {self.note}" if self.note else self.label


@dataclass(frozen=True, slots=True)
class BreakerStep:
    """A transition with the interval in which it was observed and what each kind of evidence says of it."""

    breaker: str
    instance: str
    text: str
    observed: str
    evidence: str


@dataclass(frozen=True, slots=True)
class RuleRow:
    """The verdict on one rule for one breaker and instance."""

    breaker: str
    instance: str
    rule: str
    title: str
    verdict: str
    exercised: str
    reason: str
    margin: str
    witness: tuple[str, ...]
    window: Span | None
    blame: tuple[str, ...]

    @property
    def label(self) -> str:
        """Breaker and instance as people name them."""
        return label(self.breaker, self.instance)


@dataclass(frozen=True, slots=True)
class Table:
    """A plain table: a title, column names, rows of texts. `numeric` names the columns set flush right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """A named series of figures against time (resources, calls that reached a dependency)."""

    name: str
    unit: str
    at_s: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether the generator and the clocks were fit to judge by; `state` is valid, invalid or unknown."""

    state: str
    reasons: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PastPoint:
    """One run's value of a figure; infinite where the run shows only that it was beyond what was watched."""

    run_id: str
    started: str
    verdict: str
    value: float
    begins: bool


@dataclass(frozen=True, slots=True)
class PastFigure:
    """One figure over the last runs, oldest first; `band` is the range of the reference runs.

    `state` is what the trend says: ok, warn, fail or too few. The texts are as `history trend` prints them.
    """

    name: str
    unit: str
    points: tuple[PastPoint, ...]
    band: Span | None
    state: str
    before: str
    now: str
    p: str
    visible: str


@dataclass(frozen=True, slots=True)
class Past:
    """The last comparable runs, and whether the last three of them differ from those before."""

    state: str
    sentence: str
    notes: tuple[str, ...]
    figures: tuple[PastFigure, ...]


@dataclass(frozen=True, slots=True)
class ReportModel:
    """Everything a renderer may show of one run."""

    name: str
    purpose: str
    verdict: str
    sentence: str
    notice: str
    also: tuple[tuple[str, str], ...]
    started: str
    duration_s: float
    stack: str
    seed: str
    chips: tuple[Chip, ...]
    expectations: tuple[Expectation, ...]
    breakage: Breakage | None
    phases: tuple[Phase, ...]
    loads: tuple[LoadSeries, ...]
    faults: tuple[FaultLane, ...]
    breakers: tuple[BreakerLane, ...]
    steps: tuple[BreakerStep, ...]
    rules: tuple[RuleRow, ...]
    resources: tuple[TimeSeries, ...]
    dependency: tuple[TimeSeries, ...]
    phase_table: Table
    recovery_table: Table
    error_table: Table
    validity: Validity
    journal: tuple[Moment, ...]
    journal_left_out: int
    environment: tuple[tuple[str, str], ...]
    plan_text: str
    reproduce: str
    folder: str
    suffix: str
    past: Past | None

    def file(self, stem: str, extension: str) -> str:
        """Name of a file of this verdict in `folder`: a second opinion stands beside the run's own verdict."""
        return f"{stem}{self.suffix}.{extension}"
