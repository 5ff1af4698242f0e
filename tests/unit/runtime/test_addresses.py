"""An address is shown without credentials, or not at all."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.addresses import WITHHELD, shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://app:s3cret@db:5432/tallyhook", "postgresql://db:5432/tallyhook"),
        ("postgresql://app:p@ss%zz@db:5432/tallyhook", "postgresql://db:5432/tallyhook"),
        ("postgresql://db/tallyhook?password=s3cret&sslpassword=x", "postgresql://db/tallyhook"),
        ("postgresql://app:s3cret@one:5432,two:5433/tallyhook", "postgresql://one:5432,two:5433/tallyhook"),
        ("redis://:s3cret@[::1]:6379/0", "redis://[::1]:6379/0"),
        ("https://user:s3cret@crm.example/hooks/s3cret?key=s3cret#s3cret", "https://crm.example"),
        ("http://localhost:9200", "http://localhost:9200"),
        ("127.0.0.1:9092", WITHHELD),
        ("host=db password=s3cret", WITHHELD),
        ("postgresql://app:12/s3cret@db/tallyhook", WITHHELD),
        ("postgresql://app:12#s3cret@db/tallyhook", WITHHELD),
        ("postgresql://app:12?s3cret@db/tallyhook", WITHHELD),
        ("postgresql://app:s3[cret@db/tallyhook", WITHHELD),
        ("https://crm.münchen.example/hooks", "https://crm.münchen.example"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("redis://app:Pq7@%zz:/w#r?d&x@db:6379/0", WITHHELD),
        ("", WITHHELD),
    ],
)
def test_an_address_is_shown_without_credentials(url: str, expected: str) -> None:
    assert shown(url) == expected


@given(password=st.text(min_size=8, max_size=40), quoted=st.booleans(), parameter=st.booleans())
def test_no_password_shows_however_it_is_written(password: str, *, quoted: bool, parameter: bool) -> None:
    secret = f"Xq7{password}"
    written = quote(secret, safe="", errors="surrogatepass") if quoted else secret
    url = f"postgresql://db/name?password={written}" if parameter else f"postgresql://app:{written}@db/name"
    assert "Xq7" not in shown(url)
