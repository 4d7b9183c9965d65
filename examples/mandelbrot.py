"""The Mandelbrot set, computed by strips on however many cores the scheduler finds, as a PNG picture.

Run it with: dcp localexec examples/mandelbrot.py [--width 1920] [--height 1280] [--out mandelbrot.png]
"""

import argparse
import struct
import time
import zlib
from pathlib import Path

from dcp_worker.client import compute_for

# Called with the first row of a strip; counts iterations for each of its pixels and answers with three bytes a
# pixel.
WORK = """
(top, rows, width, height, limit) => {
  const pixels = new Uint8Array(Math.min(rows, height - top) * width * 3);
  const [left, right, middle] = [-2.25, 0.75, 0.0];
  const shift = [0.0, 0.12, 0.28];  // of red, green and blue
  const step = (right - left) / width;
  let at = 0;
  for (let y = top; y < Math.min(top + rows, height); y++) {
    const ci = middle + (y - height / 2) * step;
    for (let x = 0; x < width; x++) {
      const cr = left + x * step;
      let zr = 0, zi = 0, zr2 = 0, zi2 = 0, n = 0;
      while (n < limit && zr2 + zi2 <= 256) {
        zi = 2 * zr * zi + ci;
        zr = zr2 - zi2 + cr;
        zr2 = zr * zr;
        zi2 = zi * zi;
        n++;
      }
      if (n < limit) {  // outside: a smooth band of colours; inside stays black
        const t = Math.sqrt((n + 1 - Math.log2(Math.log2(zr2 + zi2) / 2)) / limit);
        for (let c = 0; c < 3; c++)
          pixels[at + c] = 255 * (0.5 - 0.5 * Math.cos(6.2832 * (2.2 * t + shift[c])));
      }
      at += 3;
    }
    progress((y - top + 1) / rows);
  }
  return pixels;
}
"""


def png(width: int, height: int, pixels: bytes) -> bytes:
    """The file of a picture with three bytes a pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    stride = width * 3
    lines = b"".join(b"\0" + pixels[at : at + stride] for at in range(0, len(pixels), stride))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines, 6))
        + chunk(b"IEND", b"")
    )


def main() -> None:
    """Deploy, wait, and put the strips together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1280)
    parser.add_argument("--rows", type=int, default=8, help="rows of one slice")
    parser.add_argument(
        "--limit", type=int, default=1000, help="iterations after which a point counts as inside"
    )
    parser.add_argument("--pay", type=float, default=0.001, help="DCC for each slice")
    parser.add_argument("--out", type=Path, default=Path("mandelbrot.png"))
    options = parser.parse_args()

    job = compute_for(
        range(0, options.height, options.rows),
        WORK,
        [options.rows, options.width, options.height, options.limit],
        name="mandelbrot",
        slice_payment=options.pay,
        progress=True,
    )
    started = time.monotonic()
    strips = job.exec()
    elapsed = time.monotonic() - started

    options.out.write_bytes(png(options.width, options.height, b"".join(strips)))
    print(f"{len(strips)} strips in {elapsed:.1f} s; the picture is {options.out.resolve()}")


if __name__ == "__main__":
    main()
