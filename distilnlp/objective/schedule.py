"""Schedules: how a weight or the temperature changes while training goes on."""

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from distilnlp.errors import DistillationError, did_you_mean
from distilnlp.validation import Section, parse_section

TEMPERATURE = "temperature"


class Schedule(Section):
    """The course of one value: warm-up from `start` to the value itself, then on to `end`."""

    name: Literal["constant", "linear", "cosine"] = Field(description="shape of the way to `end`")
    end: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="the value after the last step; null = no change"
    )
    warmup: float = Field(default=0.0, ge=0, lt=1, description="share of the training that the warm-up takes")
    start: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="the value before the warm-up")

    @model_validator(mode="after")
    def _check_course(self) -> Self:
        if self.name == "constant" and self.end is not None:
            raise ValueError(f"a constant schedule has no end, but it is {self.end}. Use linear or cosine")
        if "start" in self.model_fields_set and not self.warmup:
            raise ValueError(
                f"start is where a warm-up begins, but there is no warm-up, so that {self.start} would be ignored. "
                "Give warmup, or make the value itself what it is to start from"
            )
        return self

    def at(self, value: float, progress: float) -> float:
        """Return what holds of a value, that after the warm-up, when this share of the training, 0 to 1, is done."""
        if progress < self.warmup:
            return self.start + (value - self.start) * progress / self.warmup
        if self.name == "constant" or self.end is None:
            return value
        way = (progress - self.warmup) / (1 - self.warmup)
        done = way if self.name == "linear" else (1 - math.cos(math.pi * way)) / 2
        return value + (self.end - value) * done


def parse_schedules(entries: Mapping[str, Mapping[str, object]], names: list[str]) -> dict[str, Schedule]:
    """Validate the schedules.

    Args:
        entries: a schedule by what it belongs to: `temperature`, `hard_loss`, `soft_loss` or the name of a loss.
        names: of the components that the objective has.

    Raises:
        DistillationError: a schedule of something that the objective does not have, or an impossible one.
    """
    schedules = {}
    for name, entry in entries.items():
        known = [TEMPERATURE, *names]
        if name not in known:
            raise DistillationError(
                f"schedules names {name!r}, which this objective does not have.{did_you_mean(name, known)} It has "
                f"{known}."
            )
        schedule = schedules[name] = parse_section(Schedule, entry, f"schedules.{name}")
        if schedule.end is None and not schedule.warmup:
            raise DistillationError(
                f"schedules.{name} changes nothing: it has neither an end nor a warm-up. Give one, or remove it."
            )
        if name == TEMPERATURE and 0 in (schedule.end, schedule.start if schedule.warmup else None):
            raise DistillationError(
                "schedules.temperature must stay positive, but it starts or ends at 0. Give `end`, and with a warm-up "
                "`start`, a positive value."
            )
    return schedules
