# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.secret_source import SecretSource
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import Reference


def test_a_secret_that_is_not_made_yet_stands_for_itself_in_check_mode(tmp_path: Path) -> None:
    source = SecretSource(str(tmp_path / "secrets.json"), may_lack=True)
    assert source.lookup(Reference("key", "public")) == "@@secret:key.public@@"
    assert source.versions(["@@secret:password@@"]) == {"password": 0}
    assert source.lacking() == ["key", "password"]


def test_a_secret_that_is_not_made_yet_is_refused_in_a_run(tmp_path: Path) -> None:
    source = SecretSource(str(tmp_path / "secrets.json"))
    with pytest.raises(PlatformError, match="Cannot use secret 'password': it is not in the store"):
        source.lookup(Reference("password"))
    assert source.lacking() == []
