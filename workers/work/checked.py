"""Objects whose keys hold their checksum: whoever knows the key knows what bytes belong to it. Knows no torch.

A checkpoint's key reaches the unit's row only after the object is whole, so the row names nothing that was not written;
and what a bucket lost or changed of it since is seen before it is used."""

import re
from hashlib import file_digest, sha256
from pathlib import Path

DIGEST = re.compile(r"-([0-9a-f]{64})\.[a-z]+$")


def named(prefix: str, digest: str, suffix: str) -> str:
    """The key of an object with this SHA-256: prefix-digest.suffix."""
    return f"{prefix}-{digest}.{suffix}"


def of_file(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def of_bytes(body: bytes) -> str:
    return sha256(body).hexdigest()


def fits(key: str, digest: str) -> bool:
    """Whether an object of this digest is the one that was written; keys of older versions hold none, and fit all."""
    found = DIGEST.search(key)
    return found is None or found[1] == digest
