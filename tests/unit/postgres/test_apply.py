# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script that carries out a plan: what is cut off does nothing, and passwords are verifiers."""

from __future__ import annotations

import re

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.apply import count_done, render_script
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.plan import make_plan
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.problems import Problems
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.scram import is_password
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.step import Step

from .objects_examples import declare, observe

DECLARED = declare(
    {
        "roles": [{"name": "shop", "password": "hunter2"}, {"name": "staff", "login": False}],
        "databases": [{"name": "shop", "owner": "shop", "encoding": "UTF8", "schemas": [{"name": "app"}]}],
    }
)
STEPS = make_plan(DECLARED, observe({}, DECLARED), user="postgres", problems=Problems()).steps


def done_by(script: str) -> list[str]:
    """Return the statements that take effect when psql gets this and then the end of its input.

    A transaction without its COMMIT does not, nor does a text that is only selected, nor what is in open quotes.
    """
    transactions = re.findall(r"^BEGIN;\n(.*?)^COMMIT;$", script, re.DOTALL | re.MULTILINE)
    executed = re.findall(r"^SELECT '(.*)' \\gexec$", script, re.MULTILINE)
    alone = re.sub(r"^BEGIN;\n.*?(^COMMIT;$|\Z)", "", script, flags=re.DOTALL | re.MULTILINE)
    bare = [line for line in alone.splitlines() if not line.startswith(("\\", "SELECT '", "SET "))]
    # A last line may be cut; what is left of it must be no command.
    return [*transactions, *executed, *(line for line in bare if re.match(r"(CREATE|ALTER|GRANT|REVOKE|DROP)", line))]


def test_a_script_that_is_cut_off_anywhere_does_whole_steps_or_nothing() -> None:
    whole = render_script(STEPS)
    wanted = done_by(whole)
    assert len(wanted) == len(STEPS)
    for end in range(len(whole)):
        assert set(done_by(whole[:end])) <= set(wanted)


def test_a_password_is_sent_as_a_verifier_and_not_logged() -> None:
    script = render_script(STEPS)
    assert "hunter2" not in script
    [verifier] = re.findall(r"PASSWORD '(.*)';", script)
    assert is_password("hunter2", verifier)
    before = script.partition("PASSWORD '")[0].rpartition("BEGIN;")[2]
    assert "SET LOCAL log_statement TO 'none';" in before
    assert "\\set VERBOSITY terse" in before


def test_each_database_is_connected_to_once_and_a_step_says_its_number_first() -> None:
    steps = [
        Step("grant", "x", (), ("ONE",), None, {}, database="a"),
        Step("grant", "y", (), ("TWO",), None, {}, database="a"),
        Step("grant", "z", (), ("THREE",), None, {}, database="b'"),
    ]
    lines = render_script(steps).splitlines()
    assert [line for line in lines if line.startswith("\\")] == [
        "\\echo modelyard-step 0",
        "\\connect -reuse-previous=on 'dbname=''a'''",
        "\\echo modelyard-step 1",
        "\\echo modelyard-step 2",
        "\\connect -reuse-previous=on 'dbname=''b\\\\'''''",
        "\\echo modelyard-step 3",
    ]


@pytest.mark.parametrize(
    ("output", "done"),
    [("", 0), ("modelyard-step 0\n", 0), ("modelyard-step 0\nmodelyard-step 1\n", 1), ("x\nmodelyard-step 12\n", 12)],
)
def test_the_last_number_tells_how_many_steps_are_done(output: str, done: int) -> None:
    assert count_done(output) == done
