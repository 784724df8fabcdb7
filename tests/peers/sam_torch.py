"""Segment Anything in PyTorch, by the papers and with the published names: what our network is
held against and measured beside.

    weights(config, seed, full)         names, shapes and synthetic values of every tensor
    Net(config, weights).embed(square)  [1, 3, side, side], normalised -> [1, d, grid, grid]
    Net(...).masks(embedding, prompt)   logits and predicted quality

`config` is what `models/src/nets/sam/config.rs` reads; channels come first here.
"""

import math

import torch
from torch.nn import functional as F

PATCH = 16
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)

MOBILE = {
    "side": 1024,
    "tiny_vit": {"widths": [64, 128, 160, 320], "depths": [2, 2, 6, 2], "heads": [2, 4, 5, 10], "windows": [7, 7, 14, 7]},
    "decoder": {"d": 256, "heads": 8, "hidden": 2048},
}


def vit(d, depth, heads, in_full):
    return {
        "side": 1024,
        "vit": {"d": d, "depth": depth, "heads": heads, "window": 14, "global": in_full},
        "decoder": {"d": 256, "heads": 8, "hidden": 2048},
    }


VIT_B = vit(768, 12, 12, [2, 5, 8, 11])
TINY_VIT = {
    "side": 96,
    "vit": {"d": 32, "depth": 3, "heads": 2, "window": 4, "global": [1]},
    "decoder": {"d": 32, "heads": 2, "hidden": 48},
}
TINY_MOBILE = {
    "side": 96,
    "tiny_vit": {"widths": [8, 16, 16, 32], "depths": [1, 1, 2, 1], "heads": [1, 1, 1, 2], "windows": [4, 5, 4, 3]},
    "decoder": {"d": 32, "heads": 2, "hidden": 48},
}


def shapes(config):
    """[(name, shape)] in an order of our own."""
    grid, d = config["side"] // PATCH, config["decoder"]["d"]
    found = []

    def add(name, *shape):
        found.append((name, list(shape)))

    def linear(name, n_in, n_out):
        add(name + ".weight", n_out, n_in)
        add(name + ".bias", n_out)

    def norm(name, n):
        add(name + ".weight", n)
        add(name + ".bias", n)

    def conv_bn(name, n_in, n_out, kernel):
        add(name + ".c.weight", n_out, n_in, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            add(f"{name}.bn.{part}", n_out)

    encoder = "image_encoder."
    if "vit" in config:
        sizes = config["vit"]
        width = sizes["d"]
        add(encoder + "pos_embed", 1, grid, grid, width)
        add(encoder + "patch_embed.proj.weight", width, 3, PATCH, PATCH)
        add(encoder + "patch_embed.proj.bias", width)
        for i in range(sizes["depth"]):
            block = f"{encoder}blocks.{i}."
            window = grid if i in sizes["global"] else sizes["window"]
            norm(block + "norm1", width)
            add(block + "attn.rel_pos_h", 2 * window - 1, width // sizes["heads"])
            add(block + "attn.rel_pos_w", 2 * window - 1, width // sizes["heads"])
            linear(block + "attn.qkv", width, 3 * width)
            linear(block + "attn.proj", width, width)
            norm(block + "norm2", width)
            linear(block + "mlp.lin1", width, 4 * width)
            linear(block + "mlp.lin2", 4 * width, width)
    else:
        sizes = config["tiny_vit"]
        widths = sizes["widths"]
        width = widths[3]
        conv_bn(encoder + "patch_embed.seq.0", 3, widths[0] // 2, 3)
        conv_bn(encoder + "patch_embed.seq.2", widths[0] // 2, widths[0], 3)
        for i in range(4):
            layer = f"{encoder}layers.{i}."
            for b in range(sizes["depths"][i]):
                block = f"{layer}blocks.{b}."
                if i == 0:
                    conv_bn(block + "conv1", widths[0], 4 * widths[0], 1)
                    conv_bn(block + "conv2", 1, 4 * widths[0], 3)
                    conv_bn(block + "conv3", 4 * widths[0], widths[0], 1)
                    continue
                add(block + "attn.attention_biases", sizes["heads"][i], sizes["windows"][i] ** 2)
                norm(block + "attn.norm", widths[i])
                linear(block + "attn.qkv", widths[i], 3 * widths[i])
                linear(block + "attn.proj", widths[i], widths[i])
                norm(block + "mlp.norm", widths[i])
                linear(block + "mlp.fc1", widths[i], 4 * widths[i])
                linear(block + "mlp.fc2", 4 * widths[i], widths[i])
                conv_bn(block + "local_conv", 1, widths[i], 3)
            if i < 3:
                conv_bn(layer + "downsample.conv1", widths[i], widths[i + 1], 1)
                conv_bn(layer + "downsample.conv2", 1, widths[i + 1], 3)
                conv_bn(layer + "downsample.conv3", widths[i + 1], widths[i + 1], 1)
    add(encoder + "neck.0.weight", d, width, 1, 1)
    norm(encoder + "neck.1", d)
    add(encoder + "neck.2.weight", d, d, 3, 3)
    norm(encoder + "neck.3", d)

    prompt = "prompt_encoder."
    add(prompt + "pe_layer.positional_encoding_gaussian_matrix", 2, d // 2)
    for name in [f"point_embeddings.{i}" for i in range(4)] + ["not_a_point_embed", "no_mask_embed"]:
        add(f"{prompt}{name}.weight", 1, d)
    masks = prompt + "mask_downscaling."
    for i, n_in, n_out, kernel in [(0, 1, 4, 2), (3, 4, 16, 2), (6, 16, d, 1)]:
        add(f"{masks}{i}.weight", n_out, n_in, kernel, kernel)
        add(f"{masks}{i}.bias", n_out)
        if i < 6:
            norm(f"{masks}{i + 1}", n_out)

    decoder = "mask_decoder."
    add(decoder + "iou_token.weight", 1, d)
    add(decoder + "mask_tokens.weight", 4, d)

    def attention(name, narrow):
        for part in ("q_proj", "k_proj", "v_proj"):
            linear(f"{name}.{part}", d, narrow)
        linear(name + ".out_proj", narrow, d)

    for i in range(2):
        layer = f"{decoder}transformer.layers.{i}."
        attention(layer + "self_attn", d)
        attention(layer + "cross_attn_token_to_image", d // 2)
        attention(layer + "cross_attn_image_to_token", d // 2)
        for n in range(1, 5):
            norm(f"{layer}norm{n}", d)
        linear(layer + "mlp.lin1", d, config["decoder"]["hidden"])
        linear(layer + "mlp.lin2", config["decoder"]["hidden"], d)
    attention(decoder + "transformer.final_attn_token_to_image", d // 2)
    norm(decoder + "transformer.norm_final_attn", d)
    add(decoder + "output_upscaling.0.weight", d, d // 4, 2, 2)
    add(decoder + "output_upscaling.0.bias", d // 4)
    norm(decoder + "output_upscaling.1", d // 4)
    add(decoder + "output_upscaling.3.weight", d // 4, d // 8, 2, 2)
    add(decoder + "output_upscaling.3.bias", d // 8)
    for name, n_out in [(f"output_hypernetworks_mlps.{i}", d // 8) for i in range(4)] + [("iou_prediction_head", 4)]:
        for i, n in enumerate((d, d, n_out)):
            linear(f"{decoder}{name}.layers.{i}", d, n)
    return found


class Net:
    def __init__(self, config, weights, taps=None):
        self.config, self.w, self.taps = config, weights, taps
        self.grid, self.d = config["side"] // PATCH, config["decoder"]["d"]

    def tap(self, name, value):
        if self.taps is not None:
            self.taps[name] = value.detach().clone()

    # What layers are made of.

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def norm(self, x, name, eps):
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], eps)

    def norm_2d(self, x, name):
        """Over channels, [b, c, h, w]."""
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        y = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.w[name + ".weight"][:, None, None] * y + self.w[name + ".bias"][:, None, None]

    def conv_bn(self, x, name, stride=1, padding=0, groups=1):
        x = F.conv2d(x, self.w[name + ".c.weight"], None, stride, padding, 1, groups)
        bn = [self.w[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *bn, training=False, eps=1e-5)

    # Encoders.

    def embed(self, square):
        x = self.vit(square) if "vit" in self.config else self.tiny_vit(square)
        x = self.norm_2d(F.conv2d(x, self.w["image_encoder.neck.0.weight"]), "image_encoder.neck.1")
        self.tap("neck1", x[0])
        x = F.conv2d(x, self.w["image_encoder.neck.2.weight"], padding=1)
        x = self.norm_2d(x, "image_encoder.neck.3")
        self.tap("embedding", x[0])
        return x

    def vit(self, x):
        sizes, e = self.config["vit"], "image_encoder."
        x = F.conv2d(x, self.w[e + "patch_embed.proj.weight"], self.w[e + "patch_embed.proj.bias"], PATCH)
        x = x.permute(0, 2, 3, 1) + self.w[e + "pos_embed"]
        self.tap("patch_embed", x.flatten(0, 2))
        for i in range(sizes["depth"]):
            block = f"{e}blocks.{i}."
            y = self.norm(x, block + "norm1", 1e-6)
            if i in sizes["global"]:
                y = self.placed_attention(y, block + "attn.", sizes["heads"])
            else:
                y = self.in_windows(y, sizes["window"], lambda y: self.placed_attention(y, block + "attn.", sizes["heads"]))
            x = x + y
            y = F.gelu(self.linear(self.norm(x, block + "norm2", 1e-6), block + "mlp.lin1"))
            x = x + self.linear(y, block + "mlp.lin2")
            self.tap(f"block{i}", x.flatten(0, 2))
        return x.permute(0, 3, 1, 2)

    @staticmethod
    def in_windows(x, side, work):
        """`work` on every window [n, side, side, c] of x [1, h, w, c], filled up with zeros."""
        _, h, w, c = x.shape
        x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.view(rows, side, columns, side, c).permute(0, 2, 1, 3, 4).reshape(-1, side, side, c)
        x = work(x).view(rows, columns, side, side, c).permute(0, 2, 1, 3, 4)
        return x.reshape(1, rows * side, columns * side, c)[:, :h, :w]

    def placed_attention(self, x, name, heads):
        """[n, side, side, c], with the query's product with a vector of each offset added."""
        n, side, _, c = x.shape
        qkv = self.linear(x, name + "qkv").view(n, side * side, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv  # [n, heads, side^2, c / heads]
        offsets = torch.arange(side)[:, None] - torch.arange(side)[None] + side - 1  # query, key
        by_row = q.view(n, heads, side, side, -1)
        down = torch.einsum("nhyxc,ykc->nhyxk", by_row, self.w[name + "rel_pos_h"][offsets])
        right = torch.einsum("nhyxc,xkc->nhyxk", by_row, self.w[name + "rel_pos_w"][offsets])
        bias = (down[..., :, None] + right[..., None, :]).reshape(n, heads, side * side, side * side)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.linear(y.transpose(1, 2).reshape(n, side, side, c), name + "proj")

    def tiny_vit(self, x):
        sizes, e = self.config["tiny_vit"], "image_encoder."
        x = F.gelu(self.conv_bn(x, e + "patch_embed.seq.0", 2, 1))
        x = self.conv_bn(x, e + "patch_embed.seq.2", 2, 1)
        self.tap("patch_embed", x[0])
        for i in range(4):
            layer = f"{e}layers.{i}."
            for b in range(sizes["depths"][i]):
                block = f"{layer}blocks.{b}."
                if i == 0:
                    x = F.gelu(x + self.bottleneck(x, block, 1))
                    self.tap(f"layer0_block{b}", x[0])
                else:
                    x = self.tiny_block(x, block, sizes["heads"][i], sizes["windows"][i])
                    self.tap(f"layer{i}_block{b}", x[0].flatten(1).T)
            if i < 3:
                x = self.bottleneck(x, layer + "downsample.", 1 if i == 2 else 2)
            self.tap(f"layer{i}", x[0].flatten(1).T)
        return x

    def bottleneck(self, x, name, stride):
        x = F.gelu(self.conv_bn(x, name + "conv1"))
        x = F.gelu(self.conv_bn(x, name + "conv2", stride, 1, x.shape[1]))
        return self.conv_bn(x, name + "conv3")

    def tiny_block(self, x, name, heads, side):
        y = self.in_windows(x.permute(0, 2, 3, 1), side, lambda y: self.tiny_attention(y, name + "attn.", heads))
        x = x + y.permute(0, 3, 1, 2)
        x = self.conv_bn(x, name + "local_conv", 1, 1, x.shape[1])
        y = self.norm(x.permute(0, 2, 3, 1), name + "mlp.norm", 1e-5)
        y = self.linear(F.gelu(self.linear(y, name + "mlp.fc1")), name + "mlp.fc2")
        return x + y.permute(0, 3, 1, 2)

    def tiny_attention(self, x, name, heads):
        """[n, side, side, c], with a bias for how many rows and columns a key is away."""
        n, side, _, c = x.shape
        x = self.norm(x.reshape(n, side * side, c), name + "norm", 1e-5)
        qkv = self.linear(x, name + "qkv").view(n, side * side, heads, 3, c // heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        places = torch.cartesian_prod(torch.arange(side), torch.arange(side))
        away = (places[:, None] - places[None]).abs()
        bias = self.w[name + "attention_biases"][:, away[..., 0] * side + away[..., 1]]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].expand(n, -1, -1, -1))
        return self.linear(y.transpose(1, 2).reshape(n, side, side, c), name + "proj")

    # Prompts and masks.

    def place(self, at):
        """Features of places [..., 2], in shares of the side."""
        turns = 2 * math.pi * ((2 * at - 1) @ self.w["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"])
        return torch.cat([turns.sin(), turns.cos()], -1)

    def positions(self):
        """[1, d, grid, grid]"""
        dtype = self.w["mask_decoder.iou_token.weight"].dtype
        at = (torch.arange(self.grid, dtype=dtype) + 0.5) / self.grid
        y, x = torch.meshgrid(at, at, indexing="ij")
        return self.place(torch.stack([x, y], -1)).permute(2, 0, 1)[None]

    def sparse(self, points, labels, box):
        """Tokens [t, d]; places in pixels of the square."""
        w = lambda name: self.w[f"prompt_encoder.{name}.weight"]
        dtype = w("no_mask_embed").dtype
        at = lambda xy: self.place((torch.tensor(xy, dtype=dtype) + 0.5) / self.config["side"])
        tokens = [at(xy) + w(f"point_embeddings.{label}")[0] for xy, label in zip(points, labels)]
        if box is not None:
            tokens += [at(box[:2]) + w("point_embeddings.2")[0], at(box[2:]) + w("point_embeddings.3")[0]]
        elif points:
            tokens.append(w("not_a_point_embed")[0])
        return torch.stack(tokens)

    def dense(self, mask):
        """[1, d, grid, grid]; `mask` [4 grid, 4 grid] or nothing."""
        p = "prompt_encoder."
        if mask is None:
            return self.w[p + "no_mask_embed.weight"].view(1, -1, 1, 1).expand(1, -1, self.grid, self.grid)
        x = mask[None, None]
        for i in (0, 3):
            name = f"{p}mask_downscaling.{i}"
            x = F.conv2d(x, self.w[name + ".weight"], self.w[name + ".bias"], 2)
            x = F.gelu(self.norm_2d(x, f"{p}mask_downscaling.{i + 1}"))
        name = p + "mask_downscaling.6"
        return F.conv2d(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def attention(self, name, q, k, v):
        heads = self.config["decoder"]["heads"]
        split = lambda x, part: self.linear(x, f"{name}.{part}").unflatten(-1, (heads, -1)).transpose(1, 2)
        y = F.scaled_dot_product_attention(split(q, "q_proj"), split(k, "k_proj"), split(v, "v_proj"))
        return self.linear(y.transpose(1, 2).flatten(2), name + ".out_proj")

    def perceptron(self, x, name):
        for i in range(2):
            x = F.relu(self.linear(x, f"{name}.layers.{i}"))
        return self.linear(x, f"{name}.layers.2")

    def masks(self, embedding, sparse, dense):
        """Logits [4, 4 grid, 4 grid] and quality [4]."""
        m = "mask_decoder."
        tokens = torch.cat([self.w[m + "iou_token.weight"], self.w[m + "mask_tokens.weight"], sparse])[None]
        image = (embedding + dense).flatten(2).transpose(1, 2)
        places = self.positions().flatten(2).transpose(1, 2)
        queries, keys = tokens, image
        for i in range(2):
            layer = f"{m}transformer.layers.{i}."
            if i == 0:
                queries = self.attention(layer + "self_attn", queries, queries, queries)
            else:
                q = queries + tokens
                queries = queries + self.attention(layer + "self_attn", q, q, queries)
            queries = self.norm(queries, layer + "norm1", 1e-5)
            y = self.attention(layer + "cross_attn_token_to_image", queries + tokens, keys + places, keys)
            queries = self.norm(queries + y, layer + "norm2", 1e-5)
            y = self.linear(F.relu(self.linear(queries, layer + "mlp.lin1")), layer + "mlp.lin2")
            queries = self.norm(queries + y, layer + "norm3", 1e-5)
            y = self.attention(layer + "cross_attn_image_to_token", keys + places, queries + tokens, queries)
            keys = self.norm(keys + y, layer + "norm4", 1e-5)
        y = self.attention(m + "transformer.final_attn_token_to_image", queries + tokens, keys + places, keys)
        queries = self.norm(queries + y, m + "transformer.norm_final_attn", 1e-5)
        self.tap("tokens", queries[0])

        x = keys.transpose(1, 2).reshape(1, self.d, self.grid, self.grid)
        up = lambda x, i: F.conv_transpose2d(
            x, self.w[f"{m}output_upscaling.{i}.weight"], self.w[f"{m}output_upscaling.{i}.bias"], 2)
        x = F.gelu(self.norm_2d(up(x, 0), m + "output_upscaling.1"))
        x = F.gelu(up(x, 3))
        filters = [self.perceptron(queries[0, 1 + i], f"{m}output_hypernetworks_mlps.{i}") for i in range(4)]
        logits = torch.einsum("md,dyx->myx", torch.stack(filters), x[0])
        return logits, self.perceptron(queries[0, 0], m + "iou_prediction_head")
