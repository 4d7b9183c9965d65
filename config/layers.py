"""Settings from all their places, each value with its origin.

Later places win: packaged defaults < $DCP_ETCDIR/dcp/config.toml (/etc) < <resource dir>/config.toml
(~/.dcp) < project file (./dcp.toml, or the one of --config) < environment (DCP_<SECTION>_<KEY>) < flags.
A list replaces the list below it. Nothing is executed. All that is wrong is reported at once, with file and
line.
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from .defaults import default_text, is_secret, sections
from .errors import ConfigError
from .model import Section, Settings
from .toml_lines import key_lines

MAX_FILE_BYTES = 1_000_000
ALIASES = {"DCP_RESOURCE_DIR": "paths.resource_dir"}
"""Environment names of the reference that do not follow the pattern."""
LEFT_ALONE = ("DCP_WORKER_UNHANDLED_REJECTION_LOG", "DCP_WORKER_CHECK_SEMVER", "DCP_CLIENT_")
"""Variables of the npm programs that look like settings of ours."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from."""

    kind: str  # "default", "file", "environment", "flag"
    place: str  # "/etc/dcp/config.toml:7", "$DCP_LOG_LEVEL", "--log"

    def __str__(self) -> str:
        return self.place


@dataclass(frozen=True, slots=True)
class Loaded:
    """Checked settings, and the origin of each by its dotted name."""

    settings: Settings
    origins: Mapping[str, Origin]
    files: tuple[Path, ...]  # that were read


@dataclass(frozen=True, slots=True)
class _Given:
    """A value that some place gives to a setting, not yet checked."""

    name: str
    value: object
    origin: Origin


def load(
    flags: Mapping[str, tuple[str, object]] | None = None,
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    project_dir: Path | None = None,
) -> Loaded:
    """Read all places and check every value.

    ``flags`` maps a dotted name to the flag's spelling and its value: ``{"log.level": ("-v", "debug")}``.
    ``config_file`` stands in for ``dcp.toml`` of ``project_dir`` (the current directory) and must exist.
    Raises ConfigError with every problem that was found.
    """
    environment = os.environ if environment is None else environment
    problems: list[str] = []
    fields = {
        f"{section}.{key}": field
        for section, model in sections()
        for key, field in model.model_fields.items()
    }

    given = list(_from_text(default_text(), Path("defaults.toml"), problems, kind="default"))
    late = [*_from_environment(environment, fields, problems), *_from_flags(flags or {})]
    # Only environment and flags can move the place where the user's own file is looked for.
    moved = [item.value for item in late if item.name == "paths.resource_dir"]
    resource_dir = Path(str(moved[-1]) if moved else "~/.dcp").expanduser()
    files = []
    for path, required in (
        (Path(environment.get("DCP_ETCDIR") or "/etc") / "dcp" / "config.toml", False),
        (resource_dir / "config.toml", False),
        (config_file or (project_dir or Path.cwd()) / "dcp.toml", config_file is not None),
    ):
        text = _read(path, problems, required=required)
        if text is not None:
            files.append(path)
            given += _from_text(text, path, problems)

    values: dict[str, dict[str, object]] = {}
    origins: dict[str, Origin] = {}
    for item in (*given, *late):
        section, _, key = item.name.partition(".")
        try:
            value = _checked(item, fields)
        except ValueError as error:
            problems.append(f"{item.origin}: {error}")
            continue
        values.setdefault(section, {})[key] = value
        origins[item.name] = item.origin
    if problems:
        raise ConfigError(problems)
    for name in fields:
        origins.setdefault(name, Origin("default", "unset"))
    return Loaded(Settings.model_validate(values), origins, tuple(files))


# -- Places --------------------------------------------------------------------------------------------------


def _read(path: Path, problems: list[str], *, required: bool) -> str | None:
    """The text of a file that nobody else may write; None when there is none."""
    try:
        # A pipe in a file's place would make us wait for whoever writes to it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if refusal := refused(status.st_mode, status.st_uid, os.geteuid()):
                problems.append(f"{path}: {refusal}")
                return None
            data = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            problems.append(f"{path}: there is no such file")
        return None
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
        return None
    if len(data) > MAX_FILE_BYTES:
        problems.append(f"{path}: is larger than {MAX_FILE_BYTES} bytes")
        return None
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        problems.append(f"{path}:{line}: is not UTF-8 text")
        return None


def refused(mode: int, owner: int, user: int) -> str:
    """Why a file with this mode and owner is not read by this user, "" when it is."""
    if not stat.S_ISREG(mode):
        return "refused, it is no regular file"
    if mode & stat.S_IWOTH:
        return "refused, everybody may write to it; run chmod o-w on it"
    if owner not in (user, 0) and user != 0:
        return "refused, it belongs to another user; make a copy of your own"
    return ""


def _from_text(text: str, path: Path, problems: list[str], *, kind: str = "file") -> Iterator[_Given]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: is not valid TOML: {error}")
        return
    except RecursionError:
        problems.append(f"{path}: is nested too deeply")
        return
    lines = key_lines(text)
    known = dict(sections())

    def place(*key: str) -> str:
        return f"{path}:{lines[key]}" if key in lines else str(path)

    for section, content in document.items():
        if section not in known:
            problems.append(f"{place(section)}: there is no section [{section}]{_nearest(section, known)}")
        elif not isinstance(content, dict):
            problems.append(
                f"{place(section)}: [{section}] is a section, write [{section}] and its keys below it"
            )
        else:
            for key, value in content.items():
                yield from _known(
                    section, key, value, Origin(kind, place(section, key)), known[section], problems
                )


def _known(
    section: str, key: str, value: object, origin: Origin, model: type[Section], problems: list[str]
) -> Iterator[_Given]:
    if key in model.model_fields:
        yield _Given(f"{section}.{key}", value, origin)
    else:
        problems.append(f"{origin}: [{section}] has no key {key!r}{_nearest(key, model.model_fields)}")


def _from_environment(
    environment: Mapping[str, str], fields: Mapping[str, Any], problems: list[str]
) -> Iterator[_Given]:
    """DCP_<SECTION>_<KEY>. A name that starts like a section but is no setting is an error."""
    names = {f"DCP_{name.replace('.', '_').upper()}": name for name in fields} | ALIASES
    prefixes = tuple(f"DCP_{section.upper()}_" for section, _ in sections())
    if environment.get("XDG_DATA_HOME"):
        place = Path(environment["XDG_DATA_HOME"]) / "dcp"
        yield _Given("paths.resource_dir", str(place), Origin("environment", "$XDG_DATA_HOME"))
    for variable in sorted(environment):
        if variable in names:
            yield _Given(names[variable], environment[variable], Origin("environment", f"${variable}"))
        elif variable.startswith(prefixes) and not variable.startswith(LEFT_ALONE):
            problems.append(f"${variable}: there is no such setting{_nearest(variable, names)}")


def _from_flags(flags: Mapping[str, tuple[str, object]]) -> Iterator[_Given]:
    for name, (spelling, value) in flags.items():
        yield _Given(name, value, Origin("flag", spelling))


# -- Checking ------------------------------------------------------------------------------------------------


def _checked(item: _Given, fields: Mapping[str, Any]) -> object:
    """The value as the model wants it. Raises ValueError with what is expected.

    Values of files have types, so they are held to them; environment and flags are texts, and are read.
    """
    field = fields[item.name]
    adapter: TypeAdapter[object] = TypeAdapter(_annotated(field))
    value = item.value
    try:
        if item.origin.kind in ("file", "default"):
            return adapter.validate_json(orjson.dumps(value, default=str), strict=True)
        if isinstance(value, str) and _is_list(field):
            value = _list_of(value)
        return adapter.validate_python(value, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if not message.startswith("expected"):
            message = f"expected {message}"
        got = "" if is_secret(field) else f", got {_shown(value)}"
        raise ValueError(f"{item.name}: {message}{got}") from None


def _annotated(field: Any) -> Any:
    from typing import Annotated

    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _is_list(field: Any) -> bool:
    return str(field.annotation).startswith("tuple")


def _list_of(text: str) -> list[object]:
    """``'["a", "b"]'`` (TOML) or words between blanks, as environment variables carry lists."""
    if text.lstrip().startswith("["):
        try:
            items = tomllib.loads(f"items = {text}")["items"]
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"is no list of TOML: {error}") from None
        return list(items)
    return list(text.split())


def _shown(value: object) -> str:
    text = re.sub(
        "//[^/@]*@", "//...@", repr(value)
    )  # whoever puts a password into a URL will not read it in a log
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(word: str, candidates: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return (
        f"; did you mean {close[0]!r}?"
        if close
        else f"; there are {', '.join(candidates)}"
        if len(candidates) < 9
        else ""
    )
