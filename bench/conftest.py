"""Puts the modules of the bench and of tests/cold-start where the tests import them from."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/cold-start")]
