"""Run the benchmarks: python benchmarks/run.py [--peers] [--only NAME,NAME] [--json]. See README.md beside
this file."""

import argparse
import json
import os
import platform
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = ("ray", "dask[distributed]")
NAMES = ("trivial", "efficiency", "single", "coldstart", "localexec")


def child(python: Path, script: str, *arguments: str, timeout_s: float = 600) -> dict[str, Any]:
    """Run one measurement in a process of its own; its last line of output is JSON."""
    # an installed package has its bytecode, and so has what we measure
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    load = os.getloadavg()[0]
    done = subprocess.run(
        [str(python), str(HERE / script), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=environment,
    )
    if done.returncode:
        return {"error": (done.stderr or done.stdout).strip()[-2000:] or f"exit code {done.returncode}"}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**answer, "load": load}


def peers_python(folder: Path) -> Path:
    """The interpreter of the environment with ray and dask, which is made when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"Making {folder} with {', '.join(PEERS)}…", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return python


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All chosen benchmarks, one after the other."""
    ours = Path(sys.executable)
    outcome: dict[str, Any] = {"machine": machine()}
    for name in options.only:
        print(f"{name}…", file=sys.stderr)
        arguments = ["--repeat", str(options.repeat), "--slices", str(options.slices)]
        outcome[name] = {"dcp-worker": child(ours, "ours.py", name, *arguments)}
        if name == "trivial" and options.peers:
            python = peers_python(options.peers_dir)
            for peer in ("dask", "ray"):
                print(f"{name} with {peer}…", file=sys.stderr)
                outcome[name][peer] = child(python, "peers.py", peer, *arguments)
    return outcome


def table(outcome: dict[str, Any]) -> str:
    """The outcome for people: ratios first."""
    lines = [
        "{cores} cores, load {load:.1f}, Python {python}, Linux {kernel}".format(**outcome["machine"]),
        "",
    ]
    shown: dict[str, Callable[[dict[str, Any]], str]] = {
        "trivial": lambda r: f"{r['slices'] / r['median']:>12,.0f} slices/s   {r['median']:8.3f} s",
        "efficiency": lambda r: (
            f"{r['efficiency']:>12.3f} of {r['cores']} cores   {r['median']:8.3f} s"
            f"   {r['cpu_ms_a_slice']:.2f} ms of CPU a slice outside of the sandboxes"
        ),
        "single": lambda r: f"{r['median'] * 1000:>12.0f} ms",
        "coldstart": lambda r: (
            f"{r['median'] * 1000:>12.1f} ms   ({r['bare_deno']['median'] * 1000:.1f} ms of it a bare deno)"
        ),
        "localexec": lambda r: f"{r['median']:>12.3f} s",
    }
    trivial = outcome.get("trivial", {})
    ours = trivial.get("dcp-worker", {})
    for peer in ("dask", "ray"):
        if "median" in trivial.get(peer, {}) and "median" in ours:
            lines.append(
                f"{trivial[peer]['median'] / ours['median']:.1f} times the rate of {peer}, trivial slices"
            )
    lines.append("")
    for name in NAMES:
        for who, result in outcome.get(name, {}).items():
            if "error" in result:
                lines.append(f"{name:<12}{who:<12} failed: {result['error'].splitlines()[-1]}")
            else:
                best_to_worst = f"{result['best']:.3f} to {result['worst']:.3f} s"
                lines.append(
                    f"{name:<12}{who:<12}{shown[name](result)}   ({best_to_worst}; load {result['load']:.1f})"
                )
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers", action="store_true", help="measure ray and dask as well; installs them first"
    )
    default = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcp-worker" / "benchmark-peers"
    )
    parser.add_argument("--peers-dir", type=Path, default=default, help=f"their environment ({default})")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(NAMES), help=",".join(NAMES)
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--slices", type=int, default=50_000, help="of the trivial benchmark")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if unknown := set(options.only) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    outcome = measure(options)
    print(json.dumps(outcome, indent=2) if options.json else table(outcome))


if __name__ == "__main__":
    main()
