# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Compose plugin, run directly: the ``docker`` CLI before it would only be one more process."""

from __future__ import annotations

import json
import os
import re
import subprocess  # nosec: argument lists only, never a shell
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from .._errors import PlatformError
from .._run import Completed, Run, clean_environment, memory_files, run_program
from .dotenv import render_dotenv
from .inputs import service_env_files
from .project import Project
from .yaml_text import render_layer, render_model

#: ``!reset`` and ``!override`` work from here on (docker/compose#11380).
FLOOR = (2, 24, 4)

# Where the docker CLI looks, in its order. Source: docker/cli cli-plugins/manager.
_PLUGIN_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)

_COMMAND_SECONDS = 120.0
#: A service that no project has.
_NOBODY = "modelyard_nobody"


@dataclass(frozen=True)
class Resolved:
    """What Compose makes of a project's layers: its canonical model, and what it warned of."""

    model: dict[str, Any]
    warnings: tuple[str, ...]


def find_plugin(environment: Mapping[str, str]) -> str:
    """Return the path of the Compose plugin that the docker CLI would use.

    :raises PlatformError: there is none.
    """
    config = environment.get("DOCKER_CONFIG") or os.path.join(environment.get("HOME", "/root"), ".docker")
    for folder in (os.path.join(config, "cli-plugins"), *_PLUGIN_FOLDERS):
        path = os.path.join(folder, "docker-compose")
        if os.access(path, os.X_OK):
            return path
    raise PlatformError(
        "Cannot find Docker Compose: there is no plugin 'docker-compose' in "
        f"{', '.join(_PLUGIN_FOLDERS)}; install docker-compose-plugin (or docker-compose 2.24.4 or newer)."
    )


def plugin_stamp(path: str) -> str:
    """Return what tells one installed Compose from another without starting it."""
    found = os.stat(path)
    return f"{path}:{found.st_size}:{found.st_mtime_ns}"


@dataclass
class RunningUp:
    """An ``up`` that runs beside the gate."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def is_running(self) -> bool:
        return self.process.poll() is None

    def failure(self) -> str | None:
        """Return what it said when it has failed; None while it runs and when it went well."""
        if not self.process.returncode:
            return None
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return (
            "; ".join(line for line in lines if "level=warning" not in line) or f"exit code {self.process.returncode}"
        )

    def end(self) -> None:
        """Stop it when it still runs, and wait for it."""
        if self.is_running():
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.errors.close()


class ComposeCli:
    """Compose for one project."""

    def __init__(self, plugin: str, project: str, folder: str, *, run: Run = run_program) -> None:
        self.plugin = plugin
        self._project = project
        self._folder = folder
        self._run = run

    def version(self) -> str:
        """Return Compose's version.

        :raises PlatformError: it is below the floor, or none that we can read.
        """
        try:
            done = self._run([self.plugin, "version", "--short"], timeout_seconds=_COMMAND_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise PlatformError(
                f"Cannot use Compose at {self.plugin}: it does not tell its version within {error.timeout:g} s; look "
                "what keeps it (docker-compose version), or reinstall it."
            ) from None
        text = done.stdout.strip().removeprefix("v")
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
        if done.returncode or not found:
            raise PlatformError(
                f"Cannot use Compose at {self.plugin}: it does not tell its version ({_last_line(done)}); reinstall it."
            )
        if tuple(int(part) for part in found.groups()) < FLOOR:
            floor = ".".join(map(str, FLOOR))
            raise PlatformError(
                f"Cannot use Compose {text} at {self.plugin}: the oldest that works is {floor}; upgrade it."
            )
        return text

    def resolve(self, project: Project) -> Resolved:
        """Return the canonical model: layers merged, variables in, paths absolute. Writes nothing.

        Layers go in through memory, and so do files of the project that a service names as ``env_file``: it is the
        same in check mode and on a bare host, and their secrets stay references.

        :raises PlatformError: Compose refuses; its message, with our names for the layers.
        """
        env_files = {path: text for path, text in _own_files(project).items() if path in _named_env_files(project)}
        with memory_files(list(env_files.values())) as descriptors:
            places = {path: f"/proc/self/fd/{fd}" for path, fd in zip(env_files, descriptors, strict=True)}
            layers = [place_env_files(layer, project.folder, places) for layer in project.layers]
            texts = [render_layer(layer) for layer in layers]
            if project.src is None:
                return self._config(project, texts, (), descriptors)
            source = self._config(project, [], project.src_files, [])
            if not texts:
                return source
            merged = self._config(project, [render_model(source.model), *texts], (), descriptors)
        return Resolved(merged.model, source.warnings + merged.warnings)

    def normalize(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model that another version of Compose made as this one writes it."""
        done = self._call(["-f", "-", "config", "--format", "json"], stdin=render_model(model))
        self._refuse_failure(done, "read the last release")
        return _parse_model(done.stdout)

    def profiles(self, project: Project) -> set[str]:
        """Return the names of all profiles that the project knows."""
        with memory_files([render_layer(layer) for layer in project.layers]) as files:
            argv = [*self._inputs(project, files, project.src_files), "config", "--profiles"]
            done = self._call(argv, env=project.env, pass_fds=files)
        self._refuse_failure(done, f"read project {self._project!r}")
        return set(done.stdout.split())

    def start_up(
        self,
        model: Mapping[str, Any],
        services: Sequence[str],
        *,
        options: Sequence[str],
        inherit: Sequence[int],
        env: Mapping[str, str],
        env_files: Sequence[str] = (),
    ) -> RunningUp:
        """Start ``up`` for exactly these services; the caller watches it.

        The model goes in by standard input: it may hold values that must not land in a file or an argument.
        ``inherit`` are descriptors (the lock) that the process keeps when we are killed. ``env`` and ``env_files``
        are what secrets and configs with a variable as their source get it from.
        """
        named = [part for path in env_files for part in ("--env-file", path)]
        argv = self._argv([*named, "-f", "-", "up", "--detach", "--no-build", "--no-deps", "--pull", "never", *options])
        errors = os.fdopen(os.memfd_create("errors"), "w+b")
        with memory_files([render_model(model)]) as descriptors, open(f"/proc/self/fd/{descriptors[0]}", "rb") as stdin:
            # AnsibleModule.run_command waits for its program; this one is watched while it runs.
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                [*argv, *services],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=_environment(env),
                pass_fds=tuple(inherit),
                start_new_session=True,
            )
        return RunningUp(process, errors)

    def build(self, model: Mapping[str, Any], services: Sequence[str], *, inherit: Sequence[int]) -> None:
        """Build the images of these services.

        :raises PlatformError: a build failed; the last lines of its output.
        """
        argv = ["-f", "-", "build", "--quiet", *services]
        done = self._call(argv, stdin=render_model(model), pass_fds=inherit, timeout_seconds=None)
        self._refuse_failure(done, f"build the images of {', '.join(services)}")

    def make_network(self, model: Mapping[str, Any], key: str, *, inherit: Sequence[int]) -> None:
        """Make a network of the model as ``up`` does, where it is missing; no container of the project is touched.

        :raises PlatformError: Compose, or the engine, refuses.
        """
        # Compose makes networks for services alone; of this one there is none.
        nobody = {"image": "scratch", "networks": {key: None}}
        alone = {"name": model["name"], "services": {_NOBODY: nobody}, "networks": {key: model["networks"][key]}}
        argv = ["-f", "-", "up", "--no-start", "--no-build", "--pull", "never", "--scale", f"{_NOBODY}=0", _NOBODY]
        done = self._call(argv, stdin=render_model(alone), pass_fds=inherit)
        self._refuse_failure(done, f"make network {model['networks'][key]['name']!r}")

    def _config(self, project: Project, texts: Sequence[str], files: Sequence[str], inherit: Sequence[int]) -> Resolved:
        with memory_files(texts) as descriptors:
            argv = [*self._inputs(project, descriptors, files), "config", "--format", "json"]
            done = self._call(argv, env=project.env, pass_fds=[*descriptors, *inherit])
        first = 1 if project.src is None else 0
        names = {str(descriptor): f"layer {number}" for number, descriptor in enumerate(descriptors, first)}
        stderr = re.sub(r"/proc/self/fd/(\d+)", lambda found: names.get(found[1], found[0]), done.stderr)
        done = Completed(done.returncode, done.stdout, stderr)
        self._refuse_failure(done, f"read project {self._project!r}")
        return Resolved(_parse_model(done.stdout), tuple(_warnings(done.stderr)))

    def _inputs(self, project: Project, descriptors: Sequence[int], files: Sequence[str]) -> list[str]:
        argv = [part for descriptor in descriptors for part in ("-f", f"/proc/self/fd/{descriptor}")]
        argv += [part for name in files for part in ("-f", os.path.join(self._folder, name))]
        if project.env_files or project.src is None:
            # Without a file of its own Compose reads .env in the folder; ours holds resolved secrets.
            env_files = [os.path.join(self._folder, name) for name in project.env_files] or ["/dev/null"]
            argv += [part for name in env_files for part in ("--env-file", name)]
        return argv + [part for profile in project.profiles for part in ("--profile", profile)]

    def _argv(self, arguments: Sequence[str]) -> list[str]:
        return [
            self.plugin, "--ansi", "never", "--progress", "quiet",
            "--project-name", self._project, "--project-directory", self._folder, *arguments,
        ]  # fmt: skip

    def _call(
        self,
        arguments: Sequence[str],
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        timeout_seconds: float | None = _COMMAND_SECONDS,
    ) -> Completed:
        cwd = self._folder if os.path.isdir(self._folder) else "/"
        try:
            return self._run(
                self._argv(arguments),
                stdin=stdin,
                env=_environment(env or {}),
                cwd=cwd,
                pass_fds=pass_fds,
                timeout_seconds=timeout_seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise PlatformError(
                f"Cannot read project {self._project!r}: Compose gave no answer within {error.timeout:g} s; look what "
                "keeps it (an env file or an include that is a pipe or on a network disk), and run again."
            ) from None

    def _refuse_failure(self, done: Completed, doing: str) -> None:
        if done.returncode:
            message = "; ".join(line for line in done.stderr.strip().splitlines()[-5:] if "level=warning" not in line)
            raise PlatformError(f"Cannot {doing}: Compose says: {message or 'nothing'}; correct the definition.")


def _own_files(project: Project) -> dict[str, str]:
    """Return path to text of what we write into a project's folder and a service may name as ``env_file``."""
    files = {file.path: file.content for file in project.files}
    if project.src is None and project.env:
        files[f"{project.folder}/.env"] = render_dotenv(project.env)
    return files


def _named_env_files(project: Project) -> set[str]:
    return {os.path.normpath(os.path.join(project.folder, name)) for name in service_env_files(project.layers)}


def place_env_files(layer: Mapping[str, Any], folder: str, places: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the layer with the env files in ``places`` (absolute path to where Compose finds it now) replaced."""

    def place(entry: Any) -> Any:
        if isinstance(entry, Mapping):
            return {**entry, "path": place(entry.get("path", ""))}
        return places.get(os.path.normpath(os.path.join(folder, str(entry))), entry)

    services = layer.get("services")
    if not places or not isinstance(services, Mapping):
        return layer
    placed = {}
    for name, service in services.items():
        placed[name] = service
        if isinstance(service, Mapping) and service.get("env_file"):
            entries = service["env_file"]
            listed = entries if isinstance(entries, list) else [entries]
            placed[name] = {**service, "env_file": [place(entry) for entry in listed]}
    return {**layer, "services": placed}


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    return clean_environment({"COMPOSE_IGNORE_ORPHANS": "1", **extra})


def _parse_model(text: str) -> dict[str, Any]:
    try:
        model = json.loads(text)
    except ValueError:
        model = None
    if not isinstance(model, dict):
        raise PlatformError(
            "Cannot read what Compose wrote: it is no JSON mapping; report this with Compose's version."
        )
    return model


def _warnings(stderr: str) -> list[str]:
    """Return the messages of Compose's warnings, from lines like ``time="..." level=warning msg="..."``."""
    return [found[1].replace('\\"', '"') for found in re.finditer(r'level=warning msg="((?:[^"\\]|\\.)*)"', stderr)]


def _last_line(done: Completed) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
