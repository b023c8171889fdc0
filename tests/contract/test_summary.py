# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role site says in the end of remote desktops: what clients are given, and nothing where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.answers import answers_of
from support.modules import ROOT

MADE = {"secrets": {"rustdesk_key": {"kind": "rustdesk_key", "version": 1, "public": {"public": "PUBLIC="}}}}


def needs(port: int, host: str = "localhost") -> dict[str, Any]:
    def need(**data: Any) -> dict[str, Any]:
        return {"role": "rustdesk", "host": host, "data": data}

    return {
        "secret": [need(name="rustdesk_key", kind="rustdesk_key")],
        "route": [need(name="rustdesk", hosts=["rustdesk.lab.eu"])],
        "port": [need(number=port - 1), need(number=port), need(number=port, protocol="udp"), need(number=port + 1)],
    }


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({}, []),
        (needs(21116), ["Remote desktops: give RustDesk the ID server rustdesk.lab.eu and the key PUBLIC="]),
        (needs(30116), ["Remote desktops: give RustDesk the ID server rustdesk.lab.eu:30116 and the key PUBLIC="]),
        (needs(21116, "elsewhere"), []),
    ],
    ids=["none", "usual port", "another port", "on a host that is not in this run"],
)
def test_clients_of_remote_desktops_are_told_server_and_key(
    declared: dict[str, Any], said: list[str], tmp_path: Path
) -> None:
    variables = {
        "__site_remote_desktops": yaml.safe_load((ROOT / "roles/site/vars/main.yml").read_text(encoding="utf-8"))[
            "__site_remote_desktops"
        ],
        "site_needs": declared,
    }
    tasks = [
        {"name": "Keep what was made", "ansible.builtin.set_fact": {"__site_made": MADE}},
        {"name": "Say it", "ansible.builtin.debug": {"var": "__site_remote_desktops"}},
    ]
    play = {"name": "Say", "hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    _task, shown = answers_of(play, tmp_path, "-i", "localhost,elsewhere,", "-c", "local")[-1]
    assert shown["__site_remote_desktops"] == said
