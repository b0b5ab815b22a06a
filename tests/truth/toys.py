"""Small networks of our own for layouts that no model of the libraries has, or that none has purely."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from truth.layout import Layout, Truth, tokens

CLASSES = 10
WIDTH = 32
PATCH = 8


class Flatten(nn.Module):
    """A multilayer perceptron over all pixels: no layer of it has positions."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(3 * height * width, 64)  # 64 is no 8 × 8
        self.act = nn.GELU()
        self.second = nn.Linear(64, 36)
        self.head = nn.Linear(36, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x.flatten(1)))
        return self.head(self.act(self.second(x)))  # type: ignore[no-any-return]


class MeanColour(nn.Module):
    """Pools before the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Linear(3, 64)
        self.mixer = nn.Conv1d(1, 16, 9, padding=4)  # (batch, 16, 64): a map over channels, not over places
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x.mean((2, 3)))
        return self.head(torch.relu(self.mixer(x[:, None])).mean(2))  # type: ignore[no-any-return]


class Sequence(nn.Module):
    """Patches in a chosen order, a transformer in a chosen axis order, the mean of its tokens."""

    def __init__(self, order: str = "row-major", *, batch_first: bool = True, layers: int = 2) -> None:
        super().__init__()
        self.order, self.batch_first = order, batch_first
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        block = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=batch_first, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.order == "column-major":
            x = x.transpose(2, 3)
        elif self.order == "bottom-up":
            x = x.flip(2)
        x = x.flatten(2)
        x = x.transpose(1, 2) if self.batch_first else x.permute(2, 0, 1)
        x = self.norm(self.encoder(x))
        return self.head(x.mean(1 if self.batch_first else 0))  # type: ignore[no-any-return]


class Channels(nn.Module):
    """Tokens along the last axis (batch, channels, tokens), as one-dimensional convolutions see them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.mix = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2)
        return self.head(torch.relu(self.norm(self.mix(x))).mean(2))  # type: ignore[no-any-return]


class Perceiver(nn.Module):
    """Sixteen latents read all patches: they look like 4 × 4 positions and are none."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.context = nn.LayerNorm(WIDTH)
        self.latents = nn.Parameter(torch.randn(16, WIDTH))
        self.cross = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.last = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        context = self.context(self.embed(x).flatten(2).transpose(1, 2))
        latents = self.latents.expand(len(x), -1, -1)
        latents = latents + self.cross(latents, context, context, need_weights=False)[0]
        latents = latents + self.mlp(self.norm(latents))
        return self.head(self.last(latents).mean(1))  # type: ignore[no-any-return]


TOY_MODELS: dict[str, Callable[..., nn.Module]] = {
    "flatten": Flatten,
    "mean_colour": MeanColour,
    "sequence": Sequence,
    "channels": Channels,
    "perceiver": Perceiver,
}

LAST = "norm encoder encoder.layers.1"
TOYS = [
    Truth("toy:flatten", {"height": 32, "width": 48}, (3, 32, 48), {}, positions=False),
    Truth("toy:mean_colour", {}, (3, 32, 48), {}, positions=False),
    Truth("toy:sequence", {}, (3, 48, 80), tokens(LAST, 6, 10)),
    Truth(
        "toy:sequence",
        {"batch_first": False},
        (3, 48, 80),
        dict.fromkeys(LAST.split(), Layout("LNC", (6, 10))),
    ),
    Truth("toy:sequence", {"order": "column-major"}, (3, 48, 80), tokens(LAST, 6, 10, order="column-major")),
    Truth("toy:sequence", {"order": "bottom-up"}, (3, 48, 80), tokens(LAST, 6, 10, order="bottom-up")),
    Truth("toy:channels", {}, (3, 48, 80), dict.fromkeys(("norm", "mix"), Layout("NCL", (6, 10)))),
    Truth(  # Refusing is fine: what the latents do with the patches is no map.
        "toy:perceiver",
        {},
        (3, 48, 80),
        tokens("context", 6, 10),
        wrong=("cross*", "norm", "mlp*", "last"),
        refusable=True,
    ),
]
