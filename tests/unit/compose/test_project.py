# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options as values: what is meant is understood, what cannot be meant is refused with the fix."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import (
    Edge,
    Migration,
    ProjectFile,
    ServiceExtras,
    SharedNetwork,
    Sleeper,
    parse_extras,
    parse_mode,
    parse_project,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from hypothesis import given
from hypothesis import strategies as st

LAYER = {"services": {"web": {"image": "web:1"}}}
#: What Ansible hands over when an option is not given.
DEFAULTS: dict[str, Any] = {
    "name": "shop", "directory": "/site", "layers": [LAYER], "src": None, "src_files": None, "profiles": None,
    "env": None, "env_files": None, "secrets_in_env": None, "files": None, "networks": None, "edge": None,
    "update": "auto",
}  # fmt: skip
FILE: dict[str, Any] = {
    "path": "web/web.conf", "content": "x", "mode": None, "uid": None, "gid": None, "on_change": "recreate",
    "reload_signal": None, "reload_command": None,
}  # fmt: skip


def extras_of(given: object) -> ServiceExtras:
    return parse_extras([{"services": {"web": {"x-modelyard": given}}}], "shop")["web"]


def test_a_bare_project() -> None:
    project = parse_project(DEFAULTS)
    assert (project.name, project.directory, project.folder) == ("shop", "/site", "/site/projects/shop")
    assert project.layers == (LAYER,)
    assert project.extras == {}


def test_all_options() -> None:
    project = parse_project(
        {
            **DEFAULTS,
            "directory": "/site/",
            "profiles": ["b", "a", "b"],
            "env": {"B": 1, "A": None, "C": True, "D": "x y"},
            "files": [{**FILE, "mode": "0640", "on_change": "reload", "reload_signal": "HUP"}],
            "networks": [{"name": "edge", "internal": None}],
            "edge": {"file": "/site/edge/shop.json", "config": {"http": {}}, "api": None},
            "secrets_in_env": ["A"],
        }
    )
    assert project.directory == "/site"
    assert project.profiles == ("a", "b")
    assert project.env == {"A": "", "B": "1", "C": "true", "D": "x y"}
    assert list(project.env) == ["A", "B", "C", "D"]
    assert project.files == (
        ProjectFile("/site/projects/shop/web/web.conf", "x", 0o640, on_change="reload", reload_signal="HUP"),
    )
    assert project.networks == (SharedNetwork("edge", internal=False),)
    assert project.edge == Edge("/site/edge/shop.json", {"http": {}})
    assert project.secrets_in_env == {"A"}


@pytest.mark.parametrize(
    ("path", "src", "expected"),
    [
        ("a.conf", None, "/site/projects/shop/a.conf"),
        ("./a//b.conf", None, "/site/projects/shop/a/b.conf"),
        ("/site/edge/a.conf", None, "/site/edge/a.conf"),
        ("a.conf", "/srv/app/", "/srv/app/a.conf"),
        ("/srv/app/a.conf", "/srv/app", "/srv/app/a.conf"),
    ],
)
def test_a_path_is_absolute_and_plain_so_that_it_is_found_among_the_mounts(
    path: str, src: str | None, expected: str
) -> None:
    project = parse_project({**DEFAULTS, "src": src, "files": [{**FILE, "path": path}]})
    assert project.files[0].path == expected


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a name with a capital": (
        {"name": "Shop"},
        (
            "Cannot use project name 'Shop': a name starts with a lower-case letter or digit and goes on with "
            "these, '_' and "
            "'-'; choose such a name."
        ),
    ),
    "a name that leaves the folder": (
        {"name": "../etc"},
        (
            "Cannot use project name '../etc': a name starts with a lower-case letter or digit and goes on with "
            "these, '_' "
            "and '-'; choose such a name."
        ),
    ),
    "no definition": (
        {"layers": []},
        "Cannot apply project 'shop': it has no definition; give 'layers' or 'src'.",
    ),
    "a layer that is no mapping": (
        {"layers": [["services"]]},
        "Cannot read layer 1 of project 'shop': it is a list; give a mapping, as a Compose file is one.",
    ),
    "a variable with a dash": (
        {"env": {"MY-VAR": "1"}},
        "Cannot write 'MY-VAR' to .env: a name has letters, digits and '_' and starts with no digit; rename it.",
    ),
    "a variable with a number for a name": (
        {"env": {1: "1"}},
        "Cannot write '1' to .env: a name has letters, digits and '_' and starts with no digit; rename it.",
    ),
    "a variable with NUL": (
        {"env": {"A": "x\0y"}},
        "Cannot write 'A' to .env: its value holds a NUL character; remove it.",
    ),
    "a variable with a list": (
        {"env": {"A": ["x"]}},
        "Cannot write 'A' to .env: its value is a list; give text.",
    ),
    "a file above the folder": (
        {"files": [{**FILE, "path": "../other/x"}]},
        "Cannot write file '../other/x': it must name a file, without '..'; correct it.",
    ),
    "a file that is a folder": (
        {"files": [{**FILE, "path": "conf/"}]},
        "Cannot write file 'conf/': it must name a file, without '..'; correct it.",
    ),
    "a file without a name": (
        {"files": [{**FILE, "path": ""}]},
        "Cannot write file '': it must name a file, without '..'; correct it.",
    ),
    "a file that is the project's folder": (
        {"files": [{**FILE, "path": "."}]},
        "Cannot write file '.': it must name a file, without '..'; correct it.",
    ),
    "a file with NUL in its name": (
        {"files": [{**FILE, "path": "a\0b"}]},
        "Cannot write file 'a\\x00b': it must name a file, without '..'; correct it.",
    ),
    "a file outside of the site": (
        {"files": [{**FILE, "path": "/etc/passwd"}]},
        (
            "Cannot write file '/etc/passwd': it is outside the site's folder /site; give a path below it, or one "
            "relative to "
            "the project."
        ),
    ),
    "a file that is declared twice": (
        {"files": [{**FILE, "path": "a"}, {**FILE, "path": "./a"}]},
        "Cannot write file '/site/projects/shop/a': it is declared twice; keep one.",
    ),
    "a reload without a way": (
        {"files": [{**FILE, "on_change": "reload"}]},
        (
            "Cannot reload on a change of 'web/web.conf': 'on_change: reload' and one of 'reload_signal' and "
            "'reload_command' go together; give both or neither."
        ),
    ),
    "a way without a reload": (
        {"files": [{**FILE, "reload_command": ["nginx", "-s", "reload"]}]},
        (
            "Cannot reload on a change of 'web/web.conf': 'on_change: reload' and one of 'reload_signal' and "
            "'reload_command' go together; give both or neither."
        ),
    ),
    "a mode in words": (
        {"files": [{**FILE, "mode": "u=rw"}]},
        ("Cannot write file 'web/web.conf': mode 'u=rw' is no octal number of three digits; write it as '0640'."),
    ),
    "an edge outside of the site": (
        {"edge": {"file": "/etc/traefik/x.json", "config": {}, "api": None}},
        (
            "Cannot write the edge's file '/etc/traefik/x.json': it is outside the site's folder /site; let the "
            "edge watch a "
            "folder below it."
        ),
    ),
    "an edge that climbs out of the site": (
        {"edge": {"file": "/site/../etc/x.json", "config": {}, "api": None}},
        (
            "Cannot write the edge's file '/site/../etc/x.json': it is outside the site's folder /site; let the "
            "edge watch a "
            "folder below it."
        ),
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_project({**DEFAULTS, **options})
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "mode"), [("0640", 0o640), ("640", 0o640), ("0000", 0), (None, None)])
def test_mode(text: str | None, mode: int | None) -> None:
    assert parse_mode(text, "a") == mode


@pytest.mark.parametrize("text", ["", "64", "0888", "02640", "0o640", "+640", "-640", "640 ", "٦٤٠", "416.0"])
def test_what_is_no_mode(text: str) -> None:
    with pytest.raises(PlatformError, match="is no octal number of three digits"):
        parse_mode(text, "a")


def test_extras_of_a_service() -> None:
    migrates = {"database": "app", "service": "db"}
    assert extras_of({"migrates": migrates, "drain_seconds": 5, "sleeps": True}) == ServiceExtras(
        one_shot=True,
        migrates=Migration(database="app", service="db", project="shop", user="postgres"),
        drain_seconds=5.0,
        sleeps=True,
    )
    assert extras_of({}) == ServiceExtras()
    assert parse_extras([{"services": {"web": {"x-modelyard": None}, "db": None}}, {"services": []}], "shop") == {}


def test_a_later_layer_wins_key_by_key() -> None:
    layers = [
        {"services": {"web": {"x-modelyard": {"one_shot": True, "settle_seconds": 9}}}},
        {"services": {"web": {"x-modelyard": {"settle_seconds": 1}}, "db": {}}},
        {},
    ]
    assert parse_extras(layers, "shop") == {"web": ServiceExtras(one_shot=True, settle_seconds=1)}


@pytest.mark.parametrize("marker", [{"__reset__": True}, {"__override__": {}}], ids=lambda marker: next(iter(marker)))
def test_a_later_layer_takes_all_of_it_away(marker: dict[str, Any]) -> None:
    layers = [{"services": {"web": {"x-modelyard": given}}} for given in ({"one_shot": True}, marker)]
    assert parse_extras(layers, "shop").get("web", ServiceExtras()) == ServiceExtras()


def test_a_later_layer_takes_one_key_away() -> None:
    layers = [
        {"services": {"web": {"x-modelyard": given}}}
        for given in ({"one_shot": True, "sleeps": True}, {"one_shot": {"__reset__": True}})
    ]
    assert parse_extras(layers, "shop") == {"web": ServiceExtras(sleeps=True)}


def test_a_sleeper_is_one_that_the_gateway_stops_and_starts() -> None:
    layers = [{"services": {"web": {"x-modelyard": {"sleeper": SLEEPER}}}}]
    found = parse_extras(layers, "shop")["web"]
    assert (found.sleeper, found.sleeps) == (Sleeper("site-gateway", "gateway", "chat"), True)


WHERE = "Cannot read x-modelyard of service 'web'"
SLEEPER = {"project": "site-gateway", "service": "gateway", "name": "chat"}
NO_SLEEPER = WHERE + (
    ": sleeper is {}; give 'project' and 'service' of the gateway and the 'name' that it has for this one, in "
    "lower-case letters, digits, '_', '.' and '-'."
)
BAD_EXTRAS: dict[str, tuple[object, str]] = {
    "an unknown key": (
        {"oneshot": True},
        (
            f"{WHERE}: there is no key 'oneshot'; known are drain_seconds, migrates, one_shot, settle_seconds, "
            f"sleeper, sleeps, update."
        ),
    ),
    "keys of several kinds": (
        {1: True, "a": True},
        (
            f"{WHERE}: there is no key 1; known are drain_seconds, migrates, one_shot, settle_seconds, sleeper, "
            f"sleeps, update."
        ),
    ),
    "no mapping": (True, f"{WHERE}: it is True; give a mapping of its keys."),
    "an unknown update": (
        {"update": "rolling"},
        f"{WHERE}: update is 'rolling'; choose auto, start_first or stop_first.",
    ),
    "an update that is a list": (
        {"update": ["auto"]},
        f"{WHERE}: update is ['auto']; choose auto, start_first or stop_first.",
    ),
    "seconds in words": ({"drain_seconds": "1m"}, f"{WHERE}: drain_seconds is '1m'; give a number of seconds."),
    "seconds below zero": ({"settle_seconds": -1}, f"{WHERE}: settle_seconds is -1; give a number of seconds."),
    "seconds without end": (
        {"drain_seconds": float("inf")},
        f"{WHERE}: drain_seconds is inf; give a number of seconds.",
    ),
    "seconds that are a truth": ({"drain_seconds": True}, f"{WHERE}: drain_seconds is True; give a number of seconds."),
    "a truth in words": ({"one_shot": "false"}, f"{WHERE}: one_shot is 'false'; give true or false."),
    "a migration without a service": (
        {"migrates": {"database": "app"}},
        f"{WHERE}: migrates needs 'database' and 'service' (the one that runs PostgreSQL); give both.",
    ),
    "a migration by name alone": (
        {"migrates": "app"},
        f"{WHERE}: migrates needs 'database' and 'service' (the one that runs PostgreSQL); give both.",
    ),
    "a migration with an unknown key": (
        {"migrates": {"database": "app", "service": "db", "host": "x"}},
        f"{WHERE}: there is no key 'host'; known are database, project, service, user.",
    ),
    "a sleeper with an unknown key": (
        {"sleeper": {**SLEEPER, "host": "x"}},
        f"{WHERE}: there is no key 'host'; known are name, project, service.",
    ),
    "a sleeper of no gateway": ({"sleeper": {"name": "chat"}}, NO_SLEEPER.format("{'name': 'chat'}")),
    "a sleeper by name alone": ({"sleeper": "chat"}, NO_SLEEPER.format("'chat'")),
    "a sleeper whose name is an option": (
        {"sleeper": {**SLEEPER, "name": "--x"}},
        NO_SLEEPER.format("{'project': 'site-gateway', 'service': 'gateway', 'name': '--x'}"),
    ),
    "a sleeper that is meant to end": (
        {"sleeper": SLEEPER, "one_shot": True},
        f"{WHERE}: it has both sleeper and one_shot; the gateway wakes what runs on, keep one.",
    ),
}


@pytest.mark.parametrize(("given", "message"), BAD_EXTRAS.values(), ids=BAD_EXTRAS)
def test_refused_extras(given: object, message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        extras_of(given)
    assert str(caught.value) == message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = st.sampled_from(
    ["services", "web", "x-modelyard", "one_shot", "migrates", "update", "drain_seconds", "database", "service",
     "project", "__reset__", "__override__", "sleeps"]
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3),
    max_leaves=15,
)
LAYERS = st.fixed_dictionaries(
    {"services": st.fixed_dictionaries({"web": st.fixed_dictionaries({"x-modelyard": JSON})}) | JSON}
)


@given(layers=st.lists(LAYERS | JSON, max_size=3), env=st.dictionaries(st.text(max_size=4), JSON, max_size=3))
def test_whatever_is_declared_is_read_or_refused(layers: list[Any], env: dict[str, Any]) -> None:
    with contextlib.suppress(PlatformError):
        parse_project({**DEFAULTS, "layers": layers, "env": env})


@given(name=st.text(max_size=6), path=st.text("/.a\0\n", max_size=8), mode=st.text("0678 ", max_size=5))
def test_whatever_it_is_called_it_is_read_or_refused(name: str, path: str, mode: str) -> None:
    with contextlib.suppress(PlatformError):
        project = parse_project({**DEFAULTS, "name": name, "files": [{**FILE, "path": path, "mode": mode}]})
        assert project.files[0].path.startswith("/site/")


KEPT: dict[str, tuple[str, str]] = {
    "the resolved project": ("compose.yaml", "{} it is made from 'layers'; choose another name."),
    "the variables": ("./.env", "{} it is made from 'env'; choose another name."),
    **{
        name: (
            f"/site/{name}",
            f"{{}} /site/{name.partition('/')[0]} is what modelyard.platform keeps for itself; choose another path.",
        )
        for name in ("state/identity.key", "releases/shop/state.json", "locks/shop.lock", "build/x/y", "site.json")
    },
    "another project's file": (
        "/site/projects/blog/compose.yaml",
        "{} it belongs to project 'blog'; declare it there, or choose another path.",
    ),
    "another project's folder": (
        "/site/projects/shop2",
        "{} it belongs to project 'shop2'; declare it there, or choose another path.",
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_the_platform_or_another_project_keeps_is_not_declared_as_a_file(case: str) -> None:
    given, text = KEPT[case]
    path = os.path.normpath(os.path.join("/site/projects/shop", given))
    with pytest.raises(PlatformError) as caught:
        parse_project({**DEFAULTS, "files": [{**FILE, "path": given}]})
    assert str(caught.value) == text.format(f"Cannot write file {path!r}:")


def test_the_edges_file_is_not_one_that_the_platform_keeps() -> None:
    with pytest.raises(PlatformError) as caught:
        parse_project({**DEFAULTS, "edge": {"file": "/site/site.json", "config": {}, "api": None}})
    assert str(caught.value) == (
        "Cannot write file '/site/site.json': /site/site.json is what modelyard.platform keeps for itself; choose "
        "another path."
    )


@pytest.mark.parametrize(
    ("src", "path"),
    [
        ("/srv/app", ".env"),
        ("/srv/app", "state/x"),
        (None, "state/x"),
        (None, "conf/.env"),
        (None, "/site/states/x"),
        ("/site/projects/vendor", "x"),
    ],
)
def test_a_file_that_only_looks_kept_is_ours_to_declare(src: str | None, path: str) -> None:
    parse_project({**DEFAULTS, "src": src, "files": [{**FILE, "path": path}]})
