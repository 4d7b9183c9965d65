"""How every command ends: a clear message on stderr, no traceback, and an exit status that means something.

0 done; 1 it failed; 2 the command line or the configuration is wrong; 3 the scheduler cannot be reached; 5 a
defect in this program (the log has the traceback); 130 interrupted. ``DcpError.exit_status`` says which.
"""

import os
import resource
import sys
from collections.abc import Callable
from typing import NoReturn

import click

from ..errors import DcpError

FAILED = 1
USAGE = 2
DEFECT = 5
INTERRUPTED = 130


def run(command: click.Command, program: str) -> NoReturn:
    """Run a command as the whole process and leave with its exit status."""
    _keep_private()
    raise SystemExit(_ending(lambda: command.main(prog_name=program, standalone_mode=False), program))


def _keep_private() -> None:
    """No core dump may hold a key. Whoever debugs raises the limit with prlimit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _ending(work: Callable[[], object], program: str) -> int:
    try:
        outcome = work()
    except click.exceptions.Abort:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE if isinstance(error, click.UsageError) else FAILED
    except DcpError as error:
        tell(error, program)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output is gone (`dcp ... | head`); keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        _tell_defect(error, program)
        return DEFECT
    return outcome if isinstance(outcome, int) and not isinstance(outcome, bool) else 0


def _tell_defect(error: Exception, program: str) -> None:
    """To the logs when they are set up, else to stderr (loguru's default output shows variables)."""
    logs = sys.modules.get(f"{__package__}.logs")
    if logs is not None and logs.state.ready:
        from loguru import logger

        logger.opt(exception=error).error("{} met a defect of its own", program)
    else:
        import traceback

        traceback.print_exception(error)
    print(
        f"{program}: met a defect of its own; please report it with the traceback above or in the logs",
        file=sys.stderr,
    )


def tell(error: DcpError, program: str) -> None:
    """``program: message [code]``, further lines indented, and the hint when the error has one."""
    first, *more = str(error).splitlines() or [type(error).__name__]
    lines = [f"{program}: {first} [{error.code}]", *(f"    {line}" for line in more)]
    if hint := getattr(error, "hint", ""):
        lines.append(f"    hint: {hint}")
    print(
        click.style("\n".join(lines), fg="red") if sys.stderr.isatty() else "\n".join(lines), file=sys.stderr
    )
