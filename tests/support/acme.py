# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An ACME authority for tests: Pebble, and a DNS server that finds every name on this machine's loopback."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

READY_SECONDS = 30.0


class Authority:
    """Validates at ``http_port`` of loopback; use as a context manager."""

    def __init__(
        self, folder: Path, *, address: str, ports: list[int], http_port: int, records_port: int | None = None
    ) -> None:
        self.folder, self.address = folder, address
        #: Where records of its DNS server are set, if at all.
        self.records_port = records_port
        self.port, self.management_port, self.dns_port, self.tls_port = ports
        self.http_port = http_port
        self.log = folder / "pebble.log"
        #: What the directory itself is verified by.
        self.certificate = self._make_certificate()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def directory(self) -> str:
        return f"https://{self.address}:{self.port}/dir"

    @property
    def dns(self) -> str:
        """Its DNS server, which containers reach too."""
        return f"{self.address}:{self.dns_port}"

    def __enter__(self) -> Authority:
        settings = {
            "listenAddress": f"{self.address}:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
            "certificate": str(self.folder / "own.pem"), "privateKey": str(self.folder / "own.key"),
            "httpPort": self.http_port, "tlsPort": self.tls_port,
        }  # fmt: skip
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": settings}), encoding="utf-8")
        # Else it refuses a part of all requests, and waits up to 15 s before it looks.
        environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        records = f"127.0.0.1:{self.records_port}" if self.records_port else ""
        self._start(
            ["pebble-challtestsrv", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "",
             "-management", records, "-dns01", self.dns], environment
        )  # fmt: skip
        self._start(["pebble", "-config", str(self.folder / "pebble.json"), "-dnsserver", self.dns], environment)
        self._wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
            process.wait(timeout=10)

    def root(self) -> str:
        """Return the certificate that all others are signed by; another one at every start."""
        return self._management("roots/0")

    def issued(self) -> int:
        """Return how many certificates were given out."""
        return self.log.read_text(encoding="utf-8", errors="replace").count("Issued certificate")

    def orders(self) -> int:
        """Return how many certificates were asked for, whatever came of it."""
        return self.log.read_text(encoding="utf-8", errors="replace").count("Added order ")

    def set_record(self, action: str, name: str, value: str = "") -> None:
        """Set or clear (``action``: ``set-txt``, ``clear-txt``) a record that it validates by."""
        self._tell_dns(action, {"host": name, "value": value})

    def lead_all_names_to(self, address: str) -> None:
        """Let every name be at that address, which is 127.0.0.1 at first."""
        self._tell_dns("set-default-ipv4", {"ip": address})

    def _tell_dns(self, action: str, values: dict[str, str]) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"http://127.0.0.1:{self.records_port}/{action}"
        opener.open(url, json.dumps(values).encode(), timeout=5).close()

    def _start(self, argv: list[str], environment: dict[str, str]) -> None:
        with self.log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(argv, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            )

    def _management(self, path: str) -> str:
        context = ssl.create_default_context(cadata=self.certificate)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"https://127.0.0.1:{self.management_port}/{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self.root()
            except OSError as error:
                if time.monotonic() > deadline:
                    said = self.log.read_text(encoding="utf-8", errors="replace")[-500:]
                    raise AssertionError(f"Pebble does not answer: {said}") from error
                time.sleep(0.2)
            else:
                return

    def _make_certificate(self) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble")])
        now = datetime.datetime.now(datetime.timezone.utc)
        addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in dict.fromkeys((self.address, "127.0.0.1"))]
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=False, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "own.key").write_bytes(private)
        text = certificate.public_bytes(serialization.Encoding.PEM)
        (self.folder / "own.pem").write_bytes(text)
        return text.decode()
