"""A certificate authority of one data directory, made once and kept: PEM files of the authority, of a server and of a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ops.stack.password import write_private
from ops.stack.places import private_folder
from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

CLIENT: Final = "tallyhook"


class Authority:
    """`ca` is for clients to trust, `server` a server's key and chain in one file, `cert` and `key` those of a client."""

    def __init__(self, folder: Path, *, expires: datetime | None = None) -> None:
        private_folder(folder)
        self.ca, self.server = folder / "ca.pem", folder / "server.pem"
        self.cert, self.key = folder / "client.pem", folder / "client.key"
        if not self.server.exists():
            self._make(expires)

    def _make(self, expires: datetime | None) -> None:
        made = trustme.CA()
        self.ca.write_bytes(made.cert_pem.bytes())
        client = made.issue_cert(f"{CLIENT}.example", common_name=CLIENT)
        write_private(self.key, client.private_key_pem.bytes().decode())
        self.cert.write_bytes(client.cert_chain_pems[0].bytes())
        server = made.issue_cert(LOOPBACK, "localhost", not_after=expires)
        chain = b"".join(each.bytes() for each in server.cert_chain_pems)
        write_private(self.server, (_pkcs8(server.private_key_pem.bytes()) + chain).decode())


def _pkcs8(pem: bytes) -> bytes:
    """Return the same key in the one format that Java reads."""
    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
