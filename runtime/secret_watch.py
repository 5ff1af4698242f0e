"""
The watch over the files that hold secrets: a change is in force within seconds, without a restart.

It reads the files every second and compares them. This also works for links that are swapped and for network file systems, whose
changes the kernel does not report, and costs some microseconds a file; without files there is no watch. A change counts once the
files are the same at two looks in a row, so that no half-written file is taken. An invalid change is refused, and the previous
value stays in force.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import structlog
from prometheus_client import Counter, Gauge

from runtime import redaction, renewal, secret_files
from runtime.errors import Reason
from runtime.failures import Failures
from runtime.secret_files import FOLDER, Environ, Found
from runtime.settings import Secret, Settings, SettingsError, parse_secrets

log = structlog.get_logger()

CHANGES: Final = Counter(
    "tallyhook_secret_changes_total",
    "Changes of files with secrets, by setting: those in force (`taken`), and those that are invalid (`refused`).",
    ["setting", "outcome"],
)
REFUSED: Final = Gauge("tallyhook_secrets_refused", "Settings whose file is invalid now; the previous value stays in force.")
_EVERY: Final = 1.0  # seconds
_REMEMBERED: Final = 8
"""The number of earlier settings that are still kept out of the logs: an error may quote an old password."""
_OF_CONNECTIONS: Final = frozenset({"DATABASE_URL", "KAFKA_SASL_PASSWORD", "KAFKA_OAUTH_CLIENT_SECRET"})
"""Settings that clients get once; they look up the current value in `runtime.renewal` at each new connection."""


class Change(NamedTuple):
    """A change of one setting: the public ids of its secrets, newest first; none if it was removed."""

    setting: str
    ids: tuple[str, ...]
    at: datetime
    outcome: Literal["taken", "refused"]
    why: str = ""


Report = Callable[[Sequence[Change]], None]


class SecretWatch:
    """
    Watches the files of these settings, which are all those of a process, between `start` and `stop`, and renews the settings.

    `report` may raise: it is called again, later, until it returns.
    """

    def __init__(self, settings: Sequence[Settings], environ: Mapping[str, str], report: Report) -> None:
        self._settings = settings
        self._environ = environ if isinstance(environ, Environ) else Environ({})
        self._texts = dict(self._environ.files.texts)
        self._judged: Found | None = self._environ.files
        self._seen: Found | None = None
        self._known = deque([dict(environ)], _REMEMBERED)
        self._report = report
        self._failures = Failures("secrets")
        self._refused = set[str]()
        self._unfinished = set[str]()  # in force, but not yet for every follower
        self._unreported = list[Change]()
        self._report_due = threading.Event()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Watch from now on; without a file there is nothing to watch."""
        if self._environ.has_files:
            threading.Thread(target=self._run, name="secrets", daemon=True).start()
            threading.Thread(target=self._report_all, name="secrets reported", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self._report_due.set()

    def look(self) -> list[Change]:
        """Look at the files once; returns the changes that have been judged."""
        found = secret_files.read(self._environ.given)
        settled, self._seen = found == self._seen, found
        if not settled or found == self._judged:
            return []
        self._judged = None  # if a follower raises, all is judged again at the next look
        changes = [*self._faults(found), *self._judge(self._changed(found))]
        changes += self._mended({change.setting for change in changes})
        self._judged = found
        self._refused = {change.setting for change in changes if change.outcome == "refused"}
        REFUSED.set(len(self._refused))
        for change in changes:
            CHANGES.labels(change.setting, change.outcome).inc()
            if change.outcome == "taken":
                log.info("secret_changed", setting=change.setting, ids=change.ids)
            else:
                log.error(
                    "secret_refused", reason=Reason.SECRET_REFUSED, setting=change.setting, ids=change.ids, error=change.why
                )
        return changes

    def _faults(self, found: Found) -> Iterator[Change]:
        for name, fault in found.faults.items():
            if name == FOLDER or self._reads(name):
                yield Change(name, (), datetime.now(UTC), "refused", f"{name}: {fault}")

    def _mended(self, changed: set[str]) -> Iterator[Change]:
        """Yield a change for each setting that was refused before, and whose file again has the value in force."""
        for name in self._refused - changed:
            yield Change(name, ids_of(self._texts.get(name, "")), datetime.now(UTC), "taken")

    def _changed(self, found: Found) -> dict[str, str]:
        """The new texts by name, empty if a file is gone; a file that cannot be read counts as unchanged."""
        due = self._unfinished
        changed = {name: text for name, text in found.texts.items() if text != self._texts.get(name) or name in due}
        if FOLDER not in found.faults:
            changed |= dict.fromkeys((self._texts.keys() | due) - found.texts.keys() - found.faults.keys(), "")
        return changed

    def _judge(self, changed: Mapping[str, str]) -> Iterator[Change]:
        """Take all changes together, as settings may need each other; if that is invalid, take those without a fault."""
        if not changed:
            return
        environ = {**self._environ.given, **self._texts, **changed}
        try:
            newest = [settings.load(environ) for settings in self._settings]
        except SettingsError as error:
            if len(changed) > 1:
                named = {problem.partition(":")[0] for problem in error.problems} & changed.keys()
                apart = [changed.keys() - named, named] if named and named != changed.keys() else [{name} for name in changed]
                for names in apart:
                    yield from self._judge({name: changed[name] for name in sorted(names)})
                return
            yield from self._changes(changed, "refused", "; ".join(error.problems))
            return
        if environ != self._known[-1]:  # or it is tried again
            self._known.append(environ)
        redaction.hide_secrets_of(*self._known)
        for name in _OF_CONNECTIONS & changed.keys():
            if changed[name] and self._texts.get(name, changed[name]) != changed[name]:
                renewal.renew(self._texts[name], changed[name])
        # In force before the followers are called: one that goes on failing must not keep the next change from being the newest.
        self._texts = {name: text for name, text in {**self._texts, **changed}.items() if text}
        self._unfinished |= changed.keys()
        with ExitStack() as calls:  # one that raises does not keep the others from the change; the next look tries it again
            for settings, found in zip(self._settings, newest, strict=True):
                calls.callback(settings.renew, found)
        self._unfinished -= changed.keys()
        yield from self._changes(changed, "taken")

    def _changes(self, changed: Mapping[str, str], outcome: Literal["taken", "refused"], why: str = "") -> Iterator[Change]:
        for name, text in changed.items():
            if self._reads(name):
                yield Change(name, ids_of(text), datetime.now(UTC), outcome, why)

    def _reads(self, name: str) -> bool:
        return any(settings.reads(name) for settings in self._settings)

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY):
            try:
                self._unreported += self.look()
            except Exception as error:  # noqa: BLE001  # nobody would notice before the next change that the watch has ended
                self._failures.note(error)
            if self._unreported:
                self._report_due.set()

    def _report_all(self) -> None:
        """Report the changes, in a second thread: Postgres, which stores them, may be away for long."""
        failures = Failures("secrets_told")
        while self._report_due.wait() and not self._stopping.is_set():
            self._report_due.clear()
            reported = list(self._unreported)
            try:
                self._report(reported)
            except Exception as error:  # noqa: BLE001  # likewise
                self._stopping.wait(failures.pause_after(error))
                self._report_due.set()
            else:
                failures.passed()
                del self._unreported[: len(reported)]


def ids_of(text: str) -> tuple[str, ...]:
    """The public ids of comma-separated secrets; an address is one secret."""
    found = (Secret(text),) if "://" in text else parse_secrets(text)
    assert isinstance(found, tuple)  # noqa: S101  # of a text
    return tuple(secret.id for secret in found)
