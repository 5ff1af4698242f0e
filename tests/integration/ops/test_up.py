"""`up`, with a real server and fake processes: it keeps its promises whichever process ends first."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from ops.dev.background import down, up_detached
from ops.dev.shell import exports
from ops.dev.status import StackStatus, read_status
from ops.stack.errors import StackError
from ops.stack.state import StateFile
from tests.ports import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack.child import Identity

SCRIPT = Path(__file__).with_name("small_stack.py")
EXTERNAL = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "ELASTICSEARCH_URL")


class SmallStack:
    """
    A checkout and a data directory to run `up` on.

    It has run before on its own ports: while a server is down, another stack on this machine may take the default ones.
    """

    def __init__(self, folder: Path) -> None:
        self.checkout = folder
        self.data_dir = folder / "data"
        self.log = folder / "up.log"
        StateFile(self.data_dir).change(ports={name: free_port() for name in ("redis", "gateway", "worker", "relay")})

    def command(self, *broken: str) -> list[str]:
        return [sys.executable, str(SCRIPT), str(self.checkout), str(self.data_dir), *broken]

    def start(self, *broken: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command(*broken), stdout=log, stderr=log)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with self.start() as process:
            try:
                wait_until(lambda: process.poll() is not None or self.status.phase == "ready")
                assert process.poll() is None, self.log.read_text()
                yield process
            finally:
                process.terminate()

    @property
    def status(self) -> StackStatus:
        return read_status(self.data_dir)

    @property
    def alive(self) -> list[Identity]:
        """Return every recorded server and process that runs."""
        return StateFile(self.data_dir).read().leftovers()

    def process(self, name: str) -> tuple[int | None, str, int]:
        found = next(process for process in self.status.processes if process.name == name)
        return found.pid, found.state, found.restarts


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallStack:
    for name in EXTERNAL:
        monkeypatch.setenv(name, f"stub://{name.lower()}")
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return SmallStack(tmp_path)


def test_a_stop_ends_everything_in_order(small: SmallStack) -> None:
    with small.running() as up:
        started = small.alive
    assert up.returncode == 0
    assert len(started) == 4
    assert none_lives(started)
    assert (small.checkout / "order").read_text().split() == ["gateway", "worker", "relay"]
    assert small.status == StackStatus()


def test_status_names_external_services_as_they_are_set(small: SmallStack) -> None:
    with small.running():
        status = small.status
        assert status.postgres == "stub://database_url"
        assert status.redis
        assert re.fullmatch(r"redis://:\w+@127\.0\.0\.1:\d+/0", status.redis)
        assert status.public == f"http://127.0.0.1:{StateFile(small.data_dir).read().ports['gateway']}"


def test_a_process_that_dies_is_started_again_and_status_shows_it(small: SmallStack) -> None:
    with small.running():
        pid, _state, restarts = small.process("relay")
        assert restarts == 0
        os.kill(pid or 0, signal.SIGKILL)
        wait_until(lambda: small.process("relay")[1:] == ("ready", 1))
        assert small.process("relay")[0] != pid


def test_a_server_that_dies_is_started_again(small: SmallStack) -> None:
    with small.running():
        before = StateFile(small.data_dir).read().servers["redis"]
        os.kill(before.pid, signal.SIGKILL)
        wait_until(lambda: StateFile(small.data_dir).read().servers["redis"] != before)
        with redis.Redis.from_url(small.status.redis or "") as client:
            wait_until(lambda: _answers(client))


def test_a_second_up_finds_the_same_ports_and_the_data(small: SmallStack) -> None:
    with small.running(), redis.Redis.from_url(small.status.redis or "") as client:
        first = small.status
        client.set("kept", "1")
    with small.running(), redis.Redis.from_url(small.status.redis or "") as client:
        assert (small.status.redis, small.status.public) == (first.redis, first.public)
        assert client.get("kept") == b"1"


def test_after_a_supervisor_was_killed_the_next_up_just_works(small: SmallStack) -> None:
    with small.running() as up:
        first, started = small.status, small.alive
        up.kill()
        up.wait()
    with small.running():
        assert (small.status.redis, small.status.public) == (first.redis, first.public)
        assert not set(started) & set(small.alive)
    assert none_lives(started)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux notifies children of their parent's death")
def test_nothing_outlives_a_supervisor_that_was_killed(small: SmallStack) -> None:
    with small.running() as up:
        started = small.alive
        up.kill()
        up.wait()
        wait_until(lambda: none_lives(started))


def test_a_second_up_while_one_runs_reports_it(small: SmallStack) -> None:
    with small.running() as up:
        second = subprocess.run(small.command(), capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert second.stderr.startswith(f"dev: a stack already runs on {small.data_dir} (pid {up.pid})")
        assert small.status.phase == "ready"


def test_a_process_that_never_serves_ends_the_start_with_its_log(small: SmallStack) -> None:
    ended = subprocess.run(small.command("worker"), capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "dev: worker keeps ending" in ended.stderr
    assert "broken on purpose" in ended.stderr
    assert small.alive == []


def test_detached_it_outlives_the_command_and_down_stops_it(small: SmallStack) -> None:
    up_detached(small.command(), small.checkout, small.data_dir, lambda _line: None)
    assert small.status.phase == "ready"
    started = small.alive
    assert down(small.data_dir, lambda _line: None)
    assert none_lives(started)
    assert not down(small.data_dir, lambda _line: None)


def test_detached_a_failed_start_is_reported_in_the_foreground(small: SmallStack) -> None:
    with pytest.raises(StackError, match="broken on purpose"):
        up_detached(small.command("gateway"), small.checkout, small.data_dir, lambda _line: None)
    assert small.status == StackStatus()


def none_lives(identities: list[Identity]) -> bool:
    return not any(identity.alive() for identity in identities)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_a_shell_can_work_on_the_running_stack(small: SmallStack, postgres_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{postgres_server}/tallyhook")
    for name in ("NO_PROXY", "no_proxy"):  # changes by the settings are undone at the end
        monkeypatch.setenv(name, "")
    (small.checkout / ".env").write_text("ADMIN_API_TOKEN=new;token,old\nHTTP_PROXY=http://127.0.0.1:9\n")
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    with small.running():
        lines = exports(small.checkout, small.data_dir)
        work = f'{lines}\necho "$REDIS_URL $PUBLIC_URL $ADMIN_TOKEN"; command -v tallyhook psql >&2 && psql --version >&2'
        ended = subprocess.run(["bash", "-euc", work], capture_output=True, text=True, check=True)  # noqa: S607  # the bash of the path
        assert ended.stdout == f"{small.status.redis} {small.status.public} new;token\n"
        asked = (
            "curl -s --max-time 5 -o /dev/null -w '%{http_code} ' $PUBLIC_URL/health/ready; psql -Atc 'select current_database()'"
        )
        bare = f"{lines}\n{asked}"
        ended = subprocess.run(["bash", "-euc", bare], capture_output=True, text=True, check=True)  # noqa: S607  # same
        assert ended.stdout == "200 tallyhook\n"


def test_there_is_nothing_for_a_shell_where_nothing_runs(small: SmallStack) -> None:
    with pytest.raises(StackError, match="nothing runs"):
        exports(small.checkout, small.data_dir)
