"""Signatures over what the log's chain is at a time: Ed25519 (RFC 8032), keys in PEM files."""

import base64
import binascii
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from producers.settings import ConfigError
from workers.process.files import make_once

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Signer:
    """Signs with a private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = _key_id(key.public_key())

    def sign(self, type_: str, said: Mapping[str, object]) -> dict[str, object]:
        """What is said, with the key's id and the signature over all of it and its type."""
        whole = {**said, "key": self.key_id}
        signature = self._key.sign(_bytes(type_, whole))
        return {**whole, "signature": base64.b64encode(signature).decode()}


class Trusted:
    """Public keys whose signatures count."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {_key_id(key): key for key in keys}

    def problem(self, type_: str, signed: Mapping[str, object]) -> str | None:
        """What is wrong with a signed statement, or None."""
        key = self._keys.get(str(signed.get("key")))
        if key is None:
            return f"signed by a key that is not trusted here ({signed.get('key')}): give --key"
        whole = {name: value for name, value in signed.items() if name != "signature"}
        try:
            signature = base64.b64decode(str(signed.get("signature")), validate=True)
            key.verify(signature, _bytes(type_, whole))
        except (InvalidSignature, binascii.Error):
            return "its signature does not fit"
        return None


def load_signer(path: Path) -> Signer:
    """The signer with the key in the file; made where there is none, its public half beside it.

    Raises:
        ConfigError: the file cannot be made or used.
    """
    try:
        if not path.exists():
            make_once(path, _private_pem(Ed25519PrivateKey.generate()))
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = serialization.load_pem_private_key(file.read(), password=None)
        if isinstance(key, Ed25519PrivateKey) and not public_file(path).exists():
            make_once(public_file(path), _public_pem(key.public_key()), mode=0o644)
    except OSError as error:
        raise ConfigError(
            f"audit.key_file: {path}: {error.strerror}; the audit worker's user must own it"
        ) from None
    except (ValueError, TypeError):  # no PEM; a password is needed
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"audit.key_file: {path} holds no Ed25519 key in plain PEM")
    if mode & _OTHERS:
        raise ConfigError(f"audit.key_file: {path} is open to others; chmod 600 it")
    return Signer(key)


def load_trusted(paths: Iterable[Path]) -> Trusted:
    """The public keys in these PEM files.

    Raises:
        ConfigError: one cannot be read.
    """
    keys = []
    for path in paths:
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; give the public key by --key") from None
        except ValueError:
            raise ConfigError(f"{path} holds no public key in PEM") from None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError(f"{path} holds no Ed25519 key")
        keys.append(key)
    return Trusted(keys)


def public_file(key_file: Path) -> Path:
    """Where the public half of a key lies, for whoever verifies."""
    return key_file.with_name(f"{key_file.name}.pub")


def _bytes(type_: str, said: Mapping[str, object]) -> bytes:
    """What is signed: JSON with sorted names, without white space."""
    return json.dumps([type_, said], sort_keys=True, separators=(",", ":")).encode()


def _key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
