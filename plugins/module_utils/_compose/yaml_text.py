# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A layer's text: YAML that Compose reads as exactly the data that was given."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from .._errors import PlatformError

# YAML 1.1, 5.1 and 5.4: these may not stand in a document as they are, or break a line (U+0085, U+2028, U+2029), but
# may be escaped in double quotes. JSON leaves all of them alone.
_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


def render_layer(layer: Mapping[str, object]) -> str:
    """Return ``layer`` as YAML in flow style, where ``{__reset__: true}`` and ``{__override__: x}`` are
    Compose's tags ``!reset`` and ``!override``.

    YAML is a superset of JSON, so JSON with tags in it is all that is needed, and quoting is never a guess.
    Source: https://docs.docker.com/reference/compose-file/merge/ (Compose 2.24.4 and later).

    :raises PlatformError: a value that has no form in JSON, or a marker with other keys beside it.
    """
    return _render(layer, "the layer", 0) + "\n"


def _render(value: object, where: str, depth: int) -> str:
    if depth > 100:
        raise PlatformError(f"Cannot write {where}: it is nested more than 100 deep; flatten it.")
    if isinstance(value, Mapping):
        return _render_mapping(value, where, depth)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return "[" + ", ".join(_render(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)) + "]"
    return render_scalar(value, where)


def _render_mapping(value: Mapping[object, object], where: str, depth: int) -> str:
    if "__reset__" in value or "__override__" in value:
        return _render_marker(value, where, depth)
    pairs = (
        f"{render_scalar(str(key), where)}: {_render(item, f'{where}.{key}', depth + 1)}" for key, item in value.items()
    )
    return "{" + ", ".join(pairs) + "}"


def _render_marker(value: Mapping[object, object], where: str, depth: int) -> str:
    if len(value) != 1:
        raise PlatformError(f"Cannot write {where}: '__reset__' and '__override__' stand alone; remove the other keys.")
    if "__override__" in value:
        return "!override " + _render(value["__override__"], where, depth + 1)
    if value["__reset__"] is not True:
        raise PlatformError(f"Cannot write {where}: '__reset__' is {value['__reset__']!r}; it is true or not there.")
    return "!reset null"


def render_scalar(value: object, where: str) -> str:
    """Return a text, number, truth value or None as YAML; texts always in double quotes."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PlatformError(f"Cannot write {where}: {value} is no number that Compose knows; give another.")
    if value is not None and not isinstance(value, (str, int, float, bool)):
        raise PlatformError(f"Cannot write {where}: a {type(value).__name__} has no form in YAML; give text.")
    text = _dump(value)
    if isinstance(value, float) and "." not in text:
        # YAML 1.1 knows 1.0e+16 as a number, and 1e+16 as text.
        text = text.replace("e", ".0e")
    return text


def render_model(model: Mapping[str, object], *, indent: int | None = None) -> str:
    """Return a model of Compose's own as JSON that a YAML reader reads too, as Compose does.

    Sorted, so that a model that comes from a release's record reads like a fresh one.

    ``json.dumps`` writes an emoji as two escapes, which YAML refuses, and leaves U+007F as it is, which it refuses too.
    """
    return _dump(model, indent=indent)


def _dump(value: object, *, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent, sort_keys=isinstance(value, Mapping))
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
