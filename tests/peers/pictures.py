#!/usr/bin/env python3
"""Networks that see pictures, and their layers, beside PyTorch in the same run.

    tests/peers/pictures.py [PART ...] [--runs N] [--precisions f32,bf16]

PARTs are those of the benchmark `pictures`. Defines the same layers and networks in PyTorch, in
its best format (channels last; bf16 beside bf16, f32 beside all others), on as many threads; runs
ours before and after, and prints a table with ratios: below 1, ours took less time.
"""

import argparse
import os

import peers

NAMES = ["layers", "srvgg", "rrdb", "u2net", "isnet"]
# name: input, output channels, kernel, stride, dilation, groups, side
LAYERS = {
    "rrdb grow 64": (64, 32, 3, 1, 1, 1, 128),
    "rrdb grow 160": (160, 32, 3, 1, 1, 1, 128),
    "rrdb end 192": (192, 64, 3, 1, 1, 1, 128),
    "srvgg body 64": (64, 64, 3, 1, 1, 1, 256),
    "srvgg last 48": (64, 48, 3, 1, 1, 1, 256),
    "first 3": (3, 64, 3, 1, 1, 1, 256),
    "u2net 512 at 20": (512, 512, 3, 1, 1, 1, 20),
    "u2net 512 at 10": (512, 256, 3, 1, 1, 1, 10),
    "u2net dilated 4": (256, 256, 3, 1, 4, 1, 20),
    "u2net side": (64, 1, 3, 1, 1, 1, 320),
    "u2netp 16": (64, 16, 3, 1, 1, 1, 160),
    "1x1 64": (64, 64, 1, 1, 1, 1, 256),
    "1x1 64 to 256": (64, 256, 1, 1, 1, 1, 128),
    "1x1 256 to 64": (256, 64, 1, 1, 1, 1, 128),
    "isnet stride 2": (64, 128, 3, 2, 1, 1, 256),
    "sam depthwise": (128, 128, 3, 1, 1, 128, 128),
}
# name: input, output channels, kernel, stride, padding, side
TRANSPOSED = {"transposed 2": (256, 64, 2, 2, 0, 64), "transposed 4": (128, 64, 4, 2, 1, 64)}


def main():
    peers.with_packages("numpy", "torch")
    options = argparse.ArgumentParser()
    options.add_argument("parts", nargs="*", choices=[*NAMES, []], default=["layers", "srvgg"])
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--precisions", default="f32,bf16")
    given = options.parse_args()
    arguments = [*given.parts, "--runs", given.runs, "--precisions", given.precisions]
    before = ours(arguments)
    theirs = peer(given)
    after = ours(arguments)
    print(f"{'':26}{'':6}{'ours s':>18}{'PyTorch s':>12}{'ratio':>14}")
    for (name, precision), seconds in theirs.items():
        times = [run[name, precision] for run in (before, after)]
        ratios = "-".join(f"{time / seconds:.2f}" for time in sorted(times))
        shown = "-".join(f"{time:.4f}" for time in sorted(times))
        print(f"{name:26}{precision:6}{shown:>18}{seconds:12.4f}{ratios:>14}")


def ours(arguments):
    lines = peers.bench("pictures", *arguments)
    return {(line["part"], line["precision"]): line["seconds"] for line in lines if "seconds" in line}


def peer(given):
    import torch

    torch.set_num_threads(os.cpu_count())
    torch.set_grad_enabled(False)
    seconds = {}
    for precision in given.precisions.split(","):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        for name, net, shape in [case for part in given.parts for case in CASES[part](torch)]:
            net = net.to(memory_format=torch.channels_last).to(dtype).eval()
            x = torch.rand(1, *shape).to(memory_format=torch.channels_last).to(dtype)
            net(x)
            seconds[name, precision], _ = peers.best(given.runs, lambda: net(x))
    return seconds


def layers(torch):
    from torch import nn

    for name, (n_in, n_out, kernel, stride, dilation, groups, side) in LAYERS.items():
        padding = dilation * (kernel - 1) // 2
        conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, dilation, groups)
        yield name, nn.Sequential(conv, nn.LeakyReLU(0.2, inplace=True)), (n_in, side, side)
    for name, (n_in, n_out, kernel, stride, padding, side) in TRANSPOSED.items():
        yield name, nn.ConvTranspose2d(n_in, n_out, kernel, stride, padding), (n_in, side, side)


def srvgg(torch):
    from torch import nn

    class Srvgg(nn.Module):
        def __init__(self, n=64, n_layers=32, scale=4):
            super().__init__()
            body = [nn.Conv2d(3, n, 3, 1, 1), nn.PReLU(n)]
            for _ in range(n_layers):
                body += [nn.Conv2d(n, n, 3, 1, 1), nn.PReLU(n)]
            self.body = nn.Sequential(*body, nn.Conv2d(n, 3 * scale * scale, 3, 1, 1))
            self.shuffle = nn.PixelShuffle(scale)
            self.scale = scale

        def forward(self, x):
            return self.shuffle(self.body(x)) + nn.functional.interpolate(x, scale_factor=self.scale)

    yield "realesr-general-x4v3 of 512", Srvgg(), (3, 512, 512)


def rrdb(torch):
    from torch import nn

    act = nn.LeakyReLU(0.2, inplace=True)

    class Dense(nn.Module):
        def __init__(self, n, growth):
            super().__init__()
            self.growing = nn.ModuleList(nn.Conv2d(n + i * growth, growth, 3, 1, 1) for i in range(4))
            self.last = nn.Conv2d(n + 4 * growth, n, 3, 1, 1)

        def forward(self, x):
            parts = [x]
            for conv in self.growing:
                parts.append(act(conv(torch.cat(parts, 1))))
            return self.last(torch.cat(parts, 1)) * 0.2 + x

    class Rrdb(nn.Module):
        def __init__(self, n=64, growth=32, n_blocks=23):
            super().__init__()
            self.first = nn.Conv2d(3, n, 3, 1, 1)
            self.blocks = nn.ModuleList(nn.Sequential(*(Dense(n, growth) for _ in range(3))) for _ in range(n_blocks))
            self.body, self.up1, self.up2, self.full = (nn.Conv2d(n, n, 3, 1, 1) for _ in range(4))
            self.last = nn.Conv2d(n, 3, 3, 1, 1)

        def forward(self, x):
            first = self.first(x)
            y = first
            for block in self.blocks:
                y = block(y) * 0.2 + y
            y = self.body(y) + first
            for up in (self.up1, self.up2):
                y = act(up(nn.functional.interpolate(y, scale_factor=2)))
            return self.last(act(self.full(y)))

    yield "realesrgan-x4plus of 512", Rrdb(), (3, 512, 512)


def nested_u(torch, n_in):
    """The nested U of U2-Net and IS-Net, batch norms folded into the convolutions before them."""
    from torch import nn

    resize = lambda x, like: nn.functional.interpolate(x, size=like.shape[2:], mode="bilinear")
    pool = lambda x: nn.functional.max_pool2d(x, 2, 2, ceil_mode=True)

    def conv(n_in, n_out, dilation=1):
        return nn.Sequential(nn.Conv2d(n_in, n_out, 3, 1, dilation, dilation), nn.ReLU(inplace=True))

    class Block(nn.Module):
        def __init__(self, depth, n_in, n_mid, n_out):
            super().__init__()
            self.pooled = depth > 0
            n = depth or 4
            far = lambda i: (2 if i == n else 1) if depth else 1 << (i - 1)
            self.into = conv(n_in, n_out)
            self.down = nn.ModuleList(conv(n_out if i == 1 else n_mid, n_mid, far(i)) for i in range(1, n + 1))
            self.up = nn.ModuleList(conv(2 * n_mid, n_out if i == 1 else n_mid, far(i)) for i in range(n - 1, 0, -1))

        def forward(self, x):
            first = x = self.into(x)
            down = []
            for i, layer in enumerate(self.down):
                x = layer(pool(x) if self.pooled and 0 < i < len(self.down) - 1 else x)
                down.append(x)
            x = down.pop()
            for layer in self.up:
                across = down.pop()
                x = layer(torch.cat([resize(x, across), across], 1))
            return x + first

    class NestedU(nn.Module):
        def __init__(self):
            super().__init__()
            kinds = [7, 6, 5, 4, 0, 0]
            down = [(32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512)]
            up = [(256, 512), (128, 256), (64, 128), (32, 64), (16, 64)]
            widths = [n_in, *(n_out for _, n_out in down)]
            self.down = nn.ModuleList(Block(kinds[i], widths[i], *down[i]) for i in range(6))
            below = [512, *(n_out for _, n_out in up)]
            self.up = nn.ModuleList(Block(kinds[4 - i], below[i] + down[4 - i][1], *up[i]) for i in range(5))
            self.sides = nn.ModuleList(nn.Conv2d(n, 1, 3, 1, 1) for n in [64, 64, 128, 256, 512, 512])

        def forward(self, x):
            down = []
            for i, block in enumerate(self.down):
                x = block(pool(x) if i else x)
                down.append(x)
            levels = [x]
            for i, block in enumerate(self.up):
                across = down[4 - i]
                x = block(torch.cat([resize(x, across), across], 1))
                levels.append(x)
            return [side(level) for side, level in zip(self.sides, reversed(levels))]

    return NestedU()


def u2net(torch):
    from torch import nn

    class U2Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.out = nested_u(torch, 3), nn.Conv2d(6, 1, 1)

        def forward(self, x):
            maps = [nn.functional.interpolate(m, size=x.shape[2:], mode="bilinear") for m in self.u(x)]
            return torch.sigmoid(self.out(torch.cat(maps, 1)))

    yield "u2net of 320", U2Net(), (3, 320, 320)


def isnet(torch):
    from torch import nn

    class IsNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.u = nn.Conv2d(3, 64, 3, 2, 1), nested_u(torch, 64)

        def forward(self, x):
            return torch.sigmoid(nn.functional.interpolate(self.u(self.first(x))[0], size=x.shape[2:], mode="bilinear"))

    yield "isnet of 1024", IsNet(), (3, 1024, 1024)


CASES = {"layers": layers, "srvgg": srvgg, "rrdb": rrdb, "u2net": u2net, "isnet": isnet}

if __name__ == "__main__":
    main()
