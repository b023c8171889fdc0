# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From Compose's model to what should be on the host: manners, identities, files, and secrets that would show."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.build_context import digest_build_context
from ansible_collections.modelyard.platform.plugins.module_utils._compose.contents import (
    env_paths,
    generated_paths,
    is_used,
    mount_sources,
    render_files,
    source_files,
    source_values,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.inputs import digest_mounted
from ansible_collections.modelyard.platform.plugins.module_utils._compose.model import (
    add_good_manners,
    canonical_definition,
    label_identities,
    make_identity,
    make_services,
    refuse_exposed_secrets,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.observe import (
    is_immutable,
    normalize_reference,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.plan import changed_parts
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Edge, Project, ProjectFile
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import Reference
from hypothesis import given
from hypothesis import strategies as st
from support.compose_cases import make_desired

KEY = b"key"
MTU = "com.docker.network.driver.mtu"
SECRET = "@@secret:token@@"


def lookup(reference: Reference) -> str:
    return f"value of {reference.name}"


# Good manners


def manners(model: dict[str, Any], *, mtu: int = 1500, ours: bool = True, directory: str = "/site") -> dict[str, Any]:
    before = copy.deepcopy(model)
    made = add_good_manners(model, directory=directory, mtu=mtu, ours=ours)
    assert model == before, "the given model was changed"
    return made


def test_a_service_of_a_role_gets_init_and_log_limits() -> None:
    assert manners({"services": {"web": {"image": "x"}}})["services"]["web"] == {
        "image": "x",
        "init": True,
        "labels": {"modelyard.directory": "/site"},
        "logging": {"driver": "json-file", "options": {"max-file": "3", "max-size": "10m"}},
    }


def test_what_is_declared_is_kept() -> None:
    web = {"init": False, "logging": {"driver": "none"}, "labels": {"a": "b"}}
    made = manners({"services": {"web": web}})["services"]["web"]
    assert made == {**web, "labels": {"a": "b", "modelyard.directory": "/site"}}


def test_a_project_of_somebody_else_gets_our_labels_alone() -> None:
    made = manners({"services": {"web": {}}}, ours=False)
    assert made["services"]["web"] == {"labels": {"modelyard.directory": "/site"}}


def test_labels_are_written_as_compose_reads_them() -> None:
    made = manners({"services": {"web": {}}}, directory="/a$b")
    assert made["services"]["web"]["labels"]["modelyard.directory"] == "/a$$b"


@pytest.mark.parametrize(
    ("mtu", "network", "options"),
    [
        (1400, {}, {MTU: "1400"}),
        (1500, {}, None),
        (1400, {"driver": "bridge"}, {MTU: "1400"}),
        (1400, {"driver": "macvlan"}, None),
        (1400, {"driver_opts": {MTU: "9000", "a": "b"}}, {MTU: "9000", "a": "b"}),
    ],
    ids=["a tunnel's", "the usual one", "bridge by name", "no bridge", "a declared one"],
)
def test_networks_get_the_mtu_of_the_host(mtu: int, network: dict[str, Any], options: dict[str, str] | None) -> None:
    assert manners({"networks": {"front": network}}, mtu=mtu)["networks"]["front"].get("driver_opts") == options


def test_networks_and_volumes_are_labelled_with_their_definition_and_external_ones_left() -> None:
    model = {
        "networks": {"a": {"internal": True}, "b": {"external": True}},
        "volumes": {"a": {}, "b": {"labels": {"x": "y"}}},
    }
    made = manners(model)
    again = manners({**model, "networks": {"a": {"internal": False}}})
    assert made["networks"]["b"] == {"external": True}
    assert made["volumes"]["b"]["labels"].keys() == {"x", "modelyard.directory", "modelyard.definition"}
    definitions = [found["networks"]["a"]["labels"]["modelyard.definition"] for found in (made, manners(model), again)]
    assert definitions[0] == definitions[1] != definitions[2]


# Secrets that would show

EXPOSED: dict[str, tuple[dict[str, Any], str]] = {
    "a variable": (
        {"services": {"web": {"environment": {"TOKEN": SECRET}}}},
        (
            "Cannot put secret 'token' into services.web.environment.TOKEN: 'docker inspect' would show it; give it "
            "as a file, "
            "or add 'TOKEN' to 'secrets_in_env'."
        ),
    ),
    "an argument": (
        {"services": {"web": {"command": ["serve", f"--token={SECRET}"]}}},
        "Cannot put secret 'token' into services.web.command.1: 'docker inspect' would show it; give it as a file.",
    ),
    "a label": (
        {"services": {"web": {"labels": {"a": SECRET}}}},
        "Cannot put secret 'token' into services.web.labels.a: 'docker inspect' would show it; give it as a file.",
    ),
    "a label's name": (
        {"services": {"web": {"labels": {SECRET: "a"}}}},
        "Cannot put secret 'token' into services.web.labels: 'docker inspect' would show it; give it as a file.",
    ),
    "a build argument": (
        {"services": {"web": {"build": {"args": {"ALLOWED": SECRET}}}}},
        (
            "Cannot put secret 'token' into services.web.build.args.ALLOWED: 'docker inspect' would show it; "
            "give it as a "
            "file."
        ),
    ),
    "an option of a volume": (
        {"volumes": {"nfs": {"driver_opts": {"o": f"password={SECRET}"}}}},
        "Cannot put secret 'token' into volumes.nfs.driver_opts.o: 'docker inspect' would show it; give it as a file.",
    ),
}


@pytest.mark.parametrize(("model", "message"), EXPOSED.values(), ids=EXPOSED)
def test_a_secret_that_would_show(model: dict[str, Any], message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        refuse_exposed_secrets(model, ["ALLOWED"])
    assert str(caught.value) == message


def test_a_secret_in_a_variable_that_the_project_names() -> None:
    refuse_exposed_secrets({"services": {"web": {"environment": {"TOKEN": SECRET, "A": None}}}}, ["TOKEN"])


# Files

SERVICES: dict[str, dict[str, Any]] = {
    "web": {"user": "1000:1001", "volumes": [{"type": "bind", "source": "/site/web", "target": "/a"}]},
    "db": {"user": "70", "secrets": [{"source": "token"}], "volumes": [{"type": "volume", "source": "data"}]},
    "named": {"user": "grafana", "volumes": [{"type": "bind", "source": "/site/named", "target": "/a"}]},
    "root": {"volumes": [{"type": "bind", "source": "/site/shared", "target": "/a"}]},
    "other": {"user": "5", "volumes": [{"type": "bind", "source": "/site/shared/", "target": "/a"}]},
    "more": {"user": "6", "configs": [{"source": "both"}], "volumes": [{"type": "bind", "source": "/site/two"}]},
    "last": {"user": "7", "volumes": [{"type": "bind", "source": "/site/two"}]},
}
MODEL = {"secrets": {"token": {"file": "/site/token"}}, "configs": {"both": {"file": "/site/both"}}}


@pytest.mark.parametrize(
    ("file", "mode", "uid", "gid"),
    [
        (ProjectFile("/site/web/a", "plain"), 0o644, 0, 0),
        (ProjectFile("/site/web/a", "plain", 0o600, 5, 6), 0o600, 5, 6),
        (ProjectFile("/site/web/a", SECRET), 0o400, 1000, 0),
        (ProjectFile("/site/web/a", SECRET, 0o600, 5, 6), 0o600, 5, 6),
        (ProjectFile("/site/token", SECRET), 0o400, 70, 0),
        (ProjectFile("/site/both", SECRET), 0o400, 6, 0),
        (ProjectFile("/site/shared/a", SECRET), 0o400, 5, 0),
        (ProjectFile("/site/nobody", SECRET), 0o400, 0, 0),
        (ProjectFile("/site/website", SECRET), 0o400, 0, 0),
        (ProjectFile("/site/named/a", SECRET, uid=472), 0o400, 472, 0),
    ],
    ids=[
        "no secret", "no secret and all given", "for the user of its service", "all given", "a secret of Compose",
        "a config of Compose", "for the one who is not root", "mounted by nobody", "beside a mount of like name",
        "for a named user with a number",
    ],
)  # fmt: skip
def test_who_may_read_a_file(file: ProjectFile, mode: int, uid: int, gid: int) -> None:
    (rendered,) = render_files([file], SERVICES, MODEL, lookup)
    assert (rendered.state.mode, rendered.state.uid, rendered.state.gid) == (mode, uid, gid)
    assert rendered.state.content == (b"plain" if file.content == "plain" else b"value of token")


BAD_FILES: dict[str, tuple[ProjectFile, str]] = {
    "a secret for all": (
        ProjectFile("/site/a", SECRET, 0o640),
        (
            "Cannot write file '/site/a' with mode 0640: it holds a secret, which only root and the container's "
            "user may read; "
            "leave the mode out, or set 0400 or 0600."
        ),
    ),
    "a secret for two users": (
        ProjectFile("/site/two/a", SECRET),
        (
            "Cannot tell who may read file '/site/two/a': it holds a secret and is mounted by services with the "
            "users 6, 7; "
            "give 'uid', or one file per service."
        ),
    ),
    "a secret for a user by name": (
        ProjectFile("/site/named/a", SECRET),
        (
            "Cannot tell who may read file '/site/named/a': it holds a secret and is mounted by a service with "
            "the user "
            "'grafana', whose number only its image knows; give 'uid'."
        ),
    ),
    "half of a character": (
        ProjectFile("/site/a", "\ud83d"),
        "Cannot write file '/site/a': its content holds half of a character (U+D800 to U+DFFF); correct it.",
    ),
}


@pytest.mark.parametrize(("file", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_meant(file: ProjectFile, message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        render_files([file], SERVICES, MODEL, lookup)
    assert str(caught.value) == message


def test_which_host_paths_a_service_mounts() -> None:
    assert mount_sources(SERVICES["more"], MODEL) == ("/site/both", "/site/two")
    assert mount_sources({"secrets": [{"source": "gone"}], "volumes": None}, {}) == ()
    assert is_used("/site/a/b", ["/site/a"])
    assert is_used("/site/a", ["/site/a"])
    assert not is_used("/site/ab", ["/site/a"])


def test_a_reload_of_a_single_mounted_file_would_reach_nobody() -> None:
    with pytest.raises(PlatformError) as caught:
        make_desired(
            {
                "services": {"web": {"volumes": ["/site/a:/etc/a"]}},
                "files": {"/site/a": {"content": "x", "on_change": "watch"}},
            }
        )
    assert str(caught.value) == (
        "Cannot watch on a change of '/site/a': service 'web' mounts it as a single file, and a container keeps "
        "the old "
        "one of these; mount its folder, or use 'on_change: recreate'."
    )


def test_content_that_others_keep(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert digest_mounted(KEY, str(path)) is None
    path.write_text("one")
    first = digest_mounted(KEY, str(path))
    path.write_text("two")
    assert first is not None
    assert digest_mounted(KEY, str(path)) != first != digest_mounted(b"other", str(path))
    path.write_bytes(bytes(1024 * 1024 + 1))
    assert digest_mounted(KEY, str(path)) is None
    assert digest_mounted(KEY, str(tmp_path)) is None


def test_a_build_context(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    (tmp_path / "link").symlink_to("Dockerfile")
    (tmp_path / ".git").mkdir()
    build = {"context": str(tmp_path), "args": {"A": "1", "B": "2"}}
    first = digest_build_context(KEY, build)
    (tmp_path / ".git" / "index").write_text("x")
    assert digest_build_context(KEY, {"args": {"B": "2", "A": "1"}, "context": str(tmp_path)}) == first
    assert digest_build_context(KEY, {**build, "args": {}}) != first
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("elsewhere")
    second = digest_build_context(KEY, build)
    os.chmod(tmp_path / "Dockerfile", 0o700)
    assert len({first, second, digest_build_context(KEY, build)}) == 3
    assert digest_build_context(KEY, {"context": "https://example.org/repo.git"}) is None


def build_digest(context: Path, files: dict[str, str] | None = None, **more: Any) -> str:
    """Return what a service that builds ``context`` has of it, in a project with these files."""
    service = {"image": "web", "build": {"context": str(context)}, **more}
    desired = make_services(
        {"name": "shop", "services": {"web": service}},
        extras={},
        files=render_files([ProjectFile(path, text) for path, text in (files or {}).items()], {}, {}, lookup),
        key=KEY,
        lookup=lookup,
        env={},
        generated=[f"{context}/compose.yaml", f"{context}/.env"],
    )
    return desired["web"].contents.get("build context", "none")


def test_a_build_context_without_what_the_builder_never_sees(tmp_path: Path) -> None:
    mount = {"type": "bind", "source": f"{tmp_path}/data", "target": "/data"}
    (tmp_path / ".dockerignore").write_text("*.log\nDockerfile\n")
    (tmp_path / "data").mkdir()
    first = build_digest(tmp_path, volumes=[mount])
    for name in ("a.log", "data/rows", "compose.yaml", ".env", ".main.py.modelyard-tmp"):
        (tmp_path / name).write_text("changing")
        assert build_digest(tmp_path, volumes=[mount]) == first, name
    read_only = build_digest(tmp_path, volumes=[{**mount, "read_only": True}])
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    second = build_digest(tmp_path, volumes=[mount])
    assert len({first, second, read_only}) == 3, "what is only read, and a Dockerfile that is ignored, count"


def test_the_ignore_file_of_a_dockerfile_comes_first(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("")
    (tmp_path / "Dockerfile.dockerignore").write_text("noise")
    first = build_digest(tmp_path)
    (tmp_path / "noise").write_text("a")
    assert build_digest(tmp_path) == first


def test_a_project_that_builds_in_a_folder_which_it_mounts_whole(tmp_path: Path) -> None:
    mount = {"type": "bind", "source": str(tmp_path), "target": "/app"}
    first = build_digest(tmp_path, volumes=[mount])
    (tmp_path / "main.py").write_text("a")
    assert build_digest(tmp_path, volumes=[mount]) != first


def test_a_build_context_of_declared_files_is_the_same_before_they_are_written(tmp_path: Path) -> None:
    context = tmp_path / "context"
    files = {f"{context}/Dockerfile": "FROM scratch", f"{context}/app/token": SECRET, f"{context}/.dockerignore": "x"}
    assert build_digest(context) == "none"
    bare = build_digest(context, files)
    (context / "app").mkdir(parents=True)
    (context / "Dockerfile").write_text("of another release")
    assert build_digest(context, files) == bare
    for file in render_files([ProjectFile(path, text) for path, text in files.items()], {}, {}, lookup):
        Path(file.path).write_bytes(file.state.content)
        os.chmod(file.path, file.state.mode)
    (context / "x").write_text("ignored")
    assert build_digest(context, files) == build_digest(context) == bare
    assert build_digest(context, {**files, f"{context}/app/token": "another"}) != bare


def test_a_file_that_goes_while_the_context_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    without = build_digest(tmp_path)
    (tmp_path / "b").write_text("b")
    (tmp_path / "c").write_text("c")
    walk, lstat = os.walk, os.lstat

    def late_walk(top: str) -> Any:
        yield from list(walk(top))
        (tmp_path / "b").unlink(missing_ok=True)

    def late_lstat(path: str) -> os.stat_result:
        found = lstat(path)
        if path.endswith("/c"):
            os.unlink(path)
        return found

    monkeypatch.setattr(os, "walk", late_walk)
    monkeypatch.setattr(os, "lstat", late_lstat)
    assert build_digest(tmp_path) == without


def test_a_linked_folder_of_a_build_context_counts_as_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    first = build_digest(tmp_path)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("/var")
    assert build_digest(tmp_path) != first


# Secrets and configs whose content is a variable


def variable_digest(env: dict[str, str], *paths: Path, kind: str = "secrets", value: str = "of") -> str:
    model = {
        "name": "shop",
        "services": {"web": {"image": "web", kind: [{"source": "token"}]}},
        kind: {"token": {"environment": "TOKEN"}},
    }

    def look(reference: Reference) -> str:
        return f"{value} {reference.name}"

    desired = make_services(
        model, extras={}, files=[], key=KEY, lookup=look, env=env, env_paths=[str(path) for path in paths]
    )
    return desired["web"].contents["variable TOKEN"]


@pytest.mark.parametrize("kind", ["secrets", "configs"])
def test_a_variable_as_a_secret_counts_with_its_value(kind: str) -> None:
    assert variable_digest({"TOKEN": "a"}, kind=kind) != variable_digest({"TOKEN": "b"}, kind=kind)
    old = variable_digest({"TOKEN": SECRET}, kind=kind, value="old")
    assert old == variable_digest({"TOKEN": "old token"}, kind=kind)
    assert old != variable_digest({"TOKEN": SECRET}, kind=kind, value="new")


def test_a_variable_that_is_not_given_counts_with_the_files_that_may_hold_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("TOKEN=a")
    first, given = variable_digest({}, path), variable_digest({"TOKEN": "x"}, path)
    path.write_text("TOKEN=b")
    assert variable_digest({}, path) != first
    assert variable_digest({"TOKEN": "x"}, path) == given


def test_a_variable_that_compose_inherits_counts_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    model = {
        "services": {"web": {"image": "web", "configs": [{"source": "proxy"}]}},
        "name": "shop",
        "configs": {"proxy": {"environment": "HTTP_PROXY"}},
    }

    def look() -> str:
        return make_services(model, extras={}, files=[], key=KEY, lookup=lookup, env={})["web"].identity

    monkeypatch.setenv("HTTP_PROXY", "http://a.test")
    first = look()
    monkeypatch.setenv("HTTP_PROXY", "http://b.test")
    assert look() != first


def test_compose_gets_the_variables_that_become_secrets_and_no_others() -> None:
    model = {
        "secrets": {"token": {"environment": "TOKEN"}, "a": {"file": "/a"}},
        "configs": {"b": {"environment": "B"}},
    }
    env = {"TOKEN": SECRET, "OTHER": SECRET}
    assert source_values(model, env, lookup) == {"TOKEN": "value of token"}
    assert source_values({}, env, lookup) == {}
    given = Project("shop", "/site", "/site/shop", env={**env, "B": "b"}, env_files=("a.env", "/etc/b.env"))
    lacking = Project("shop", "/site", "/site/shop", env=env, env_files=("a.env", "/etc/b.env"))
    assert source_files(model, given) == ()
    assert source_files(model, lacking) == ("/site/shop/a.env", "/etc/b.env")


def test_where_further_variables_come_from_and_which_files_follow_from_others() -> None:
    ours = Project("shop", "/site", "/site/projects/shop", env_files=("a.env",), edge=Edge("/edge/shop.yml", {}))
    theirs = Project("shop", "/site", "/srv/shop", src="/srv/shop", env_files=("/etc/a.env",))
    assert env_paths(ours) == ["/site/projects/shop/a.env"]
    assert env_paths(theirs) == ["/etc/a.env", "/srv/shop/.env"]
    assert generated_paths(ours) == [
        "/edge/shop.yml", "/site/projects/shop/compose.yaml", "/site/projects/shop/.env",
    ]  # fmt: skip
    assert generated_paths(theirs) == []


# Identity

WEB = {"image": "web:1", "environment": {"A": "1", "B": "2"}, "labels": {"x": "y"}}
UNMOVED = [
    {"build": {"context": "."}}, {"depends_on": {"db": {}}}, {"develop": {}}, {"profiles": ["a"]}, {"scale": 3},
    {"pull_policy": "always"}, {"command": None}, {"deploy": {"replicas": 2}},
    {"deploy": {"replicas": 2, "placement": {}}},
    {"labels": {"x": "y", "modelyard.identity": "old"}},
]  # fmt: skip
MOVED = [
    {"image": "web:2"}, {"command": ["a"]}, {"labels": {}}, {"deploy": {"resources": {"limits": {"cpus": "1"}}}},
    {"environment": {"A": "1"}}, {"init": True},
]  # fmt: skip


@pytest.mark.parametrize("more", UNMOVED, ids=str)
def test_what_makes_no_other_container(more: dict[str, Any]) -> None:
    assert canonical_definition({**WEB, **more}) == canonical_definition(WEB)


@pytest.mark.parametrize("more", MOVED, ids=str)
def test_what_makes_another_container(more: dict[str, Any]) -> None:
    assert canonical_definition({**WEB, **more}) != canonical_definition(WEB)


def identity(definition: dict[str, Any], contents: dict[str, str], key: bytes = KEY) -> str:
    return make_identity(definition, contents, key=key, lookup=lookup)


def test_an_identity_is_the_same_whatever_the_order() -> None:
    turned = {"labels": {"x": "y"}, "environment": {"B": "2", "A": "1"}, "image": "web:1"}
    assert identity(WEB, {"/a": "1", "/b": "2"}) == identity(turned, {"/b": "2", "/a": "1"})


def test_an_identity_is_written_on_hosts_and_may_not_move() -> None:
    assert identity({"image": "web:1", "labels": {}}, {"/a": "1"}) == "258c51fe99401b2479435c14895f2bfc"


def test_an_identity_covers_key_content_and_secrets() -> None:
    web = {"environment": {"A": SECRET}}
    other = make_identity(web, {}, key=KEY, lookup=lambda reference: f"another {reference.name}")
    assert len({identity(web, {}), identity(web, {"/a": "1"}), identity(web, {}, b"other"), other}) == 4


def test_the_identity_is_a_label_of_the_applied_model_and_not_part_of_itself() -> None:
    services = make_desired({"services": {"web": WEB}})
    made = label_identities({"services": {"web": copy.deepcopy(WEB)}}, services)
    assert made["services"]["web"]["labels"] == {"x": "y", "modelyard.identity": services["web"].identity}
    assert make_desired({"services": made["services"]})["web"].identity == services["web"].identity


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"b": 1}, {"a": 1}, ["a", "b"]),
        ({"environment": {"A": "1", "B": "2"}}, {"environment": {"A": "3"}}, ["environment.A", "environment.B"]),
        ({"environment": {"A": None}}, {}, ["environment.A"]),
        ({"labels": None}, {"labels": {}}, []),
        ({"labels": ["a=b"]}, {"labels": {"a": "b"}}, ["labels"]),
    ],
)
def test_changed_parts(old: dict[str, Any], new: dict[str, Any], parts: list[str]) -> None:
    assert changed_parts(old, new) == parts


VALUES = st.recursive(
    st.none() | st.text(max_size=4), lambda inner: st.dictionaries(st.text(max_size=3), inner), max_leaves=5
)
DEFINITIONS = st.dictionaries(st.sampled_from(["environment", "labels", "ports", "image"]), VALUES)


@given(old=DEFINITIONS, new=DEFINITIONS)
def test_changed_parts_names_no_value(old: dict[str, Any], new: dict[str, Any]) -> None:
    names = {"environment", "labels", "ports", "image"}
    assert {part.split(".")[0] for part in changed_parts(old, new)} <= names


# Image references


@pytest.mark.parametrize(
    ("image", "listed"),
    [
        ("postgres", "postgres:latest"),
        ("postgres:17", "postgres:17"),
        ("docker.io/library/postgres:17", "postgres:17"),
        ("index.docker.io/library/postgres", "postgres:latest"),
        ("docker.io/traefik/whoami", "traefik/whoami:latest"),
        ("registry.test:5000/web", "registry.test:5000/web:latest"),
        ("registry.test:5000/web:1", "registry.test:5000/web:1"),
        ("modelyard.kept/shop/web:r1", "modelyard.kept/shop/web:r1"),
    ],
)
def test_a_reference_as_the_engine_lists_it(image: str, listed: str) -> None:
    assert normalize_reference(image) == listed
    assert normalize_reference(listed) == listed


@pytest.mark.parametrize(
    ("image", "immutable"),
    [
        ("postgres:17", False),
        (f"postgres:17@sha256:{'a' * 64}", True),
        (f"sha256:{'0' * 64}", True),
        ("0" * 64, True),
        ("0" * 63, False),
        ("cafe:1", False),
    ],
)
def test_a_reference_that_names_one_image_for_ever(image: str, immutable: bool) -> None:
    assert is_immutable(image) == immutable
