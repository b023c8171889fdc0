# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images that stand for upstream's where no registry is asked: they keep the contracts of their roles."""

from __future__ import annotations

from support.images import BASE, Layered

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

HOMEPAGE = Layered("homepage", BASE, ("front_page.py", "fetch_page.py"), _FRONT_PAGE_DOCKERFILE)
RUSTDESK = Layered("rustdesk", BASE, ("rendezvous.py", "console_client.py"), _RENDEZVOUS_DOCKERFILE)
