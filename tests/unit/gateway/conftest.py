# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the gateway calls a bug of its own is one, wherever it happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_bugs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A transition is a task of its own: what is raised there reaches no test, but the log."""
    yield
    bugs = [record for record in caplog.get_records("call") if "a bug in the gateway" in record.message]
    assert not bugs, [str(record.exc_info and record.exc_info[1]) for record in bugs]
