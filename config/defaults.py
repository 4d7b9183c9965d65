"""The packaged defaults.toml, written from the model.

Write it again with ``python -m dcp_worker.config.defaults > config/defaults.toml``.
A test compares the file with what this module writes, so the two cannot drift apart.
"""

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

from pydantic.fields import FieldInfo

from .model import Section, Settings

INTRODUCTION = """\
# Every setting with its default. Copy what you want to change into one of (later ones win):
#   /etc/dcp/config.toml   ~/.dcp/config.toml   ./dcp.toml   or a file named with --config
# Environment variables (DCP_<SECTION>_<KEY>, e.g. DCP_LOG_LEVEL) win over files, flags win over everything.
# `--show-config` of any program prints the values in force and where each comes from.
# Durations: "500ms", "30s", "5m", "2h", "1d". Sizes: "50MB" (10^6), "64MiB" (2^20).
"""


def default_text() -> str:
    """The text of the packaged file."""
    return resources.files(__package__).joinpath("defaults.toml").read_text("utf-8")


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Every section of the model, in order."""
    for name, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, Section)
        yield name, model


def unit_of(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def is_secret(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("secret"))


def render() -> str:
    """The file as the model says it must be. An unset setting is a comment with an example."""
    blocks = [INTRODUCTION]
    for name, model in sections():
        lines = [f"[{name}]  # {' '.join((model.__doc__ or '').split())}"]
        values = model().model_dump(mode="json")
        for key, field in model.model_fields.items():
            extra: dict[str, Any] = (
                field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            )
            value = field.default if key == "resource_dir" else values[key]
            text = f"# {key} = {extra['example']}" if value is None else f"{key} = {toml_value(value)}"
            unit = f" [{extra['unit']}]" if extra["unit"] else ""
            lines.append(f"{text}  # {field.description}{unit}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def toml_value(value: object) -> str:
    """A value as TOML writes it; texts, numbers, truth values and lists of them only."""
    match value:
        case bool() | int() | float():
            return json.dumps(value)
        case list() | tuple():
            return "[" + ", ".join(toml_value(item) for item in value) + "]"
        case _:
            return json.dumps(str(value), ensure_ascii=False)


if __name__ == "__main__":
    print(render(), end="")
