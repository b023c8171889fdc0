# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What there is of keys on a host, read from all that knows of them."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

from .._compose.site import Site
from .._secrets.store import SecretStore
from .gateway_files import Gateway, find_gateway, read_gateway
from .issued import Issued, IssuedClient, IssuedFile
from .wish import secret_name


@dataclass(frozen=True)
class Places:
    """Where things are on the host. ``gateway``: the folder of the gateway's configuration, looked for where empty."""

    site_directory: str
    secret_store: str
    gateway: str = ""

    @property
    def gateway_folder(self) -> str:
        """The folder of the gateway's configuration; empty where there is none.

        :raises PlatformError: none is named, and there are several.
        """
        # Without a slash at its end: the project is known by the folder above.
        return os.path.abspath(self.gateway) if self.gateway else find_gateway(self.site_directory)

    @property
    def issued(self) -> IssuedFile:
        return IssuedFile(Site(self.site_directory))


@dataclass(frozen=True)
class Known:
    """What there is. ``secrets`` are the names of all secrets of the store."""

    issued: Issued
    gateway: Gateway
    secrets: Collection[str]

    def has_id(self, client: str, name: str) -> bool:
        """Whether a key of that id cannot be made: there is one, or its secret's name is taken."""
        is_there = self.issued_client(client).key(name) is not None or self.is_declared(client, name)
        return is_there or secret_name(client, name) in self.secrets

    def is_declared(self, client: str, name: str) -> bool:
        """Whether the gateway goes by what is declared of that key, whatever was issued."""
        return any(key.id == name for key in self.gateway.declared.get(client, ()))

    def issued_client(self, client: str) -> IssuedClient:
        return self.issued.get(client, IssuedClient(()))


def read_known(places: Places) -> tuple[Known, SecretStore]:
    """Return what there is of keys on the host.

    :raises PlatformError: a file is damaged, or newer code has written it.
    """
    store = SecretStore.load(places.secret_store)
    gateway = read_gateway(places.gateway_folder)
    return Known(places.issued.read(), gateway, frozenset(store.secrets)), store
