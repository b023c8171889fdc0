# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the pages as HTML in ``build/docs/html``; every warning is an error, and the network is not asked.

Sphinx reads one folder, ``build/docs/source``. It has the paths of the repository, so that a link in a page leads to
the same place here and where the page is read as a plain file: the hand-written pages of ``docs/`` and of the roles,
and beside them ``reference/``, which antsibull-docs makes of modules' documentation and roles' specifications. Each
hand-written page of a module or role is linked with its reference, both ways.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "docs"
SOURCE = BUILD / "source"
REFERENCE = SOURCE / "reference"
COLLECTION = BUILD / "ansible_collections" / "modelyard" / "platform"
PROGRAMS = ROOT / "build" / "venv-docs" / "bin"
#: Of these, what is read of the collection.
COLLECTION_PARTS = ("galaxy.yml", "meta/", "plugins/", "roles/")
PICTURES = (".png", ".svg")


def main() -> None:
    files = tree_files()
    write_collection(files)
    write_reference()
    write_pages(files)
    run(
        "sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "-c", str(ROOT / "tools" / "docs"),
        "-d", str(BUILD / "doctrees"), str(SOURCE), str(BUILD / "html"),
    )  # fmt: skip
    print(f"The pages are in {(BUILD / 'html').relative_to(ROOT)}/index.html")


def tree_files() -> list[str]:
    """Return the files that git knows or would take, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def run(program: str, *arguments: str) -> None:
    """Run a program of the venv of the docs; its output is shown.

    :raises SystemExit: it failed.
    """
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(BUILD), "PYTHONPATH": ""}
    done = subprocess.run([str(PROGRAMS / program), *arguments], check=False, env=environment, cwd=BUILD)
    if done.returncode:
        sys.exit(f"Cannot build the pages: {program} ended with status {done.returncode}; see the lines above.")


def write_collection(files: Iterable[str]) -> None:
    """Write the collection as antsibull-docs is to see it."""
    shutil.rmtree(COLLECTION, ignore_errors=True)
    for name in files:
        if not name.startswith(COLLECTION_PARTS):
            continue
        target = COLLECTION / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("meta/argument_specs.yml"):
            specs = yaml.safe_load(name_role_site((ROOT / name).read_text(encoding="utf-8"), name))
            target.write_text(yaml.safe_dump(tell_computed_defaults(specs), sort_keys=False), encoding="utf-8")
        else:
            shutil.copy2(ROOT / name, target)


def name_role_site(text: str, path: str) -> str:
    """Return a specification in which other roles name options of role ``site`` in full, as a link wants them."""
    own = path.startswith("roles/site/")
    return text if own else re.sub(r"\bO\((?=site_)", "O(modelyard.platform.site#role:main:", text)


def tell_computed_defaults(specs: dict[str, Any]) -> dict[str, Any]:
    """Move each default that is an expression from its field into the prose.

    antsibull-docs wants the default of a number to be one, and what only Ansible can compute is none yet.
    """
    for spec in specs["argument_specs"].values():
        for option in (spec.get("options") or {}).values():
            default = option.get("default")
            if isinstance(default, str) and "{{" in default and option.get("type", "str") != "str":
                said = option["description"]
                paragraphs = [said] if isinstance(said, str) else list(said)
                option["description"] = [*paragraphs, f"Its default is computed, C({' '.join(default.split())})."]
                del option["default"]
    return specs


def write_reference() -> None:
    """Write a page per module, filter and role into :data:`REFERENCE`."""
    shutil.rmtree(REFERENCE, ignore_errors=True)
    REFERENCE.mkdir(parents=True, mode=0o755)
    run(
        "antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error",
        "--no-add-antsibull-docs-version", "--dest-dir", str(REFERENCE), "modelyard.platform",
    )  # fmt: skip
    for page in REFERENCE.glob("*.rst"):
        page.write_text(without_contents(page.read_text(encoding="utf-8")), encoding="utf-8")


def without_contents(text: str) -> str:
    """Return a page without its list of headings: the theme shows one beside the page, and an error about a second."""
    return re.sub(r"^\.\. contents::\n(?:[ ]+\S.*\n)*", "", text, flags=re.MULTILINE)


def write_pages(files: Iterable[str]) -> None:
    """Write the hand-written pages with their pictures, each linked with its reference; what is no more goes."""
    wanted = {name for name in files if re.fullmatch(r"README\.md|docs/[^/]+|roles/[^/]+/README\.md", name)}
    for folder in ("docs", "roles"):
        shutil.rmtree(SOURCE / folder, ignore_errors=True)
    shutil.copy2(ROOT / "tools" / "docs" / "index.md", SOURCE / "index.md")
    for name in sorted(wanted):
        (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, SOURCE / name)
        if name.endswith(".md"):
            text = lead_outside((ROOT / name).read_text(encoding="utf-8"), name, pages=wanted)
            (SOURCE / name).write_text(text, encoding="utf-8")
            link_with_reference(name)


def lead_outside(text: str, page: str, *, pages: set[str]) -> str:
    """Return a page with links to files that are no pages led to the repository."""
    repository = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["repository"]

    def lead(found: re.Match[str]) -> str:
        path = os.path.relpath((ROOT / page).parent / found[1], ROOT)
        return found[0] if path in pages or not (ROOT / path).exists() else f"]({repository}/blob/main/{path})"

    return re.sub(r"\]\((?!https?:|#)([^)#]+)\)", lead, text)


def link_with_reference(page: str) -> None:
    """Add to the page of a module or role where its reference is, and to that where the page is."""
    role = re.fullmatch(r"roles/([^/]+)/README\.md", page)
    reference = REFERENCE / (f"{role[1]}_role.rst" if role else f"{Path(page).stem}_module.rst")
    if not reference.exists():
        return
    text = reference.read_text(encoding="utf-8")
    heading = re.search(r"^\S.*\n\++\n", text, re.MULTILINE)
    if heading is None:
        sys.exit(f"Cannot link {page} with its reference: {reference.name} of antsibull-docs has no heading.")
    seealso = f"\n.. seealso:: What it is about, and how it is used: :doc:`/{page.removesuffix('.md')}`.\n"
    reference.write_text(text[: heading.end()] + seealso + text[heading.end() :], encoding="utf-8")
    with (SOURCE / page).open("a", encoding="utf-8") as file:
        file.write(f"\n## Reference\n\n{{doc}}`Every option, from the code itself </reference/{reference.stem}>`\n")


if __name__ == "__main__":
    main()
