"""Writes small TorchScript modules for the tests into the folder that is named."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn


class Bright(nn.Module):
    """Opaque where the picture is bright: one learned layer, so that there are weights."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 1, 1)
        with torch.no_grad():
            self.mix.weight.fill_(4.0)
            self.mix.bias.fill_(0.0)

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.mix(image))


class Half(Bright):
    """As `Bright`, at half the size."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.mix(image))[:, :, ::2, ::2]


class Pair(Bright):
    """Two tensors."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mask = torch.sigmoid(self.mix(image))
        return mask, 1.0 - mask


class Logits(Bright):
    """Values from -8 to 8 in half precision, as a tuple of one."""

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.mix(image).clamp(-8.0, 8.0).half(),)


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for module in (Bright(), Half(), Pair(), Logits()):
    torch.jit.script(module.eval()).save(str(folder / f"{type(module).__name__.lower()}.pt"))
(folder / "text.pt").write_text("this is no module")
