"""Files beside a plan: rows, offsets, scripts and certificates, read before the run or refused with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.load.model import Replay
from resilience.plan import LoadedPlan, PlanInvalid, load_plan, load_text

HEAD = """\
version: 1
name: demo
lab: {}
phases: [{name: baseline, duration: 10s}]
expect: {steady: {load: x, errors: "< 1%"}}
load:
  x:
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything that a plan may refer to."""
    files = {
        "rows.csv": "sku,n\n1001,1\n1002,\n",
        "rows.jsonl": '{"sku": "a", "n": 1}\n\n{"sku": "b", "n": {"x": true}}\n',
        "broken.jsonl": '{"sku": "a"}\n[1]\n',
        "offsets.csv": "\ufeffoffset,what\n0.5,first\n# a comment\n\n250ms,second\n2,third\n",
        "bad.csv": "0.5\nsoon\n",
        "empty.csv": "offset\n",
        "users.py": "async def order(ctx):\n    pass\n\ndef plain(ctx):\n    pass\nfrom elsewhere import buyer\n",
        "broken.py": "async def order(ctx:\n",
        "ca.pem": "-----BEGIN CERTIFICATE-----\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def load(folder: Path, stream: str) -> LoadedPlan:
    """A plan with one load, in that folder."""
    path = folder / "plan.yaml"
    path.write_text(HEAD + "".join(f"    {line}\n" for line in stream.splitlines()), encoding="utf-8")
    return load_plan(path, environment={})


def test_rows_are_read_from_either_kind_of_file_for_every_driver(folder: Path) -> None:
    """CSV and JSON Lines; values that are no texts stand in templates as they do in JSON."""
    csv = load(folder, "rate: 1/s\nhttp: {url: '/{sku}', data: rows.csv}").plan.load["x"]
    assert csv.http is not None
    assert csv.http.data == ({"sku": "1001", "n": "1"}, {"sku": "1002", "n": ""})
    lines = load(folder, "rate: 1/s\nredis: {command: 'SET {sku} {n}', data: rows.jsonl}").plan.load["x"]
    assert lines.redis is not None
    assert lines.redis.data == ({"sku": "a", "n": "1"}, {"sku": "b", "n": '{"x": true}'})


def test_offsets_become_part_of_the_plan(folder: Path) -> None:
    """Seconds or durations, a header and comments left out, in order; the record can be judged without the file."""
    loaded = load(folder, "replay: offsets.csv\nhttp: {url: /}")
    assert loaded.timeline.shapes["x"] == Replay((250_000_000, 500_000_000, 2_000_000_000))
    again = load_text(loaded.recorded, source="record", environment=None)
    assert again.timeline == loaded.timeline
    late = load(folder, "replay: {offsets: offsets.csv, start: baseline+1s}\nhttp: {url: /}")
    assert late.timeline.shapes["x"] == Replay((1_250_000_000, 1_500_000_000, 3_000_000_000))


def test_script_and_certificate_are_found_beside_the_plan(folder: Path) -> None:
    """Workers get absolute paths: they run elsewhere."""
    script = load(folder, "rate: 1/s\nscript: users.py:order").plan.load["x"].script
    assert script is not None
    assert script.function == f"{folder / 'users.py'}:order"
    assert (
        load(folder, "rate: 1/s\nscript: {function: users.py:buyer, data: rows.csv, deadline: 2s}")
        .plan.load["x"]
        .script
    )
    http = load(folder, "rate: 1/s\nhttp: {url: /, verify: ca.pem}").plan.load["x"].http
    assert http is not None
    assert http.verify == str(folder / "ca.pem")


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ("rate: 1/s\nhttp: {url: /, data: rows.jsnl}", "plan.yaml:9:26: load.x.http.data: "),
        (
            "rate: 1/s\nhttp: {url: /, data: broken.jsonl}",
            "broken.jsonl:2: a row is an object with fields, not [1]",
        ),
        ("replay: nowhere.csv\nhttp: {url: /}", "plan.yaml:8:13: load.x.replay: "),
        (
            "replay: bad.csv\nhttp: {url: /}",
            "load.x.replay: bad.csv:2: 'soon' is no offset; write seconds (1.25), or 250ms",
        ),
        ("replay: empty.csv\nhttp: {url: /}", "load.x.replay: empty.csv has no offsets"),
        (
            "rate: 1/s\nscript: users.py:ordr",
            "load.x.script: users.py has no `async def ordr(ctx)`; did you mean 'order'?",
        ),
        ("rate: 1/s\nscript: users.py:plain", "load.x.script: users.py has no `async def plain(ctx)`"),
        ("rate: 1/s\nscript: broken.py:order", "load.x.script: broken.py:1 is not Python"),
        ("rate: 1/s\nscript: nobody.py:order", "nobody.py is not there"),
        ("rate: 1/s\nhttp: {url: /, verify: cb.pem}", "cb.pem is not there"),
    ],
)
def test_file_that_cannot_be_used_is_refused_with_its_place(folder: Path, stream: str, said: str) -> None:
    """Where the plan names it, and where in the file it is wrong."""
    with pytest.raises(PlanInvalid) as caught:
        load(folder, stream)
    (line,) = caught.value.lines()
    assert said in line
    assert "plan.yaml:" in line
