#!/usr/bin/env python3
"""Segment Anything beside PyTorch: a picture's embedding and the masks of a click, in one run.

    tests/peers/sam.py [NET ...]      mobile-sam unless named; also sam-vit-b

The PyTorch is that of sam_torch.py, channels last where that is quicker, in f32 and bf16, on as
many threads as Meshkiln's benchmark `sam`, which runs before and after. Times are the best of a
few. Installs torch as peers.py says.
"""

import sys

from peers import bench, best, with_packages


def main():
    with_packages("numpy", "torch")
    import sam_torch

    nets = sys.argv[1:] or ["mobile-sam"]
    configs = {"mobile-sam": sam_torch.MOBILE, "sam-vit-b": sam_torch.VIT_B}
    runs = [bench("sam", *nets)]
    threads = runs[0][0]["threads"]
    theirs = {net: peer(configs[net], threads) for net in nets}
    runs.append(bench("sam", *nets))
    print(f"{threads} threads; seconds, best run; ours before and after the peer\n")
    print(f"{'':24}{'embedding':>20}{'ratio':>8}{'masks':>20}{'ratio':>8}")
    for net in nets:
        least = {part: min(times[part] for times in theirs[net].values()) for part in ("embed", "masks")}
        for line in [line for line in runs[0] if line["name"] == net]:
            pair = [next(it for it in run if it["name"] == net and it["precision"] == line["precision"]) for run in runs]
            cells = ""
            for part in ("embed", "masks"):
                ours = [it[part + "_seconds"] for it in pair]
                cells += f"{ours[0]:>12.3f}{ours[1]:>8.3f}{min(ours) / least[part]:>8.2f}"
            print(f"{net + ' ' + line['precision']:24}{cells}")
        for kind, times in theirs[net].items():
            print(f"{'  PyTorch ' + kind:24}{times['embed']:>20.3f}{'':8}{times['masks']:>20.3f}")


def peer(config, threads):
    """Seconds of each part by format and precision."""
    import sam_torch
    import torch

    torch.set_grad_enabled(False)
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for name, shape in sam_torch.shapes(config):
        fan_in = max(1, torch.Size(shape[1:]).numel())
        values = (torch.rand(shape, generator=generator) - 0.5) * (3 / fan_in) ** 0.5
        weights[name] = values + 1 if name.endswith("running_var") or "norm" in name else values
    found = {}
    for kind, layout, dtype in [("f32", torch.contiguous_format, torch.float32),
                                ("f32 channels last", torch.channels_last, torch.float32),
                                ("bf16 channels last", torch.channels_last, torch.bfloat16)]:
        # Places of prompts are too coarse in bf16: only the encoder is in it.
        arranged = {
            name: value.to(memory_format=layout) if value.dim() == 4 else value for name, value in weights.items()
        }
        encoder = {
            name: value.to(dtype) if name.startswith("image_encoder.") else value for name, value in arranged.items()
        }
        net = sam_torch.Net(config, encoder)
        square = torch.rand(1, 3, config["side"], config["side"]).to(dtype).to(memory_format=layout)
        embed, embedding = best(3, lambda: net.embed(square))
        embedding, sparse, dense = embedding.float(), net.sparse([[500.0, 300.0]], [1], None), net.dense(None)
        masks, _ = best(5, lambda: net.masks(embedding, sparse, dense))
        found[kind] = {"embed": embed, "masks": masks}
    return found


if __name__ == "__main__":
    main()
