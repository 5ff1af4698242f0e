"""Certificates in our own files."""

from datetime import datetime
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates


def expiry_of(path: Path) -> datetime | None:
    """Return when the first certificate expires; None if the file cannot be read, which the settings report."""
    try:
        return load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc
    except (OSError, ValueError):
        return None


def last_expiry_of(path: Path) -> datetime | None:
    """Return when the last certificate of a file of authorities expires; None if the file cannot be read."""
    try:
        return max(each.not_valid_after_utc for each in load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError):
        return None
