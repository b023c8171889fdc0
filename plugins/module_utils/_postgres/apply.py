# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan carried out: one script, one session of psql per database, each step whole or not at all.

A run that is killed may leave a script of which psql has read but a part. Nothing of such a part is done: statements
wait for the ``COMMIT`` behind them, and ``CREATE DATABASE``, which no transaction takes, is a text until its line ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from .observe import GUARD, render_connect
from .quoting import quote_identifier, quote_literal
from .scram import make_verifier
from .step import Step

_MARK = "modelyard-step "
# A verifier is no password, but patient people could guess with it; it need not stand in a log. And psql would quote
# the line of a statement that fails.
_SILENCE = """\
\\set VERBOSITY terse
SET LOCAL log_statement TO 'none';
SET LOCAL log_min_duration_statement TO -1;
SET LOCAL log_min_duration_sample TO -1;
SET LOCAL log_min_error_statement TO 'panic';
SET LOCAL log_transaction_sample_rate TO 0;
SET LOCAL pg_stat_statements.track_utility TO off;
"""


def render_script(steps: Sequence[Step]) -> str:
    """Return the steps for psql; each announces itself by its number before it begins, and the end by one more."""
    lines, database = [GUARD], ""
    for number, step in enumerate(steps):
        lines.append(f"\\echo {_MARK}{number}\n")
        if step.database and step.database != database:
            database = step.database
            lines.append(render_connect(database))
        lines.append(_render_step(step))
    return "".join([*lines, f"\\echo {_MARK}{len(steps)}\n"])


def count_done(output: str) -> int:
    """Return how many steps are done, from what psql printed."""
    marks = [line.removeprefix(_MARK) for line in output.splitlines() if line.startswith(_MARK)]
    return int(marks[-1]) if marks else 0


def _render_step(step: Step) -> str:
    if not step.is_transaction:
        return "".join(f"SELECT {quote_literal(statement)} \\gexec\n" for statement in step.statements)
    return "".join(
        ["BEGIN;\n", *(f"{statement};\n" for statement in step.statements), _render_password(step), "COMMIT;\n"]
    )


def _render_password(step: Step) -> str:
    if step.password is None:
        return ""
    role, password = step.password
    verifier = quote_literal(make_verifier(password))
    return f"{_SILENCE}ALTER ROLE {quote_identifier(role)} PASSWORD {verifier};\n\\set VERBOSITY default\n"
