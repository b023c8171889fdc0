# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models of a registry come to a host, and come anew when an alias is moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.connection import Connection
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.model import RegisteredModel, parse_model_uri
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.registry import Registry
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.task import Task
from support.fake_mlflow import FakeMlflow

FILES = {
    "MLmodel": b"mlflow_version: 3.17.2\n",
    "python_env.yaml": b"python: 3.13.5\n",
    "requirements.txt": b"mlflow==3.17.2\nnumpy==2.4.6\n",
    "model.pkl": bytes(range(256)) * 9,
    "code/own part/own.py": b"x = 1\n",
}


@pytest.fixture
def mlflow() -> Iterator[FakeMlflow]:
    fake = FakeMlflow()
    fake.register("roofs", "1", FILES, alias="champion")
    fake.start()
    yield fake
    fake.stop()


def task(mlflow: FakeMlflow, folder: Path, *uris: str, **connection: Any) -> Task:
    values = {"username": mlflow.username, "password": mlflow.password, "address": "127.0.0.1", **connection}
    asked = Connection(f"http://mlflow.lab.test:{mlflow.port}", timeout_seconds=5, **values)
    models = [RegisteredModel(f"s{number}", parse_model_uri(uri, "s")) for number, uri in enumerate(uris)]
    return Task(Site(str(folder)), models, Registry(asked), wait_seconds=1)


def run(mlflow: FakeMlflow, folder: Path, *uris: str, check_mode: bool = False, **connection: Any) -> dict[str, Any]:
    return task(mlflow, folder, *(uris or ("models:/roofs@champion",)), **connection).carry_out(check_mode=check_mode)


def contents(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_version_comes_whole_and_says_what_it_runs_in(mlflow: FakeMlflow, tmp_path: Path) -> None:
    done = run(mlflow, tmp_path)
    assert done["changed"]
    model = done["models"]["s0"]
    assert (model["name"], model["version"]) == ("roofs", "1")
    assert contents(model["path"]) == FILES
    assert model["image"]["suite"] == "trixie"
    assert model["image"]["files"]["requirements.txt"] == "mlflow==3.17.2\nnumpy==2.4.6\n"
    modes = {path.stat().st_mode & 0o777 for path in Path(model["path"]).rglob("*")}
    assert modes == {0o755, 0o644}, "the user of a container reads them"
    assert set(mlflow.hosts) == {f"mlflow.lab.test:{mlflow.port}"}, "the name is asked for, wherever it is connected to"


def test_where_nothing_says_which_mlflow_serves_a_model_it_is_that_of_the_registry(
    mlflow: FakeMlflow, tmp_path: Path
) -> None:
    mlflow.register("old", "1", {**FILES, "MLmodel": b"flavors: {}\n", "requirements.txt": b"numpy==2.4.6\n"})
    mlflow.version = b"3.18.0\n"
    image = run(mlflow, tmp_path, "models:/old/1")["models"]["s0"]["image"]
    assert image["files"]["requirements.txt"] == "mlflow==3.18.0\nnumpy==2.4.6\n"
    mlflow.version = b"<html>--index-url</html>"
    with pytest.raises(PlatformError) as refused:
        run(mlflow, tmp_path, "models:/old/1")
    assert str(refused.value) == (
        "Cannot ask MLflow for its version: it answers '<html>--index-url</html>'; correct the url."
    )


def test_a_second_run_asks_one_question_and_changes_nothing(mlflow: FakeMlflow, tmp_path: Path) -> None:
    first = run(mlflow, tmp_path)
    mlflow.asked.clear()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = run(mlflow, tmp_path)
    assert (second["changed"], second["plan"]) == (False, [])
    assert second["models"] == first["models"]
    assert len(mlflow.asked) == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_check_mode_tells_of_a_moved_alias_and_keeps_nothing(mlflow: FakeMlflow, tmp_path: Path) -> None:
    served = run(mlflow, tmp_path)["models"]["s0"]
    mlflow.register("roofs", "2", {**FILES, "model.pkl": b"another"}, alias="champion")
    before = sorted(tmp_path.rglob("*"))
    checked = run(mlflow, tmp_path, check_mode=True)
    assert [step["reason"] for step in checked["plan"]] == [
        "models:/roofs@champion is version 2, and version 1 is served"
    ]
    assert checked["diff"] == {"before": "s0: version 1 of roofs\n", "after": "s0: version 2 of roofs\n"}
    assert sorted(tmp_path.rglob("*")) == before
    done = run(mlflow, tmp_path)
    assert {**done, "plan": checked["plan"]} == checked, "the run does what check mode said"
    assert contents(done["models"]["s0"]["path"])["model.pkl"] == b"another"
    assert contents(served["path"]) == FILES, "a release may go back to it"
    assert not run(mlflow, tmp_path)["changed"]


def test_check_mode_on_a_bare_host_says_all_of_it(mlflow: FakeMlflow, tmp_path: Path) -> None:
    checked = run(mlflow, tmp_path, check_mode=True)
    assert list(tmp_path.iterdir()) == []
    assert checked["models"] == run(mlflow, tmp_path)["models"]


def test_two_services_share_a_version(mlflow: FakeMlflow, tmp_path: Path) -> None:
    done = run(mlflow, tmp_path, "models:/roofs@champion", "models:/roofs/1")
    assert done["models"]["s0"] == done["models"]["s1"]
    assert sum("model.pkl" in path for path in mlflow.asked) == 1


def test_a_version_that_broke_off_comes_anew(mlflow: FakeMlflow, tmp_path: Path) -> None:
    path = run(mlflow, tmp_path)["models"]["s0"]["path"]
    Path(path).rename(Path(path).with_name(f".{Path(path).name}.modelyard-tmp"))
    done = run(mlflow, tmp_path)
    assert [step["reason"] for step in done["plan"]] == ["the files of version 1 are gone"]
    assert contents(path) == FILES


def refusal(mlflow: FakeMlflow, folder: Path, *uris: str, **connection: Any) -> str:
    with pytest.raises(PlatformError) as refused:
        run(mlflow, folder, *uris, **connection)
    assert not (folder / "models/mlflow/served.json").exists()
    return str(refused.value).replace(f":{mlflow.port}", "")


def test_an_alias_that_nobody_has_set_is_refused_with_what_mlflow_says(mlflow: FakeMlflow, tmp_path: Path) -> None:
    assert refusal(mlflow, tmp_path, "models:/roofs@challenger") == (
        "Cannot look up models:/roofs@challenger: There is nothing for ['challenger', 'roofs']; register the model, or "
        "set the alias."
    )


def test_a_wrong_password_is_refused_and_not_shown(mlflow: FakeMlflow, tmp_path: Path) -> None:
    said = refusal(mlflow, tmp_path, password="of-nobody")
    assert said == (
        "Cannot ask http://mlflow.lab.test: it answers 401 to user 'inference'; give that user READ, or apply role "
        "'mlflow' anew where its password was rotated."
    )


def test_a_registry_that_does_not_answer_is_named(mlflow: FakeMlflow, tmp_path: Path) -> None:
    assert refusal(mlflow, tmp_path, address="127.0.0.254") == (
        "Cannot ask http://mlflow.lab.test: Connection refused; see whether MLflow runs, and whether this host "
        "reaches it."
    )


def test_files_that_are_not_behind_mlflow_are_refused(mlflow: FakeMlflow, tmp_path: Path) -> None:
    mlflow.artifacts = "s3://bucket/1/models"
    assert refusal(mlflow, tmp_path) == (
        "Cannot fetch version 1 of model 'roofs': its files are at 's3:', not behind MLflow itself; log it anew to an "
        "experiment of this server."
    )


def test_a_name_that_leads_out_of_the_folder_is_refused(mlflow: FakeMlflow, tmp_path: Path) -> None:
    honest = mlflow._listing
    mlflow._listing = lambda folder: {  # type: ignore[method-assign]
        "files": [*honest(folder)["files"], {"path": "..", "is_dir": True}]
    }
    assert "MLflow names '..' among its files" in refusal(mlflow, tmp_path)


def test_a_file_that_is_shorter_than_it_should_be_is_refused(mlflow: FakeMlflow, tmp_path: Path) -> None:
    honest = mlflow._listing
    mlflow._listing = lambda folder: {  # type: ignore[method-assign]
        "files": [
            {**entry, "file_size": 9999} if entry["path"] == "model.pkl" else entry for entry in honest(folder)["files"]
        ]
    }
    assert refusal(mlflow, tmp_path) == (
        "Cannot keep version 1 of model 'roofs': model.pkl has 2304 bytes and MLflow names 9999; run again."
    )
