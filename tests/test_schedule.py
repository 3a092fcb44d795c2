"""Values over steps: numbers that hold, lines, and what a recipe may not say."""
from typing import Annotated, Literal

import pytest
from pydantic import ValidationError

from asset3d.registry import Config
from asset3d.schedule import Schedule, Values


class Example(Config):
    type: Literal["example"] = "example"
    weight: Annotated[Schedule, Values(ge=0, le=10)] = 1.0
    resolution: Annotated[Schedule, Values(int, ge=1)] = 64
    plain: Schedule = 0.0


def test_a_number_holds():
    example = Example(weight=3)
    assert [example.weight(step) for step in (0, 1, 10**9)] == [3.0, 3.0, 3.0]
    assert isinstance(example.weight(0), float) and isinstance(example.resolution(0), int)


def test_defaults_are_schedules():
    assert (Example().weight(5), Example().resolution(5), Example().plain(5)) == (1.0, 64, 0.0)


def test_steps_hold_until_the_next():
    resolution = Example(resolution={1500: 128, 0: 64, 2000: 256}).resolution
    assert [resolution(step) for step in (0, 1499, 1500, 1999, 2000, 9999)] == [64, 64, 128, 128, 256, 256]
    assert resolution.values == (64, 128, 256)


def test_linear_reaches_its_end_and_stays():
    weight = Example(weight={"from": 0, "to": 10, "until_step": 5000}).weight
    assert [weight(step) for step in (0, 1250, 2500, 5000, 6000)] == [0.0, 2.5, 5.0, 10.0, 10.0]


def test_linear_integers_are_rounded():
    resolution = Example(resolution={"from": 10, "to": 20, "until_step": 4}).resolution
    assert [resolution(step) for step in range(6)] == [10, 12, 15, 18, 20, 20]


@pytest.mark.parametrize("given", [5, {0: 1, 7: 2.5}, {"from": 0.5, "to": 0.25, "until_step": 3}])
def test_document_round_trip(given):
    weight = Example(weight=given).weight
    assert Example(weight=weight.document()).weight == weight
    assert Example.model_validate_json(Example(weight=given).model_dump_json(), strict=True).weight == weight


@pytest.mark.parametrize("given, says", [
    (-1, "at least 0"), (11, "at most 10"), ("1", "must be a number"), (True, "must be a number"),
    (None, "must be a number"), ([1, 2], "must be a number"), ({}, "empty schedule"), ({1: 1}, "first step is 1"),
    ({0: 1, "x": 2}, "keys of a schedule"), ({0: 1, 5: 99}, "at most 10"), ({"from": 0, "to": 1}, "exactly the keys"),
    (float("nan"), "finite"), ({"from": 0, "to": 1, "until_step": 0}, "at least 1"),
    ({"from": 0, "to": 1, "until_step": 2.5}, "integer of at least 1"),
    ({"from": 0, "to": 1, "until_step": 5, "x": 1}, "exactly the keys"), ({0: {0: 1}}, "must be a number"),
])
def test_refusals(given, says):
    with pytest.raises(ValidationError, match=says):
        Example(weight=given)


def test_integers_stay_integers():
    with pytest.raises(ValidationError, match="must be an integer"):
        Example(resolution=64.5)


def test_json_schema_tells_the_range():
    number = Example.model_json_schema()["properties"]["resolution"]["anyOf"][0]
    assert number == {"type": "integer", "minimum": 1}
