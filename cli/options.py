"""The options that commands share, and the way from a command line to checked settings.

A command is written as

    @click.command()
    @setting("worker.max_sandboxes", "-m", "--max-sandboxes", "--maxSandboxes", text="...")
    @common("dcp-worker")
    def command(loaded: Loaded, ...) -> None:

``setting`` ties a flag to a setting of ``config.model``, where its type is checked; ``common`` adds the
options that every program has, reads all configuration layers, sets logging up and hands ``Loaded`` in.
Heavy imports (pydantic, loguru) happen only when a command really runs, so that ``--help`` is quick.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..config.layers import Loaded

Command = TypeVar("Command", bound=Callable[..., Any])

_MARK = "__setting__"  # between section and key in click's parameter names, which must be identifiers
CONFIG_FILE = "DCP_CONFIG_FILE"
"""Environment variable that stands for ``--config``."""
LEVELS = ("error", "warning", "info", "debug", "trace")


def setting(name: str, *spellings: str, text: str, **rules: Any) -> Callable[[Command], Command]:
    """A flag for the setting ``name``; its text is checked by the model, not by click.

    ``multiple=True`` collects a list, ``is_flag=True, flag_value="true"`` sets a truth value.
    """
    parameter = name.replace(".", _MARK)
    if not rules.get("is_flag"):
        rules.setdefault("type", str)
        rules.setdefault("metavar", name.rpartition(".")[2].upper())
    return click.option(parameter, *spellings, help=text, default=None, **rules)


def scheduler_option(function: Command) -> Command:
    """``--dcp-scheduler URL``, for everything that talks to a scheduler."""
    return setting("scheduler.location", "--dcp-scheduler", metavar="URL", text="The scheduler to talk to.")(
        function
    )


def json_option(function: Command) -> Command:
    """``--json``, for commands that report; the function gets ``as_json``."""
    return click.option("as_json", "--json", is_flag=True, help="Print the answer as JSON.")(function)


def version_option(function: Command) -> Command:
    """``--version``, read from the installed package only when asked for."""

    def show(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            from importlib.metadata import version

            click.echo(f"{context.find_root().info_name} {version('dcp-worker')}")
            context.exit()

    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Print the version and exit.",
    )(function)


def common(program: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Configuration and log options; the function gets ``loaded`` (config.layers.Loaded) first."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(config: str | None, show_config: bool, verbose: int, **parameters: Any) -> Any:
            context = click.get_current_context()
            flags = _flags(context, parameters)
            as_json = bool(parameters.get("as_json"))
            loaded = _load(flags, config, verbose)
            if show_config:
                from ..config.model import PROGRAM_SECTIONS
                from ..config.show import as_json as json_text
                from ..config.show import as_text

                only = PROGRAM_SECTIONS.get(program, ())
                click.echo(json_text(loaded, only) if as_json else as_text(loaded, only))
                return None
            from .logs import set_up

            set_up(loaded.settings.log, program)
            return function(loaded, **parameters)

        wrapped = setting(
            "log.outputs",
            "--log",
            multiple=True,
            metavar="OUTPUT",
            text="Where logs go, repeat for several: console, json, file:PATH, json:PATH; @LEVEL may follow.",
        )(wrapped)
        wrapped = click.option("-v", "--verbose", count=True, help="Log more; -vv even more.")(wrapped)
        wrapped = click.option(
            "--show-config", is_flag=True, help="Print every setting with its value and origin, and exit."
        )(wrapped)
        wrapped = click.option(
            "--config",
            metavar="FILE",
            type=click.Path(),
            envvar=CONFIG_FILE,
            help="Configuration file to use instead of ./dcp.toml.",
        )(wrapped)
        return version_option(wrapped)

    return decorate


def _flags(context: click.Context, parameters: dict[str, Any]) -> dict[str, tuple[str, object]]:
    """Take the settings out of a command's parameters: ``{"worker.cores": ("--cores", "4,1")}``."""
    spellings = {parameter.name: parameter.opts for parameter in context.command.params}
    flags: dict[str, tuple[str, object]] = {}
    for parameter in [name for name in parameters if _MARK in name]:
        value = parameters.pop(parameter)
        if value is None or value == ():
            continue
        longest = max(spellings[parameter], key=lambda text: (text == text.lower(), len(text)))
        flags[parameter.replace(_MARK, ".")] = (longest, value)
    return flags


def _load(flags: dict[str, tuple[str, object]], config: str | None, verbose: int) -> "Loaded":
    from pathlib import Path

    from ..config.layers import load

    file = Path(config).expanduser() if config else None
    loaded = load(flags, config_file=file)
    if verbose and "log.level" not in flags:
        steps = LEVELS.index(loaded.settings.log.level) + verbose
        return load(flags | {"log.level": ("-v", LEVELS[min(steps, len(LEVELS) - 1)])}, config_file=file)
    return loaded


def flags_as_environment(loaded: "Loaded") -> dict[str, str]:
    """The settings that were given as flags, as variables, so that programs that we start get them too.

    Secrets stay here: the programs that we start do without them.
    """
    from pathlib import Path

    from ..config.defaults import is_secret, toml_value

    variables = {}
    for name, origin in loaded.origins.items():
        if origin.kind == "flag":
            section, _, key = name.partition(".")
            model = getattr(loaded.settings, section)
            if is_secret(type(model).model_fields[key]):
                continue
            value = model.model_dump(mode="json")[key]
            text = toml_value(value) if isinstance(value, list) else str(value)
            variables[f"DCP_{section.upper()}_{key.upper()}"] = text
    if config := click.get_current_context().params.get("config"):
        variables[CONFIG_FILE] = str(Path(config).expanduser().absolute())
    return variables
