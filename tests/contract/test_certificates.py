# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where certificates come from: what is refused before anything is touched, and what services trust.

Each case is a host with values of its own, so that one run of ``site_plan`` tells of all of them.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID
from support.answers import answers_of

GIVEN = {"certificate": "-----BEGIN CERTIFICATE-----", "key": "@@secret:wildcard_key@@"}
NOT_SECRET = {**GIVEN, "key": "-----BEGIN PRIVATE KEY-----"}
PRIVATE = {"directory": "https://ca.lab.test/acme", "ca_certificate": "of the directory"}
LETS_ENCRYPT = {"directory": "https://acme-v02.api.letsencrypt.org/directory"}
WRONG_CHALLENGE = (
    "Cannot ask for certificates: traefik_acme has challenge {!r} and provider {!r}; a provider belongs to the "
    "challenge 'dns-01', and no other."
)

#: Case to values and what is said of them.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "files-without-any": (
        {"site_tls": "files"},
        (
            "Cannot serve TLS: site_tls is 'files', and traefik_certificates names none; give at least one chain with "
            "its key, or choose 'acme' or 'local_ca'."
        ),
    ),
    "key-for-everybody": (
        {"site_tls": "files", "traefik_certificates": [GIVEN, NOT_SECRET]},
        (
            "Cannot serve TLS: a key in traefik_certificates is no reference to a secret, so everybody who reads the "
            "inventory has it; give the key to site_secrets as 'value', and write '@@secret:NAME@@' here."
        ),
    ),
    "dns-without-provider": (
        {"site_tls": "acme", "traefik_acme": {"challenge": "dns-01"}}, WRONG_CHALLENGE.format("dns-01", ""),
    ),
    "provider-without-dns": (
        {"site_tls": "acme", "traefik_acme": {"provider": "cloudflare"}},
        WRONG_CHALLENGE.format("http-01", "cloudflare"),
    ),
    "mail-for-an-example": (
        {"site_tls": "acme", "traefik_acme": {"email": "team@ml.example.org"}},
        (
            "Cannot ask for certificates: the authority would write to 'team@ml.example.org', which is reserved for "
            "examples; set traefik_acme.email to an address of yours, or leave it out."
        ),
    ),
    "public-authority-for-a-private-name": (
        {"site_tls": "acme", "site_domain": "lab.test"},
        (
            "Cannot ask Let's Encrypt for certificates of 'lab.test': no public authority signs names that are not in "
            "the public DNS; use a domain of yours, or choose 'local_ca' or 'files' as site_tls."
        ),
    ),
}  # fmt: skip

#: Case to values and the certificates that services trust; nothing is refused.
TRUSTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "own-authority": ({"site_tls": "local_ca", "site_domain": "lab.test"}, ["@@secret:site_ca.certificate@@"]),
    "files-of-a-public-authority": ({"site_tls": "files", "traefik_certificates": [GIVEN]}, []),
    "files-of-a-private-authority": (
        {"site_tls": "files", "traefik_certificates": [GIVEN], "traefik_authority": "private"}, ["private"],
    ),
    "signed-by-what-the-directory-has": (
        {"site_tls": "acme", "site_domain": "lab.test", "traefik_acme": PRIVATE}, ["of the directory"],
    ),
    "signed-by-another-one": (
        {"site_tls": "acme", "traefik_acme": PRIVATE, "traefik_authority": "another"}, ["another"],
    ),
    "lets-encrypt": ({"site_tls": "acme", "traefik_acme": LETS_ENCRYPT}, []),
    "lets-encrypt-after-its-staging": ({"site_tls": "acme", "traefik_acme": {"email": "admin@lab.eu"}}, []),
}  # fmt: skip
STAGING = {"site_tls": "acme", "traefik_acme": {"email": "admin@lab.eu", "stage": "staging"}}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("plan")
    cases = {name: values for name, (values, _said) in (*REFUSED.items(), *TRUSTED.items())} | {"staging": STAGING}
    values = {"site_domain": "lab.eu", "ansible_connection": "local"}
    edge: dict[str, Any] = {name: {} for name in cases}
    inventory = {"all": {"hosts": cases, "vars": values, "children": {"edge": {"hosts": edge}}}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    task = {"name": "Plan", "run_once": True, "modelyard.platform.site_plan": {"roles": {"traefik": "edge"}}}
    play = {"name": "Plan", "hosts": "all", "gather_facts": False, "tasks": [task]}
    [(_task, answer)] = answers_of(play, folder, "-i", "inventory.yml")
    return answer


def said_of(plan: dict[str, Any], host: str) -> list[str]:
    return [text.removeprefix(f"{host}: ") for text in plan["problems"] if text.startswith(f"{host}: ")]


def trusted_by(plan: dict[str, Any], host: str) -> list[dict[str, Any]]:
    return [need["data"] for need in plan["needs"]["trust"] if need["host"] == host]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_told_before_anything_is_touched(case: str, plan: dict[str, Any]) -> None:
    assert said_of(plan, case) == [REFUSED[case][1]]


@pytest.mark.parametrize("case", TRUSTED)
def test_services_trust_what_signs_the_sites_names(case: str, plan: dict[str, Any]) -> None:
    assert said_of(plan, case) == []
    assert trusted_by(plan, case) == [{"certificate": text} for text in TRUSTED[case][1]]


def test_staging_is_trusted_inside_alone(plan: dict[str, Any]) -> None:
    assert said_of(plan, "staging") == []
    [entry] = trusted_by(plan, "staging")
    assert entry["only_inside"]
    roots = x509.load_pem_x509_certificates(entry["certificate"].encode())
    # Source: letsencrypt.org, "Staging Environment".
    assert [root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value for root in roots] == [
        "(STAGING) Pretend Pear X1", "(STAGING) Bogus Broccoli X2", "(STAGING) Yonder Yam Root YR",
        "(STAGING) Yearning Yucca Root YE",
    ]  # fmt: skip
    for root in roots:
        root.verify_directly_issued_by(root)
