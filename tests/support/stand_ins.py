# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images that stand for upstream's where no registry is asked: they keep the contracts of their roles."""

from __future__ import annotations

from support.images import BASE, Layered

_FRONT_PAGE_DOCKERFILE = """
FROM {parent}
COPY front_page.py /app/
COPY wget /usr/local/bin/
RUN chmod 0755 /usr/local/bin/wget
EXPOSE 3000
CMD ["python3", "/app/front_page.py"]
"""

_RENDEZVOUS_DOCKERFILE = """
FROM {parent}
COPY rendezvous.py /usr/bin/hbbs
COPY nc /usr/local/bin/
RUN cp /usr/bin/hbbs /usr/bin/hbbr && chmod 0755 /usr/bin/hbbs /usr/bin/hbbr /usr/local/bin/nc
WORKDIR /data
VOLUME /data
CMD ["hbbs", "--help"]
"""

HOMEPAGE = Layered("homepage", BASE, ("front_page.py", "wget"), _FRONT_PAGE_DOCKERFILE)
RUSTDESK = Layered("rustdesk", BASE, ("rendezvous.py", "nc"), _RENDEZVOUS_DOCKERFILE)
