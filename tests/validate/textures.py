"""Are textures beside an OBJ what they should be, seen by a decoder that is not ours?

    python textures.py FOLDER

For each NAME-obj-FORMAT folder under FOLDER, opens every texture with Pillow and
compares it with its PNG twin in NAME-obj-png. Prints one JSON object a texture;
exits 1 when one is further away than lossy compression explains, or when there is
no texture at all. KTX2 is skipped: Pillow does not read it.
"""

import json
import math
import os
import sys

import numpy as np
from PIL import Image

# Decibels; a swapped channel or a turned picture is below 20.
AT_LEAST = 30.0


def texels(path):
    image = Image.open(path)
    return np.asarray(image.convert("RGB"), dtype=np.float64), image.mode


def measure(path, twin):
    found, mode = texels(path)
    expected, _ = texels(twin)
    if found.shape != expected.shape:
        return {"failed": f"{found.shape} is not {expected.shape}"}
    # BC5 holds x and y alone.
    n = 2 if path.endswith("_normal.dds") else 3
    squares = float(((found - expected)[..., :n] ** 2).mean())
    psnr = math.inf if squares == 0 else 10 * math.log10(255**2 / squares)
    out = {"mode": mode, "psnr": None if math.isinf(psnr) else round(psnr, 1)}
    return out | ({} if psnr >= AT_LEAST else {"failed": f"{psnr:.1f} dB is below {AT_LEAST}"})


def main(folder):
    n_files, failed = 0, False
    for where, _, names in sorted(os.walk(folder)):
        begin, obj, _ = os.path.basename(where).rpartition("-obj-")
        if not obj or where.endswith("-png"):
            continue
        twins = os.path.join(os.path.dirname(where), f"{begin}-obj-png")
        for name in sorted(names):
            stem, extension = os.path.splitext(name)
            twin = os.path.join(twins, stem + ".png")
            if extension not in (".jpg", ".webp", ".dds") or not os.path.exists(twin):
                continue
            n_files += 1
            line = {"tool": "pillow", "file": os.path.join(where, name)}
            try:
                line.update(measure(os.path.join(where, name), twin))
            except Exception as error:  # whatever Pillow throws, the file did not pass
                line["failed"] = f"{type(error).__name__}: {error}"
            line["passed"] = "failed" not in line
            failed |= not line["passed"]
            print(json.dumps(line))
    if n_files == 0:
        print(f"no textures under {folder}", file=sys.stderr)
    return int(failed or n_files == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
