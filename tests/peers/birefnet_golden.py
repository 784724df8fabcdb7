#!/usr/bin/env python3
"""Writes `tests/golden/birefnet_tiny`: a small BiRefNet, by the PyTorch of `birefnet_torch.py`, in
the format that `models/tests/golden/fixture.rs` reads.

    tests/peers/birefnet_golden.py
"""

import json
import math

from peers import ROOT, with_packages
from sam_golden import MASK, sum_of, tensor

SEED = 304
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main():
    with_packages("numpy", "torch", "pillow", "safetensors")
    import birefnet_torch
    import numpy
    import torch
    from safetensors.numpy import save_file

    torch.set_grad_enabled(False)
    config = birefnet_torch.TINY
    tensors, weights, checksum = [], {}, 0
    for key, value in birefnet_torch.Net(config).state_dict().items():
        if not key.endswith("num_batches_tracked"):
            shape = list(value.shape)
            a, b = spread(key, shape)
            values = tensor(key, shape, SEED, a, b)
            checksum = (checksum + sum_of(values)) & MASK
            tensors.append({"name": key, "shape": shape, "a": a, "b": b})
            weights[key] = torch.from_numpy(values)
    picture = picture_of(96, 64)
    exact = outputs(config, {key: value.double() for key, value in weights.items()}, picture)
    described, stored = {}, {"in.image": picture}
    for key, value in outputs(config, weights, picture).items():
        value = value.numpy()
        error = float(numpy.abs(value - exact[key].numpy()).max())
        described[key] = {"shape": list(value.shape), "dtype": str(value.dtype), "std": float(value.std()),
                          "atol": max(16 * error, 2e-6 * float(numpy.abs(value).max()))}
        stored["out." + key] = numpy.ascontiguousarray(value)
    fixture = {
        "fixture": "birefnet_tiny", "kind": "birefnet", "format": 1, "reference": "tests/peers/birefnet_torch.py",
        "seed": str(SEED), "config": config, "weights_checksum": f"{checksum:016x}",
        "parameters": sum(math.prod(t["shape"]) for t in tensors), "tensors": tensors,
        "inputs": {"image": {"shape": list(picture.shape), "dtype": "uint8"}}, "outputs": described,
    }
    folder = ROOT / "tests" / "golden"
    (folder / "birefnet_tiny.json").write_text(json.dumps(fixture, indent=1) + "\n")
    save_file(stored, folder / "birefnet_tiny.safetensors")
    for key, value in described.items():
        print(key, value["shape"], f"std {value['std']:.3g} atol {value['atol']:.2g}")


def outputs(config, weights, picture):
    import birefnet_torch
    import torch

    net = birefnet_torch.Net(config)
    dtype = next(iter(weights.values())).dtype
    net.to(dtype).eval()
    net.load_state_dict(weights, strict=False)
    x = torch.tensor(picture, dtype=torch.float64) / int(picture.max())
    x = (x - torch.tensor(MEAN, dtype=torch.float64)) / torch.tensor(DEVIATION, dtype=torch.float64)
    result = net(x.permute(2, 0, 1)[None].float().to(dtype))
    found = {**net.taps, "d0": result[0, 0].sigmoid()}
    return {key: value.contiguous() for key, value in found.items()}


def picture_of(width, height):
    """A bright ellipse over stripes."""
    import numpy

    y, x = numpy.mgrid[:height, :width]
    stripes = numpy.stack([(x * 3 + y) % 97, (y * 5) % 131, (x + y * 2) % 89], -1)
    inside = ((x - 51) / 29.0) ** 2 + ((y - 29) / 18.0) ** 2 < 1
    bright = numpy.stack([200 + y % 31, 150 + x % 43, 60 + (x * y) % 53], -1)
    return numpy.where(inside[..., None], bright, stripes).astype(numpy.uint8)


def spread(name, shape):
    """Half the width of the range of a tensor's values, and its middle: as in `synthetic.rs`, but
    biases by place and taps that go astray are felt."""
    import numpy

    if "relative_position_bias_table" in name:
        return 1.0, 0.0
    if "offset_conv.bias" in name or "modulator_conv.bias" in name:
        return 1.5, 0.0
    if len(shape) > 1:
        return float(numpy.float32(math.sqrt(3.0 / math.prod(shape[1:])))), 0.0
    if name.endswith("running_var") or name.endswith("weight"):
        return float(numpy.float32(0.1)), 1.0
    return float(numpy.float32(0.05)), 0.0


if __name__ == "__main__":
    main()
