#!/usr/bin/env python3
"""Sends the rays of a bake with Meshkiln and with Embree over the same mesh, and compares.

In: the mesh and the rays that `models/benches/bake.rs` leaves behind. Out: a table
with Meshkiln's figure, Embree's (single precision, through embreex) and
their ratio, and how many rays hit with either; then the times of whole bakes,
which Embree does not do.

    tests/peers/bake.py [--pictures FOLDER]     leaves maps and pictures there

Installs numpy and embreex as peers.py says.
"""

import sys

from peers import PEERS, bench, best, with_packages

FOLDER = PEERS / "bake"


def main():
    with_packages("numpy", "embreex")
    import numpy as np
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    FOLDER.mkdir(parents=True, exist_ok=True)
    environment = {"BAKE_DIR": str(FOLDER)}
    if "--pictures" in sys.argv:
        environment["BAKE_PICTURES"] = sys.argv[sys.argv.index("--pictures") + 1]
    lines = bench("bake", **environment)

    def load(name, kind, columns):
        return np.fromfile(FOLDER / name, kind).reshape(-1, columns)

    vertices, faces = load("high.positions.f32", "<f4", 3), load("high.triangles.u32", "<u4", 3)
    rays = load("rays.f32", "<f4", 6)
    origins, directions = np.ascontiguousarray(rays[:, :3]), np.ascontiguousarray(rays[:, 3:])

    def build():
        scene = rtcore_scene.EmbreeScene()
        TriangleMesh(scene, vertices[faces.astype(np.int64)])
        # The tree is built when the first ray is sent.
        scene.run(origins[:1], directions[:1], query="OCCLUDED")
        return scene

    build_seconds, scene = best(3, build)
    size = np.linalg.norm(vertices.max(0) - vertices.min(0))
    reach = np.full(len(rays), 0.25 * size, "f4")
    any_seconds, blocked = best(3, lambda: scene.run(origins, directions, dists=reach, query="OCCLUDED"))
    first_seconds, first = best(3, lambda: scene.run(origins, directions, query="INTERSECT"))

    one = next(line for line in lines if line["name"] == "rays" and line["threads"] == 1)
    bvh = next(line for line in lines if line["name"] == "bvh")
    print(f"{len(faces)} triangles, {len(rays)} rays, one thread\n")
    print(f"{'':28}{'meshkiln':>12}{'embree':>12}{'ratio':>8}")
    for what, ours, theirs in [
        ("tree, s", bvh["seconds"], build_seconds),
        ("whether blocked, s", one["any_seconds"], any_seconds),
        ("first hit, s", one["first_seconds"], first_seconds),
    ]:
        print(f"{what:28}{ours:12.3f}{theirs:12.3f}{ours / theirs:8.2f}")
    print(f"{'rays blocked':28}{one['blocked']:12}{int((np.asarray(blocked) >= 0).sum()):12}")
    print(f"{'rays that hit':28}{one['hits']:12}{int((np.asarray(first) >= 0).sum()):12}")
    print("\nwhole bakes, all threads")
    for line in lines:
        if line["name"] == "bake":
            print(f"  {line['maps']} at {line['size']}: {line['seconds']:.2f} s")


if __name__ == "__main__":
    main()
