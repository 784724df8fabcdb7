"""BiRefNet in PyTorch, by the paper and with the names of the published checkpoint: what our
network is held against. Deformable convolution is written out, so that torchvision is not needed.

    Net(config)     a module whose `state_dict` has the checkpoint's names
    Net(config)(x)  [1, 3, h, w], normalised, h and w multiples of 32 -> [1, 1, h, w] before the sigmoid

`config` is what `models/src/nets/birefnet/config.rs` reads; channels come first here.
"""

import torch
from torch import nn
from torch.nn import functional as F

TINY = {"width": 8, "depths": [2, 2, 2, 2], "heads": [1, 2, 2, 4], "window": 3, "inner": 8, "planes": 12, "gradient": 4}
FULL = {"width": 192, "depths": [2, 2, 18, 2], "heads": [6, 12, 24, 48], "window": 12, "inner": 64, "planes": 256,
        "gradient": 16}


def resized(x, like):
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


# ---------------------------------------------------------------- Swin (Liu et al., 2021)

class WindowAttention(nn.Module):
    def __init__(self, d, heads, window):
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(d, 3 * d)
        self.proj = nn.Linear(d, d)

    def bias(self):
        """[heads, tokens, tokens]: by how far query and key are apart, down and right."""
        n = self.window
        place = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"), -1).view(-1, 2)
        apart = place[:, None] - place[None] + n - 1
        return self.relative_position_bias_table[apart[..., 0] * (2 * n - 1) + apart[..., 1]].permute(2, 0, 1)

    def forward(self, x, regions):
        """[windows, tokens, d]; `regions` [windows, tokens]: tokens of different ones do not see each other."""
        windows, tokens, d = x.shape
        q, k, v = self.qkv(x).view(windows, tokens, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5 + self.bias()
        apart = regions[:, None, :, None] != regions[:, None, None, :]
        scores = scores.masked_fill(apart, float("-inf"))
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(windows, tokens, d))


class Mlp(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    def __init__(self, d, heads, window, shift):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn, self.mlp = WindowAttention(d, heads, window), Mlp(d)

    def cut(self, x):
        """[h, w, c] to [windows, tokens, c]"""
        h, w, c = x.shape
        n = self.window
        return x.view(h // n, n, w // n, n, c).transpose(1, 2).reshape(-1, n * n, c)

    def forward(self, x):
        """[h, w, d]"""
        h, w, d = x.shape
        n, shift = self.window, self.shift
        inner = F.pad(self.norm1(x), (0, 0, 0, -w % n, 0, -h % n))
        high, wide = inner.shape[:2]
        row, column = torch.zeros(high, dtype=torch.long), torch.zeros(wide, dtype=torch.long)
        if shift:
            inner = inner.roll((-shift, -shift), (0, 1))
            for of in (row, column):
                of[-n:], of[-shift:] = 1, 2
        regions = self.cut((row[:, None] * 3 + column[None])[..., None])[..., 0]
        mixed = self.attn(self.cut(inner), regions)
        mixed = mixed.view(high // n, wide // n, n, n, d).transpose(1, 2).reshape(high, wide, d)
        if shift:
            mixed = mixed.roll((shift, shift), (0, 1))
        x = x + mixed[:h, :w]
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * d, 2 * d, bias=False), nn.LayerNorm(4 * d)

    def forward(self, x):
        h, w, _ = x.shape
        x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        x = torch.cat([x[i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        return self.reduction(self.norm(x))


class SwinLayer(nn.Module):
    def __init__(self, d, depth, heads, window, is_last):
        super().__init__()
        self.blocks = nn.ModuleList(SwinBlock(d, heads, window, i % 2 * (window // 2)) for i in range(depth))
        self.downsample = None if is_last else PatchMerging(d)


class PatchEmbed(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, d, 4, 4), nn.LayerNorm(d)

    def forward(self, x):
        return self.norm(self.proj(x)[0].permute(1, 2, 0))


class Swin(nn.Module):
    def __init__(self, config):
        super().__init__()
        d = config["width"]
        self.patch_embed = PatchEmbed(d)
        self.layers = nn.ModuleList(SwinLayer(d << i, config["depths"][i], config["heads"][i], config["window"], i == 3)
                                    for i in range(4))
        for i in range(4):
            setattr(self, f"norm{i}", nn.LayerNorm(d << i))

    def forward(self, x):
        """Four maps [1, c, h, w]."""
        x = self.patch_embed(x)
        outs = []
        for i, layer in enumerate(self.layers):
            for block in layer.blocks:
                x = block(x)
            outs.append(getattr(self, f"norm{i}")(x).permute(2, 0, 1)[None])
            if layer.downsample is not None:
                x = layer.downsample(x)
        return outs


# ---------------------------------------------------------------- the decoder

class DeformableConv2d(nn.Module):
    """Dai et al., 2017, with weights for each tap (Zhu et al., 2019)."""

    def __init__(self, n_in, n_out, kernel):
        super().__init__()
        self.kernel = kernel
        conv = lambda n_out, bias: nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=bias)
        self.offset_conv, self.modulator_conv = conv(2 * kernel * kernel, True), conv(kernel * kernel, True)
        self.regular_conv = conv(n_out, False)

    def forward(self, x):
        _, c, h, w = x.shape
        k = self.kernel
        offsets = self.offset_conv(x)[0].view(k * k, 2, h, w)
        shares = 2 * self.modulator_conv(x)[0].sigmoid()
        row, column = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        taps = []
        for tap in range(k * k):
            y = row + tap // k - k // 2 + offsets[tap, 0]
            at = column + tap % k - k // 2 + offsets[tap, 1]
            top, left = y.floor(), at.floor()
            seen = torch.zeros_like(x[0])
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                yy, xx = (top + i).long(), (left + j).long()
                weight = (1 - (y - yy).abs()) * (1 - (at - xx).abs())
                inside = (yy >= 0) & (yy < h) & (xx >= 0) & (xx < w)
                seen += torch.where(inside, weight, 0) * x[0][:, yy.clamp(0, h - 1), xx.clamp(0, w - 1)]
            taps.append(seen * shares[tap])
        columns = torch.stack(taps, 1)  # [c, k k, h, w]
        return torch.einsum("ock,ckhw->ohw", self.regular_conv.weight.flatten(2), columns)[None]


class AsppPart(nn.Module):
    def __init__(self, n_in, n_out, kernel):
        super().__init__()
        self.atrous_conv, self.bn = DeformableConv2d(n_in, n_out, kernel), nn.BatchNorm2d(n_out)

    def forward(self, x):
        return self.bn(self.atrous_conv(x)).relu()


class Aspp(nn.Module):
    def __init__(self, n, planes):
        super().__init__()
        self.aspp1 = AsppPart(n, planes, 1)
        self.aspp_deforms = nn.ModuleList(AsppPart(n, planes, kernel) for kernel in (1, 3, 7))
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(n, planes, 1, bias=False), nn.BatchNorm2d(planes), nn.ReLU())
        self.conv1, self.bn1 = nn.Conv2d(5 * planes, n, 1, bias=False), nn.BatchNorm2d(n)

    def forward(self, x):
        parts = [self.aspp1(x), *(part(x) for part in self.aspp_deforms), resized(self.global_avg_pool(x), x)]
        return self.bn1(self.conv1(torch.cat(parts, 1))).relu()


class DecoderBlock(nn.Module):
    def __init__(self, n_in, n_out, config):
        super().__init__()
        inner = config["inner"]
        self.conv_in, self.bn_in = nn.Conv2d(n_in, inner, 3, padding=1), nn.BatchNorm2d(inner)
        self.dec_att = Aspp(inner, config["planes"])
        self.conv_out, self.bn_out = nn.Conv2d(inner, n_out, 3, padding=1), nn.BatchNorm2d(n_out)

    def forward(self, x):
        return self.bn_out(self.conv_out(self.dec_att(self.bn_in(self.conv_in(x)).relu())))


class PictureBlock(nn.Module):
    def __init__(self, n_in, n_out, inner):
        super().__init__()
        self.conv1, self.conv_out = nn.Conv2d(n_in, inner, 3, padding=1), nn.Conv2d(inner, n_out, 3, padding=1)

    def forward(self, x):
        return self.conv_out(self.conv1(x))


class Lateral(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv = nn.Conv2d(n, n, 1)

    def forward(self, x):
        return self.conv(x)


class Decoder(nn.Module):
    def __init__(self, channels, config):
        super().__init__()
        inner, n = config["inner"], config["gradient"]
        of_picture = [channels[0] // 8, *(c // 8 for c in channels)]  # of blocks 5, 4, 3, 2, 1
        for level, cells, n_out in zip((5, 4, 3, 2, 1), (1024, 256, 64, 16, 1), of_picture):
            setattr(self, f"ipt_blk{level}", PictureBlock(3 * cells, n_out, inner))
        outs = [channels[1], channels[2], channels[3], channels[3] // 2]
        for i, level in enumerate((4, 3, 2, 1)):
            setattr(self, f"decoder_block{level}", DecoderBlock(channels[i] + of_picture[i], outs[i], config))
        self.conv_out1 = nn.Sequential(nn.Conv2d(outs[3] + of_picture[4], 1, 1))
        for i, level in enumerate((4, 3, 2)):
            setattr(self, f"lateral_block{level}", Lateral(channels[i + 1]))
            setattr(self, f"gdt_convs_{level}",
                    nn.Sequential(nn.Conv2d(outs[i], n, 3, padding=1), nn.BatchNorm2d(n), nn.ReLU()))
            setattr(self, f"gdt_convs_attn_{level}", nn.Sequential(nn.Conv2d(n, 1, 1)))

    def forward(self, picture, maps, tap):
        def tiles(like):
            """The picture's tiles of the size of `like`, as channels: colour, then row, then column of tiles."""
            h, w = like.shape[-2:]
            _, _, high, wide = picture.shape
            cut = picture[0].view(3, high // h, h, wide // w, w).permute(0, 1, 3, 2, 4)
            return cut.reshape(1, -1, h, w)

        x = maps[3]
        x = torch.cat([x, self.ipt_blk5(tiles(x))], 1)
        for level, across in ((4, maps[2]), (3, maps[1]), (2, maps[0])):
            x = getattr(self, f"decoder_block{level}")(x)
            x = x * getattr(self, f"gdt_convs_attn_{level}")(getattr(self, f"gdt_convs_{level}")(x)).sigmoid()
            tap(f"p{level}", x)
            x = resized(x, across) + getattr(self, f"lateral_block{level}")(across)
            x = torch.cat([x, getattr(self, f"ipt_blk{level}")(tiles(x))], 1)
        x = self.decoder_block1(x)
        tap("p1", x)
        x = resized(x, picture)
        return self.conv_out1(torch.cat([x, self.ipt_blk1(picture)], 1))


class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.bb = Swin(config)
        channels = [2 * config["width"] << i for i in (3, 2, 1, 0)]
        self.squeeze_module = nn.Sequential(DecoderBlock(channels[0] + sum(channels[1:]), channels[0], config))
        self.decoder = Decoder(channels, config)
        self.taps = {}

    def forward(self, picture):
        def tap(name, value):
            self.taps[name] = value[0]

        h, w = picture.shape[-2:]
        small = F.interpolate(picture, size=(h // 2, w // 2), mode="bilinear", align_corners=True)
        maps = [torch.cat([large, resized(less, large)], 1) for large, less in zip(self.bb(picture), self.bb(small))]
        for i, x in enumerate(maps):
            tap(f"x{i + 1}", x)
        maps[3] = self.squeeze_module(torch.cat([*(resized(x, maps[3]) for x in maps[:3]), maps[3]], 1))
        tap("squeezed", maps[3])
        return self.decoder(picture, maps, tap)
