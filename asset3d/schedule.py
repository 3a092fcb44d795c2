"""Values over steps: a number, `{0: 64, 1500: 128}` (holds), or `{from: 0, to: 10, until_step: 5000}` (linear)."""
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import PydanticCustomError, core_schema

FORMS = "a number, {0: 64, 1500: 128}, or {from: 0, to: 10, until_step: 5000}"


@dataclass(frozen=True)
class Schedule:
    """A number that depends on the step. As the type of a config's field: `Annotated[Schedule, Values(...)]`.

    Either `knots` holds pairs (step, value), each value being held until the next step, or it holds (0, from) and
    (until_step, to) with `linear` set.
    """

    knots: tuple[tuple[int, float], ...]
    linear: bool = False
    integer: bool = field(default=False, repr=False)

    def __call__(self, step: int) -> float:
        """The value at a step; an int for schedules of integers."""
        if self.linear:
            (_, first), (end, last) = self.knots
            value = first + (last - first) * min(max(step, 0) / end, 1.0)
            return round(value) if self.integer else value
        return [value for start, value in self.knots if start <= max(step, 0)][-1]

    @property
    def values(self) -> tuple[float, ...]:
        """Every value that is held or interpolated between."""
        return tuple(value for _, value in self.knots)

    def document(self) -> Any:
        """What a recipe says for this schedule."""
        if self.linear:
            (_, first), (end, last) = self.knots
            return {"from": first, "to": last, "until_step": end}
        return self.knots[0][1] if len(self.knots) == 1 else {str(step): value for step, value in self.knots}

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        return Values().__get_pydantic_core_schema__(source, handler)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema, handler):
        return Values().__get_pydantic_json_schema__(schema, handler)


def constant(value: float) -> Schedule:
    return Schedule(((0, value),), integer=isinstance(value, int))


@dataclass(frozen=True)
class Values:
    """Type and range of a schedule's values: `weight: Annotated[Schedule, Values(ge=0)] = 1.0`."""

    type: type = float
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __get_pydantic_core_schema__(self, source, handler):
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(lambda s: s.document()))

    def __get_pydantic_json_schema__(self, schema, handler):
        bounds = {"minimum": self.ge, "exclusiveMinimum": self.gt, "maximum": self.le, "exclusiveMaximum": self.lt}
        number = {"type": "integer" if self.type is int else "number"}
        number |= {key: bound for key, bound in bounds.items() if bound is not None}
        steps = {"type": "object", "patternProperties": {r"^\d+$": number}, "required": ["0"],
                 "additionalProperties": False}
        linear = {"type": "object", "required": ["from", "to", "until_step"], "additionalProperties": False,
                  "properties": {"from": number, "to": number,
                                 "until_step": {"type": "integer", "exclusiveMinimum": 0}}}
        return {"anyOf": [number, steps, linear]}

    def parse(self, given: Any) -> Schedule:
        """A schedule from what a recipe says; raises pydantic's error with the rule that is broken."""
        if isinstance(given, Schedule):
            given = given.document()
        if not isinstance(given, Mapping):
            return Schedule(((0, self._number(given)),), integer=self.type is int)
        if not given:
            raise _error(f"an empty schedule; write {FORMS}")
        if {"from", "to", "until_step"} & {str(key) for key in given}:
            return self._linear(given)
        return self._steps(given)

    def _linear(self, given: Mapping) -> Schedule:
        if set(given) != {"from", "to", "until_step"}:
            keys = ", ".join(map(str, given))
            raise _error(f"a linear schedule has exactly the keys from, to, until_step; got {keys}")
        end = given["until_step"]
        if type(end) is not int or end < 1:
            raise _error(f"until_step must be an integer of at least 1, got {end!r}")
        return Schedule(((0, self._number(given["from"])), (end, self._number(given["to"]))), True, self.type is int)

    def _steps(self, given: Mapping) -> Schedule:
        knots = {}
        for key, value in given.items():
            if not str(key).isascii() or not str(key).isdigit() or len(str(key)) > 15:
                raise _error(f"the keys of a schedule are steps (0, 1500, ...), got '{key}'; write {FORMS}")
            knots[int(key)] = self._number(value)
        if 0 not in knots:
            raise _error(f"a schedule says what holds from step 0 on; its first step is {min(knots)}")
        return Schedule(tuple(sorted(knots.items())), integer=self.type is int)

    def _number(self, value: Any) -> float:
        wanted = (int,) if self.type is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted):
            kind = "an integer" if self.type is int else "a number"
            raise _error(f"must be {kind} or a schedule ({FORMS}), got {str(value)[:60]!r}")
        if not math.isfinite(value):
            raise _error(f"must be finite, got {value}")
        rules = {"at least": (self.ge, lambda a, b: a >= b), "greater than": (self.gt, lambda a, b: a > b),
                 "at most": (self.le, lambda a, b: a <= b), "less than": (self.lt, lambda a, b: a < b)}
        for words, (bound, holds) in rules.items():
            if bound is not None and not holds(value, bound):
                raise _error(f"must be {words} {bound}, got {value}")
        return self.type(value)


def _error(message: str) -> PydanticCustomError:
    return PydanticCustomError("schedule", "{text}", {"text": message})
