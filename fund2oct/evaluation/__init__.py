"""Evaluation: models between their floor and their controls, and generated files beside real ones."""

from fund2oct.evaluation.checkpoints import evaluate, evaluate_checkpoints
from fund2oct.evaluation.files import evaluate_files
from fund2oct.evaluation.protocol import PROTOCOLS, Protocol

__all__ = ["PROTOCOLS", "Protocol", "evaluate", "evaluate_checkpoints", "evaluate_files"]
