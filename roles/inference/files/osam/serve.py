# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""osam's models behind HTTP: one model of the site's own files, loaded before anybody is answered.

osam's own server downloads a model when it is first asked for, compares its files with hashes that stand in its source,
and quietly uses the CPU where the GPU does not work. This one serves exactly what environment variable ``MODEL`` says,

    {"name": "sam:mine", "kind": "efficientsam", "files": {"encoder": "encoder.onnx", "decoder": "decoder.onnx"}}

from ``/models``, and with ``NEEDS_GPU`` it ends where a part of the model does not run on a GPU. What it is asked and
answers is as osam has it.
"""

from __future__ import annotations

import json
import os
import sys
import threading

import fastapi
import onnxruntime
from osam import apis, types

#: What a model is like; osam has a class for each of its own, of which only names and addresses differ.
KINDS = {
    "efficientsam": "efficientsam:10m",
    "sam": "sam:100m",
    "sam2": "sam2:tiny",
    "sam3": "sam3:latest",
    "yoloworld": "yoloworld:latest",
}
GPU = "CUDAExecutionProvider"


class File(types.Blob):
    """A file that is there, whatever it is called."""

    @property
    def path(self) -> str:
        return f"/models/{self.url}"


def served(name: str, kind: str, files: dict[str, str]) -> type[types.Model]:
    """Return the class of a model that reads these files and downloads none."""
    like = apis.get_model_type_by_name(KINDS[kind])
    return type(
        "Served",
        (like,),
        {
            "name": name if ":" in name else f"{name}:latest",
            "_blobs": {part: File(url=path, hash="") for part, path in files.items()},
            "pull": classmethod(lambda *_arguments, **_more: None),
        },
    )


def load() -> types.Model:
    """Load the model; end with a line that says why where it cannot be served as it should."""
    needs_gpu = os.environ.get("NEEDS_GPU") == "1"
    if needs_gpu:
        # Its libraries came as packages, where the loader does not look.
        onnxruntime.preload_dlls()
    apis.registered_model_types[:] = [served(**json.loads(os.environ["MODEL"]))]
    model = apis.registered_model_types[0]()
    used = {part: session.get_providers()[0] for part, session in model._inference_sessions.items()}
    if needs_gpu and (elsewhere := sorted(part for part, provider in used.items() if provider != GPU)):
        sys.exit(
            f"Cannot serve {model.name} on a GPU: {', '.join(elsewhere)} would run by {used[elsewhere[0]]}, this "
            f"program knows {', '.join(onnxruntime.get_available_providers())}; look at driver and toolkit (gpu_info), "
            "or allow cpu_fallback."
        )
    return model


MODEL = apis.running_model = load()
#: One picture at a time, as osam keeps its models.
BUSY = threading.Lock()
app = fastapi.FastAPI(title="osam")


@app.get("/")
def index() -> fastapi.Response:
    """Answer as osam does."""
    return fastapi.Response("osam is running")


@app.get("/health")
def health() -> dict[str, object]:
    """Say what is loaded and what runs it; also while a picture is worked on."""
    sessions = MODEL._inference_sessions.items()
    return {"model": MODEL.name, "providers": {part: session.get_providers()[0] for part, session in sessions}}


@app.post("/api/generate")
def generate(request: types.GenerateRequest) -> types.GenerateResponse:
    """Find what a request asks for in its picture."""
    with BUSY:
        try:
            return apis.generate(request=request)
        except ValueError as error:
            raise fastapi.HTTPException(400, str(error)) from None
