"""A certificate authority for one run, which the build is told to trust.

Its key is nowhere but in our memory, and gone with the run.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wiretape.replayer.io.intercept.names import is_address, split

_BUNDLES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)  # fmt: skip
"""Variables that name all authorities to trust."""
_ADDITIONS = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")
"""Variables that name more of them."""
_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
)  # fmt: skip
_JAVA = "JAVA_TOOL_OPTIONS"
_PASSWORD = "changeit"  # Java's own; there is no secret in it
_PEM_BLOCK = rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----"
_BACKDATED, _VALID = timedelta(days=1), timedelta(days=30)


class Authority:
    """Issues a certificate for whichever name a client asks for."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._now = datetime.now(UTC)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Wiretape, for one run")])
        key_use = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_use, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._contexts: dict[str, ssl.SSLContext] = {}

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _BACKDATED)
            .not_valid_after(self._now + _VALID)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(authority, critical=False)
        )

    def context(self, name: str) -> ssl.SSLContext:
        """For a server that is called `name` (host:port), or as the client says (SNI)."""

        def named(connection: ssl.SSLObject, server_name: str, _: ssl.SSLContext) -> None:
            if server_name:
                connection.context = self._context_of(server_name)

        context = self._new_context(split(name)[0])
        context.sni_callback = named
        return context

    def _context_of(self, host: str) -> ssl.SSLContext:
        if host not in self._contexts:
            self._contexts[host] = self._new_context(host)
        return self._contexts[host]

    def _new_context(self, host: str) -> ssl.SSLContext:
        leaf = self._issue(host).public_bytes(Encoding.PEM)
        key = self._leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        # OpenSSL takes them from a file only: from one that lies in memory.
        file = os.memfd_create("certificate")
        try:
            os.write(file, leaf + self._pem() + key)
            context.load_cert_chain(f"/proc/self/fd/{file}")
        finally:
            os.close(file)
        return context

    def _issue(self, host: str) -> x509.Certificate:
        # A common name has up to 64 characters; nobody looks at it where there are alternatives.
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64] or "localhost")])
        name: x509.GeneralName = (
            x509.IPAddress(ip_address(host)) if is_address(host) else x509.DNSName(host)
        )
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        return (
            self._builder(subject, self._leaf_key.public_key())
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(use, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def environment(self, folder: Path, inherited: Mapping[str, str]) -> dict[str, str]:
        """The variables by which runtimes come to trust us beside whom they trust already.

        Writes what they name into `folder`.
        """
        own, bundle, store = folder / "ca.pem", folder / "ca-bundle.pem", folder / "ca.p12"
        trusted = _trusted([inherited.get(name) for name in (*_BUNDLES, *_ADDITIONS)])
        own.write_bytes(self._pem())
        bundle.write_bytes(b"\n".join([*trusted, self._pem()]))
        store.write_bytes(self._java_store(trusted))
        options = (
            f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStoreType=PKCS12"
            f" -Djavax.net.ssl.trustStorePassword={_PASSWORD}"
        )
        added = {name: str(bundle if name in inherited else own) for name in _ADDITIONS}
        return {
            **dict.fromkeys(_BUNDLES, str(bundle)),
            **added,
            _JAVA: f"{inherited[_JAVA]} {options}" if inherited.get(_JAVA) else options,
        }

    def _java_store(self, trusted: list[bytes]) -> bytes:
        certificates = [self.certificate]
        for block in re.findall(_PEM_BLOCK, b"\n".join(trusted)):
            with contextlib.suppress(ValueError), warnings.catch_warnings():
                # Old authorities have what no new one may; Java trusts or refuses them as ever.
                warnings.simplefilter("ignore")
                certificates.append(x509.load_pem_x509_certificate(block))
        unique = {
            certificate.fingerprint(hashes.SHA256()): certificate for certificate in certificates
        }
        entries = [
            pkcs12.PKCS12Certificate(certificate, str(number).encode())
            for number, certificate in enumerate(unique.values())
        ]
        return pkcs12.serialize_java_truststore(
            entries, BestAvailableEncryption(_PASSWORD.encode())
        )


def _trusted(named: list[str | None]) -> list[bytes]:
    """The authorities that are trusted already: the first of the system's bundles, and others that
    variables name."""
    system = next((place for place in _SYSTEM if Path(place).is_file()), None)
    files = dict.fromkeys(file for file in [system, *named] if file)
    texts = []
    for file in files:
        try:
            texts.append(Path(file).read_bytes())
        except OSError:
            continue
    return texts
