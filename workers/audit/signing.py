"""Signs and verifies statements about the log: Ed25519 (RFC 8032), keys in PEM files."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from producers.disk import unusable
from producers.settings import ConfigError
from producers.trust import UntrustedFileError, closed_bits, is_credential, read_guarded
from workers.process.files import create_file

_PEM = serialization.Encoding.PEM
_PUBLIC_FORMAT = serialization.PublicFormat.SubjectPublicKeyInfo


class Signer:
    """Signs with a private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = _key_id(key.public_key())

    def sign(self, type_: str, statement: Mapping[str, object]) -> dict[str, object]:
        """The statement with the key's id, and a signature over all of it and its type."""
        signed = {**statement, "key": self.key_id}
        signature = self._key.sign(_signed_bytes(type_, signed))
        return {**signed, "signature": base64.b64encode(signature).decode()}


class Trusted:
    """Public keys whose signatures are accepted."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {_key_id(key): key for key in keys}

    def problem(self, type_: str, signed: Mapping[str, object]) -> str | None:
        """What is wrong with a signed statement, or None."""
        key = self._keys.get(str(signed.get("key")))
        if key is None:
            return f"signed with a key that is not trusted ({signed.get('key')}): pass --key"
        statement = {name: value for name, value in signed.items() if name != "signature"}
        try:
            signature = base64.b64decode(str(signed.get("signature")), validate=True)
            key.verify(signature, _signed_bytes(type_, statement))
        except (InvalidSignature, ValueError):  # binascii.Error, or not ASCII
            return "its signature is invalid"
        return None


def load_signer(path: Path) -> Signer:
    """The signer for the key in this file; creates the key and its public file if missing.

    Raises:
        ConfigError: the file cannot be created or used.
    """
    try:
        if not is_credential(path) and not path.exists():
            new = Ed25519PrivateKey.generate()
            plain = serialization.NoEncryption()
            create_file(path, new.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, plain))
        pem = read_guarded(path, closed_bits(path))
        key = serialization.load_pem_private_key(pem, password=None)
        missing = not is_credential(path) and not public_file(path).exists()
        if isinstance(key, Ed25519PrivateKey) and missing:
            public = key.public_key().public_bytes(_PEM, _PUBLIC_FORMAT)
            create_file(public_file(path), public, mode=0o644)
    except OSError as error:
        raise ConfigError(unusable("audit.key_file", path, error)) from None
    except UntrustedFileError as error:
        raise ConfigError(f"audit.key_file: {error}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # not PEM, or protected by a password
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"audit.key_file: {path} is not an Ed25519 key in unencrypted PEM")
    return Signer(key)


def load_trusted(paths: Iterable[Path], owner: int = 0) -> Trusted:
    """Read the public keys in these PEM files, which nobody but root, this user and `owner` can change.

    Raises:
        ConfigError: a file cannot be read, or is not an Ed25519 public key.
    """
    keys = []
    for path in paths:
        try:
            key = serialization.load_pem_public_key(read_guarded(path, owner=owner))
        except UntrustedFileError as error:
            raise ConfigError(str(error)) from None
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; pass the public key with --key") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigError(f"{path} is not a public key in PEM") from None
        if not isinstance(key, Ed25519PublicKey):
            raise ConfigError(f"{path} is not an Ed25519 key")
        keys.append(key)
    return Trusted(keys)


def public_file(key_file: Path) -> Path:
    """The file with the public half of a key, for verification."""
    return key_file.with_name(f"{key_file.name}.pub")


def _signed_bytes(type_: str, statement: Mapping[str, object]) -> bytes:
    """The bytes that are signed: JSON with sorted names, without white space."""
    return json.dumps([type_, statement], sort_keys=True, separators=(",", ":")).encode()


def _key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
