# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: traefik_routes
short_description: Turn routes as data into Traefik's dynamic configuration
version_added: 0.1.0
author: modelyard.platform contributors (@modelyard)
description:
  - Gives what O(modelyard.platform.compose_project#module:edge.config) takes. The URLs of servers name Compose
    services, the module puts the names of their containers there.
  - Every HTTP route is served by TLS, and gets the security headers and the rate limit that role C(traefik) defines
    once. Where certificates come from is decided there too.
  - What Traefik would drop with a line in its log is refused with an error.
options:
  _input:
    description: The routes. Names are unique over all projects of a site.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name, of lower-case letters, digits and C(-).
        type: str
        required: true
      hosts:
        description: DNS names that lead to the service.
        type: list
        elements: str
        required: true
      service:
        description: Compose service of the project, or a service of Traefik itself, such as V(api@internal).
        type: str
        required: true
      port:
        description: Port of the service. Needed but for Traefik's own services.
        type: int
      kind:
        description: >-
          V(postgres) is a route of the PostgreSQL protocol, told by the name in TLS; clients need libpq 14 or newer and
          C(sslmode=require) or stricter.
        type: str
        choices: [http, postgres]
        default: http
      auth:
        description: V(admin) asks for the login of the edge's administrator.
        type: str
        choices: [none, admin]
        default: none
      buffering_bytes:
        description: >-
          Reads a request's body as a whole before it goes on, so that the service gets a length. So much of it is kept
          in memory, the rest in a file.
        type: int
      headers:
        description: Data of a Traefik middleware C(headers) for this route.
        type: dict
      rate:
        description: >-
          C(average) requests per second and C(burst) at once of one client, instead of the edge's limit. An average of
          V(0) means no limit.
        type: dict
      middlewares:
        description: Further middlewares by name, with their provider, such as V(compress@file).
        type: list
        elements: str
      allowed_ranges:
        description: >-
          Addresses and ranges that may connect. Needed with V(postgres), where everybody is
          V(['0.0.0.0/0', '::/0']).
        type: list
        elements: str
      scheme:
        description: What the service speaks. The certificate of an V(https) one names the service.
        type: str
        choices: [http, https]
        default: http
      authority:
        description:
          - File, where Traefik sees it, of who signs for the service, if no public authority does.
          - With it, a service of V(postgres) is spoken to by TLS, as another edge understands it.
        type: str
      server_name:
        description: Name in the certificate of the service, where it is not C(service) itself.
        type: str
      path:
        description: >-
          What the path of a request must begin with, such as V(/api); the service gets it whole. Routes may share a
          host when their paths differ.
        type: str
seealso:
  - module: modelyard.platform.compose_project
"""

EXAMPLES = r"""
- name: Route a name to a web application, and one to its database
  modelyard.platform.compose_project:
    name: shop
    layers:
      - services:
          web:
            image: registry.example.org/shop:1.4.2
          database:
            image: postgres:17
    edge:
      file: /opt/modelyard/edge/routes/shop.yml
      api: http://127.0.0.1:8099
      config: "{{ routes | modelyard.platform.traefik_routes }}"
  vars:
    routes:
      - {name: shop, hosts: [shop.example.org], service: web, port: 8080}
      - {name: shop-admin, hosts: [shop-admin.example.org], service: web, port: 8081, auth: admin}
      - name: shop-database
        kind: postgres
        hosts: [shop-database.example.org]
        service: database
        port: 5432
        allowed_ranges: [192.0.2.0/24]
"""

RETURN = r"""
_value:
  description: Traefik's dynamic configuration, with the sections that are not empty.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.modelyard.platform.plugins.module_utils._edge.routes import parse_routes
from ansible_collections.modelyard.platform.plugins.module_utils._edge.traefik import render_routes
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError


def traefik_routes(routes: object) -> dict[str, Any]:
    """Return Traefik's dynamic configuration for ``routes``."""
    try:
        return render_routes(parse_routes(routes))
    except PlatformError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Map name to filter."""
        return {"traefik_routes": traefik_routes}
