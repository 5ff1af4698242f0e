"""
Pods without Kubernetes: the container of a rendered manifest as a process that sees nothing else of this machine.

Its command is the image's entry point with the container's arguments, its environment that of the image and the container. Each
volume is mounted as in the container, everything else is read-only, and its account is the pod's, without capabilities:
namespaces of users and of mounts give that without root.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ops.stack.probe import status_of
from runtime.addresses import LOOPBACK
from tests.image import lines
from tests.needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_OF_ROOT: Final = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")
_KEPT: Final = (Path(__file__).parents[1], Path(sys.prefix), Path(sys.base_prefix))
"""The folders that the process runs from. A volume may hide one, such as one on /tmp; an empty folder is of an earlier run."""
# `/run` has the mount points of the volumes, which may not exist on this machine. Only the last mount is writable.
_SCRIPT: Final = """
set -eu
mount -t tmpfs tmpfs /media
mkdir /media/before
mount --rbind / /media/before
mount -t tmpfs tmpfs /run
{volumes}
for kept in {kept}; do [ -n "$(ls -A "$kept" 2>&-)" ] || {{ mkdir -p "$kept"; mount --rbind "/media/before$kept" "$kept"; }}; done
umount -l /media/before
awk '{{print $5}}' /proc/self/mountinfo | grep -Ev '^/(proc|sys|dev)(/|$)' | while read -r place; do
  if mountpoint -q "$place"; then mount -o remount,bind,ro "$place"; fi  # another may hide it
done
{writable}
cd {cwd}
exec unshare --user --map-user={user} --map-group={group} env -i {environment} {command}
"""


class Pod:
    """The one container of a pod; `folders` are its volumes by their names, or by those of the Secrets that they are of."""

    def __init__(self, template: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
        spec = template["spec"]
        [self._container] = spec["containers"]
        self._account = spec["securityContext"]
        self._folders = {
            each["name"]: folders[each.get("secret", {}).get("secretName", each["name"])] for each in spec["volumes"]
        }
        self.patience = spec.get("terminationGracePeriodSeconds")
        self.ports = {each["name"]: each["containerPort"] for each in self._container.get("ports", ())}

    @property
    def words(self) -> list[str]:
        """The command of the container."""
        return [*_image("ENTRYPOINT"), *self._container["args"]]

    def probe(self, name: str) -> int | None:
        """Return the status that a probe of the container gets; None while there is no answer."""
        asked = self._container[name]["httpGet"]
        return status_of(f"http://{LOOPBACK}:{self.ports[asked['port']]}{asked['path']}")

    @contextmanager
    def running(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Its process until the end of the block."""
        with log.open("wb") as output, subprocess.Popen(self.command(), stdout=output, stderr=output) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Other words in its place, as `kubectl exec` has them; by default its own, to their end."""
        return subprocess.run(self.command(words), capture_output=True, text=True, timeout=120, check=False)

    def command(self, words: Sequence[str] = ()) -> list[str]:
        """The command for this machine."""
        given = {each["name"]: each["value"] for each in self._container["env"]}
        environment = dict(pair.split("=", 1) for line in _lines("ENV") for pair in shlex.split(line)) | given
        environment |= {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/"}
        mounts = [(shlex.quote(str(self._folders[each["name"]])), each) for each in self._container["volumeMounts"]]
        assert all(each["mountPath"].startswith("/run/") or each["name"] == "temporary" for _, each in mounts)
        script = _SCRIPT.format(
            volumes="\n".join(
                f"mkdir -p {each['mountPath']}; mount --bind /media/before{place} {each['mountPath']}" for place, each in mounts
            ),
            writable="\n".join(f"mount -o remount,bind,rw {each['mountPath']}" for _, each in mounts if not each.get("readOnly")),
            kept=shlex.join(map(str, _KEPT)),
            cwd=_lines("WORKDIR")[-1],
            user=self._account["runAsUser"],
            group=self._account["runAsGroup"],
            environment=shlex.join(f"{name}={text}" for name, text in environment.items()),
            command=shlex.join(words or self.words),
        )
        return [*_OF_ROOT, "sh", "-c", script]


def need_namespaces() -> None:
    """Without them the test is `missing` something."""
    try:
        done = subprocess.run([*_OF_ROOT, "mount", "-t", "tmpfs", "tmpfs", "/media"], capture_output=True, text=True, check=False)
    except OSError as error:
        missing(f"no pods: {error}")
    if done.returncode:
        missing(f"no pods: this machine gives no namespaces: {done.stderr.strip()}")


def _lines(word: str) -> list[str]:
    """The instructions of this word that hold in the image which the Dockerfile makes."""
    return [line.rest for line in lines() if line.stage == lines()[-1].stage and line.word == word]


def _image(word: str) -> list[str]:
    found: list[str] = json.loads(_lines(word)[-1])
    return found
