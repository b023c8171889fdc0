# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a model runs in, from its own files to the recipe of a packaged image. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError

#: Python to the suite of Debian that has it.
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
_PYTHON = re.compile(r"^python:\s*['\"]?(\d+\.\d+)(?:\.\d+)?['\"]?\s*$", re.MULTILINE)
_MLFLOW_VERSION = re.compile(r"^mlflow_version:\s*['\"]?([\w.]+)['\"]?\s*$", re.MULTILINE)
#: A name with extras, versions and a marker; neither an option nor an address.
_REQUIREMENT = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w.,\s-]+\])?\s*((===|[=!<>~]=|[<>])[^@#]*)?(;[^@#]*)?")

DOCKERFILE = r"""
ARG BASE

FROM ${BASE} AS python
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    apt-get update && \
    apt-get install --yes --no-install-recommends python3-minimal libpython3-stdlib libgomp1 && \
    apt-get clean && rm -rf /var/lib/apt/lists/*

FROM python AS packages
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    apt-get update && \
    apt-get install --yes --no-install-recommends python3-pip-whl && \
    apt-get clean && rm -rf /var/lib/apt/lists/*
COPY requirements.txt /tmp/requirements.txt
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    python3 -m venv --without-pip /opt/model && \
    PIP_CERT=/run/ca.crt python3 "$(echo /usr/share/python-wheels/pip-*.whl)/pip" --python /opt/model/bin/python \
    install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --only-binary :all: \
    --requirement /tmp/requirements.txt

FROM python
COPY --from=packages /opt/model /opt/model
ENV PATH=/opt/model/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true
EXPOSE 8080
USER 10020:10020
CMD ["mlflow", "models", "serve", "--model-uri=/models", "--env-manager=local", "--host=0.0.0.0", "--port=8080"]
""".lstrip()


@dataclass(frozen=True)
class Environment:
    """A Python and the packages in it; equal ones give one image, whatever models are served from it."""

    python: str
    requirements: tuple[str, ...]

    def as_recipe(self) -> dict[str, Any]:
        """Return what module ``image`` is called with, but for the base, of which the suite counts."""
        return {
            "suite": SUITES[self.python],
            "files": {"Dockerfile": DOCKERFILE, "requirements.txt": "".join(f"{line}\n" for line in self.requirements)},
        }


def parse_environment(
    *, python_env: str, requirements: str, model: str, subject: str, server_version: Callable[[], str], python: str = ""
) -> Environment:
    """Return what a model runs in, from its ``python_env.yaml``, ``requirements.txt`` and ``MLmodel``.

    MLflow itself, which serves it, is added where nobody asks for it: in the version that logged the model.

    :param server_version: tells the registry's version, for a model that does not say what logged it.
    :param python: counts instead of what the model says.
    :param subject: what the errors are about.
    :raises PlatformError: there is no packaged Python for it, or a requirement is no plain name of a package.
    """
    found = _PYTHON.search(python_env)
    wanted = python or (found[1] if found else "")
    if wanted not in SUITES:
        raise PlatformError(
            f"Cannot serve {subject}: it asks for Python {wanted or 'of no version'}, packaged are "
            f"{' and '.join(SUITES)}; log it from one of these, or name the one that it gets along with as 'python'."
        )
    lines = [line for line in map(_bare, requirements.splitlines()) if line]
    for line in lines:
        if not _REQUIREMENT.fullmatch(line):
            raise PlatformError(
                f"Cannot serve {subject}: its requirements.txt has {line!r}, which is no package of an index; log it "
                "with 'pip_requirements' that name packages and versions."
            )
    if not any(re.match(r"mlflow(?![\w.-])", line, re.IGNORECASE) for line in lines):
        version = _MLFLOW_VERSION.search(model)
        lines.append(f"mlflow=={version[1] if version else server_version()}")
    return Environment(wanted, tuple(sorted(set(lines), key=str.lower)))


def _bare(line: str) -> str:
    return re.sub(r"(^|\s)#.*", "", line).strip()
