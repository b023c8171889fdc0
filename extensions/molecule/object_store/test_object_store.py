# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An S3 store whose keys open their own buckets, behind the edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Server


def rclone(server: Server, command: str, *, secret: str = "", stdin: str = "") -> Any:
    """Run rclone on the host's network, with the key of the scenario's user, through the edge and its certificate."""
    key, own = server.secret("maps_key_id"), server.secret("maps_secret")
    image = server.must("docker inspect --format '{{.Image}}' modelyard-object-store-s3-1")
    mounts = "-v /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro -v /etc/hosts:/etc/hosts:ro"
    run = f"docker run --rm --interactive --network host --entrypoint rclone {mounts} {image}"
    options = "--config=/dev/null --cache-dir=/tmp --retries=1 --low-level-retries=1 --timeout=20s"
    store = f"--s3-provider=Rclone --s3-endpoint=https://s3.molecule.test --s3-access-key-id={key}"
    login = f"--s3-secret-access-key={secret or own} --s3-force-path-style"
    return server.run(f"printf %s '{stdin}' | timeout 60 {run} {command} {options} {store} {login}")


def test_a_key_writes_and_reads_in_its_bucket(server: Server) -> None:
    written = rclone(server, "rcat :s3:maps/folder/a.txt", stdin="of the map")
    assert written.rc == 0, written.stderr
    assert rclone(server, "cat :s3:maps/folder/a.txt").stdout == "of the map"


def test_a_key_sees_no_bucket_but_its_own(server: Server) -> None:
    assert rclone(server, "lsf :s3:").stdout.split() == ["maps/"]
    refused = rclone(server, "rcat :s3:others/b.txt", stdin="x")
    assert refused.rc not in (0, 124), refused.stderr
    assert server.must("docker exec modelyard-object-store-s3-1 ls -A /data/others") == ""


def test_a_wrong_secret_is_refused(server: Server) -> None:
    refused = rclone(server, "lsf :s3:maps", secret="0" * 80)
    assert refused.rc != 0
    assert "403" in refused.stderr or "SignatureDoesNotMatch" in refused.stderr


def test_the_edge_offers_it_to_who_has_a_key(server: Server) -> None:
    assert server.ask("https://s3.molecule.test/").status == 403
    assert server.ask("https://s3.molecule.test/maps/folder/a.txt").status == 403


def test_the_changed_option_offers_a_view_to_the_administrator(server: Server) -> None:
    assert server.ask("https://browse.molecule.test/").status == 401
    login = f"admin:{server.secret('traefik_admin_password')}"
    assert "maps" in server.ask("https://browse.molecule.test/", login=login).text


def test_after_a_restart_of_the_host_objects_are_there(server: Server, restarted: Callable[[], dict[str, str]]) -> None:
    rclone(server, "rcat :s3:maps/kept.txt", stdin="kept")
    before = restarted()
    assert server.containers() == before
    assert rclone(server, "cat :s3:maps/kept.txt").stdout == "kept"
    assert server.ask("https://s3.molecule.test/").status == 403
