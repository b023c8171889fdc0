# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cloud on loopback that answers like EC2, with machines that are only records: moto's server."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3

from support.ports import free_port

REGION = "eu-central-1"
#: Whoever asks moto is let in; boto3 wants something to sign with.
_KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
_START_SECONDS = 120


class Cloud:
    """A server while it runs, and the machines that a test makes there."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "cloud.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._subnets: dict[str, str] = {}
        self.address = f"http://127.0.0.1:{free_port()}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs so that it asks this cloud."""
        return {**_KEYS, "AWS_ENDPOINT_URL": self.address, "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1"}

    def __enter__(self) -> Cloud:
        port = self.address.rpartition(":")[2]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", port],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._wait()
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=30)

    def make_machine(self, tags: Mapping[str, str], *, address: str = "", network: str = "10.7.0.0/16") -> str:
        """Return the id of a new machine that runs.

        :param address: its private address, in ``network``; any one if empty.
        """
        place: dict[str, Any] = {"SubnetId": self._subnet(network)}
        if address:
            place["PrivateIpAddress"] = address
        marks = [{"Key": key, "Value": value} for key, value in tags.items()]
        made = self._client().run_instances(
            ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="t3.small", **place,
            TagSpecifications=[{"ResourceType": "instance", "Tags": marks}],
        )  # fmt: skip
        return str(made["Instances"][0]["InstanceId"])

    def stop_machine(self, machine: str) -> None:
        self._client().stop_instances(InstanceIds=[machine])

    def give_public_address(self, machine: str) -> str:
        """Return the public address that a machine has from now on."""
        address = self._client().allocate_address(Domain="vpc")
        self._client().associate_address(InstanceId=machine, AllocationId=address["AllocationId"])
        return str(address["PublicIp"])

    def _subnet(self, network: str) -> str:
        if network not in self._subnets:
            own = self._client().create_vpc(CidrBlock=network)["Vpc"]["VpcId"]
            made = self._client().create_subnet(VpcId=own, CidrBlock=network)
            self._subnets[network] = str(made["Subnet"]["SubnetId"])
        return self._subnets[network]

    def _client(self) -> Any:
        return boto3.client(
            "ec2", region_name=REGION, endpoint_url=self.address,
            aws_access_key_id=_KEYS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=_KEYS["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.address, timeout=5)
            except urllib.error.HTTPError:
                return  # it has nothing at this address, and says so
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError(f"no cloud answers at {self.address}: {self._log.read_text(encoding='utf-8')[-2000:]}")
