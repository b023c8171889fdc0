# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts of which something is still to be decided."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._site.decisions import refuse_addresses, refuse_groups


@pytest.mark.parametrize(
    "address",
    ["192.0.2.10", "198.51.100.1", "203.0.113.255", "2001:db8::1", "3fff::7", "example.org", "hub.example.com"],
)
def test_an_address_for_examples_is_refused_with_the_place_to_mend(address: str) -> None:
    [said] = refuse_addresses({"hub": address, "other": "10.0.0.7"})
    assert said == (
        f"hub: Cannot reach this host: its address '{address}' is reserved for examples; set ansible_host of 'hub' in "
        "the inventory to where SSH finds it."
    )


@pytest.mark.parametrize(
    "address",
    ["10.0.0.7", "192.0.3.1", "8.8.8.8", "2001:4860::1", "hub", "hub.lab.org", "myexample.org", "localhost", ""],
)
def test_any_other_address_is_taken(address: str) -> None:
    assert refuse_addresses({"hub": address}) == []


def test_a_group_that_no_role_is_for_is_refused() -> None:
    [said] = refuse_groups({"a": ["edge", "dta"], "b": ["data"], "c": []}, {"edge", "data"})
    assert said == (
        "a: Cannot place this host: its tag 'modelyard_groups' names 'dta', and no role of the site is for such a "
        "group; choose of data, edge."
    )
