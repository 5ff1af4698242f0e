"""
A process that serves its health: `fake_process.py NAME PORT ORDER_FILE [HANGS_FILE]`; on SIGTERM it records its name and ends.

It is not live while the last file exists.
"""

from __future__ import annotations

import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

NAME, PORT, ORDER = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
HANGS = Path(sys.argv[4] if len(sys.argv) > 4 else f"{ORDER}.hangs")


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/health/live" and HANGS.exists() else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
Thread(target=HTTPServer(("127.0.0.1", PORT), Healthy).serve_forever, daemon=True).start()
signal.sigwait({signal.SIGTERM})
with ORDER.open("a") as order:
    order.write(f"{NAME}\n")
