"""Count primes in WebAssembly. The module's bytes travel once, as an argument, to every sandbox.

Run it with: dcp localexec examples/webassembly.py
"""

from dcp_worker.client import compute_for

# (func (export "is_prime") (param $n i32) (result i32) (local $d i32) …), by trial division. A real program
# would read a file that a compiler wrote: Path("primes.wasm").read_bytes()
CODE = bytes.fromhex(
    "01 01 7f"  # one local: $d
    "20 00 41 02 49 04 40 41 00 0f 0b"  # if n < 2: return 0
    "41 02 21 01"  # d = 2
    "03 40"  # loop
    "20 01 20 01 6c 20 00 4b 04 40 41 01 0f 0b"  # if d * d > n: return 1
    "20 00 20 01 70 45 04 40 41 00 0f 0b"  # if n % d == 0: return 0
    "20 01 41 01 6a 21 01"  # d = d + 1
    "0c 00 0b 00 0b"  # again
)
MODULE = b"".join(
    [
        b"\0asm\1\0\0\0",
        bytes.fromhex("01 06 01 60 01 7f 01 7f"),  # types: (i32) -> i32
        bytes.fromhex("03 02 01 00"),  # functions: one, of type 0
        bytes.fromhex("07 0c 01 08") + b"is_prime" + bytes.fromhex("00 00"),  # exports
        bytes([0x0A, len(CODE) + 2, 1, len(CODE)]) + CODE,
    ]
)

WORK = """
async (start, count, bytes) => {
  const { instance } = await WebAssembly.instantiate(bytes);
  let primes = 0;
  for (let n = start; n < start + count; n++)
    primes += instance.exports.is_prime(n);
  progress(1);
  return primes;
}
"""

BLOCK = 10_000
counts = compute_for(range(0, 100_000, BLOCK), WORK, [BLOCK, MODULE], name="primes in wasm").exec()
print("primes below 100000:", sum(counts))
