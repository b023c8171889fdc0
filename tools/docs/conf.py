# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of Sphinx for the pages that `make docs` puts together (tools/build_docs.py)."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

project = "modelyard.platform"
author = "modelyard.platform contributors"
copyright = author  # noqa: A001 # Sphinx knows it by this name
root_doc = "index"

extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
# Links to headings, as they work where the pages are read as plain files.
myst_heading_anchors = 3

# A reference that leads nowhere is a warning, and a warning fails the build.
nitpicky = True
# The first is part of the index; the second is made whether there are such variables or not.
exclude_patterns = ["README.md", "reference/environment_variables.rst"]

pygments_style = "ansible"
html_theme = "furo"
html_title = "modelyard platform"
html_copy_source = False
html_show_sourcelink = False

ANSIBLE = "https://docs.ansible.com/ansible/latest/"
#: Labels of Ansible's own pages that antsibull-docs refers to; their whole list would have to be fetched.
ANSIBLE_PAGES = {
    "action_plugins": "plugins/action.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}


def lead_to_ansible(
    _app: Sphinx, _environment: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.reference | None:
    """Return the link that stands for a label of Ansible's own pages, None for any other."""
    label = str(node["reftarget"])
    builtin = re.fullmatch(r"ansible_collections\.ansible\.builtin\.(\w+_(?:module|filter|lookup))", label)
    page = f"collections/ansible/builtin/{builtin[1]}.html" if builtin else ANSIBLE_PAGES.get(label)
    return nodes.reference("", "", shown, internal=False, refuri=ANSIBLE + page) if page else None


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", lead_to_ansible)
