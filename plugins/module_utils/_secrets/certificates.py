# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site's own certificate authority and the certificates that it signs.

Extensions and their criticality follow RFC 5280 and what Python 3.13 checks by default
(``VERIFY_X509_STRICT``): a CA without key usage is refused there.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from .backend import require_cryptography
from .making import Material
from .store import Version

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

#: A clock that is a little behind must not refuse a new certificate.
CLOCK_SKEW = timedelta(hours=1)

#: X.520 allows no longer common name.
LONGEST_COMMON_NAME = 64


def make_ca(*, common_name: str, days: int, now: int) -> Material:
    """Return a self-signed CA that may sign leaves but no further CA (P-256)."""
    require_cryptography("make a certificate authority")
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    subject = _name(common_name)
    builder = _start(subject, subject, public, not_after=_time(now) + timedelta(days=days), now=now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    return _describe(key, _sign(builder, key))


def make_leaf(*, names: tuple[str, ...], days: int, now: int, ca: Version) -> Material:
    """Return a server certificate for ``names`` (DNS names, addresses), signed by ``ca``; it ends no later than that.

    Part ``ca`` is the CA's certificate: a host that gets the leaf sealed has no other copy.
    """
    require_cryptography("make a certificate")
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ca_key = load_pem_private_key(ca.secret["private"].encode(), password=None)
    ca_certificate = x509.load_pem_x509_certificate(ca.public["certificate"].encode())
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError("our CA has a key that we do not make")
    key = ec.generate_private_key(ec.SECP256R1())
    not_after = _time(now) + timedelta(days=days)
    if ca.expires is not None:
        not_after = min(not_after, _time(ca.expires))
    builder = _start(
        _name(names[0][:LONGEST_COMMON_NAME]), ca_certificate.subject, key.public_key(), not_after=not_after, now=now
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    leaf = _describe(key, _sign(builder.add_extension(issuer, critical=False), ca_key))
    return Material(leaf.secret, {**leaf.public, "ca": ca.public["certificate"]}, leaf.main, leaf.expires)


def _start(
    subject: x509.Name, issuer: x509.Name, public: EllipticCurvePublicKey, *, not_after: datetime, now: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now) - CLOCK_SKEW)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives.hashes import SHA256

    return builder.sign(key, SHA256())


def _describe(key: EllipticCurvePrivateKey, certificate: x509.Certificate) -> Material:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.hashes import SHA256

    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
    # The property without "_utc" is deprecated since cryptography 42, and the only one before.
    ends = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after.replace(tzinfo=timezone.utc)
    return Material(
        main="private",
        secret={"private": private},
        public={
            "certificate": certificate.public_bytes(form.Encoding.PEM).decode(),
            "fingerprint": f"SHA256:{certificate.fingerprint(SHA256()).hex(':').upper()}",
        },
        expires=int(ends.timestamp()),
    )


def _name(common_name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)
