"""The objective: what the student is trained to minimise."""

from distilnlp.objective.balance import LossBalance
from distilnlp.objective.component import Component, HardLoss, LossConfig, SoftLoss
from distilnlp.objective.losses_by_name import LOSSES, parse_losses
from distilnlp.objective.objective import Objective
from distilnlp.objective.schedule import Schedule, parse_schedules

__all__ = [
    "LOSSES",
    "Component",
    "HardLoss",
    "LossBalance",
    "LossConfig",
    "Objective",
    "Schedule",
    "SoftLoss",
    "parse_losses",
    "parse_schedules",
]
