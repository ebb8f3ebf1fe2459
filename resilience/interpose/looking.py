"""Taking the proof: looks into the networks of a project that stands interposed, and what they come to. Synchronous.

`prove` looks from inside of every container concerned, by a short-lived one of ours; `watch_once` reads this host's kernel, which costs
next to nothing, where it is the containers' kernel, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resilience.interpose.engine import Member, sockets_from_here
from resilience.interpose.journal import Note
from resilience.interpose.model import Front
from resilience.interpose.proving import Doubt, View, bypasses, unpassed, unreached, unseen
from resilience.interpose.standing import Site


def prove(site: Site, note: Note) -> tuple[Doubt, ...]:
    """Look from inside of every container concerned; every reason to doubt that the proxies are the only way."""
    engine, project = site.engine, note.project
    members = engine.members(project)
    names = {name for front in note.fronts for name in front.names}
    concerned = _concerned(note, members)
    views = {view.container: view for view in engine.views(project, note.image, concerned, sorted(names))}
    found = list(_judged(note, members, views, engine.owners(project)))
    for front in note.fronts:
        found += unseen(front, [view for view in views.values() if view.service in _reachers(note, front)])
        found += unpassed(front, [view for view in views.values() if view.service == front.real])
        proxies = [each for each in members if each.service == front.proxy and each.running]
        if not proxies:
            found.append(Doubt(front.service, "down", f"the proxy of {front.service} does not run"))
            continue
        targets = [f"{front.real}:{gate.port}" for gate in front.gates[:1]]
        said = engine.look(project, note.image, proxies[0], "dial", targets)["dialled"]
        found += unreached(front, said)
    return tuple(found)


def watch_once(note: Note, members: Sequence[Member], owners: Mapping[str, str]) -> tuple[Doubt, ...] | None:
    """Connections past the proxies right now, read by this host's kernel; `None` where it cannot see them."""
    views = {}
    for each in _concerned(note, members):
        sockets = sockets_from_here(each)
        if sockets is None:
            return None
        views[each.name] = View(each.service, each.name, each.addresses, {}, sockets)
    return tuple(doubt for doubt in _judged(note, members, views, owners) if doubt.kind == "bypass")


def _concerned(note: Note, members: Sequence[Member]) -> list[Member]:
    reals = {front.real for front in note.fronts}
    wanted = reals | {reacher for front in note.fronts for reacher in _reachers(note, front)}
    return [each for each in members if each.running and each.service in wanted]


def _reachers(note: Note, front: Front) -> set[str]:
    """Who could call, by the names of now."""
    renamed = {each.service: each.real for each in note.fronts}
    return {renamed.get(name, name) for name in front.reachers}


def _judged(
    note: Note, members: Sequence[Member], views: Mapping[str, View], owners: Mapping[str, str]
) -> tuple[Doubt, ...]:
    found: list[Doubt] = []
    for front in note.fronts:
        proxy = [
            View(each.service, each.name, each.addresses, {}, ())
            for each in members
            if each.service == front.proxy
        ]
        real = [view for view in views.values() if view.service == front.real]
        others = [view for view in views.values() if view.service in _reachers(note, front)]
        if not real:
            found.append(Doubt(front.service, "down", f"{front.service} does not run"))
        found += bypasses(front, proxy, real, others, owners)
    return tuple(found)
