#!/usr/bin/env python3
"""Lays out the same meshes with Meshkiln and with xatlas, and compares.

In: the meshes that `models/benches/unwrap.rs` names, and noisy iso-surfaces as
networks reconstruct them, made here. Out: a table; each line holds Meshkiln's
figure, xatlas' figure and, for the time, their ratio. Both layouts are measured
by the same code below, which shares nothing with Meshkiln's own.

    tests/peers/unwrap.py [--big]     with --big also a surface of 500 000 triangles

Installs numpy, scipy, scikit-image and xatlas as peers.py says.
"""

import sys
import time

from peers import PEERS, bench, with_packages

FOLDER = PEERS / "unwrap"
SIZE, PADDING = 1024, 8
SHARED = ["animal", "blub", "hand_prismatic", "potion", "quadknot", "spot", "teddy"]
# xatlas takes many minutes on more triangles than this.
MOST_FOR_XATLAS = 60_000


def noisy_surface(kind, resolution, noise, seed):
    """Iso-surface of a ball with bumps or of two joined rings, with noise on the field."""
    import numpy as np
    from scipy.ndimage import gaussian_filter
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from skimage.measure import marching_cubes

    axis = np.linspace(-1.2, 1.2, resolution)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    if kind == "ball":
        field = np.sqrt(x * x + y * y + z * z) - 0.8
        field += 0.15 * np.sin(3 * x + 1) * np.sin(4 * y) * np.sin(3.5 * z + 0.5)
    else:
        ring = lambda centre: np.hypot(np.hypot(x - centre, y) - 0.4, z) - 0.16
        field = np.minimum(ring(-0.4), ring(0.4))
    field += gaussian_filter(np.random.default_rng(seed).normal(size=field.shape), 1.0) * noise
    vertices, faces, _, _ = marching_cubes(field, 0.0)
    vertices = (vertices * 2.4 / resolution - 1.2).astype(np.float32)
    vertices, same = np.unique(vertices, axis=0, return_inverse=True)
    faces = same.reshape(-1)[faces][:, ::-1]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    # The largest piece; the others are specks.
    n = len(vertices)
    links = coo_matrix((np.ones(len(faces) * 2), (faces[:, :2].T.ravel(), faces[:, 1:].T.ravel())), (n, n))
    piece = connected_components(links, directed=False)[1][faces[:, 0]]
    faces = faces[piece == np.bincount(piece).argmax()]
    corners = vertices[faces].astype(float)
    if np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) < 0:
        faces = faces[:, ::-1]
    return vertices, faces


def make_inputs(big):
    """Writes the surfaces that are not there yet; returns their names."""
    kinds = {
        "noisy_ball_17k": ("ball", 64, 0.02, 1),
        "noisy_ball_40k": ("ball", 96, 0.05, 2),
        "noisy_rings_20k": ("rings", 96, 0.04, 3),
    }
    if big:
        kinds["noisy_ball_500k"] = ("ball", 330, 0.02, 5)
    folder = FOLDER / "in"
    folder.mkdir(parents=True, exist_ok=True)
    for name, args in kinds.items():
        path = folder / f"{name}.obj"
        if not path.exists():
            vertices, faces = noisy_surface(*args)
            lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
            lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
            path.write_text("\n".join(lines) + "\n")
    return list(kinds)


def read_layout(path):
    """Positions, texture coordinates (v up) and triangles; Meshkiln numbers both alike."""
    import numpy as np

    positions, uvs, faces = [], [], []
    for line in path.read_text().splitlines():
        kind, *words = line.split()
        if kind == "v":
            positions.append([float(word) for word in words])
        elif kind == "vt":
            uvs.append([float(word) for word in words])
        elif kind == "f":
            faces.append([int(word.split("/")[0]) - 1 for word in words])
    return np.array(positions, np.float32), np.array(uvs), np.array(faces)


def with_xatlas(positions, faces):
    import numpy as np
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(positions, faces.astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding = SIZE, PADDING
    start = time.perf_counter()
    atlas.generate(xatlas.ChartOptions(), pack)
    seconds = time.perf_counter() - start
    _, indices, uvs = atlas[0]
    return seconds, uvs.astype(float), indices.astype(int)


def measure(corners, uvs, faces):
    """corners [n, 3, 3] in space, uvs [m, 2], faces [n, 3] into uvs."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    corners = corners.astype(float)
    flat = uvs[faces]
    e, f = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(e, f), axis=1) / 2
    s, t = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    signed = (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]) / 2

    # Needles below the resolution of f32 say nothing about a layout.
    longest = np.linalg.norm(np.stack([e, f, e - f]), axis=2).max(axis=0)
    extents = np.linalg.norm(np.ptp(corners.reshape(-1, 3), axis=0))
    ok = 2 * area > 1e-6 * extents * longest
    weight = area[ok] / area[ok].sum()
    frame = np.zeros((ok.sum(), 2, 2))
    frame[:, 0, 0] = np.linalg.norm(e[ok], axis=1)
    frame[:, 0, 1] = np.einsum("ij,ij->i", e[ok], f[ok]) / frame[:, 0, 0]
    frame[:, 1, 1] = 2 * area[ok] / frame[:, 0, 0]
    jacobian = np.stack([s[ok], t[ok]], axis=2) @ np.linalg.inv(frame)
    scale = np.sqrt(np.abs(signed[ok]).sum() / area[ok].sum())
    large, small = (np.linalg.svd(jacobian, compute_uv=False) / scale).T
    large, small = np.maximum(large, 1e-9), np.maximum(small, 1e-9)
    density = np.sqrt(large * small)
    mean = (weight * density).sum()
    order = np.argsort(1 / small)
    most = (1 / small)[order][np.searchsorted(np.cumsum(weight[order]), 0.999)]

    n = len(uvs)
    links = coo_matrix((np.ones(len(faces) * 2), (faces[:, :2].T.ravel(), faces[:, 1:].T.ravel())), (n, n))
    chart = connected_components(links, directed=False)[1][faces[:, 0]]
    chart, sizes = np.unique(chart, return_inverse=True, return_counts=True)[1:]
    # A whole chart may be mirrored; within it all must turn the same way.
    upright, mirrored = (np.bincount(chart[ok], side[ok], len(sizes)) for side in (signed > 0, signed < 0))

    # Edges by the positions of their ends; cut where the vertices differ.
    place = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)[1].reshape(-1, 3)
    ends = np.concatenate([place[:, [0, 1]], place[:, [1, 2]], place[:, [2, 0]]])
    verts = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    length = np.linalg.norm(np.concatenate([e, f - e, f]), axis=1)
    down = ends[:, 0] > ends[:, 1]
    ends[down], verts[down] = ends[down][:, ::-1], verts[down][:, ::-1]
    order = np.lexsort(ends.T)
    ends, verts, length = ends[order], verts[order], length[order]
    cut = (ends[1:] == ends[:-1]).all(axis=1) & (verts[1:] != verts[:-1]).any(axis=1)
    return {
        "charts": len(sizes),
        "tiny": int((sizes <= 4).sum()),
        "stretch_l2": np.sqrt((weight * (1 / small**2 + 1 / large**2) / 2).sum()),
        "stretch_most": most,
        "deviation": np.sqrt((weight * (density - mean) ** 2).sum()) / mean,
        "seams": length[1:][cut].sum() / np.sqrt(area.sum()),
        "coverage": np.abs(signed).sum(),
        "flipped": int(np.minimum(upright, mirrored).sum()),
    }


def main():
    with_packages("numpy", "scipy", "scikit-image", "xatlas")
    import numpy as np

    names = SHARED + make_inputs("--big" in sys.argv)
    lines = bench("unwrap", *names)
    print("each pair: meshkiln / xatlas; seams over the square root of the area; coverage of a square page")
    columns = ["charts", "tiny", "stretch_l2", "stretch_most", "deviation", "seams", "coverage", "flipped"]
    print(f"{'mesh':16} {'triangles':>9} {'seconds':>15} {'ratio':>6}", *(f"{column:>15}" for column in columns))
    for line in lines:
        if "error" in line:
            print(f"{line['mesh']:16} {line['error']}")
            continue
        positions, uvs, faces = read_layout(FOLDER / "out" / f"{line['mesh']}.obj")
        ours = measure(positions[faces], uvs, faces)
        if line["triangles"] > MOST_FOR_XATLAS:
            theirs, seconds = None, float("nan")
        else:
            # Vertices without seams, as Meshkiln got them.
            welded, same = np.unique(positions, axis=0, return_inverse=True)
            seconds, xuvs, xfaces = with_xatlas(welded, same.reshape(-1)[faces])
            theirs = measure(positions[faces], xuvs, xfaces)
        pair = lambda key: f"{short(ours[key])} / {short(theirs[key]) if theirs else '-'}"
        print(
            f"{line['mesh']:16} {line['triangles']:9} {line['seconds']:7.2f} /{seconds:6.2f} "
            f"{seconds / line['seconds']:6.1f}",
            *(f"{pair(column):>15}" for column in columns),
            flush=True,
        )


def short(value):
    return str(value) if isinstance(value, int) else f"{value:.3g}" if value >= 100 else f"{value:.3f}"


if __name__ == "__main__":
    main()
