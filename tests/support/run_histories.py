"""Record histories under faults and judge them, or judge one again that was kept.

.venv/bin/python tests/support/run_histories.py run --seconds 3600
.venv/bin/python tests/support/run_histories.py judge histories/file-1.jsonl
"""

from __future__ import annotations

from histories.command import main

if __name__ == "__main__":
    main()
