"""`chaos-spike run --cluster`, as a user calls it: the verdict of a local run, a killed worker, a clock that goes wrong in the middle."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cluster_world import SHIFTED, dask_cluster
from test_cluster_engine import ports

pytest.importorskip("distributed", reason="needs dask: pip install 'chaos-spike[cluster]'")
pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(180)]

HERE = Path(__file__).parent
ELSEWHERE = HERE.parent / "data" / "elsewhere.yaml"
PLAN = """
version: 1
name: steady
purpose: Show that load from a cluster is judged as load from here.
external: {{base_url: "http://127.0.0.1:{port}"}}
phases:
  - {{name: baseline, duration: 1s}}
  - {{name: spike, duration: 3s}}
load:
  quotes: {{http: {{url: /quote}}, arrival: poisson, rate: {{default: 100/s, spike: 200/s}}}}
expect:
  answered: {{load: quotes, phase: spike, errors: "< 1%"}}
  quick: {{load: quotes, phase: spike, p95: "< 2s"}}
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two workers; once the file `jump` is there, the clock of the second falls 300 ms behind."""
    folder = tmp_path_factory.mktemp("dask")
    with dask_cluster(folder / "cluster") as made:
        first, second = ports(2)
        made.add(first)
        made.jump = folder / "jump"
        made.add(second, PYTHONPATH=str(SHIFTED), SHIFTED_CLOCK_MS="-300", SHIFTED_CLOCK_WHEN=str(made.jump))
        yield made


@contextlib.contextmanager
def served(folder):
    """A plan for a system that answers everything at once."""
    words = [sys.executable, str(HERE / "load_stall_server.py")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        plan = folder / "plan.yaml"
        plan.write_text(PLAN.format(port=server.stdout.readline().strip()))
        yield plan
        server.communicate()


def run(folder, plan, *words, when=None, then=None):
    """The exit code, what was printed and the verdict; `then` is done at the line that `when` is found in."""
    words = [
        sys.executable,
        "-m",
        "resilience.cli.main",
        "run",
        str(plan),
        "--seed",
        "7",
        "--out",
        str(folder),
        *words,
    ]
    state = {**os.environ, "CHAOS_SPIKE_STATE_DIR": str(folder.with_suffix(".state"))}
    printed = []
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=state
    ) as process:
        for line in process.stdout:
            printed.append(line)
            if then is not None and when in line:
                then()
    text = "".join(printed)
    assert "Traceback" not in text, text
    (record,) = folder.iterdir()
    return process.returncode, text, json.loads((record / "verdict.json").read_text())


def test_run_on_a_cluster_comes_to_the_verdict_of_a_local_run(two, tmp_path):
    """The same plan and seed: expectations, and what was offered, answered and counted in every phase, are the same."""
    with served(tmp_path) as plan:
        here = run(tmp_path / "here", plan, "--stack", "external")
        there = run(tmp_path / "there", plan, "--stack", "external", "--cluster", two.address)
    for code, text, verdict in (here, there):
        assert code in (0, 3), text  # 3: on a crowded machine either may be invalid
        assert [(each["id"], each["verdict"]) for each in verdict["expectations"]] == [
            ("answered", "pass"),
            ("quick", "pass"),
        ]
        assert verdict["validity"]["conservation"]
    for phase in ("baseline", "spike"):
        ours, its = (verdict["loads"]["quotes"][phase]["counts"] for *_, verdict in (here, there))
        assert {name: ours[name] for name in ("offered", "attempts", "ok")} == {
            name: its[name] for name in ("offered", "attempts", "ok")
        }
    clocks = there[2]["validity"]["clocks"]
    assert [clocks[number]["name"].split(" on ")[0] for number in ("0", "1")] == sorted(
        clock["name"].split(" on ")[0] for clock in clocks.values()
    )
    assert f"--cluster {two.address}" in re.sub(r"\s+", " ", there[1])
    assert two.children() == []


def test_run_says_which_rules_a_clock_makes_undecidable(two, tmp_path):
    """A clock that goes 300 ms wrong in the middle is found; a rule that would be settled without that says so, and the run is no pass."""
    code, text, verdict = run(
        tmp_path / "runs",
        ELSEWHERE,
        "--cluster",
        two.address,
        when="fault pricing-slow injected",
        then=two.jump.touch,
    )
    assert code == 3, text
    clock = verdict["validity"]["clocks"]["1"]
    least, most = clock["error_ms"]
    assert clock["jumps"] == 1
    assert least <= -299
    assert most >= -1
    assert most - least < 400
    assert "pricing" in verdict["breakers"], verdict["breaker_problems"]
    rules = [rule for each in verdict["breakers"]["pricing"]["instances"] for rule in each["rules"].values()]
    undecided = [rule for rule in rules if rule["reason"].startswith("undecidable: ")]
    assert undecided
    for rule in undecided:
        assert rule["verdict"] == "UNKNOWN"
        assert f"the clock of worker 1 ({clock['name']})" in rule["reason"]
    assert not [rule for rule in rules if rule["verdict"] == "FAIL"]


def test_run_whose_worker_was_killed_is_invalid_and_names_it(two, tmp_path):
    """Exit code 3; the worker by its address, in the verdict's first sentence and on the terminal."""
    with served(tmp_path) as plan:
        code, text, verdict = run(
            tmp_path / "runs", plan, "--stack", "external", "--cluster", two.address,
            when="phase spike", then=two.workers[1].kill,
        )  # fmt: skip
    assert code == 3, text
    assert verdict["verdict"] == "invalid"
    name = verdict["validity"]["clocks"]["1"]["name"]
    assert verdict["reason"].startswith(f"worker 1 ({name}) was lost")
    assert name in re.sub(r"\s+", " ", text)
    assert two.children() == []
