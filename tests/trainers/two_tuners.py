"""One of two processes that draw, transform and tune: `python -m tests.trainers.two_tuners FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.processes import leave
from tests.trainers.test_sample_and_tune import KINDS, one_of

if __name__ == "__main__":
    for kind in KINDS:
        one_of(Path(sys.argv[1]), kind, 2).train()
    leave()
