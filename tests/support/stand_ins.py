# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images that stand for upstream's where no registry is asked: they keep the contracts of their roles."""

from __future__ import annotations

from support.images import BASE, Bootstrapped, Layered

# A command that starts a program of ours.
_COMMAND = """
RUN printf '#!/bin/sh\\nexec python3 %s "$@"\\n' '{program}' > {path} && chmod 0755 {path}
"""

_FRONT_PAGE_DOCKERFILE = f"""
FROM {{parent}}
COPY front_page.py fetch_page.py /app/
{_COMMAND.format(program="/app/fetch_page.py", path="/usr/local/bin/wget")}
EXPOSE 3000
CMD ["python3", "/app/front_page.py"]
"""

_RENDEZVOUS_DOCKERFILE = f"""
FROM {{parent}}
COPY rendezvous.py console_client.py /opt/
{_COMMAND.format(program="/opt/console_client.py", path="/usr/local/bin/nc")}
{_COMMAND.format(program="/opt/rendezvous.py hbbs", path="/usr/bin/hbbs")}
{_COMMAND.format(program="/opt/rendezvous.py hbbr", path="/usr/bin/hbbr")}
WORKDIR /data
VOLUME /data
CMD ["hbbs", "--help"]
"""

# Where Open WebUI's own modules are in upstream's image, those of them that role open_webui names.
_CHAT_PAGE_MODULES = {
    "open_webui/__init__": "",
    "open_webui/config": "import chat_page; chat_page.read_settings()",
    "open_webui/models/auths": "from chat_page import Auths",
    "open_webui/models/users": "from chat_page import Users",
    "open_webui/utils/auth": "from chat_page import get_password_hash, verify_password",
    "uvicorn": "import chat_page; chat_page.serve()",
}
_CHAT_PAGE_LINES = " && ".join(f"printf '%s' '{line}' > {name}.py" for name, line in _CHAT_PAGE_MODULES.items())
_CHAT_PAGE_DOCKERFILE = f"""
FROM {{parent}}
WORKDIR /app/backend
COPY chat_page.py ./
RUN mkdir -p open_webui/models open_webui/utils && {_CHAT_PAGE_LINES} && ln -s python3 /usr/bin/python
ARG VERSION
ENV VERSION=$VERSION
EXPOSE 8080
CMD ["bash", "start.sh"]
"""
_PYTHON_WITH_POSTGRES = Bootstrapped("python-postgres", ("ca-certificates", "python3", "python3-psycopg2"))

_CHAT_GATE_DOCKERFILE = """
FROM {parent}
COPY chat_gate.py /opt/
ENTRYPOINT ["python3", "/opt/chat_gate.py"]
"""

HOMEPAGE = Layered("homepage", BASE, ("front_page.py", "fetch_page.py"), _FRONT_PAGE_DOCKERFILE)
RUSTDESK = Layered("rustdesk", BASE, ("rendezvous.py", "console_client.py"), _RENDEZVOUS_DOCKERFILE)

#: By version: the second one has another schema, the migration of the third one fails.
OPEN_WEBUI = {
    version: Layered(
        "open-webui",
        _PYTHON_WITH_POSTGRES,
        ("chat_page.py",),
        _CHAT_PAGE_DOCKERFILE,
        {"VERSION": str(version)},
        f"v{version}",
    )
    for version in (1, 2, 3)
}
#: The gate and an inference service behind it.
CHAT_GATE = Layered("chat-gate", BASE, ("chat_gate.py",), _CHAT_GATE_DOCKERFILE)
