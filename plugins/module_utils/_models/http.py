# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking addresses for files: one opener, which gives a token to nobody but whom it is for."""

from __future__ import annotations

import contextlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

#: Not urllib's own, which some hosts of models turn away.
_AGENT = "modelyard.platform"


class SourceError(Exception):
    """A source does not give a file; the text completes *URL ...*, and holds no token."""


class BrokenOffError(SourceError):
    """A source stopped in the middle: what has come stays, and the rest may be asked for."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to another host without the token, and from https to https alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if before.scheme == "https" and after.scheme != "https":
            raise SourceError(f"leads to {after.scheme}://{after.netloc}, which is not https")
        if following is not None and (before.scheme, before.netloc) != (after.scheme, after.netloc):
            following.remove_header("Authorization")
        return following


@contextlib.contextmanager
def open_address(url: str, *, token: str, start: int, timeout_seconds: float) -> Iterator[Any]:
    """Yield the answer of an address, from byte ``start`` on if it likes.

    :raises SourceError: it cannot be reached, or answers with an error.
    """
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if token and urlsplit(url).scheme == "https":
        headers["Authorization"] = f"Bearer {token}"
    opener = urllib.request.build_opener(_Redirects())
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_seconds)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(error.code, has_token=bool(token)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceError(f"cannot be reached ({reason_of(error)})") from None
    with answer:
        yield answer


class RangeRefusedError(SourceError):
    """There is no such part of the file."""


def _refused(status: int, *, has_token: bool) -> SourceError:
    if status == 416:
        return RangeRefusedError("answers 416")
    if status in (401, 403):
        return SourceError(f"answers {status}: " + ("the token may not read it" if has_token else "it wants a 'token'"))
    return SourceError(f"answers {status}")


def reason_of(error: Exception) -> str:
    """Return what is wrong in words, without urllib's brackets."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(inner, "strerror", None) or inner or type(error).__name__)
