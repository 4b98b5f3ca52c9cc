"""RSA keys of Apps."""

from __future__ import annotations

import functools

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def key_pair(private_key_pem: str | None) -> tuple[str, str]:
    """The private and the public key in PEM form; None makes a pair, the same one for the whole process."""
    if private_key_pem is None:
        return _fresh_key_pair()
    key = serialization.load_pem_private_key(private_key_pem.encode(), password=None)
    return private_key_pem, _public(key.public_key())


@functools.cache
def _fresh_key_pair() -> tuple[str, str]:
    """One pair for the process: making it takes longer than all else here."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return private.decode(), _public(key.public_key())


def _public(key: object) -> str:
    if not isinstance(key, rsa.RSAPublicKey):
        raise TypeError("A GitHub App signs with an RSA key; pass one in PEM form")
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()
