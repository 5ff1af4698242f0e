"""Certificates in files of our own."""

from datetime import datetime
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates


def end_of_file(path: Path) -> datetime | None:
    """Return the end of the first certificate's time; None where the file cannot be read, which the settings report."""
    try:
        return load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc
    except (OSError, ValueError):
        return None
