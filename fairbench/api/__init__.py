"""The functions of `import fairbench`. The commands call the same ones.

Paths may be given as text. What a user can fix raises FairbenchError, in one sentence; notices are logged as warnings.
"""

from fairbench.api.people import annotate, calibrate_from, collect
from fairbench.api.runs import calibrate, compare, export, load, report, run

__all__ = ["annotate", "calibrate", "calibrate_from", "collect", "compare", "export", "load", "report", "run"]
