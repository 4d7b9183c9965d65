"""The walls of the operating system, with JavaScript's assumed broken: deno with every permission and FFI.

Each probe is run twice: without confinement, where it must reach what it is after (or it would prove
nothing), and under the plan that evaluators run under, where it must not.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcp_worker.evaluator_host.confinement import ConfinementError, ConfinementPlan, Limits, check, plan
from dcp_worker.evaluator_host.confinement.plan import LayerStatus
from dcp_worker.evaluator_host.program import ENVIRONMENT, EvaluatorProgram, find_deno, spawn
from dcp_worker.tests.evaluators import skip_unless_confined

# Each probe returns something when it reached what it was after, and throws when denied. libc() is FFI.
PROBES = {
    "read a file of the system": "return Deno.readTextFileSync('/etc/passwd').length",
    "read a file of the user": "return Deno.readTextFileSync(SECRET)",
    "list a directory": "return [...Deno.readDirSync('/')].length",
    "write a file": "Deno.writeTextFileSync(`${TMP}/written`, 'x'); return 1",
    "write to /dev/shm": "Deno.writeTextFileSync('/dev/shm/dcp-probe', 'x'); "
    "Deno.removeSync('/dev/shm/dcp-probe'); return 1",
    "make a directory": "Deno.mkdirSync(`${TMP}/made`); return 1",
    "remove a file": "Deno.removeSync(`${TMP}/victim`); return 1",
    "read another process": "return Deno.readTextFileSync(`/proc/${PARENT}/environ`).length",
    "connect by tcp": "return (await Deno.connect({ hostname: '127.0.0.1', port: PORT })).localAddr.port",
    "connect by unix socket": "return (await Deno.connect({ transport: 'unix', path: UNIX })).localAddr.path",
    "listen on tcp": "return Deno.listen({ hostname: '127.0.0.1', port: 0 }).addr.port",
    "open a udp socket": "return libc({ socket: ['i32', ['i32', 'i32', 'i32']] }).socket(2, 2, 0)",
    "open a netlink socket": "return libc({ socket: ['i32', ['i32', 'i32', 'i32']] }).socket(16, 3, 0)",
    "run a program": "return (await new Deno.Command('/bin/true').output()).success",
    "fork": "const pid = libc({ fork: ['i32', []] }).fork(); if (pid === 0) Deno.exit(0); return pid",
    "exec in place": "const words = ['echo', 'REACHED'].map(text); "
    "const at = (bytes) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)); "
    "return libc({ execv: ['i32', ['buffer', 'buffer']] })"
    ".execv(text('/bin/echo'), new BigUint64Array([...words.map(at), 0n]))",
    "signal another process": "Deno.kill(VICTIM, 'SIGUSR1'); return 1",
    "signal by libc": "return libc({ kill: ['i32', ['i32', 'i32']] }).kill(VICTIM, 10)",
    "become another user": "return libc({ setuid: ['i32', ['u32']] }).setuid(UID)",
    "trace itself": "return libc({ ptrace: ['i64', ['i64', 'i64', 'pointer', 'pointer']] })"
    ".ptrace(0n, 0n, null, null)",
    "make an anonymous file": "return libc({ memfd_create: ['i32', ['buffer', 'u32']] })"
    ".memfd_create(text('m'), 0)",
    "raise its own limits": "return libc({ setrlimit: ['i32', ['i32', 'buffer']] })"
    ".setrlimit(4, new BigUint64Array([0n, 0n]))",
    "share memory": "return libc({ shmget: ['i32', ['i32', 'usize', 'i32']] })"
    ".shmget(0, 4096n, 0o600 | 0o1000)",
}

HARNESS = """
const { TMP, SECRET, PORT, UNIX, PARENT, VICTIM, UID } = JSON.parse(Deno.args[1]);
const text = (s) => new TextEncoder().encode(s + '\\0');
function libc(functions) {
  const symbols = {};
  for (const [name, [result, parameters]] of Object.entries(functions)) {
    symbols[name] = { result, parameters };
  }
  const all = Deno.dlopen('libc.so.6', symbols).symbols;
  const checked = {};
  for (const name in functions) checked[name] = (...args) => {
    const result = all[name](...args);
    if (Number(result) < 0) throw new Error(`${name} gave ${result}`);
    return result;
  };
  return checked;
}
let answer;
try {
  answer = 'REACHED ' + await (async () => { %s })();
} catch (error) {
  answer = 'DENIED ' + error.message;
}
Deno.stdout.writeSync(new TextEncoder().encode(answer.replaceAll('\\n', ' ').slice(0, 300)));
Deno.exit(0);
"""


class Targets:
    """What the probes are after: real files, sockets and a process of this test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o777)
        self.secret = folder / "secret"
        self.secret.write_text("secret")
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(folder / "socket"))
        self.unix.listen()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import signal; signal.signal(10, lambda *_: None); print(1, flush=True); input()",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def close(self) -> None:
        self.tcp.close()
        self.unix.close()
        self.process.communicate(b"\n")

    def reset(self) -> None:
        """As it was before any probe."""
        (self.folder / "victim").write_text("x")
        (self.folder / "written").unlink(missing_ok=True)
        if (self.folder / "made").exists():
            (self.folder / "made").rmdir()

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def run(self, probe: str, confined: bool) -> tuple[int, str]:
        """Run a probe; (exit status, what it said)."""
        self.reset()
        script = self.folder / "probe.js"
        script.write_text(HARNESS % {**PROBES, "compute": "return 6 * 7"}[probe])
        facts = {
            "TMP": str(self.folder),
            "SECRET": str(self.secret),
            "PORT": self.tcp.getsockname()[1],
            "UNIX": str(self.folder / "socket"),
            "PARENT": os.getpid(),
            "VICTIM": self.process.pid,
            "UID": os.getuid(),
        }
        deno = find_deno()
        walls = ConfinementPlan.prepare(deno, [script]) if confined else None
        flags = ["--allow-all", "--no-config", "--no-lock", "--no-code-cache", "--no-check"]
        done = subprocess.run(
            [str(deno), "run", *flags, str(script), "--", json.dumps(facts)],
            env=ENVIRONMENT,
            cwd="/",
            capture_output=True,
            timeout=60,
            check=False,
            preexec_fn=walls.apply if walls else None,
            close_fds=walls is None,
        )
        if walls is not None:
            walls.close()
        return done.returncode, done.stdout.decode() or done.stderr.decode()[-300:]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    skip_unless_confined()
    targets = Targets(tmp_path_factory.mktemp("targets"))
    yield targets
    targets.close()


@pytest.mark.parametrize("probe", PROBES)
def test_a_broken_engine_does_not_get_out(targets: Targets, probe: str) -> None:
    """Denied with an error, or killed for trying; and the probe itself works where nothing holds it."""
    _, control = targets.run(probe, confined=False)
    assert control.startswith("REACHED"), f"the probe proves nothing: {control}"

    targets.reset()
    before = targets.files()
    status, answer = targets.run(probe, confined=True)

    if probe == "trace itself":
        assert status == -signal.SIGSYS
    else:
        assert answer.startswith("DENIED"), (status, answer)
    assert targets.files() == before
    assert targets.process.poll() is None


def test_a_confined_engine_can_compute(targets: Targets) -> None:
    """Otherwise the denials above would only show that it does not run."""
    assert targets.run("compute", confined=True) == (0, "REACHED 42")


def test_an_evaluator_dies_with_the_process_that_started_it() -> None:
    """Nobody is left computing for a host that was killed."""
    skip_unless_confined()
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from dcp_worker.evaluator_host.program import *; import time\n"
            "p = spawn(EvaluatorProgram(), -1, -1, -1); p.stdout.readline()\n"
            "print(p.pid, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    evaluator = int(parent.stdout.readline())
    pidfd = os.pidfd_open(evaluator)
    parent.kill()
    parent.wait()
    ready, _, _ = select.select([pidfd], [], [], 10)
    os.close(pidfd)

    assert ready


def test_a_missing_layer_is_named_and_can_be_waived(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without Landlock refuses to start an evaluator, and says how to start one all the same."""
    skip_unless_confined()
    found = [s if s.name != "landlock" else LayerStatus("landlock", False, "switched off") for s in check()]
    monkeypatch.setattr(plan, "check", lambda: found)

    with pytest.raises(ConfinementError, match="--allow-weaker-sandbox landlock") as refusal:
        EvaluatorProgram()
    weaker = EvaluatorProgram(allow_weaker=frozenset({"landlock"}))

    assert refusal.value.layer == "landlock"
    assert weaker.plan.landlock is None
    assert weaker.plan.seccomp is not None


def test_a_layer_that_fails_after_the_fork_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason travels out of the child; no half confined process is left."""
    skip_unless_confined()
    program = EvaluatorProgram(limits=Limits())
    assert program.plan.landlock is not None
    monkeypatch.setattr(type(program.plan.landlock), "apply", _refuse)

    with pytest.raises(ConfinementError, match="no rule today"):
        spawn(program, subprocess.DEVNULL, subprocess.DEVNULL, subprocess.DEVNULL)


def _refuse(_: object) -> None:
    raise OSError("no rule today")
