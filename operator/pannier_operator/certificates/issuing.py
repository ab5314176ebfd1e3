"""Makes and reads certificates: a CA, and the leaf it signs for a server. No I/O, no clock."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS: Final = 730
LEAF_DAYS: Final = 90
BACKDATED: Final = timedelta(hours=1)
"""How much earlier than now a certificate begins: the clocks of nodes differ."""


class Unreadable(ValueError):
    """What should be a certificate or a key is none; the text says why, without its content."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA's certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    @property
    def made_at(self) -> datetime:
        """When it was made."""
        return self.certificate.not_valid_before_utc + BACKDATED

    @property
    def ends_at(self) -> datetime:
        """When it is no longer valid."""
        return self.certificate.not_valid_after_utc

    def certificate_pem(self) -> str:
        """The certificate in PEM."""
        return pem_of(self.certificate)

    def key_pem(self) -> str:
        """The key in PEM (PKCS 8): for the Secret and for TLS alone."""
        return _key_pem(self.key)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A server's certificate, with its key and who signed it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)
    issuer: x509.Certificate
    names: tuple[str, ...]

    @property
    def made_at(self) -> datetime:
        """When it was made."""
        return self.certificate.not_valid_before_utc + BACKDATED

    def certificate_pem(self) -> str:
        """The certificate in PEM."""
        return pem_of(self.certificate)

    def key_pem(self) -> str:
        """The key in PEM (PKCS 8): for TLS alone."""
        return _key_pem(self.key)


def new_issuer(now: datetime) -> Issuer:
    """A new CA, self-signed, ECDSA P-256, for CA_DAYS."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own: two CAs of one name in a bundle are told apart by hints alone.
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"Pannier CA {now:%Y-%m-%d} {serial % 16**8:08x}")]
    )
    ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(ski, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return Issuer(certificate, key)


def new_leaf(issuer: Issuer, names: Sequence[str], now: datetime) -> Leaf:
    """A server's certificate for DNS names and addresses, for LEAF_DAYS."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued_by = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    ends_at = min(now + timedelta(days=LEAF_DAYS), issuer.ends_at)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pannier-operator")]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends_at)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([general_name(each) for each in names]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issued_by.value),
            critical=False,
        )
        .sign(issuer.key, hashes.SHA256())
    )
    return Leaf(certificate, key, issuer.certificate, tuple(names))


def read_issuer(certificate_pem: bytes, key_pem: bytes) -> Issuer:
    """A CA from its PEM texts. Raises Unreadable."""
    certificate = read_certificate(certificate_pem)
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"the key is not readable ({type(error).__name__})") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Unreadable("the key is no elliptic-curve key")
    if key.public_key() != certificate.public_key():
        raise Unreadable("the key is not the certificate's")
    try:
        extensions = certificate.extensions
        is_ca = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        is_ca = False
    if not is_ca:
        raise Unreadable("the certificate is not that of a CA")
    return Issuer(certificate, key)


def read_certificate(pem: bytes) -> x509.Certificate:
    """One certificate. Raises Unreadable."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise Unreadable("the certificate is not readable") from None


def read_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Certificates one after another; none in an empty text. Raises Unreadable."""
    if not pem.strip():
        return ()
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise Unreadable("the certificates are not readable") from None


def pem_of(certificate: x509.Certificate) -> str:
    """A certificate in PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def general_name(name: str) -> x509.GeneralName:
    """A DNS name or an address as a certificate has it. Raises ValueError for what is neither."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
