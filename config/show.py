"""What ``--show-config`` prints: every setting with value, unit and origin; secrets never."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .defaults import is_secret, sections, toml_value, unit_of
from .layers import Loaded

HIDDEN = "(hidden)"


def rows(loaded: Loaded, only: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """``{"name", "value", "unit", "origin", "description"}`` of each setting in the sections ``only``."""
    for section, model in sections():
        if only and section not in only:
            continue
        values = getattr(loaded.settings, section).model_dump(mode="json")
        for key, field in model.model_fields.items():
            name = f"{section}.{key}"
            value = values[key]
            if is_secret(field) and value:
                value = [HIDDEN] * len(value) if isinstance(value, list) else HIDDEN
            elif isinstance(value, str) and "://" in value:
                value = without_password(value)
            yield {
                "name": name,
                "value": value,
                "unit": unit_of(field),
                "origin": str(loaded.origins[name]),
                "description": field.description,
            }


def without_password(url: str) -> str:
    """The address with the password of ``user:password@`` hidden."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return url
    if password is None:
        return url
    user_and_host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{HIDDEN}@{user_and_host[2]}"))


def as_json(loaded: Loaded, only: tuple[str, ...] = ()) -> str:
    """A JSON object with the settings under their dotted names, and the files that were read."""
    settings = {row.pop("name"): row for row in rows(loaded, only)}
    return json.dumps({"files": [str(path) for path in loaded.files], "settings": settings}, indent=2)


def as_text(loaded: Loaded, only: tuple[str, ...] = ()) -> str:
    """Valid TOML again, with unit and origin in comments; unset settings are comments."""
    lines: list[str] = []
    section = ""
    for row in rows(loaded, only):
        this, _, key = row["name"].partition(".")
        if this != section:
            lines += ["", f"[{this}]"] if section else [f"[{this}]"]
            section = this
        value = row["value"]
        text = f"# {key} is unset" if value is None else f"{key} = {toml_value(value)}"
        unit = f"{row['unit']}, " if row["unit"] and value is not None else ""
        lines.append(f"{text:<50}  # {unit}{row['origin']}" if value is not None else text)
    return "\n".join(lines)
