# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a registered model runs in, from its own files."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.environment import (
    Environment,
    parse_environment,
)

# As MLflow 3.17 writes them.
PYTHON_ENV = (
    "python: 3.11.9\nbuild_dependencies:\n- pip==25.3\n- setuptools\n- wheel\ndependencies:\n- -r requirements.txt\n"
)
MODEL = "artifact_path: model\nflavors:\n  python_function:\n    python_version: 3.11.9\nmlflow_version: 3.17.2\n"


def environment(
    requirements: str, *, python_env: str = PYTHON_ENV, python: str = "", model: str = MODEL
) -> Environment:
    return parse_environment(
        python_env=python_env,
        requirements=requirements,
        model=model,
        server_version=lambda: "3.18.0",
        python=python,
        subject="version 4 of model 'roofs'",
    )


def test_packages_are_those_of_the_model_in_one_order_whatever_the_file_says_beside_them() -> None:
    found = environment(
        "scikit-learn==1.9.0\n\n# made by hand\nmlflow==3.17.2\nNumpy==2.4.6  # pinned\nnumpy-extra>=1,<2\n"
    )
    assert found == Environment("3.11", ("mlflow==3.17.2", "numpy-extra>=1,<2", "Numpy==2.4.6", "scikit-learn==1.9.0"))


@pytest.mark.parametrize("line", ["mlflow", "mlflow==3.17.2", "MLflow[extras]>=3", "mlflow ; python_version > '3.10'"])
def test_mlflow_is_not_asked_for_twice(line: str) -> None:
    assert len(environment(line).requirements) == 1


@pytest.mark.parametrize("line", ["mlflow-skinny==3.17.2", "mlflow.extra"])
def test_mlflow_itself_is_added_in_the_version_that_logged_the_model(line: str) -> None:
    assert "mlflow==3.17.2" in environment(line).requirements


def test_a_model_that_does_not_say_what_logged_it_is_served_by_the_version_of_its_registry() -> None:
    assert environment("numpy==2", model="artifact_path: model\n").requirements == ("mlflow==3.18.0", "numpy==2")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("-e .", "-e ."),
        ("--index-url https://index.example.org", "--index-url https://index.example.org"),
        ("-c constraints.txt", "-c constraints.txt"),
        ("./code/own.whl", "./code/own.whl"),
        ("own @ git+https://example.org/own", "own @ git+https://example.org/own"),
        ("git+https://example.org/own", "git+https://example.org/own"),
    ],
)
def test_what_is_no_package_of_an_index_is_refused(line: str, shown: str) -> None:
    with pytest.raises(PlatformError) as refused:
        environment(f"numpy\n{line}\n")
    assert str(refused.value) == (
        f"Cannot serve version 4 of model 'roofs': its requirements.txt has {shown!r}, which is no package of an "
        "index; log it with 'pip_requirements' that name packages and versions."
    )


@pytest.mark.parametrize(
    ("said", "shown"), [("python: 3.12.4\n", "3.12"), ("python: '2.7'\n", "2.7"), ("", "of no version")]
)
def test_a_python_that_nobody_packages_is_refused_by_its_number(said: str, shown: str) -> None:
    with pytest.raises(PlatformError) as refused:
        environment("numpy", python_env=said)
    assert str(refused.value) == (
        f"Cannot serve version 4 of model 'roofs': it asks for Python {shown}, packaged are 3.11 and 3.13; log it from "
        "one of these, or name the one that it gets along with as 'python'."
    )


def test_a_named_python_counts_instead() -> None:
    assert environment("numpy", python_env="python: 3.12.4\n", python="3.13").python == "3.13"


def test_equal_environments_give_one_recipe_and_others_another() -> None:
    first, same = environment("numpy==2\nmlflow==3\n"), environment("mlflow==3\nnumpy==2\n")
    assert first.as_recipe() == same.as_recipe()
    assert first.as_recipe()["suite"] == "bookworm"
    assert first.as_recipe()["files"]["requirements.txt"] == "mlflow==3\nnumpy==2\n"
    assert environment("numpy==3\nmlflow==3\n").as_recipe() != first.as_recipe()
