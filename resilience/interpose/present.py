"""What is refused because of what there is of a project already: its containers, and the files that they came from.

What the file itself forbids is `refusing`'s. Here each refusal is about something that would be lost, or changed for good, though the file
says nothing of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from resilience.interpose.composing import ComposeFiles, FilesInvalid
from resilience.interpose.engine import Member
from resilience.interpose.model import InterposeRefused, Interposition, Model, Refusal
from resilience.interpose.reading import replicas_of, services_of


def check_members(files: ComposeFiles, model: Model, members: Sequence[Member], plan: Interposition) -> None:
    """Refuse what runs, and must not be touched."""
    if theirs := sorted({each.interposed for each in members if each.interposed}):
        raise FilesInvalid(
            f"{files.project}: {', '.join(theirs)} is interposed already, and this user's state directory does not know of it; "
            "put it back with the CHAOS_SPIKE_STATE_DIR that did it: chaos-spike undo"
        )
    refused = (
        *_other_files(files, members, plan),
        *_unnamed_volumes(members, plan),
        *_scaled(model, members),
    )
    if refused:
        raise InterposeRefused(refused)


def _other_files(files: ComposeFiles, members: Sequence[Member], plan: Interposition) -> list[Refusal]:
    """Where the project runs from other files than those that were named, they would change more than the dependencies."""
    named = {os.path.realpath(file) for file in files.files}
    for member in members:
        used = {os.path.realpath(member.started_in / name) for name in member.files.split(",") if name}
        if not member.from_a_pipe and used and used != named:
            return [
                Refusal(
                    plan.fronts[0].service,
                    f"the project {files.project} runs from other files: {member.files}",
                    "name all of those, in that order; or another project: --project NAME",
                )
            ]
    return []


def _unnamed_volumes(members: Sequence[Member], plan: Interposition) -> list[Refusal]:
    """Data in a volume without a name would be lost with the dependency's container."""
    return [
        Refusal(
            member.service,
            f"runs, and has data in a volume without a name ({', '.join(member.anonymous)}), which would be lost with its container",
            "give that volume a name in the file; or take the project down first (its data goes, as with any `down`); "
            "or interpose a project of its own: --project NAME",
        )
        for member in members
        if member.anonymous and member.service in plan.services
    ]


def _scaled(model: Model, members: Sequence[Member]) -> list[Refusal]:
    """Compose takes away what is more than the file says, and nobody would know afterwards that it was there."""
    counts = Counter(member.service for member in members)
    return [
        Refusal(
            name,
            f"has {counts[name]} containers, and its file says {replicas_of(service)}: the others would be taken away, and not come back",
            f"say so in the file, or in an override: {name}: {{scale: {counts[name]}}}",
        )
        for name, service in services_of(model).items()
        if counts[name] > replicas_of(service)
    ]
