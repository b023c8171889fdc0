# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layers as YAML: what is written reads back as it was given. Compose itself reads them in the integration tests."""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._compose.yaml_text import render_layer, render_model
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
KEYS = TEXTS.filter(lambda key: key not in ("__reset__", "__override__"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)
LAYERS = st.dictionaries(KEYS, DATA, max_size=5)

MARKERS = st.sampled_from(["__reset__", "__override__"])
ANYTHING = st.recursive(
    SCALARS
    | st.floats()
    | st.binary(max_size=5)
    | st.dates()
    | st.sets(st.integers(), max_size=2)
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(TEXTS | MARKERS | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(LAYERS)
def test_a_layer_reads_back_as_it_was_given(layer: dict[str, Any]) -> None:
    assert yaml.safe_load(render_layer(layer)) == layer


@given(LAYERS)
def test_a_model_reads_back_as_it_was_given_by_json_and_yaml(model: dict[str, Any]) -> None:
    assert json.loads(render_model(model)) == model
    assert json.loads(render_model(model, indent=2)) == model


@given(st.dictionaries(KEYS, TEXTS, max_size=5))
def test_a_model_of_texts_reads_back_as_yaml(model: dict[str, Any]) -> None:
    assert yaml.safe_load(render_model(model)) == model


@pytest.mark.parametrize(
    "text",
    [
        "\u0085",
        "a\u2028b\u2029c",
        "\x7f",
        "\x00\x1b",
        "\ufeff",
        "\U0001f600",
        "'\"\\",
        "a: b # c",
        "\n\t\r",
        "~",
        "1e3",
    ],
    ids=ascii,
)
def test_a_text_that_yaml_treats_in_its_own_way(text: str) -> None:
    assert yaml.safe_load(render_layer({text: [text]})) == {text: [text]}
    assert yaml.safe_load(render_model({text: [text]})) == {text: [text]}


@given(st.dictionaries(TEXTS | MARKERS | st.integers(), ANYTHING, max_size=3))
def test_whatever_is_given_is_written_or_refused(layer: dict[Any, Any]) -> None:
    with contextlib.suppress(PlatformError):
        render_layer(layer)


def test_markers_become_the_tags_of_compose() -> None:
    layer = {"services": {"web": {"ports": {"__reset__": True}, "volumes": {"__override__": ["a:/b"]}}}}
    assert render_layer(layer) == ('{"services": {"web": {"ports": !reset null, "volumes": !override ["a:/b"]}}}\n')


def nested(depth: int) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for _number in range(depth):
        layer = {"a": layer}
    return layer


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a marker with a key beside it": (
        {"services": {"web": {"__reset__": True, "image": "x"}}},
        "Cannot write the layer.services.web: '__reset__' and '__override__' stand alone; remove the other keys.",
    ),
    "a reset that is no truth": (
        {"ports": {"__reset__": "yes"}},
        "Cannot write the layer.ports: '__reset__' is 'yes'; it is true or not there.",
    ),
    "a date": (
        {"services": {"web": {"labels": [datetime.date(2026, 1, 1)]}}},
        "Cannot write the layer.services.web.labels[0]: a date has no form in YAML; give text.",
    ),
    "bytes": ({"a": b"x"}, "Cannot write the layer.a: a bytes has no form in YAML; give text."),
    "infinity": ({"a": float("inf")}, "Cannot write the layer.a: inf is no number that Compose knows; give another."),
    "no number": ({"a": float("nan")}, "Cannot write the layer.a: nan is no number that Compose knows; give another."),
}


@pytest.mark.parametrize(("layer", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(layer: dict[str, Any], message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        render_layer(layer)
    assert str(caught.value) == message


def test_a_hundred_levels_are_written_and_more_are_refused() -> None:
    assert yaml.safe_load(render_layer(nested(99))) == nested(99)
    with pytest.raises(PlatformError, match=r"it is nested more than 100 deep; flatten it\.$"):
        render_layer(nested(101))
