# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signed requests to an S3 store, without boto3, which not every host has."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

REGION = "us-east-1"
_SIGNED = "host;x-amz-content-sha256;x-amz-date"
NO_CONTENT = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class AccessKey:
    """Who asks."""

    id: str
    secret: str = field(repr=False)


def sign_request(
    method: str, path: str, *, address: str, key: AccessKey, now: str, content_sha256: str = NO_CONTENT
) -> dict[str, str]:
    """Return the headers of a signed request without a query.

    Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)".

    :param path: of nothing but what stands in an address as it is.
    :param address: of the store, as host:port.
    :param now: the time in UTC, as 20261121T113000Z.
    """
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    request = (
        f"{method}\n{path}\n\nhost:{address}\nx-amz-content-sha256:{content_sha256}\nx-amz-date:{now}\n\n"
        f"{_SIGNED}\n{content_sha256}"
    )
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    return {
        "Host": address,
        "x-amz-content-sha256": content_sha256,
        "x-amz-date": now,
        "Authorization": (
            f"AWS4-HMAC-SHA256 Credential={key.id}/{scope}, SignedHeaders={_SIGNED}, Signature={signature}"
        ),
    }
