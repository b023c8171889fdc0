# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that rclone asks who an access key is: it knows what it was told to, and fails on all else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/object_store/files/image/s3-auth"
ANSWER = '{"type":"local"}\n'


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "ann00000").write_text(ANSWER)
    (folder / "ann00000.buckets").mkdir()
    (folder / "folder00").mkdir()
    (folder / "short").write_text(ANSWER)
    (tmp_path / "outside0").write_text(ANSWER)
    (folder / "linked00").symlink_to(tmp_path / "outside0")
    return folder


def ask(keys: Path, question: str) -> tuple[int, str]:
    done = subprocess.run(["sh", str(PROGRAM), str(keys)], input=question, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def question_of(user: str) -> str:
    """Return what rclone sends, as its JSON library writes it."""
    return json.dumps({"client_ip": "10.0.0.1", "user": user}, indent="\t", ensure_ascii=False)


@pytest.mark.parametrize("before", [True, False], ids=["user last", "user first"])
def test_a_key_that_is_there_is_answered_with_its_file(keys: Path, before: bool) -> None:
    members = {"user": "ann00000", "client_ip": "10.0.0.1"}
    ordered = dict(sorted(members.items(), reverse=not before))
    assert ask(keys, json.dumps(ordered, indent="\t")) == (0, ANSWER)


@pytest.mark.parametrize(
    "user",
    [
        "", "eve00000", "ann0000", "short", "ann00000.buckets", "folder00", "linked00", "../outside0",
        "../../../etc/passwd", "ann00000/", "ann00000 ", "ann00000\n", "x\nann00000", 'ann00000"',
        '", "user": "ann00000', '\n"user": "ann00000"', "ann00000\0", "ann0000ü", "-ann00000", "*", "ann0000?",
        "a" * 129,
    ],
)  # fmt: skip
def test_anything_else_fails_and_says_nothing(keys: Path, user: str) -> None:
    code, said = ask(keys, question_of(user))
    assert (code != 0, said) == (True, "")


@pytest.mark.parametrize(
    "question",
    [
        "",
        "null",
        "ann00000",
        '{"user": "eve00000"}\n{"user": "ann00000"}',
        '\t"user": "ann00000"\n\t"user": "ann00000"\n',
    ],
)
def test_a_question_that_rclone_does_not_ask_fails(keys: Path, question: str) -> None:
    code, said = ask(keys, question)
    assert (code != 0, said) == (True, "")


def test_without_a_folder_of_keys_everybody_is_refused(tmp_path: Path) -> None:
    assert ask(tmp_path / "none", question_of("ann00000")) == (1, "")
