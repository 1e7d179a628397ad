"""The broker's address in lamplighter.toml: without the password, which a file of its own holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def broker_fields(folder: Path, urls: Sequence[str], name: str = "broker.password") -> list[str]:
    """The lines of the table [broker] for URLs with a password, which is written to a file `name`."""
    stripped = []
    password = None
    for url in urls:
        parts = urlsplit(url)
        if parts.password is not None:
            password = unquote(parts.password)
            place = parts.netloc.rpartition("@")[2]
            url = parts._replace(netloc=f"{parts.username}@{place}").geturl()  # noqa: PLW2901
        stripped.append(url)
    lines = [f'url = "{stripped[0]}"' if len(urls) == 1 else f"urls = {json.dumps(stripped)}"]
    if password is not None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(f"{password}\n")
        lines.append(f'password_file = "{name}"')
    return lines
