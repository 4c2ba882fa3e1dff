"""The parts of ``make gpu``, for the tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"))

import jobs
import play
import stand_ins

__all__ = ["jobs", "play", "stand_ins"]
