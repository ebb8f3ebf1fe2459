"""Where a run takes place: the stack, the target of an external one, and whether a plan can be run there at all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from faults.redact import redact
from resilience.cli.scenarios import compose_lacks, fail_usage
from resilience.cli.terminal import complain
from resilience.plan import LoadedPlan
from resilience.plan.schema import Lab
from resilience.run.ending import EXIT_CODES, Verdict

if TYPE_CHECKING:  # imported when it runs: `--help` stays fast
    from resilience.lab.system import System


class StackKind(StrEnum):
    """Where the system under test lives."""

    EMBEDDED = "embedded"
    COMPOSE = "compose"
    EXTERNAL = "external"


class Fallback(StrEnum):
    """What to run against where no target is there."""

    LAB = "lab"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a plan is run: the stack, the target if one was asked for, and what has to be said of it first."""

    stack: StackKind
    target: str | None = None
    system: System | None = None
    notice: str = ""

    def shown(self) -> list[str]:
        """The options that were given, without secrets: who repeats a run looks for the target again."""
        if self.notice:
            return ["--target", self.target or "auto", "--fallback", "lab"]
        target = ["--target", str(redact(self.target))] if self.target else []
        return ["--stack", self.stack.value, *target]

    def again(self) -> list[str]:
        """The options that lead to this very place, for a process of the same command: what was decided is passed on."""
        # With a notice the target is what was asked for; the child's report shows it, and nobody looks for it.
        target = ["--target", self.target] if self.target else []
        notice = ["--notice", self.notice] if self.notice else []
        return ["--stack", self.stack.value, *target, *notice]


def placed(
    stack: StackKind | None,
    target: str | None,
    fallback: Fallback | None,
    *,
    dry_run: bool,
    notice: str | None = None,
) -> Place:
    """What the options mean; exits with 2 for what they cannot, and with 6 where no target is there.

    With a `notice` it has been decided already, by the command that runs this one: nobody is looked for again.
    """
    from resilience.cli.targets import TargetError, target_system
    from resilience.lab.system import StackError

    if notice:
        return Place(StackKind.EMBEDDED, target, notice=notice)
    if target is None:
        if fallback is not None:
            fail_usage("--fallback needs --target: it says what to do where no target is there")
        return Place(stack or StackKind.EMBEDDED)
    if stack not in (None, StackKind.EXTERNAL):
        fail_usage(f"--target names an external system; leave --stack {stack} out")
    if dry_run:
        return Place(StackKind.EXTERNAL, target)
    try:
        return Place(StackKind.EXTERNAL, target, target_system(target))
    except TargetError as error:
        fail_usage(f"--target {error}")
    except StackError as error:
        if fallback is None:
            complain(error)
            raise typer.Exit(EXIT_CODES[Verdict.SETUP_FAILED]) from error
        notice = f"not your system: {error}. The embedded lab was used instead (--fallback lab)."
        complain(notice)
        return Place(StackKind.EMBEDDED, target, notice=notice)


def check_stack(loaded: LoadedPlan, place: Place) -> None:
    """Exit with 2 where a plan cannot be run at this place."""
    external = place.stack is StackKind.EXTERNAL
    if loaded.plan.system is not None and place.stack is not StackKind.COMPOSE:
        fail_usage(f"{loaded.source} names compose files of its own; run it with --stack compose")
    if loaded.plan.external is not None and not external:
        fail_usage(f"{loaded.source} is written for an external system; run it with --stack external")
    if loaded.plan.external is None and external and place.target is None:
        fail_usage(
            f"{loaded.source} is written for the lab; run it with --stack embedded or compose, or say with --target "
            "which system it is to be run against"
        )
    if place.stack is StackKind.COMPOSE and (why := compose_lacks(loaded.plan)):
        fail_usage(f"{loaded.source} {why}")
    if not external and loaded.plan.system is None:
        from resilience.cli.labs import checked_lab

        checked_lab(loaded.plan.lab or Lab())
    contained = sorted({fault.container for fault in loaded.plan.faults if fault.container})
    if contained and place.stack is StackKind.EMBEDDED:
        fail_usage(
            f"{loaded.source} puts faults on the containers {', '.join(contained)}, and the embedded lab has none: run it with "
            "--stack compose, or write `process:` with freeze, kill or restart, which both stacks know"
        )
    if place.system is not None:
        from resilience.cli.stacks import external_system

        offered = external_system(loaded.plan, place.system).proxies
        missing = sorted({fault.proxy for fault in loaded.plan.faults if fault.proxy} - set(offered))
        if missing:
            fail_usage(
                f"{loaded.source} puts faults on {', '.join(missing)}, and nothing says where the Toxiproxy in front of "
                f"that is; give it under external.proxies (--overlay FILE)"
            )


def check_jobs(place: Place, *, live: bool) -> None:
    """Exit with 2 where plans would share one system, or one browser."""
    if live:
        fail_usage("--live shows one run; leave it or --jobs out")
    if place.stack is not StackKind.EMBEDDED:
        fail_usage(f"--jobs runs each plan on a system of its own; with --stack {place.stack} there is one")
