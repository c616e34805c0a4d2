"""What all tests share: the settings of hypothesis, and the way to the tolerance table, tolerances.py beside this."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.append(str(Path(__file__).parent))

# Examples on a busy machine are slow now and then: no deadline. In CI the same examples run every time.
settings.register_profile("nnfast", deadline=None, max_examples=60)
settings.register_profile("ci", settings.get_profile("nnfast"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "nnfast")
