"""Every library uses the certificates and proxies of `.env` and the process environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import requests.utils

from runtime.outgoing import VARIABLES, ca_bundle, configure_network, elasticsearch_tls_options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset all these variables; those that a test sets are removed at its end."""
    for name in {*VARIABLES, *map(str.lower, VARIABLES), "CURL_CA_BUNDLE"}:
        monkeypatch.setenv(name, "")  # so that it is restored or removed whatever the test does
        monkeypatch.delenv(name)


def goes_through(url: str) -> bool:
    return bool(requests.utils.get_environ_proxies(url))


def test_a_value_that_only_the_settings_have_counts_and_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://first:3128")
    configure_network({"HTTPS_PROXY": "http://second:3128", "HTTP_PROXY": "http://third:3128", "DATABASE_URL": "postgresql://x"})
    assert (os.environ["HTTPS_PROXY"], os.environ["HTTP_PROXY"]) == ("http://first:3128", "http://third:3128")


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_the_loopback_is_reached_directly_and_the_rest_is_not(name: str) -> None:
    configure_network({name: "http://proxy:3128"})
    for host in ("127.0.0.1", "127.0.0.1:8025", "127.1.2.3", "localhost", "localhost:9200"):
        assert not goes_through(f"https://{host}/"), host
    assert goes_through("https://maven.example.com/")


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_hosts_that_are_to_be_reached_directly_stay_so(name: str) -> None:
    for _ in range(2):  # each reading of the settings follows them again
        configure_network({"HTTPS_PROXY": "http://proxy:3128", name: "internal.example.com"})
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "internal.example.com,localhost,127.0.0.1,127.0.0.0/8,::1"
    assert not goes_through("https://internal.example.com/")
    assert not goes_through("https://127.0.0.1:8080/")


def test_where_nothing_goes_through_a_proxy_that_is_left_alone() -> None:
    configure_network({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"})
    assert os.environ["NO_PROXY"] == "*"
    assert not goes_through("https://maven.example.com/")


def test_without_a_proxy_no_proxy_is_reported() -> None:
    configure_network({})
    assert not {"NO_PROXY", "no_proxy"} & os.environ.keys()


def test_the_certificates_are_those_that_openssl_goes_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").write_text("")
    configure_network({"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    assert os.environ["REQUESTS_CA_BUNDLE"] == ca_bundle() == str(tmp_path / "ca.pem")
    assert elasticsearch_tls_options("https://search.example.com") == {"ca_certs": str(tmp_path / "ca.pem")}
    assert elasticsearch_tls_options("http://search.example.com") == {}
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/one/of/its/own.pem")
    configure_network({})
    assert ca_bundle() == "/one/of/its/own.pem"


@pytest.mark.parametrize(("name", "expected"), [("", False), ("0a1b2c3d.0", True)])
def test_a_folder_of_certificates_counts_where_there_are_any(tmp_path: Path, name: str, expected: bool) -> None:
    if name:
        (tmp_path / name).write_text("")
    os.environ |= {"SSL_CERT_FILE": str(tmp_path / "missing"), "SSL_CERT_DIR": str(tmp_path)}
    assert ca_bundle() == (str(tmp_path) if expected else None)
