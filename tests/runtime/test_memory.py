"""A party's process gets no fresh pages for arrays like those that it freed."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource
import numpy as np
from tacit.runtime.memory import keep_freed_memory

kept = keep_freed_memory()
count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
    [np.ones(3_000_000 // 8) for _ in range(8)]
before = count()
for _ in range(10):
    [np.ones(3_000_000 // 8) for _ in range(8)]
print(int(kept), count() - before)
"""


def test_memory_that_is_freed_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    kept, faults = map(int, done.stdout.split())
    # Eighty arrays of 730 pages each: without it, nearly each page is a fault.
    assert not kept or faults < 5_000
