#!/usr/bin/env python3
"""Writes `tests/golden/sam_*_tiny`: small Segment Anything networks, by the PyTorch of
`sam_torch.py`, in the format that `models/tests/golden/fixture.rs` reads.

    tests/peers/sam_golden.py
"""

import json
import math
import pathlib

from peers import ROOT, with_packages

MASK = (1 << 64) - 1
PROMPTS = [
    {"name": "a_point", "image": "a", "points": [[34, 17]], "labels": [1], "multimask": True},
    {"name": "a_box", "image": "a", "box": [12, 6, 50, 30], "multimask": False},
    {"name": "a_refine", "image": "a", "points": [[34, 17], [4, 4]], "labels": [1, 0], "box": [12, 6, 50, 30],
     "mask_from": ["a_point", 1], "multimask": False},
]
OVERRIDES = {"pos_embed": 1.0, "attention_biases": 1.0, "rel_pos_h": 0.5, "rel_pos_w": 0.5,
             "positional_encoding_gaussian_matrix": 3 ** 0.5, "point_embeddings": 1.0, "not_a_point_embed": 1.0,
             "no_mask_embed": 1.0, "iou_token": 1.0, "mask_tokens": 1.0}


def main():
    with_packages("numpy", "torch", "pillow", "safetensors")
    import sam_torch

    write("sam_vit_tiny", sam_torch.TINY_VIT, 402)
    write("sam_mobile_tiny", sam_torch.TINY_MOBILE, 403)


def write(name, config, seed):
    import numpy
    import sam_torch
    import torch
    from safetensors.numpy import save_file

    torch.set_grad_enabled(False)
    tensors, weights, checksum = [], {}, 0
    for key, shape in sam_torch.shapes(config):
        a, b = spread(key, shape)
        values = tensor(key, shape, seed, a, b)
        checksum = (checksum + sum_of(values)) & MASK
        tensors.append({"name": key, "shape": shape, "a": a, "b": b})
        weights[key] = torch.from_numpy(values)
    picture = picture_of(60, 40)
    exact = outputs(config, {key: value.double() for key, value in weights.items()}, picture)
    single = outputs(config, weights, picture)
    described, stored = {}, {"in.a": picture}
    for key, value in single.items():
        value = value.numpy()
        error = float(numpy.abs(value - exact[key].numpy()).max())
        described[key] = {"shape": list(value.shape), "dtype": str(value.dtype)}
        if value.dtype == numpy.float32:
            described[key]["atol"] = max(16 * error, 2e-6 * float(numpy.abs(value).max()))
        stored["out." + key] = numpy.ascontiguousarray(value)
    fixture = {
        "fixture": name, "kind": "sam", "format": 1, "reference": "tests/peers/sam_torch.py", "seed": str(seed),
        "config": {**config, "prompts": PROMPTS}, "weights_checksum": f"{checksum:016x}",
        "parameters": sum(math.prod(t["shape"]) for t in tensors), "tensors": tensors,
        "inputs": {"a": {"shape": list(picture.shape), "dtype": "uint8"}}, "outputs": described,
    }
    folder = ROOT / "tests" / "golden"
    lines = json.dumps(fixture, indent=1)
    (folder / f"{name}.json").write_text(lines + "\n")
    save_file(stored, folder / f"{name}.safetensors")
    print(name, sum(path.stat().st_size for path in pathlib.Path(folder).glob(name + ".*")), "bytes")


def outputs(config, weights, picture):
    """All outputs by name."""
    import sam_torch
    import torch
    from PIL import Image
    from torch.nn import functional as F

    found = {}
    dtype = weights["mask_decoder.iou_token.weight"].dtype
    height, width, _ = picture.shape
    scale = config["side"] / max(height, width)
    inner = (int(height * scale + 0.5), int(width * scale + 0.5))
    resized = Image.fromarray(picture).resize(inner[::-1], Image.BILINEAR)
    square = torch.tensor(list(resized.get_flattened_data()), dtype=dtype).view(*inner, 3).permute(2, 0, 1)
    square = (square - torch.tensor(sam_torch.MEAN, dtype=dtype).view(3, 1, 1)) \
        / torch.tensor(sam_torch.DEVIATION, dtype=dtype).view(3, 1, 1)
    square = F.pad(square, (0, config["side"] - inner[1], 0, config["side"] - inner[0]))[None]
    net = sam_torch.Net(config, weights)
    net.taps = {}
    embedding = net.embed(square)
    found.update({"a." + key: value for key, value in net.taps.items()})
    found["dense_pe"] = net.positions()[0]
    for prompt in PROMPTS:
        net.taps = {}
        place = lambda xy: [xy[0] * (inner[1] / width), xy[1] * (inner[0] / height)]
        box = prompt.get("box")
        box = box and place(box[:2]) + place(box[2:])
        sparse = net.sparse([place(xy) for xy in prompt.get("points", [])], prompt.get("labels", []), box)
        earlier = prompt.get("mask_from")
        dense = net.dense(earlier and found[earlier[0] + ".low_res"][earlier[1]])
        logits, quality = net.masks(embedding, sparse, dense)
        kept = slice(1, 4) if prompt["multimask"] else slice(0, 1)
        name = prompt["name"]
        found[name + ".sparse"] = sparse
        if earlier:
            found[name + ".dense"] = dense[0]
        found[name + ".tokens"] = net.taps["tokens"]
        found[name + ".low_res"], found[name + ".iou"] = logits[kept], quality[kept]
        best = logits[kept][quality[kept].argmax()][None, None]
        side = config["side"]
        large = F.interpolate(best, (side, side), mode="bilinear", align_corners=False)[..., :inner[0], :inner[1]]
        large = F.interpolate(large, (height, width), mode="bilinear", align_corners=False)
        found[name + ".mask"] = (large[0, 0] > 0).to(torch.uint8)
    return {key: value.contiguous() for key, value in found.items()}


def picture_of(width, height):
    """A bright ellipse over stripes."""
    import numpy

    y, x = numpy.mgrid[:height, :width]
    stripes = numpy.stack([(x * 3 + y) % 97, (y * 5) % 131, (x + y * 2) % 89], -1)
    inside = ((x - 32) / 18.0) ** 2 + ((y - 18) / 11.0) ** 2 < 1
    bright = numpy.stack([200 + y % 31, 150 + x % 43, 60 + (x * y) % 53], -1)
    return numpy.where(inside[..., None], bright, stripes).astype(numpy.uint8)


def spread(name, shape):
    """Half the width of the range of a tensor's values, and its middle: as in `synthetic.rs`."""
    import numpy

    for part, a in OVERRIDES.items():
        if part in name:
            return float(numpy.float32(a)), 0.0
    if len(shape) > 1:
        return float(numpy.float32(math.sqrt(3.0 / math.prod(shape[1:])))), 0.0
    if name.endswith("running_var") or name.endswith("weight"):
        return float(numpy.float32(0.1)), 1.0
    return float(numpy.float32(0.05)), 0.0


def tensor(name, shape, seed, a, b):
    """Values of the formula in `synthetic.rs`."""
    import numpy
    from numpy import uint64

    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) & MASK
    with numpy.errstate(over="ignore"):
        z = uint64(key ^ seed) + numpy.arange(1, math.prod(shape) + 1, dtype=uint64) * uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
        z = z ^ (z >> uint64(31))
    t = ((z >> uint64(40)).astype(numpy.int64) - (1 << 23)).astype(numpy.float32) * numpy.float32(2.0 ** -23)
    return (numpy.float32(b) + numpy.float32(a) * t).reshape(shape)


def sum_of(values):
    import numpy

    bits = values.reshape(-1).view(numpy.uint32).astype(numpy.uint64)
    with numpy.errstate(over="ignore"):
        weighed = bits * (2 * numpy.arange(len(bits), dtype=numpy.uint64) + numpy.uint64(1))
        return int(weighed.sum(dtype=numpy.uint64))


if __name__ == "__main__":
    main()
