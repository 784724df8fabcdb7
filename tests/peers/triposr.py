#!/usr/bin/env python3
"""TripoSR beside PyTorch: image to mesh at 256^3, each part, in one run.

    tests/peers/triposr.py [--parity DIR] [--runs N] [--skip-bf16] [--skip-ours] [--program FILE]
    tests/peers/triposr.py --device cuda [--parity DIR] [--runs N]     # PyTorch alone, picture to planes

Defines the same layers in PyTorch, fills them with the same synthetic weights, runs the steps of
the original (tokenizer, backbone, the dense grid, marching cubes by scikit-image) on as many
threads as Meshkiln's benchmark `triposr`, which runs before and after, and prints a table with
ratios. Makes its own environment under target/peers; MESHKILN_TORCH names a Python that has
torch, numpy and scikit-image already.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = ROOT / "target" / "peers" / "triposr"
PACKAGES = ["numpy", "scikit-image", "torch"]
PARTS = ["tokenizer", "backbone", "field", "surface"]
GRID = 256
CHUNK = 8192


def main():
    python = os.environ.get("MESHKILN_TORCH")
    if python is None:
        python = HOME / "venv" / "bin" / "python"
        if not python.exists():
            venv.create(HOME / "venv", with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    if "MESHKILN_PEER" not in os.environ:
        os.execve(python, [str(python), __file__, *sys.argv[1:]], dict(os.environ, MESHKILN_PEER="1"))

    options = argparse.ArgumentParser()
    options.add_argument("--parity", type=pathlib.Path, default=ROOT / ".." / "shared" / "parity")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--skip-bf16", action="store_true")
    options.add_argument("--skip-ours", action="store_true")
    options.add_argument("--device", default="cpu")
    options.add_argument("--program", help="the benchmark, built already")
    given = options.parse_args()
    given.parity = given.parity.resolve()
    if given.device != "cpu":
        for line in on_device(given):
            print(json.dumps(line), flush=True)
        return

    theirs_in = ["f32"] if given.skip_bf16 else ["f32", "bf16"]
    ours_in = ["f32", "bf16x3"] if given.skip_bf16 else ["f32", "bf16x3", "bf16"]
    before = [] if given.skip_ours else ours(given, ours_in)
    theirs = {precision: peer(given, precision) for precision in theirs_in}
    after = [] if given.skip_ours else ours(given, ours_in)
    report(ours_in, [run for run in (before, after) if run], theirs)


def ours(given, precisions):
    """Lines of the benchmark."""
    program = [given.program] if given.program else \
        ["cargo", "bench", "--quiet", "--workspace", "--bench", "triposr", "--"]
    command = [*program, "--parity", str(given.parity), "--precisions", ",".join(precisions),
               "--runs", str(given.runs), "--skip", "goldens,cycles,load,dense,refined"]
    bench = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in bench.stdout.splitlines() if line.startswith("{")]


def peer(given, precision):
    """Best seconds of each part in PyTorch, and the number of triangles."""
    import numpy
    import torch
    from skimage.measure import marching_cubes

    fixture = json.loads((given.parity / "triposr_full.json").read_text())
    torch.set_grad_enabled(False)
    torch.set_num_threads(os.cpu_count())
    weights = synthetic(fixture)
    picture = read_picture(given.parity / "triposr_full.safetensors")
    dtype = torch.float32 if precision == "f32" else torch.bfloat16
    net = TripoSr(fixture["config"], weights, dtype)
    del weights

    best, best_cpu, triangles = {}, {}, 0
    for run in range(given.runs + 1):
        seconds, cpu = {}, {}
        start, cpu_start = time.perf_counter(), time.process_time()

        def lap(part):
            nonlocal start, cpu_start
            now, cpu_now = time.perf_counter(), time.process_time()
            seconds[part], cpu[part] = now - start, cpu_now - cpu_start
            start, cpu_start = now, cpu_now

        tokens = net.tokenizer(picture)
        lap("tokenizer")
        planes = net.backbone(tokens)
        lap("backbone")
        if run <= 1:  # The grid takes longest; what it does is the same every time.
            density = net.grid(planes, GRID)
            lap("field")
            triangles = len(marching_cubes(density.numpy(), 25.0)[1]) if numpy.isfinite(density.numpy()).all() else 0
            lap("surface")
        if run > 0:  # The first one warms up.
            best = {part: min(seconds.get(part, numpy.inf), best.get(part, numpy.inf)) for part in PARTS}
            best_cpu = {part: min(cpu.get(part, numpy.inf), best_cpu.get(part, numpy.inf)) for part in PARTS}
    return dict(best, cpu=sum(best_cpu.values()), cpu_parts=best_cpu, triangles=triangles)


def on_device(given):
    """Seconds from picture to planes on the host, and memory taken, on a GPU, in each precision."""
    import torch

    fixture = json.loads((given.parity / "triposr_full.json").read_text())
    weights = synthetic(fixture)
    picture = read_picture(given.parity / "triposr_full.safetensors").to(given.device)
    torch.set_grad_enabled(False)
    torch.set_default_device(given.device)
    for precision, dtype in {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}.items():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        net = TripoSr(fixture["config"], {name: value.to(given.device, dtype) for name, value in weights.items()}, dtype)
        seconds = []
        for _ in range(given.runs + 3):
            start = time.perf_counter()
            net.backbone(net.tokenizer(picture)).float().cpu()
            seconds.append(time.perf_counter() - start)
        seconds = sorted(seconds[3:])
        yield {"name": "pytorch", "precision": precision, "p50": seconds[len(seconds) // 2], "min": seconds[0],
               "peak_bytes": torch.cuda.max_memory_allocated()}
        del net


def report(precisions, runs, theirs):
    print(f"{'':26}" + "".join(f"{part:>11}" for part in PARTS)
          + f"{'total':>9}{'ratio':>7}{'CPU':>9}{'ratio':>7}{'triangles':>11}")
    for precision in precisions:
        for i, lines in enumerate(runs):
            of = {line["name"] if line["name"] != "surface" else line["kind"]: line
                  for line in lines if line.get("precision") == precision}
            field, surface = of["image_to_field"], of["sparse"]
            cells = [field["tokenizer"]["min"], field["backbone"]["min"], 0.0, surface["seconds"]]
            cpu = field["cpu_seconds"]["min"] + surface["cpu_seconds"]
            row(f"meshkiln {precision}, {'before' if i == 0 else 'after'}", cells, cpu, surface["triangles"], theirs["f32"])
    for precision, result in theirs.items():
        row(f"PyTorch {precision}", [result[part] for part in PARTS], result["cpu"], result["triangles"], theirs["f32"])
        print(f"{'':26}" + "".join(f"{result['cpu_parts'][part]:11.2f}" for part in PARTS) + "   CPU seconds of each part")
    print("Seconds: the best run of each part. Ratios: to PyTorch f32. Our field is asked during `surface`.")


def row(name, cells, cpu, triangles, reference):
    total, against = sum(cells), sum(reference[part] for part in PARTS)
    print(f"{name:26}" + "".join(f"{cell:11.2f}" for cell in cells)
          + f"{total:9.2f}{total / against:7.2f}{cpu:9.2f}{cpu / reference['cpu']:7.2f}{triangles:11}")


def synthetic(fixture):
    """Weights by the formula of the fixtures: b + a t, t from splitmix64 at the name's FNV-1a hash."""
    import numpy
    import torch

    golden, mask, chunk = 0x9E3779B97F4A7C15, (1 << 64) - 1, 1 << 20
    seed, found = int(fixture["seed"]), {}
    for tensor in fixture["tensors"]:
        key = 0xCBF29CE484222325
        for byte in tensor["name"].encode():
            key = (key ^ byte) * 0x100000001B3 & mask
        key ^= seed
        values = numpy.empty(int(numpy.prod(tensor["shape"])), numpy.float32)
        a, b = numpy.float32(tensor["a"]), numpy.float32(tensor["b"])
        for first in range(0, values.size, chunk):
            n = min(chunk, values.size - first)
            with numpy.errstate(over="ignore"):
                z = numpy.uint64(key) + numpy.arange(first + 1, first + n + 1, dtype=numpy.uint64) * numpy.uint64(golden)
                z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
                z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
                z ^= z >> numpy.uint64(31)
            t = ((z >> numpy.uint64(40)).astype(numpy.int32) - (1 << 23)).astype(numpy.float32) / numpy.float32(1 << 23)
            values[first:first + n] = b + a * t
        found[tensor["name"]] = torch.from_numpy(values.reshape(tensor["shape"]))
    return found


def read_picture(path):
    import numpy
    import torch

    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8:8 + n])["in.image"]
    first, last = entry["data_offsets"]
    picture = numpy.frombuffer(data[8 + n + first:8 + n + last], numpy.uint8).reshape(entry["shape"])
    return torch.from_numpy(picture.copy())


class TripoSr:
    """The layers, from tensors by their published names."""

    def __init__(self, config, weights, dtype):
        self.config, self.dtype = config, dtype
        self.weights = {name: value if name.startswith("decoder.") else value.to(dtype) for name, value in weights.items()}

    def linear(self, x, name):
        from torch.nn.functional import linear
        return linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, x, name, eps):
        from torch.nn.functional import layer_norm
        weight = self.weights[f"{name}.weight"]
        return layer_norm(x, weight.shape, weight, self.weights[f"{name}.bias"], eps)

    def attend(self, q, k, v, heads):
        from torch.nn.functional import scaled_dot_product_attention
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(0, 1)[None] for x in (q, k, v))
        return scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)

    def tokenizer(self, picture):
        import torch
        from torch.nn.functional import conv2d, gelu, interpolate
        sizes, side = self.config["dino"], self.config["cond_image_size"]
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (picture.float() / 255).permute(2, 0, 1)[None]
        x = interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)
        x = ((x - mean[:, None, None]) / deviation[:, None, None]).to(self.dtype)
        at = "image_tokenizer.model.embeddings"
        patches = f"{at}.patch_embeddings.projection"
        x = conv2d(x, self.weights[f"{patches}.weight"], self.weights[f"{patches}.bias"], stride=sizes["patch_size"])
        n = x.shape[-1]
        positions = self.weights[f"{at}.position_embeddings"][0].float()
        trained = round((positions.shape[0] - 1) ** 0.5)
        grid = positions[1:].T.reshape(1, -1, trained, trained)
        scale = (n + 0.1) / trained
        grid = interpolate(grid, scale_factor=(scale, scale), mode="bicubic", align_corners=False)
        positions = torch.cat([positions[:1], grid.flatten(2)[0].T]).to(self.dtype)
        x = torch.cat([self.weights[f"{at}.cls_token"][0], x.flatten(2)[0].T]) + positions
        eps, heads = float(sizes["layer_norm_eps"]), sizes["num_attention_heads"]
        for i in range(sizes["num_hidden_layers"]):
            at = f"image_tokenizer.model.encoder.layer.{i}"
            y = self.norm(x, f"{at}.layernorm_before", eps)
            q, k, v = (self.linear(y, f"{at}.attention.attention.{part}") for part in ("query", "key", "value"))
            x = x + self.linear(self.attend(q, k, v, heads), f"{at}.attention.output.dense")
            y = gelu(self.linear(self.norm(x, f"{at}.layernorm_after", eps), f"{at}.intermediate.dense"))
            x = x + self.linear(y, f"{at}.output.dense")
        return self.norm(x, "image_tokenizer.model.layernorm", eps)

    def backbone(self, image):
        from torch.nn.functional import conv_transpose2d, gelu, group_norm
        sizes = self.config["backbone"]
        heads, plane = sizes["num_attention_heads"], self.config["tokenizer"]["plane_size"]
        tokens = self.weights["tokenizer.embeddings"].transpose(0, 1).flatten(1)  # [c, 3 h w]
        x = group_norm(tokens[None], 32, self.weights["backbone.norm.weight"], self.weights["backbone.norm.bias"], 1e-6)
        x = self.linear(x[0].T, "backbone.proj_in")
        for i in range(sizes["num_layers"]):
            at = f"backbone.transformer_blocks.{i}"
            y = self.norm(x, f"{at}.norm1", 1e-5)
            q, k, v = (self.linear(y, f"{at}.attn1.to_{part}") for part in "qkv")
            x = x + self.linear(self.attend(q, k, v, heads), f"{at}.attn1.to_out.0")
            q = self.linear(self.norm(x, f"{at}.norm2", 1e-5), f"{at}.attn2.to_q")
            k, v = (self.linear(image, f"{at}.attn2.to_{part}") for part in "kv")
            x = x + self.linear(self.attend(q, k, v, heads), f"{at}.attn2.to_out.0")
            value, gate = self.linear(self.norm(x, f"{at}.norm3", 1e-5), f"{at}.ff.net.0.proj").chunk(2, -1)
            x = x + self.linear(value * gelu(gate), f"{at}.ff.net.2")
        x = self.linear(x, "backbone.proj_out").T + tokens
        x = x.unflatten(1, (3, plane, plane)).transpose(0, 1)
        name = "post_processor.upsample"
        return conv_transpose2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], stride=2)

    def grid(self, planes, n):
        """Densities at n^3 points [x, y, z] of the cube, as many at a time as in the original."""
        import torch
        from torch.nn.functional import grid_sample, silu
        planes = planes.float()
        axis = torch.linspace(-1, 1, n)
        points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        n_layers = self.config["decoder"]["n_hidden_layers"] + 1
        density = torch.empty(len(points))
        for first in range(0, len(points), CHUNK):
            p = points[first:first + CHUNK]
            lookups = torch.stack([p[:, [0, 1]], p[:, [0, 2]], p[:, [1, 2]]])[:, None]
            features = grid_sample(planes, lookups, mode="bilinear", align_corners=False)  # [3, c, 1, n]
            x = features[:, :, 0].permute(2, 0, 1).flatten(1)
            for layer in range(n_layers):
                x = self.linear(x if layer == 0 else silu(x), f"decoder.layers.{2 * layer}")
            density[first:first + CHUNK] = (x[:, 0] + self.config["renderer"]["density_bias"]).exp()
        return density.reshape(n, n, n)


if __name__ == "__main__":
    main()
