"""A graceful stop has a time limit."""

from __future__ import annotations

import subprocess
import sys


def test_a_stop_with_a_limit_ends_a_task_that_would_wait_for_ever() -> None:
    script = "import threading; from runtime.process import Stop; Stop(0.2).request(); threading.Event().wait()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert "shutdown_ignored" in done.stdout + done.stderr
