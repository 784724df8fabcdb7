"""Is every .glb under a folder a closed solid that stands on the ground?

    python topology.py FOLDER

Counted by trimesh, which shares no code with Meshkiln. Prints one JSON object a
file; exits 1 when a file fails, or when there is no file at all.
"""

import json
import os
import sys
from collections import Counter

import numpy as np
import trimesh

# Half a unit in the last place of f32 at the size of an asset of some metres.
TOLERANCE = 1e-6


def solid(path):
    """All triangles of the file in world space, vertices merged by position."""
    scene = trimesh.load_scene(path, process=False)
    mesh = scene.to_mesh()
    positions, index = np.unique(mesh.vertices.astype(np.float32), axis=0, return_inverse=True)
    return trimesh.Trimesh(positions, index.reshape(-1)[mesh.faces], process=False, validate=False)


def split_fans(faces):
    """Vertices whose faces do not form one closed fan."""
    fans = {}
    for a, b, c in faces.tolist():
        for vertex, start, end in ((a, b, c), (b, c, a), (c, a, b)):
            fans.setdefault(vertex, []).append((start, end))
    split = 0
    for edges in fans.values():
        following = dict(edges)
        at, steps = edges[0][0], 0
        while at in following and steps < len(edges):
            at, steps = following[at], steps + 1
            if at == edges[0][0]:
                break
        split += len(following) != len(edges) or steps != len(edges)
    return split


def measure(path):
    mesh = solid(path)
    low, high = mesh.bounds
    size = float((high - low).max())
    edges = Counter(map(tuple, np.sort(mesh.edges, axis=1).tolist()))
    checks = {
        "watertight": bool(mesh.is_watertight),
        "winding": bool(mesh.is_winding_consistent),
        "manifold": set(edges.values()) == {2} and split_fans(mesh.faces) == 0,
        "volume": float(mesh.volume) > 0,
        "grounded": abs(low[1]) == 0,
        "centred": bool((abs(low + high)[[0, 2]] <= TOLERANCE * max(size, 1)).all()),
        "faces": bool((mesh.area_faces > 0).all()),
    }
    return {
        "triangles": len(mesh.faces),
        "volume": round(float(mesh.volume), 6),
        "size": [round(float(v), 6) for v in high - low],
        "euler": int(mesh.euler_number),
        "failed": [name for name, good in checks.items() if not good],
    }


def main(folder):
    paths = sorted(
        os.path.join(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(".glb")
    )
    if not paths:
        print(f"no .glb under {folder}", file=sys.stderr)
        return 1
    failed = False
    for path in paths:
        line = {"tool": "trimesh", "file": path.encode(errors="surrogateescape").decode(errors="replace")}
        try:
            line.update(measure(path))
        except Exception as error:  # whatever trimesh throws, the file did not pass
            line["failed"] = [f"{type(error).__name__}: {error}"]
        line["passed"] = not line["failed"]
        failed |= not line["passed"]
        print(json.dumps(line))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
