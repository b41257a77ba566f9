"""What a session costs, here and with the peers, side by side: see README.md.

Run from the folder above, as ``python -m benchmarks.run``.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results.json"
sys.path.insert(0, str(ROOT / "tests" / "support"))  # the servers that tests use too
