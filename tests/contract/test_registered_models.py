# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role inference applies for a model of MLflow's registry, once it is known which version that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.rendered import RenderedProject, render

SERVICE = {"name": "roofs", "engine": "mlflow_model", "model": {"uri": "models:/roofs@champion"}}
IMAGE = {"suite": "bookworm", "files": {"Dockerfile": "ARG BASE\n", "requirements.txt": "mlflow==3.17.2\n"}}
FOUND = {"models": {"roofs": {"name": "roofs", "version": "4", "path": "/opt/lab/models/mlflow/4-ab", "image": IMAGE}}}


def applied(folder: Path, **more: Any) -> RenderedProject:
    values = {
        "site_domain": "lab.test", "site_images": "packages", "inference_services": [SERVICE], "__site_url_port": "",
        **more,
    }  # fmt: skip
    return render(["inference"], values, folder)["inference"]


def test_a_version_is_mounted_and_runs_in_its_image(tmp_path: Path) -> None:
    built = {"results": [{"__inference_recipe": "mlflow-model-roofs", "image": "modelyard/mlflow-model:1"}]}
    project = applied(tmp_path, __inference_registered=FOUND, __inference_built=built)
    service = project.services["roofs"]
    assert service["image"] == "modelyard/mlflow-model:1"
    assert service["volumes"] == ["/opt/lab/models/mlflow/4-ab:/models:ro"]
    assert service["entrypoint"][:4] == ["mlflow", "models", "serve", "--model-uri=/models"]
    assert service["networks"] == {"roofs": {}}
    assert project.options["layers"][0]["networks"] == {"roofs": {"internal": True}}


def test_a_check_run_before_there_is_a_registry_names_what_is_not_known(tmp_path: Path) -> None:
    service = applied(tmp_path, __inference_registered={"models": {}}).services["roofs"]
    assert service["image"] == "modelyard/mlflow-model-roofs:unbuilt"
