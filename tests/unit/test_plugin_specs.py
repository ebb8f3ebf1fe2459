"""The written form of a specification: what a record holds must be judged again as it was judged."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from ruamel.yaml import YAML

from resilience.breaker.dialects import DIALECTS
from resilience.breaker.spec import KEYS, BreakerSpec, SpecError
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.specs import read_spec, written_of

WORDS = re.findall(
    r"\w+",
    "consecutive count time never closing activity any failure success neutral outcome start lazy timer on_read concurrent "
    "total serialised probabilistic rejects queues open closed ignored counted either reported possible instance shared entry "
    "probe_end none unbounded",
)
NUMBERS = (0, 1, 2, 3, 7, 100, 0.5, 0.25, 1.0, 1.5, 1e-5, 12.345678, 86_400_000)


def random_value(key: str, rng: random.Random) -> Any:
    """Some value that the key's reader takes."""
    while True:
        value = rng.choice([rng.choice(WORDS), rng.choice(NUMBERS), rng.random() * 1e5, True, False])
        try:
            KEYS[key][1](value)
        except ValueError:
            continue
        return value


def random_specs(dialect: str, count: int) -> list[BreakerSpec]:
    """So many specifications of a dialect that the reader accepts, of few keys or of nearly all of them."""
    rng = random.Random(f"written {dialect}")
    found: list[BreakerSpec] = []
    while len(found) < count:
        share = rng.choice([0.05, 0.2, 0.9])
        written = {key: random_value(key, rng) for key in KEYS if rng.random() < share}
        try:
            found.append(BreakerSpec.from_mapping({"dialect": dialect, **written}))
        except SpecError:
            continue
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
def test_written_form_gives_the_same_specification_again(dialect: str) -> None:
    """Random ones of each dialect, through a file: every field, the ideals of `strict` and the declared deviations included."""
    specs = random_specs(dialect, 25)
    assert len({repr(spec) for spec in specs}) > 12
    for spec in specs:
        on_paper = json.dumps(written_of(spec))
        assert read_spec(YAML(typ="safe").load(on_paper)) == spec


def test_every_key_is_written() -> None:
    """The specifications above leave no field out: among them each key is set to something that it is not by default."""
    specs = [*random_specs("strict", 60), *random_specs("opossum", 60)]
    assert {key for spec in specs for key in written_of(spec)} == {"dialect", *KEYS}


def test_specification_put_together_by_hand_is_written_as_what_it_is() -> None:
    """Without a dialect's deviations it is a strict one under another name; with some of its own it has no written form."""
    ideal = DIALECTS["purgatory"].idealised()
    assert written_of(ideal)["dialect"] == "strict"
    assert read_spec(written_of(ideal)) == replace(ideal, dialect="strict")
    with pytest.raises(ChaosSetupError, match=r"no written form .its deviations are no dialect's"):
        written_of(replace(DIALECTS["purgatory"], deviations={"R1": "its own"}))
    with pytest.raises(ChaosSetupError, match=r"no written form .spec.failures: must be a whole number"):
        written_of(BreakerSpec(failures=0))
