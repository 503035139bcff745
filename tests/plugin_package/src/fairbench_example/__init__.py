"""An example of a third party's package."""

from pathlib import Path

TWO_JOBS = Path(__file__).parent / "tasks" / "two-jobs"
