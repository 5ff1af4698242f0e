"""Partners are read from environment variables by a pattern, and an incomplete one stops the process."""

from __future__ import annotations

import pytest

from runtime.settings import Secret, SettingsError
from schemas.partners import PartnerSettings, key_of


@pytest.mark.parametrize(
    ("partner_id", "key"), [("acme", "ACME"), ("Acme-Estates.de", "ACME_ESTATES_DE"), ("4you", "4YOU"), ("zoë", "ZO_")]
)
def test_the_key_is_the_id_in_upper_case_with_anything_else_as_an_underscore(partner_id: str, key: str) -> None:
    assert key_of(partner_id) == key


def test_each_partner_is_read_from_its_own_variables() -> None:
    found = PartnerSettings.load(
        {
            "PARTNER_ACME_SECRET": "new,old",
            "PARTNER_ACME_TOKEN": "token",
            "PARTNER_ACME_CRM_URL": "https://crm.acme.example/leads",
            "PARTNER_ACME_CRM_SECRET": "whsec_c2VjcmV0c2VjcmV0",
            "PARTNER_ACME_DE_SECRET": "de",
            "PARTNER_EMPTY_SECRET": "",
            "PARTNER_SECRET": "of nobody",
            "PARTNER_ACME_COLOUR": "blue",
        }
    ).partners
    assert set(found) == {"ACME", "ACME_DE"}
    assert found["ACME"].secret == (Secret("new"), Secret("old"))
    assert found["ACME"].token == (Secret("token"),)
    assert found["ACME"].crm_url == "https://crm.acme.example/leads"
    assert found["ACME"].crm_secret == (Secret("whsec_c2VjcmV0c2VjcmV0"),)
    assert found["ACME_DE"].secret == (Secret("de"),)


def test_every_problem_names_its_partner_and_no_value() -> None:
    with pytest.raises(SettingsError) as caught:
        PartnerSettings.load(
            {
                "PARTNER_A_CRM_URL": "ftp://hunter2",
                "PARTNER_B_CRM_URL": "https://hunter2",
                "PARTNER_C_CRM_URL": "https://crm",
                "PARTNER_C_CRM_SECRET": "whsec_hunter2-is-no-base64!",
            }
        )
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "PARTNER_A_CRM_URL",
        "PARTNER_C_CRM_SECRET",
        "PARTNER_A_CRM_SECRET",
        "PARTNER_B_CRM_SECRET",
    ]
    assert "hunter2" not in str(caught.value)


def test_no_secret_and_no_address_is_shown() -> None:
    partners = PartnerSettings.load({"PARTNER_A_CRM_URL": "https://me:hunter2@crm", "PARTNER_A_CRM_SECRET": "aHVudGVyMg"})
    assert not any(shown in repr(partners) for shown in ("hunter2", "aHVudGVyMg"))


@pytest.mark.parametrize("url", ["https://user:pa/sshunter2@crm.example/", "https://[::1/hunter2"])
def test_an_address_that_cannot_be_read_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError, match="PARTNER_A_CRM_URL") as refused:
        PartnerSettings.load({"PARTNER_A_CRM_URL": url, "PARTNER_A_CRM_SECRET": "aHVudGVyMg"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:p%40ss@crm.example/hook?key=x",
        "http://127.0.0.1:8080",
        "http://[::1]:80/",
        "https://crm.example./",
        "https://crm1/",
    ],
)
def test_an_address_that_can_be_read_is_taken(url: str) -> None:
    given = {"PARTNER_A_CRM_URL": url, "PARTNER_A_CRM_SECRET": "aHVudGVyMg", "OUTBOUND_ALLOW": "127.0.0.0/8, ::1/128"}
    assert PartnerSettings.load(given).partners["A"].crm_url == url


@pytest.mark.parametrize(
    "url",
    ["http://[::1]:80/", "http://localhost/", "https://10.1.2.3/x", "http://169.254.169.254/"],
)
def test_an_address_in_a_private_network_is_refused_at_start_unless_it_is_allowed(url: str) -> None:
    given = {f"PARTNER_{name}_CRM_{part}": text for name in "AB" for part, text in (("URL", url), ("SECRET", "aHVudGVyMg"))}
    with pytest.raises(SettingsError) as refused:
        PartnerSettings.load(given | {"PARTNER_B_CRM_SECRET": "no base64!"})
    assert [problem.partition(": the address is in a private network")[0] for problem in refused.value.problems][1:] == [
        "PARTNER_A_CRM_URL",
        "PARTNER_B_CRM_URL",
    ]
    everywhere = "127.0.0.0/8,10.0.0.0/8,169.254.0.0/16,::1/128"
    assert set(PartnerSettings.load(given | {"OUTBOUND_ALLOW": everywhere}).partners) == {"A", "B"}
