"""`python -m ops.vendored` against a local registry: it fetches what the list names, and reports any other file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from ops.vendored import FOLDER, LIST, faults_of, fetch, read
from tests.needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.vendored import Vendored


class Registry(ThreadingHTTPServer):
    """The part of npm's registry that an install of named versions uses."""

    def __init__(self, listed: list[Vendored], folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.tars = {package: _tar(package, listed, folder) for package in {each.package for each in listed}}

    def document(self, name: str) -> bytes:
        versions = {}
        for package, tar in self.tars.items():
            own, _, version = package.rpartition("@")
            if own == name:
                integrity = "sha512-" + base64.b64encode(hashlib.sha512(tar).digest()).decode()
                dist = {"tarball": f"{self.url}/-/{package}", "integrity": integrity}
                versions[version] = {"name": name, "version": version, "dist": dist}
        return json.dumps({"name": name, "dist-tags": {"latest": max(versions)}, "versions": versions}).encode()


class _Answers(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        package = self.path.removeprefix("/-/")
        body = self.server.tars[package] if package in self.server.tars else self.server.document(self.path.removeprefix("/"))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the requests are kept."""


def _tar(package: str, listed: list[Vendored], folder: Path) -> bytes:
    name, _, version = package.rpartition("@")
    files = {each.source: (folder / each.file).read_bytes() for each in listed if each.package == package}
    files["package.json"] = json.dumps({"name": name, "version": version}).encode()
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as tar:
        for path, body in files.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return into.getvalue()


@contextmanager
def serving(listed: list[Vendored], folder: Path) -> Iterator[Registry]:
    with Registry(listed, folder) as registry:
        thread = threading.Thread(target=registry.serve_forever)
        thread.start()
        try:
            yield registry
        finally:
            registry.shutdown()
            thread.join()


@pytest.fixture
def only_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An npm without this machine's settings and with an empty cache."""
    if shutil.which("npm") is None:
        missing("npm is not on the PATH")
    for name in ("userconfig", "globalconfig", "cache"):
        monkeypatch.setenv(f"npm_config_{name}", str(tmp_path / name))
    monkeypatch.setenv("npm_config_update_notifier", "false")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    return monkeypatch


def test_it_takes_each_file_from_the_package_that_the_list_names(only_ours: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    shutil.copy(FOLDER / LIST, folder)
    listed = list(read(folder))
    with serving(listed, FOLDER) as registry:
        only_ours.setenv("npm_config_registry", registry.url)
        fetch(folder, listed)
        assert {path.removeprefix("/-/") for path in registry.asked if path.startswith("/-/")} == {*registry.tars}
    assert list(faults_of(folder, listed)) == []
    assert {path.name for path in folder.iterdir()} == {path.name for path in FOLDER.iterdir()}


def test_a_registry_that_has_another_file_under_the_same_version_is_reported(
    only_ours: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, theirs = tmp_path / "vendor", tmp_path / "theirs"
    shutil.copytree(FOLDER, folder)
    shutil.copytree(FOLDER, theirs)
    (theirs / "htmx.min.js").write_text("alert(1)")
    listed = list(read(folder))
    with serving(listed, theirs) as registry:
        only_ours.setenv("npm_config_registry", registry.url)
        fetch(folder, listed)
    assert [fault.partition(":")[0] for fault in faults_of(folder, listed)] == ["htmx.min.js"]


def test_without_the_registry_it_fails_and_leaves_the_files_as_they_are(only_ours: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    shutil.copytree(FOLDER, folder)
    listed = list(read(folder))
    with serving(listed, FOLDER) as registry:
        gone = registry.url
    only_ours.setenv("npm_config_registry", gone)
    with pytest.raises(subprocess.CalledProcessError):
        fetch(folder, listed)
    assert list(faults_of(folder, listed)) == []
