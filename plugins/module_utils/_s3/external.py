# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any S3 store, through its own API: buckets only, since users and policies are each provider's own business."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .._errors import PlatformError
from .declaration import Declared
from .plan import Observed, Plan

_CONNECT_SECONDS = 10
_READ_SECONDS = 60


@dataclass(frozen=True)
class Endpoint:
    """Where the store is and who we are there."""

    url: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    #: File of certificates; None for the machine's own.
    ca_bundle: str | None = None


class ExternalStore:
    """A store behind an endpoint. The client is boto3's."""

    def __init__(self, endpoint: Endpoint, client: Any) -> None:
        self._endpoint = endpoint
        self._client = client

    def observe(self, declared: Declared, *, wait_seconds: float, may_be_absent: bool) -> Observed:
        """Return the buckets that this key may list, or of the declared ones those that it may look at.

        :raises PlatformError: the store cannot be reached, or refuses the key.
        """
        del wait_seconds, may_be_absent  # an external store is there, or it is an error
        with self._telling("list the buckets"):
            try:
                answer = self._client.list_buckets()
            except _client_error() as error:
                if _code(error) != "AccessDenied":
                    raise
                return Observed(frozenset(name for name in declared.buckets if self._is_there(name)))
        return Observed(frozenset(entry["Name"] for entry in answer.get("Buckets") or ()))

    def apply(self, plan: Plan, declared: Declared) -> None:
        """Make the missing buckets.

        :raises PlatformError: the store refused.
        """
        del declared
        for name in plan.buckets:
            with self._telling(f"make bucket '{name}'"):
                self._make(name)

    def gate(self, declared: Declared, *, wait_seconds: float) -> None:
        """Do nothing: each bucket's own answer has told all."""

    def _is_there(self, name: str) -> bool:
        try:
            self._client.head_bucket(Bucket=name)
        except _client_error() as error:
            if _code(error) in ("404", "NoSuchBucket", "NotFound"):
                return False
            raise
        return True

    def _make(self, name: str) -> None:
        # The API's oldest region may not be named, all others must be.
        options = {}
        if self._endpoint.region != "us-east-1":
            options["CreateBucketConfiguration"] = {"LocationConstraint": self._endpoint.region}
        try:
            self._client.create_bucket(Bucket=name, **options)
        except _client_error() as error:
            if _code(error) != "BucketAlreadyOwnedByYou":
                raise

    @contextlib.contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise PlatformError(
                f"Cannot {doing} at {self._endpoint.url}: the store answered {_code(error)} to access key "
                f"{self._endpoint.access_key_id}; correct the key, or what it may do."
            ) from None
        except BotoCoreError as error:
            # Its text names the endpoint, never a key.
            raise PlatformError(
                f"Cannot {doing} at {self._endpoint.url}: {error}; correct 'endpoint' or 'ca_bundle', or "
                "start the store."
            ) from None


def connect(endpoint: Endpoint) -> ExternalStore:
    """Return the store at an endpoint; nothing is asked yet.

    :raises PlatformError: boto3 is not installed, or the endpoint is no address.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise PlatformError(
            f"Cannot use engine 'external': this host's Python has no boto3 ({error}); install the package "
            "python3-boto3."
        ) from None
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"max_attempts": 3, "mode": "standard"},
    )
    session = boto3.session.Session(endpoint.access_key_id, endpoint.secret_access_key, region_name=endpoint.region)
    try:
        client = session.client("s3", endpoint_url=endpoint.url, verify=endpoint.ca_bundle or True, config=config)
    except ValueError:
        raise PlatformError(
            f"Cannot use endpoint {endpoint.url!r}: it is no address; write it as https://HOST[:PORT]."
        ) from None
    return ExternalStore(endpoint, client)


def _client_error() -> Any:
    from botocore.exceptions import ClientError

    return ClientError


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", "an error without a code"))
