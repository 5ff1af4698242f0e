"""Checks of the addresses in settings, by the needs of each client, before anything connects. No error quotes an address."""

import re
from contextlib import suppress
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from runtime.address_options import check_redis_options, faults_of_postgres
from runtime.addresses import WITHHELD, has_target, shown

_QUOTE: Final = (
    "write each special character of its password as %XX (%25 for %, %40 for @, %2F for /, %3A for :, %23 for #, %3F for ?)"
)
_HOST: Final = re.compile(r"\w(?:[\w-]|\.(?!\.))*(?<!-)")  # letters of any script: names may be international
_BROKER: Final = re.compile(r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_NAME_MAX: Final = 253  # octets, and 63 of a label (RFC 1035, 2.3.4)
_NUMBERS: Final = re.compile(r"[0-9.]+")
_DIGITS_MAX: Final = 100  # Python refuses to parse thousands of digits
_PORTS: Final = range(1, 65_536)
_DATABASE_NUMBER: Final = re.compile(r"/?|/[0-9]{1,5}")
_POSTGRES: Final = "an address like postgresql://user:password@host:port/name is expected"
_REDIS: Final = "an address like redis://host:port/0, or rediss:// for TLS, is expected"
_KAFKA: Final = "servers like host:port, comma-separated and without a scheme, are expected"
_ELASTICSEARCH: Final = "an address like http://host:port, with its scheme and its port, is expected"
_PROXY: Final = "an address like http://user:password@host:port is expected"
_PROXY_SCHEMES: Final = ("http://", "https://", "socks4://", "socks4a://", "socks5://", "socks5h://")
_VERSIONED: Final = re.compile(r"[^/]/v1(?:/(?:traces|events))?/*$")
_HTTP: Final = "an address like https://host/path is expected"


def check_address(url: str) -> str:
    """Refuse an address that no client could use: a client would quote it in its error, with the password. Raises ValueError."""
    if not has_target(url):
        raise ValueError(f"is not a readable address: {_QUOTE}")
    return url


def check_server(url: str) -> str:
    """Refuse a text that is no address of a server, which has an @ only before its host. Raises ValueError."""
    if "://" not in url:
        raise ValueError("an address with its scheme, like scheme://host:port, is expected")
    if shown(url) == WITHHELD:
        raise ValueError(f"is not a readable address of a server: {_QUOTE}")
    return url


def check_database(url: str) -> str:
    """Refuse a text that is no address of Postgres; libpq checks ports and hosts only when it connects. Raises ValueError."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError(_POSTGRES)
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError:
        raise ValueError(f"is not a readable address of Postgres: {_QUOTE}") from None
    if url.partition("://")[2].partition("/")[0].count("@") > 1:  # libpq ends the password at the first, others at the last
        raise ValueError(f"has one @ too many: {_QUOTE}")
    if " " in url or not url.isprintable():
        raise ValueError(f"has a space or a character that cannot be seen in it: {_QUOTE}")
    hosts = [host for host in str(parts.get("host") or "").split(",") if not host.startswith("/")]
    if not all(map(is_host, filter(None, hosts))):
        raise ValueError(f"has no valid host: {_POSTGRES}")
    if not all(map(is_port, filter(None, str(parts.get("port") or "").split(",")))):
        raise ValueError(f"its port is not between 1 and 65535: {_POSTGRES}")
    if faults := [*faults_of_postgres(parts)]:
        raise ValueError("; ".join(faults))
    return url


def check_redis(url: str) -> str:
    """Refuse a text that is no address of Redis; its client would use database 0 if the name is no number. Raises ValueError."""
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError(_REDIS)
    check_server(url)
    parts = urlsplit(url)
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError(f"names several servers, such as those of Sentinel or Cluster: {_REDIS}")
    if parts.port not in (None, *_PORTS) or not is_host(parts.hostname or ""):
        raise ValueError(_REDIS)
    if parts.fragment or not _DATABASE_NUMBER.fullmatch(parts.path):
        raise ValueError(f"does not end in the number of a database: {_REDIS}")
    if parts.query:
        check_redis_options(url)
    return url


def check_kafka(servers: str) -> str:
    """Refuse a text that is no list of bootstrap servers, each with its port. Raises ValueError."""
    listed = [server.strip() for server in servers.split(",")]
    for server in listed:
        match = _BROKER.fullmatch(server)
        if match is None or not is_port(match["port"]) or not is_host(match["host"].strip("[]")):
            raise ValueError(_KAFKA)
    return ",".join(listed)  # librdkafka takes a line break after a comma for a part of the name


def check_elasticsearch(url: str) -> str:
    """Refuse a text that is no address of Elasticsearch; its client has a default port for https alone. Raises ValueError."""
    check_login(_check_target(url, _ELASTICSEARCH), "utf-8")
    parts = urlsplit(url)
    if (parts.scheme == "http" and parts.port is None) or _has_end(url):  # which its client drops silently
        raise ValueError(_ELASTICSEARCH)
    return url


def check_http(url: str) -> str:
    """Refuse a text that is no address of an HTTP server, or has a login that no client could send. Raises ValueError."""
    return check_login(_check_target(url, _HTTP))


def check_http_base(url: str) -> str:
    """Refuse an address to which no client could append a path. Raises ValueError."""
    if _has_end(check_http(url)):
        raise ValueError(f"has a ? or a # in it, and paths are appended to it: {_HTTP}")
    return url.rstrip("/")


def check_api_base(url: str) -> str:
    """Refuse the address of an API with its version too, which is in each path that is appended. Raises ValueError."""
    if _VERSIONED.search(check_http_base(url)):
        raise ValueError("has /v1 in it, and paths with /v1 are appended to it")
    return url.rstrip("/")


def _has_end(url: str) -> bool:
    return "?" in url or "#" in url


def check_http_without_login(url: str) -> str:
    """Refuse a login too: our request there has its own Authorization header, and must not have two. Raises ValueError."""
    check_http(url)
    if has_login(url):
        raise ValueError("has a user or a password before its host, where we send our own credential")
    return url


def has_login(url: str) -> bool:
    """Report whether the address has a user or a password, from which a client makes an Authorization header."""
    parts = urlsplit(url)
    return bool(parts.username) or parts.password is not None


def check_login(url: str, charset: str = "latin-1") -> str:
    """Refuse a user with a colon (RFC 7617), and characters that the client's charset does not have. Raises ValueError."""
    parts = urlsplit(url)
    user, password = (unquote(text or "", errors="ignore") for text in (parts.username, parts.password))
    if ":" in user:
        raise ValueError("its user has a colon in it, which HTTP takes for the end of the user")
    try:
        f"{user}{password}".encode(charset)
    except UnicodeEncodeError:
        raise ValueError("its user or password has a character that is not of Latin-1, and HTTP has no way to send it") from None
    return url


def _check_target(url: str, expected: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(expected)
    check_address(url)
    parts = urlsplit(url)
    if any(map(str.isspace, url)):
        raise ValueError(f"has a space in it: {expected}")
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError(f"names several servers: {expected}")
    if not is_host(parts.hostname or "") or parts.port == 0 or "\\" in parts.netloc:
        raise ValueError(expected)
    return url


def check_host(host: str) -> str:
    """Refuse a host on which no process can listen. Raises ValueError."""
    if not is_host(host):
        raise ValueError("a host name or an address such as 127.0.0.1, without scheme and port, is expected")
    return host


def check_proxy(url: str) -> str:
    """Refuse a text that is no address of a proxy: some clients would bypass it. Raises ValueError."""
    if not url.startswith(_PROXY_SCHEMES):
        raise ValueError(_PROXY)
    check_address(url)
    parts = urlsplit(url)
    if "," in parts.netloc.rpartition("@")[2] or not is_host(parts.hostname or "") or parts.port == 0:
        raise ValueError(_PROXY)
    return check_login(url) if parts.scheme in {"http", "https"} else url


def is_host(text: str) -> bool:
    """Report whether the text is a name or an address that a server can have."""
    if ":" in text or _NUMBERS.fullmatch(text):
        try:
            return bool(ip_address(text))
        except ValueError:
            return False
    return bool(_HOST.fullmatch(text)) and _can_be_looked_up(text)


def _can_be_looked_up(name: str) -> bool:
    """Report whether DNS can have the name; a name that is not ASCII is encoded by IDNA 2008 or 2003, as clients do."""
    if not name.isascii():
        import idna  # noqa: PLC0415  # few names need it

        with suppress(UnicodeError):
            return bool(idna.encode(name, uts46=True))
    try:
        return len(name.encode("idna").rstrip(b".")) <= _NAME_MAX
    except UnicodeError:
        return False


def is_port(text: str) -> bool:
    """Report whether the text is the number of a port that a server can have."""
    return text.isascii() and text.isdigit() and len(text) < _DIGITS_MAX and int(text) in _PORTS
