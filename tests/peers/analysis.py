#!/usr/bin/env python3
"""Our analysis and comparison of meshes beside trimesh's and pymeshlab's.

Known differences: pymeshlab counts a non-manifold edge once for each of its
triangles, no holes and no genus (-1) where there is such an edge, triangles with
the same corners as self-intersecting, and among neighbours in a vertex only some
of those that lie in one plane.

Reads every mesh of ../shared/data/meshes, hands the same triangles to our bench
and to the peers in one run, and prints the counts that differ, then the times.
Installs what it needs as peers.py says. Not run in CI.

    tests/peers/analysis.py [FOLDER ...]
"""

import pathlib
import sys

import peers

PACKAGES = ["numpy", "scipy", "networkx", "rtree", "trimesh", "pymeshlab", "safetensors", "pillow"]
FOLDERS = ["meshes", "meshes/broken_or_odd", "meshes/suzanne", "meshes/waterbottle", "meshes/avocado", "restricted/meshes"]
KINDS = {".obj", ".ply", ".stl", ".glb", ".gltf"}


def load(path):
    """Vertices and triangles welded by position, or None."""
    import numpy as np
    import trimesh

    try:
        mesh = trimesh.load(path, force="mesh", process=False)
        positions, faces = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.uint32)
    except Exception:
        return None
    if len(faces) == 0 or not np.isfinite(positions).all():
        return None
    # +0.0: -0 and 0 are one place.
    welded, index = np.unique(positions + 0.0, axis=0, return_inverse=True)
    return welded, index.reshape(-1)[faces].astype(np.uint32)


def write(path, positions, faces):
    import numpy as np
    from safetensors.numpy import save_file

    # What is not in rows would be written column by column.
    rows = np.ascontiguousarray
    save_file({"positions": rows(positions), "triangles": rows(faces)}, path)


def bench(*arguments):
    return peers.bench("analysis", *arguments)


def best(work):
    """The shortest of three runs in milliseconds, and what it gave."""
    seconds, result = peers.best(3, work)
    return seconds * 1e3, result


def by_trimesh(positions, faces):
    import trimesh

    mesh = trimesh.Trimesh(positions, faces, process=False)
    return {
        "watertight": bool(mesh.is_watertight and mesh.is_winding_consistent),
        "euler": int(len(set(faces.reshape(-1).tolist())) - len(mesh.edges_unique) + len(mesh.faces)),
        "area_m2": float(mesh.area),
        "volume_m3": float(mesh.volume),
    }


def by_pymeshlab(positions, faces):
    import pymeshlab

    meshes = pymeshlab.MeshSet()
    meshes.add_mesh(pymeshlab.Mesh(positions.astype("f8"), faces.astype("i4")))
    found = meshes.get_topological_measures()
    meshes.compute_selection_by_self_intersections_per_face()
    return {
        "border_edges": found["boundary_edges"],
        "components": found["connected_components_number"],
        "holes": found["number_holes"],
        "non_manifold_edges": found["non_two_manifold_edges"],
        "non_manifold_vertices": found["non_two_manifold_vertices"],
        "genus": found["genus"],
        "self_intersecting": meshes.current_mesh().selected_face_number(),
    }


def same(key, ours, theirs):
    if key in ("area_m2", "volume_m3"):
        return ours is None or abs(ours - theirs) <= 1e-5 * max(1.0, abs(theirs))
    return ours == theirs


def analyses(work, folders):
    files = sorted(f for folder in folders for f in folder.iterdir() if f.suffix.lower() in KINDS)
    meshes = {}
    for file in files:
        loaded = load(file)
        if loaded is not None:
            target = work / (file.parent.name + "_" + file.name + ".safetensors")
            write(target, *loaded)
            meshes[str(target)] = (file, *loaded)
    ours = {line["file"]: line for line in bench(*meshes)}
    print(f"{len(meshes)} meshes of {len(files)} files\n")
    print(f"{'mesh':32} {'tris':>8} {'score':>6} {'topo':>5} {'geom':>5} {'ours ms':>8} {'peers ms':>9} {'ratio':>6}  differs: ours / theirs")
    for key, (file, positions, faces) in sorted(meshes.items(), key=lambda m: -ours[m[0]]["analysis"]["scores"]["overall"]):
        line = ours[key]
        figures = dict(line["analysis"])
        figures["self_intersecting"] = figures["self_intersections"]["triangles"]
        peers_ms, theirs = best(lambda: {**by_trimesh(positions, faces), **by_pymeshlab(positions, faces)})
        differs = [f"{k} {figures[k]} / {v}" for k, v in theirs.items() if v is not None and not same(k, figures[k], v)]
        scores = figures["scores"]
        print(
            f"{file.name:32} {len(faces):8} {scores['overall']:6} {scores['topology']:5} {scores['geometry']:5}"
            f" {line['ms']:8} {peers_ms:9.1f} {peers_ms / line['ms']:6.1f}  {'; '.join(differs)}"
        )


def comparisons(work, data):
    """Hausdorff and mean distance to a decimated copy, beside pymeshlab's."""
    import pymeshlab

    print(f"\n{'decimated to 5 %':20} {'ours mean':>10} {'theirs':>10} {'ours max':>10} {'theirs':>10} {'ours ms':>8} {'theirs':>8}")
    for name in ["spot.obj", "blub.obj", "quadknot.obj", "teddy.obj"]:
        positions, faces = load(data / "meshes" / name)
        meshes = pymeshlab.MeshSet()
        meshes.add_mesh(pymeshlab.Mesh(positions.astype("f8"), faces.astype("i4")))
        meshes.add_mesh(pymeshlab.Mesh(positions.astype("f8"), faces.astype("i4")))
        meshes.meshing_decimation_quadric_edge_collapse(targetfacenum=len(faces) // 20)
        coarse = meshes.current_mesh()
        a, b = work / "a.safetensors", work / "b.safetensors"
        write(a, positions, faces)
        write(b, coarse.vertex_matrix().astype("f4"), coarse.face_matrix().astype("u4"))

        def both_ways():
            ways = [
                meshes.get_hausdorff_distance(
                    sampledmesh=i, targetmesh=1 - i, samplevert=True, sampleface=True, samplenum=30000, maxdist=pymeshlab.PercentageValue(100)
                )
                for i in (0, 1)
            ]
            return sum(w["mean"] for w in ways) / 2, max(w["max"] for w in ways)

        ms, (mean, largest) = best(both_ways)
        line = bench("--compare", a, b)[0]
        found = line["comparison"]
        print(f"{name:20} {found['chamfer_m']:10.5f} {mean:10.5f} {found['hausdorff_m']:10.5f} {largest:10.5f} {line['ms']:8} {ms:8.1f}")


def main():
    data = peers.data()
    work = peers.PEERS / "analysis"
    work.mkdir(parents=True, exist_ok=True)
    folders = [pathlib.Path(arg) for arg in sys.argv[1:]] or [data / folder for folder in FOLDERS]
    analyses(work, [folder for folder in folders if folder.exists()])
    comparisons(work, data)


if __name__ == "__main__":
    peers.with_packages(*PACKAGES)
    main()
