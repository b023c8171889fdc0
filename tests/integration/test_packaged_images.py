# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packaged images of the roles: each is built from the role's own data, and keeps what its contract says.

They stay on the machine, as their tags are the digests of what they are built from: only the first run pays for them.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.models.containers import Container
from support.declared import (
    BuiltImage,
    address,
    assert_confined,
    build,
    processes,
    resident_bytes,
    run_inside,
    said_by,
    wait_exited,
    wait_healthy,
)
from support.recipes import packaged
from support.site import Site

PASSWORD = "not-a-secret-but-long-enough"
MEGABYTE = 10**6

#: Whose image it is (role, prefix of the variables), and how many megabytes it may have.
IMAGES = {
    "traefik": ("traefik", "traefik", 195),
    "socket-proxy": ("traefik", "traefik_proxy", 95),
    "postgres": ("postgres", "postgres", 450),
    "object-store": ("object_store", "object_store", 180),
    "mlflow": ("mlflow", "mlflow", 430),
    "gate": ("gateway", "gateway_gate", 100),
    "gateway": ("gateway", "gateway", 150),
}
each_image = pytest.mark.parametrize("name", IMAGES)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def images(engine: docker.DockerClient, workshop: Path) -> dict[str, BuiltImage]:
    """Return all images by name."""
    return {name: build(packaged(role, prefix), workshop) for name, (role, prefix, _rest) in IMAGES.items()}


@pytest.fixture(autouse=True)
def _left_behind(site: Site) -> Iterator[None]:
    """The images stay, the containers and volumes of a test do not."""
    yield
    site.remove()
    assert [found.name for found in site.engine.containers.list(all=True, filters={"name": site.prefix})] == []
    assert [found.name for found in site.engine.volumes.list() if found.name.startswith(site.prefix)] == []


@pytest.fixture
def network(site: Site) -> str:
    """Return a network of the site's own."""
    site.engine.networks.create(site.name("net"))
    return site.name("net")


def ask(
    host: str, port: int, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Return status and body of a request whose path is sent as it is."""
    connection = http.client.HTTPConnection(host, port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()


@each_image
def test_image_says_what_the_contract_says(
    name: str, images: dict[str, BuiltImage], engine: docker.DockerClient
) -> None:
    contract = images[name].packaged.contract
    image = engine.images.get(images[name].reference)
    config = image.attrs["Config"]
    assert config["User"] == contract["user"]
    assert sorted(config["ExposedPorts"]) == sorted(f"{port}/tcp" for port in contract["ports"])
    assert list(config["Volumes"] or {}) == ([contract["data"]] if contract["data"] else [])
    assert config.get("StopSignal", "SIGTERM") == contract.get("stop_signal", "SIGTERM")
    declared = dict(entry.split("=", 1) for entry in config["Env"])
    asked = {key: value for key, value in contract.get("environment", {}).items() if key in declared}
    assert asked.items() <= declared.items(), "image and contract set a variable to different values"
    assert image.attrs["Size"] <= IMAGES[name][2] * MEGABYTE


@each_image
def test_second_build_does_nothing(name: str, images: dict[str, BuiltImage], workshop: Path) -> None:
    started = time.monotonic()
    assert build(images[name].packaged, workshop) == images[name]
    assert time.monotonic() - started < 3


BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def bundle_of(site: Site, reference: str) -> bytes:
    """Return the certificates in an image, which is not started for that."""
    container = site.engine.containers.create(reference, ["none"], name=site.name("look"))
    archive = b"".join(container.get_archive(BUNDLE)[0])
    container.remove(v=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        content = files.extractfile(Path(BUNDLE).name)
        assert content is not None
        return content.read()


@each_image
def test_certificates_in_the_image_are_debians_and_not_the_hosts(
    name: str, images: dict[str, BuiltImage], site: Site
) -> None:
    labels = site.engine.images.get(images[name].reference).labels
    assert bundle_of(site, images[name].reference) == bundle_of(site, labels["modelyard.image.base"])


@each_image
def test_no_private_key_is_in_the_image(name: str, images: dict[str, BuiltImage], site: Site) -> None:
    if name == "traefik":  # from scratch: there is nothing but the program and the certificates
        assert len(site.engine.images.get(images[name].reference).attrs["RootFS"]["Layers"]) == 2
        return
    # Not below /usr and /opt: programs name the line, and a library has keys to try itself with.
    command = ["-c", "grep -rl 'PRIVATE KEY-----' /etc /home /root /run /srv /var; true"]
    found = site.engine.containers.run(
        images[name].reference, command, entrypoint="bash", user="0", name=site.name("look"), remove=True
    )
    assert found.decode().split() == []


# Traefik, and the proxy before the engine's socket


def start_proxy(images: dict[str, BuiltImage], site: Site, network: str, **options: Any) -> Container:
    image = images["socket-proxy"]
    socket = image.packaged.contract["socket"]
    proxy = image.run(
        site, "proxy", network=network, files={socket: Path(socket)}, group_add=[os.stat(socket).st_gid], **options
    )
    wait_healthy(proxy)
    return proxy


def test_socket_proxy_tells_what_traefik_asks_for_and_refuses_everything_else(
    images: dict[str, BuiltImage], site: Site, network: str
) -> None:
    proxy = start_proxy(images, site, network)
    assert_confined_but_for_the_socket(proxy, images["socket-proxy"])
    host = address(proxy)
    status, body = ask(host, 2375, "/v1.41/containers/json")
    assert status == 200
    assert proxy.id in [entry["Id"] for entry in json.loads(body)]
    told = ["/_ping", "/version", "/networks", "/v1.41/networks?filters=%7B%7D", f"/containers/{proxy.id}/json",
            f"/v1.41/containers/{proxy.name}/json", "/events?since=1&until=1"]  # fmt: skip
    assert {path: ask(host, 2375, path)[0] for path in told} == dict.fromkeys(told, 200)
    assert ask(host, 2375, "/_ping", method="HEAD")[0] == 200

    read = ["/images/json", "/info", "/", f"/containers/{proxy.id}/logs?stdout=1", f"/containers/{proxy.id}/export",
            f"/containers/{proxy.id}/archive?path=/etc/passwd", f"/containers/{proxy.id}/attach/ws", "/secrets",
            "/containers/../images/json", "/containers/json/../../info", "/v1.41/../info", "//images/json",
            "/images/json?x=/containers/json", f"/containers/{proxy.id}%2Flogs/json", "/system/df", "/volumes",
            "/networks/bridge", "/containers/json/", "/containers//json", "/x/_ping"]  # fmt: skip
    assert {path: ask(host, 2375, path)[0] for path in read} == dict.fromkeys(read, 403)
    written = [("POST", f"/containers/{proxy.id}/exec"), ("POST", "/containers/create"), ("POST", "/v1.41/build"),
               ("POST", f"/containers/{proxy.id}/stop"), ("DELETE", f"/containers/{proxy.id}"), ("PUT", "/version"),
               ("POST", "/containers/json"), ("OPTIONS", "/_ping")]  # fmt: skip
    assert {call: ask(host, 2375, call[1], method=call[0])[0] for call in written} == dict.fromkeys(written, 403)
    message = json.loads(ask(host, 2375, "/info")[1])["message"]
    assert message == (
        "The socket proxy refuses this request: only the version, events, networks and containers can be read."
    )
    proxy.reload()
    assert proxy.status == "running"


def assert_confined_but_for_the_socket(container: Container, image: BuiltImage) -> None:
    """The socket's group is all that it has besides."""
    assert_confined(container, image.packaged)
    own = {str(image.packaged.gid), str(os.stat(image.packaged.contract["socket"]).st_gid)}
    assert all(set(process["Groups"].split()) <= own for process in processes(container))


def test_events_come_through_the_socket_proxy_when_they_happen(
    images: dict[str, BuiltImage], site: Site, network: str
) -> None:
    proxy = start_proxy(images, site, network)
    connection = http.client.HTTPConnection(address(proxy), 2375, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/events?filters=%7B%22type%22%3A%5B%22network%22%5D%7D")
        response = connection.getresponse()
        made = site.engine.networks.create(site.name("seen")).id
        seen = ""
        while seen != made:
            seen = json.loads(response.readline())["Actor"]["ID"]


TRAEFIK = {
    "entryPoints": {"web": {"address": ":80"}, "traefik": {"address": ":8080"}},
    "ping": {},
    "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
}


def test_traefik_answers_its_ping_and_routes_by_a_file_and_by_labels(
    images: dict[str, BuiltImage], site: Site, network: str
) -> None:
    labels = {
        "traefik.enable": "true",
        "site": site.prefix,
        "traefik.http.routers.by-label.rule": "Host(`label.test`)",
        "traefik.http.services.by-label.loadbalancer.server.port": "2375",
    }
    proxy = start_proxy(images, site, network, labels=labels)
    folder = site.directory / "routes"
    folder.mkdir()
    settings = {
        **TRAEFIK,
        "providers": {
            "file": {"directory": "/routes"},
            "docker": {
                "endpoint": f"tcp://{proxy.name}:2375", "exposedByDefault": False, "network": network,
                "constraints": f"Label(`site`, `{site.prefix}`)",
            },
        },
    }  # fmt: skip
    config = site.directory / "traefik.yml"
    config.write_text(yaml.dump(settings), encoding="utf-8")
    image = images["traefik"]
    traefik = image.run(
        site, "traefik", network=network, files={image.packaged.contract["config"]: config, "/routes": folder}
    )
    wait_healthy(traefik)
    assert_confined(traefik, image.packaged)
    route = {"routers": {"r": {"rule": "Host(`file.test`)", "service": "s"}},
             "services": {"s": {"loadBalancer": {"servers": [{"url": f"http://{proxy.name}:2375"}]}}}}  # fmt: skip
    (folder / "route.yml").write_text(yaml.dump({"http": route}), encoding="utf-8")
    for host in ("file.test", "label.test"):
        assert answer_of_route(address(traefik), host) == (200, b"OK")
    assert ask(address(traefik), 80, "/_ping", headers={"Host": "other.test"})[0] == 404
    started = time.monotonic()
    traefik.stop(timeout=20)
    assert time.monotonic() - started < 15
    assert traefik.wait()["StatusCode"] == 0


def answer_of_route(host: str, name: str) -> tuple[int, bytes]:
    """Return the answer once the route is known, which takes Traefik up to two seconds."""
    deadline = time.monotonic() + 20
    while (answer := ask(host, 80, "/_ping", headers={"Host": name}))[0] == 404 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


# PostgreSQL


def start_postgres(images: dict[str, BuiltImage], site: Site, network: str, **environment: str) -> Container:
    image = images["postgres"]
    password = image.secret_file(site, "superuser", f"{PASSWORD}\n")
    files = {"/run/secrets/superuser": password}
    declared = {"POSTGRES_PASSWORD_FILE": "/run/secrets/superuser", "PGDATA": image.packaged.contract["pgdata"]}
    return image.run(
        site, "postgres", network=network, files=files, environment={**declared, **environment}, shm_size="128m"
    )


def sql(container: Container, statement: str, database: str = "postgres", user: str = "postgres") -> str:
    """Return what the server answers on its own socket."""
    return run_inside(
        container, "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1",
        f"--username={user}", f"--dbname={database}", f"--command={statement}",
    ).strip()  # fmt: skip


def volume_of(site: Site, name: str) -> Path:
    return Path(site.engine.volumes.get(site.name(f"{name}-data")).attrs["Mountpoint"])


def test_a_postgres_killed_in_its_first_start_comes_up_at_the_second(
    images: dict[str, BuiltImage], site: Site, network: str
) -> None:
    postgres = start_postgres(images, site, network)
    folder = volume_of(site, "postgres") / "17"
    deadline = time.monotonic() + 30
    while not (folder / "data.new" / "global").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    postgres.kill()
    assert wait_exited(postgres)[0] == 137
    assert [path.name for path in folder.iterdir()] == ["data.new"], "it was killed too late to show anything"

    postgres.start()
    wait_healthy(postgres)
    assert [path.name for path in folder.iterdir()] == ["data"]
    assert_confined(postgres, images["postgres"].packaged)
    sql(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    postgres.stop(timeout=20)
    assert wait_exited(postgres)[0] == 0
    started = time.monotonic()
    postgres.start()
    wait_healthy(postgres)
    assert time.monotonic() - started < 6
    assert sql(postgres, "SELECT answer FROM kept") == "42"
    assert "was not properly shut down" not in said_by(postgres, since=int(time.time()) - 5)


GEOMETRY = "SELECT round(ST_X(ST_Transform(ST_SetSRID(ST_MakePoint(9, 48), 4326), 3857)))"
ROADS = "SELECT 1 AS id, 1 AS source, 2 AS target, 1.5 AS cost UNION SELECT 2, 2, 3, 2.5"


def test_postgres_has_its_extensions_and_admits_by_password_alone(
    images: dict[str, BuiltImage], site: Site, network: str
) -> None:
    postgres = start_postgres(images, site, network, POSTGRES_USER="owner", POSTGRES_DB='ma"ps')
    wait_healthy(postgres)
    ask_maps = functools.partial(sql, postgres, database="dbname='ma\"ps'", user="owner")
    for extension in ("postgis", "postgis_raster", "postgis_topology", "pgrouting", "hstore", "pg_trgm"):
        ask_maps(f"CREATE EXTENSION {extension} CASCADE" if extension != "postgis" else "CREATE EXTENSION postgis")
    assert ask_maps("SELECT split_part(postgis_version(), ' ', 1)") == "3.5"
    assert ask_maps(GEOMETRY) == "1001875"
    assert ask_maps(f"SELECT max(agg_cost) FROM pgr_dijkstra('{ROADS}', 1, 3)") == "4"
    assert ask_maps("SELECT 'a=>1'::hstore -> 'a'") == "1"
    assert ask_maps("SHOW server_version_num").startswith("17")
    assert ask_maps("SHOW jit") == "off"
    assert ask_maps("SHOW data_checksums") == "on"
    assert ask_maps("SELECT datlocprovider FROM pg_database WHERE datname = current_database()") == "b"

    client = ["psql", "--no-password", "--tuples-only", "--no-align", "--command=SELECT 1"]
    target = f"host={address(postgres)} user=owner dbname=postgres"
    for host in (target, target.replace(address(postgres), "127.0.0.1")):
        assert run_inside(postgres, *client, f"--dbname={host}", PGPASSWORD=PASSWORD).strip() == "1"
        code, said = postgres.exec_run([*client, f"--dbname={host}"], environment={"PGPASSWORD": "wrong"})
        assert (code, b"password authentication failed" in said) == (2, True)
        code, said = postgres.exec_run([*client, f"--dbname={host}"])
        assert (code, b"no password supplied" in said) == (2, True)
    assert PASSWORD not in json.dumps(postgres.attrs) + said_by(postgres)


def assert_refused(container: Container, cause: str) -> None:
    """It ended at once with this one line; the container is removed."""
    assert wait_exited(container) == (1, f"{cause}\n")
    container.remove()


def test_postgres_says_why_it_does_not_start(images: dict[str, BuiltImage], site: Site, network: str) -> None:
    said = "Cannot start PostgreSQL 17:"
    assert_refused(
        start_postgres(images, site, network, POSTGRES_PASSWORD_FILE=""),
        f"{said} POSTGRES_PASSWORD_FILE is not set; give the superuser's password in a file.",
    )
    assert_refused(
        start_postgres(images, site, network, POSTGRES_PASSWORD_FILE="/run/secrets/other"),
        f"{said} the password file /run/secrets/other is empty, or uid 999 cannot read it; give it one line, and this "
        "owner.",
    )
    other = volume_of(site, "postgres") / "15" / "data"
    other.mkdir(parents=True)
    (other / "PG_VERSION").write_text("15\n", encoding="ascii")
    assert_refused(
        start_postgres(images, site, network),
        f"{said} there is a cluster of version 15 in /var/lib/postgresql/15/data, and none in "
        "/var/lib/postgresql/17/data; dump it with its own version and restore it here, or set PGDATA.",
    )
    (other / "PG_VERSION").unlink()
    os.chown(volume_of(site, "postgres"), 0, 0)
    assert_refused(
        start_postgres(images, site, network),
        f"{said} /var/lib/postgresql/17 cannot be written by uid 999; make this user the owner of the volume.",
    )


# The object store

S3_CLIENT = """
import json, sys
import boto3, botocore.config, botocore.exceptions
def answer(key, secret, operation, arguments):
    s3 = boto3.client("s3", endpoint_url=sys.argv[1], aws_access_key_id=key, aws_secret_access_key=secret,
                      region_name="us-east-1",
                      config=botocore.config.Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}))
    try:
        found = getattr(s3, operation)(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return found["Body"].read().decode() if "Body" in found else "done"
print(json.dumps([answer(*call) for call in json.loads(sys.argv[2])]))
"""


def s3_answers(images: dict[str, BuiltImage], site: Site, store: Container, calls: list[Any]) -> list[Any]:
    """Return for each call the object's text, ``done``, or the status with which it was refused."""
    command = ["python", "-c", S3_CLIENT, f"http://{store.name}:9000", json.dumps(calls)]
    (network,) = store.attrs["NetworkSettings"]["Networks"]
    said = site.engine.containers.run(
        images["mlflow"].reference, command, name=site.name("client"), network=network, remove=True
    )
    return list(json.loads(said))


def key_file(image: BuiltImage, site: Site, key: str, secret: str, bucket: str) -> None:
    """Give a key one bucket, as ``s3-auth`` describes it."""
    folder = site.directory / "keys" / f"{key}.buckets"
    folder.mkdir(parents=True)
    (folder / bucket).symlink_to(f"/data/{bucket}")
    answer = {
        "type": "local", "_root": f"/run/s3-keys/{key}.buckets", "copy_links": "true", "_secret_access_key": secret
    }  # fmt: skip
    image.secret_file(site, f"keys/{key}", json.dumps(answer))


def test_object_store_keeps_users_apart_and_refuses_strangers(
    images: dict[str, BuiltImage], site: Site, network: str
) -> None:
    image = images["object-store"]
    for name in ("one", "two"):
        key_file(image, site, f"key{name}key{name}", f"secret-of-{name}", name)
    store = image.run(site, "store", network=network, files={"/run/s3-keys": site.directory / "keys"})
    wait_healthy(store)
    assert_confined(store, image.packaged)
    run_inside(store, "mkdir", "/data/one", "/data/two")
    one, two = (("keyonekeyone", "secret-of-one"), ("keytwokeytwo", "secret-of-two"))
    in_one, in_two = ({"Bucket": "one", "Key": "a/b.txt"}, {"Bucket": "two", "Key": "a/b.txt"})
    assert s3_answers(images, site, store, [
        (*one, "put_object", {**in_one, "Body": "mine"}),
        (*two, "put_object", {**in_two, "Body": "yours"}),
        (*one, "get_object", in_one), (*two, "get_object", in_two),
        (*one, "get_object", in_two), (*two, "get_object", in_one), (*two, "put_object", {**in_one, "Body": "no"}),
        (one[0], two[1], "get_object", in_one), ("keynobody", one[1], "get_object", in_one),
    ]) == ["done", "done", "mine", "yours", 404, 404, 404, 403, 403]  # fmt: skip
    for path in ("/", "/one", "/one/a/b.txt", "/one?list-type=2"):
        assert ask(address(store), 9000, path)[0] == 403
    assert ask(address(store), 9000, "/one/c.txt", method="PUT")[0] == 403

    store.stop(timeout=20)
    store.start()
    assert wait_healthy(store) < 6
    assert s3_answers(images, site, store, [(*one, "get_object", in_one)]) == ["mine"]


# MLflow


@pytest.fixture
def databases(images: dict[str, BuiltImage], site: Site, network: str) -> Container:
    """Return a PostgreSQL with MLflow's two databases."""
    postgres = start_postgres(images, site, network)
    wait_healthy(postgres)
    sql(postgres, f"CREATE ROLE mlflow LOGIN PASSWORD '{PASSWORD}'")
    for name in ("mlflow", "mlflow_auth"):
        sql(postgres, f"CREATE DATABASE {name} OWNER mlflow")
    return postgres


ADDRESSES = ("postgresql+psycopg2://?service=mlflow", "postgresql+psycopg2://?service=mlflow_auth")
#: What brings each to the schema of this version, as role mlflow runs it.
UPGRADE = ["mlflow", "db", "upgrade", ADDRESSES[0]]
UPGRADE_USERS = ["python", "-m", "mlflow.server.auth", "db", "upgrade", "--url", ADDRESSES[1]]
FLASK_KEY = "flask-key-of-the-test"
USERS = f"""
[mlflow]
default_permission = READ
database_uri = {ADDRESSES[1]}
admin_username = admin
admin_password = {PASSWORD}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def mlflow_files(image: BuiltImage, site: Site, postgres: Container) -> dict[str, Path]:
    services = "".join(
        f"[{name}]\nhost={postgres.name}\ndbname={name}\nuser=mlflow\npassword={PASSWORD}\n"
        for name in ("mlflow", "mlflow_auth")
    )
    texts = {"pg_service": services, "basic_auth": USERS, "flask_key": FLASK_KEY}
    return {f"/run/secrets/{name}": image.secret_file(site, name, text) for name, text in texts.items()}


def test_mlflow_serves_those_who_have_a_password(
    images: dict[str, BuiltImage], site: Site, network: str, databases: Container
) -> None:
    image = images["mlflow"]
    files = mlflow_files(image, site, databases)
    environment = {"PGSERVICEFILE": "/run/secrets/pg_service", "MLFLOW_AUTH_CONFIG_PATH": "/run/secrets/basic_auth"}
    contract = image.packaged.contract
    options: dict[str, Any] = {"network": network, "files": files, "environment": environment}
    for name, command in (("schema", UPGRADE), ("auth-schema", UPGRADE_USERS)):
        code, said = wait_exited(image.run(site, name, command=command, **options))
        assert code == 0, said
    assert sql(databases, "SELECT count(*) FROM alembic_version", "mlflow") == "1"

    arguments = ["--app-name=basic-auth", "--host=0.0.0.0", "--port=5000", "--workers=1", "--serve-artifacts",
                 f"--backend-store-uri={ADDRESSES[0]}", "--artifacts-destination=/tmp/artifacts",
                 "--allowed-hosts=mlflow.test"]  # fmt: skip
    server = image.run(site, "mlflow", command=[*contract["command"], *arguments], **options)
    wait_healthy(server)
    assert_confined(server, image.packaged)
    assert_mlflow_admits(address(server))
    assert_mlflow_keeps_quiet(server)
    assert resident_bytes(server) <= 520 * MEGABYTE
    started = time.monotonic()
    server.stop(timeout=20)
    assert time.monotonic() - started < 10


def assert_mlflow_admits(host: str) -> None:
    """Only with the password, and under no other name."""
    search = "/api/2.0/mlflow/experiments/search?max_results=5"
    found = {}
    for user in ("", f"admin:{PASSWORD}", "admin:password1234"):
        headers = {"Host": "mlflow.test"}
        if user:
            headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        found[user] = ask(host, 5000, search, headers=headers)[0]
    assert found == {"": 401, f"admin:{PASSWORD}": 200, "admin:password1234": 401}
    assert ask(host, 5000, "/", headers={"Host": "mlflow.test"})[0] == 401
    assert ask(host, 5000, "/", headers={"Host": "other.test"})[0] == 403
    assert ask(host, 5000, "/health")[0] == 200


def assert_mlflow_keeps_quiet(server: Container) -> None:
    """No telemetry, no process for jobs, and no secret where others could see it."""
    switches = {"MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"}
    for process in processes(server):
        assert switches <= set(Path(f"/proc/{process['Pid']}/environ").read_text(encoding="utf-8").split("\0"))
    running = [" ".join(row) for row in server.top(ps_args="-eo pid,args")["Processes"]]
    assert not [line for line in running if "huey" in line or "jobs" in line]
    assert len(running) <= 4, running
    shown = json.dumps(server.attrs) + "".join(running) + said_by(server)
    assert [secret for secret in (PASSWORD, FLASK_KEY) if secret in shown] == []


def test_mlflow_says_why_it_does_not_start(images: dict[str, BuiltImage], site: Site) -> None:
    image = images["mlflow"]
    assert_refused(
        image.run(site, "nokey"),
        "Cannot start MLflow: the key file /run/secrets/flask_key is missing or empty, or uid 10001 cannot read it; "
        "mount it, owned by this uid.",
    )
