"""The default layer of one network of each kind, held against a list written by hand from their sources."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from camlucida.capture.logits import logits_of
from camlucida.errors import LayerError
from camlucida.layers.inspector import LayerInspector
from truth.layout import Truth
from truth.rows import TRUTHS, build, judge

KINDS = {
    *("timm:test_resnet", "timm:test_convnext", "timm:test_vit", "timm:test_efficientnet", "timm:pit_ti_224"),
    *("timm:cait_xxs24_224", "timm:deit_tiny_distilled_patch16_224", "timm:swin_tiny_patch4_window7_224"),
    *("timm:crossvit_tiny_240", "timm:xcit_nano_12_p16_224", "timm:mixer_s32_224", "timm:vit_tiny_patch16_224"),
    *("timm:hiera_tiny_224", "timm:levit_128s", "torchvision:squeezenet1_1", "torchvision:vit_b_16"),
    "torchvision:mobilenet_v3_small",
}
ROWS = [truth for truth in TRUTHS if truth.model in KINDS or truth.model.startswith("toy:")]


def ready(truth: Truth) -> nn.Module:
    """With weights worth looking at; LeViT's small grids want those that training starts from."""
    module = build(truth).eval()
    if truth.model == "timm:levit_128s":
        zoo.redraw(module.head)
        zoo.redraw(module.head_dist)
        return zoo.calibrate(module, truth.input_size)
    return zoo.redraw(module)


@pytest.mark.parametrize("truth", ROWS, ids=str)
def test_the_layer_chosen_is_never_wrong(truth: Truth) -> None:
    torch.manual_seed(0)
    known, like = LayerInspector(ready(truth), logits_of), torch.zeros(truth.input_size)
    try:
        choice = known.default(like)
    except LayerError:
        assert judge(truth, None) == "right"
        return
    for name, one in choice.verdicts.items():
        layout = one.layout
        kind = {"channels-first tokens": "NCL", "sequence-first tokens": "LNC"}.get(layout.kind, layout.kind)
        verdict = judge(truth, name, kind, layout.grid, layout.prefix)
        early = verdict.startswith("wrong: nothing at the end") and choice.remarks and layout.kind == "NCHW"
        assert early or not verdict.startswith("wrong"), (name, str(layout), verdict)


def test_rows_of_every_kind_are_there() -> None:
    assert len(ROWS) >= 20
    assert {layout.kind for truth in ROWS for layout in truth.layers.values()} >= {"NCHW", "NHWC", "tokens"}
