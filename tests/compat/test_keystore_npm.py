"""Keystore files exchanged with the wallet library inside npm's dcp-client (ethereumjs-wallet), both ways."""

import json
import subprocess
from pathlib import Path

from dcp_worker.protocol.dcp.keystore import Keystore, load_keystore
from dcp_worker.tests.npm import node_binary, npm_packages

PROGRAM = """
const { default: Wallet } = require("ethereumjs-wallet");
const [file, passphrase] = process.argv.slice(1);
const text = require("fs").readFileSync(file, "utf8");
(async () => {
  const opened = await Wallet.fromV3(text, passphrase, true);
  const again = await Wallet.fromPrivateKey(opened.getPrivateKey()).toV3(passphrase, { n: 1024 });
  console.log(JSON.stringify({ address: opened.getChecksumAddressString(), again }));
})();
"""


def test_npm_opens_ours_and_we_open_npms(tmp_path: Path) -> None:
    """A keystore made here opens there with the same address, and the one made there opens here."""
    modules = npm_packages({"dcp-client": "5.6.1"}) / "node_modules"
    for passphrase in ("", "grün"):
        ours = Keystore.create("id", passphrase)
        path = tmp_path / f"{passphrase or 'empty'}.keystore"
        ours.save(path)
        said = json.loads(
            subprocess.run(
                [node_binary(), "-e", PROGRAM, path, passphrase],
                env={"NODE_PATH": str(modules)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        theirs = tmp_path / "theirs.keystore"
        theirs.write_text(json.dumps(said["again"]))

        assert said["address"] == ours.address
        assert load_keystore(theirs).unlock(passphrase).address == ours.address
