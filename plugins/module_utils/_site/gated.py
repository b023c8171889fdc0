# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles need of the gateway, looked at before anything is touched. Pure.

One service is one entry of need ``gated``, one client one of ``api_client``. What they say stands in the gate's
configuration and in names of secrets, so that only what can stand there is let through.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._keys.wish import secret_name
from .needs import Need, SiteRole
from .places import place_of

SERVICES = "gated"
CLIENTS = "api_client"
ALL_SERVICES = "*"
#: A secret's name has 63 characters at most.
_MOST_OF_NAME = 63

# As the gateway itself reads them: gateway/modelyard_gateway/services.py.
_FORMS = {
    "name": (re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}"), "lower-case letters, digits, '_', '.' and '-'"),
    "container": (re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"), "the name of a container"),
    "address": (
        re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_-]{1,63})*"),
        "the name by which the gate dials it, of whose parts none has more than 63 characters",
    ),
}
_NUMBERS = {"port": (1, 65535), "max_body_mib": (0, 1 << 30), "timeout_seconds": (1, 7 * 86400)}
_WORD = re.compile(r"[a-z0-9][a-z0-9_]*")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_ORIGIN = re.compile(r"\*|https?://[a-z0-9.-]+(?::[0-9]{1,5})?")


def find_gate_problems(roles: Sequence[SiteRole], prefix: str) -> list[str]:
    """Name every service and every client that the gateway could not serve as it is declared.

    :param prefix: of the site's projects, and so of their containers.
    """
    needs = [need for role in roles for need in role.needs]
    services = [need for need in needs if need.subject == SERVICES]
    clients = [need for need in needs if need.subject == CLIENTS]
    problems = [problem for need in services for problem in _wrong_service(need.data, f"{need.host}: ", prefix)]
    problems += _services_twice(services)
    for need in clients:
        problems += _wrong_client(need.data, _scopes(_reached(need, services, roles)))
    return list(dict.fromkeys([*problems, *_clients_twice(clients)]))


def _reached(client: Need, services: Sequence[Need], roles: Sequence[SiteRole]) -> Sequence[Need]:
    """Return the services that a client may ask for: a role dials one gate, those of the inventory dial whichever."""
    if any(CLIENTS in role.owns and role.name == client.role for role in roles):
        return services
    gate = place_of(client, roles)
    return [need for need in services if place_of(need, roles) == gate]


def _scopes(services: Iterable[Need]) -> list[str]:
    """Return what a key may be for: services by their names, and by the scopes that they share."""
    asked = [need.data for need in services if not need.data.get("replica_of")]
    found = [(service.get("name"), *(service.get("scopes") or ())) for service in asked]
    return sorted({str(scope) for scopes in found for scope in scopes})


def _wrong_service(service: Mapping[str, Any], where: str, prefix: str) -> list[str]:
    doing = f"{where}Cannot serve {service.get('name')!r} through the gate"
    container = service.get("container")
    problems = [
        f"{doing}: its {key} is {service.get(key)!r}; give {meaning}."
        for key, (form, meaning) in _FORMS.items()
        if not isinstance(service.get(key), str) or not form.fullmatch(service[key])
    ]
    problems += [
        f"{doing}: its {key} is {service[key]!r}; give a number from {least} to {most}."
        for key, (least, most) in _NUMBERS.items()
        if service.get(key) is not None and not _is_between(service[key], least, most)
    ]
    if isinstance(container, str) and not container.startswith(f"{prefix}-"):
        # Of others the engine's proxy does not say that they have ended.
        problems.append(
            f"{doing}: its container is {container!r}; give one of the site's, whose names begin with {prefix}-."
        )
    network = service.get("network")
    if network is not None and not (isinstance(network, str) and _FORMS["container"][0].fullmatch(network)):
        problems.append(f"{doing}: its network is {network!r}; give the name of one.")
    problems += [
        f"{doing}: its scope is {scope!r}; give {_FORMS['name'][1]}."
        for scope in service.get("scopes") or ()
        if not isinstance(scope, str) or not _FORMS["name"][0].fullmatch(scope)
    ]
    origins = (service.get("cors") or {}).get("origins") or []
    return problems + [
        f"{doing}: it names the origin {origin!r}; give '*', or one such as 'https://app.example.org'."
        for origin in origins
        if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin)
    ]


def _is_between(value: object, least: int, most: int) -> bool:
    text = str(value)
    return not isinstance(value, bool) and text.isascii() and text.isdecimal() and least <= int(text) <= most


def _services_twice(services: Sequence[Need]) -> list[str]:
    """Name what two services of one host share, and the names of the edge that lead to two."""
    problems = [
        f"{host}: Cannot serve two services with the {key} {value!r} through one gate; rename one."
        for key in ("name", "container")
        for host, value in _twice((need.host, need.data.get(key)) for need in services)
    ]
    return problems + [
        f"Cannot route {name!r}: two services behind the gate have this host; name it in one."
        for name in _twice(name for need in services for name in need.data.get("hosts") or ())
    ]


def _wrong_client(client: Mapping[str, Any], scopes: Sequence[str]) -> list[str]:
    name = client.get("name")
    doing = f"Cannot give keys to client {name!r}"
    problems = [
        f"{doing}: {what} {word!r} cannot stand in the name of a secret; use lower-case letters, digits and '_'."
        for what, word in [("the name", name), *(("the id", key.get("id")) for key in _keys(client))]
        if not _WORD.fullmatch(str(word))
    ]
    problems += [
        f"{doing}: the secret {secret!r} of a key has more than {_MOST_OF_NAME} characters; choose shorter names."
        for secret in _secrets(client)
        if len(secret) > _MOST_OF_NAME
    ]
    problems += _wrong_limits(client, doing)
    known = ", ".join(scopes) or "none"
    return problems + [
        f"{doing}: no service has the scope {scope!r}; known are {known}, and {ALL_SERVICES!r} is all of them."
        for scope in client.get("scopes") or ()
        if scope != ALL_SERVICES and scope not in scopes
    ]


def _wrong_limits(client: Mapping[str, Any], doing: str) -> list[str]:
    """Name what the gateway could not read, which would keep it from reading any key."""
    problems = [
        f"{doing}: not_after of key {key.get('id')!r} is {str(key['not_after'])!r}; give a time such as "
        "'2027-01-31T00:00:00Z', in quotes."
        for key in _keys(client)
        if key.get("not_after") is not None and not _is_time(key["not_after"])
    ]
    rate = client.get("rate") or {}
    return problems + [
        f"{doing}: its rate has {name} {rate.get(name)!r}; give a number that is not below {least}."
        for name, least in (("per_minute", 0.001), ("burst", 1))
        if rate and not _is_number(rate.get(name), least)
    ]


def _is_time(value: object) -> bool:
    # YAML makes something else of a time without quotes.
    if not isinstance(value, str) or len(value) != len("2027-01-31T00:00:00Z"):
        return False
    try:
        datetime.datetime.strptime(value, _TIME)
    except ValueError:
        return False
    return True


def _is_number(value: object, least: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= least


def _keys(client: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return client.get("keys") or [{"id": "1"}]


def _secrets(client: Mapping[str, Any]) -> list[str]:
    return [secret_name(str(client.get("name")), str(key.get("id"))) for key in _keys(client)]


def _clients_twice(clients: Sequence[Need]) -> list[str]:
    """Name clients that are there twice, and keys of different clients or ids that would be one secret."""
    names = _twice((need.host, need.data.get("name")) for need in clients)
    own = [
        (need.data.get("name"), key) for need in clients for key in _twice(key.get("id") for key in _keys(need.data))
    ]
    shared = _twice((need.host, secret) for need in clients for secret in set(_secrets(need.data)))
    problems = [
        f"{host}: Cannot give keys to client {name!r}: it is there twice; name it once." for host, name in names
    ]
    problems += [f"Cannot give client {name!r} two keys with the id {key!r}; rename one." for name, key in own]
    return problems or [
        f"{host}: Cannot keep two keys in one secret {secret!r}; rename a client or a key." for host, secret in shared
    ]


def _twice(values: Iterable[Any]) -> list[Any]:
    found = list(values)
    return sorted({value for value in found if found.count(value) > 1}, key=str)
