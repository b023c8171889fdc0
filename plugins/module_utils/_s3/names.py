# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What buckets, users and access keys may be called."""

from __future__ import annotations

import re

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
#: Kept by the S3 API for names of its own. Source: Amazon S3 user guide, "General purpose bucket naming rules".
_RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")

#: Also a file's name on the host and a word in an HTTP header, so nothing but letters and digits; the auth program of
#: the packaged store takes the same.
KEY_ID_PATTERN = "[A-Za-z0-9]{8,128}"
_SECRET = re.compile(r"[!-~]{8,256}")
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def bucket_fault(name: str) -> str | None:
    """Return what is wrong with ``name`` as a bucket's, None if nothing is."""
    if not 3 <= len(name) <= 63:
        return f"it has {len(name)} characters"
    if not _BUCKET.fullmatch(name):
        return "it holds something else than lower-case letters, digits, '.' and '-', or starts or ends with a sign"
    if ".." in name:
        return "it holds '..'"
    if _ADDRESS.fullmatch(name):
        return "it looks like an IP address"
    for prefix in _RESERVED_PREFIXES:
        if name.startswith(prefix):
            return f"S3 reserves names that start with '{prefix}'"
    for suffix in _RESERVED_SUFFIXES:
        if name.endswith(suffix):
            return f"S3 reserves names that end with '{suffix}'"
    return None


def is_key_id(text: str) -> bool:
    """Tell whether an access key can have the id ``text``."""
    return re.fullmatch(KEY_ID_PATTERN, text) is not None


def is_secret(text: str) -> bool:
    """Tell whether ``text`` can be an access key's secret: what every client can hold in one line."""
    return _SECRET.fullmatch(text) is not None


def is_user(text: str) -> bool:
    """Tell whether a user can be called ``text``."""
    return _USER.fullmatch(text) is not None
