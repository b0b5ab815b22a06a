"""The judge of the automatic choice of layer: its rows hold, and it says wrong when it should."""

from dataclasses import replace

import pytest
import torch

from truth.layout import Layout, Truth, nchw
from truth.rows import TRUTHS, build, complaints, judge

BY_NAME = {str(truth): truth for truth in TRUTHS}
TINY = (  # quick to build and to run, of all kinds; `cd tests; python -m truth.rows` runs all rows
    "timm:resnet10t(in_chans=4)@4x96x160",
    "timm:test_convnext()@3x96x160",
    "timm:test_maxvit(img_size=(96, 160))@3x96x160",
    "timm:test_vit(img_size=(96, 160))@3x96x160",
    "timm:test_vit2(img_size=(96, 160))@3x96x160",
    "timm:pvt_v2_b0()@3x96x160",
    "timm:efficientvim_m1()@3x192x320",
    "timm:xcit_nano_12_p16_224(img_size=(96, 160))@3x96x160",
    "torchvision:squeezenet1_0()@3x96x160",
    "toy:sequence(batch_first=False)@3x48x80",
    "toy:sequence(order=column-major)@3x48x80",
    "toy:channels()@3x48x80",
    "toy:perceiver()@3x48x80",
    "toy:flatten(height=32,width=48)@3x32x48",
)
VIT = BY_NAME["timm:test_vit(img_size=(96, 160))@3x96x160"]
RESNET = BY_NAME["timm:resnet18()@3x96x160"]


def said(truth: Truth, name: str, layout: Layout) -> str:
    return judge(truth, name, layout.kind, layout.grid, layout.prefix, layout.order)


def transposed(layout: Layout) -> Layout:
    return replace(layout, grid=(layout.grid[1], layout.grid[0]))


@pytest.mark.parametrize("name", TINY)
def test_listed_layers_exist_run_once_and_have_the_listed_shape(name: str) -> None:
    assert complaints(BY_NAME[name]) == []


def test_a_row_that_does_not_hold_is_complained_about() -> None:
    layers = nchw("layer4.0", 5, 3) | nchw("layer5", 3, 5)
    found = complaints(replace(BY_NAME[TINY[0]], layers=layers, wrong=("layer6",)))
    assert len(found) == 3
    assert "layer4.0 returns [(2, 512, 3, 5)]" in found[0]
    assert found[1:] == ["layer5 runs 0 times", "no module is called layer6"]


def test_there_are_many_rows_and_no_two_alike() -> None:
    assert len(BY_NAME) == len(TRUTHS) >= 80
    assert sum(len(truth.layers) > 1 for truth in TRUTHS) > 150


@pytest.mark.parametrize("truth", TRUTHS, ids=str)
def test_the_judge_accepts_the_truth_and_nothing_next_to_it(truth: Truth) -> None:
    for name, layout in truth.layers.items():
        assert said(truth, name, layout) == "right"
        assert said(truth, name, replace(layout, prefix=layout.prefix + 1)).startswith("wrong")
        assert said(truth, name, replace(layout, order="windowed")).startswith("wrong")
        if layout.grid[0] != layout.grid[1]:
            assert said(truth, name, transposed(layout)).startswith("wrong")
    for name, layout in truth.also.items():
        assert said(truth, name, layout) == "unlisted"
        assert said(truth, name, replace(layout, kind="other")).startswith("wrong")
    for pattern in truth.wrong:
        if not set("?*[") & set(pattern):
            assert said(truth, pattern, next(iter(truth.layers.values()))).startswith("wrong"), pattern


def test_layers_that_are_not_listed_are_judged_by_their_layout() -> None:
    assert judge(RESNET, "layer4.1.bn2", "NCHW", (3, 5)) == "unlisted"
    assert judge(RESNET, "layer3", "NCHW", (6, 10)).startswith("wrong: nothing at the end")
    assert judge(VIT, "blocks.3", "tokens", (6, 10), 1) == "unlisted"
    assert judge(VIT, "blocks.3", "tokens", (6, 10), 0).startswith("wrong: nothing at the end")


def test_dead_layers_are_wrong_but_what_feeds_the_attention_is_not() -> None:
    for name in ("blocks.5", "blocks.5.attn", "blocks.5.attn.proj", "blocks.5.mlp.fc2", "blocks.5.ls2", "norm"):
        assert judge(VIT, name, "tokens", (6, 10), 1) == f"wrong: {name} must not be chosen"
    assert judge(VIT, "blocks.5.attn.qkv", "tokens", (6, 10), 1) == "unlisted"
    assert judge(VIT, "blocks.5.norm1", "tokens", (6, 10), 1) == "right"


def test_dead_layers_have_no_gradient_where_the_patches_are() -> None:
    model = build(VIT)
    outputs = {}
    for name in ("blocks.5.norm1", "blocks.5.attn", "norm"):
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: outputs.update({name: output})
        )
    score = model(torch.randn(1, *VIT.input_size, generator=torch.Generator().manual_seed(0)))[0, 0]
    live, *gone = torch.autograd.grad(score, list(outputs.values()))
    assert (live[:, 1:].abs().sum(2) > 0).all()
    assert all((gradient[:, 1:] == 0).all() for gradient in gone)


def test_a_refusal_is_right_only_where_there_is_nothing_to_find() -> None:
    flatten = BY_NAME["toy:flatten(height=32,width=48)@3x32x48"]
    assert judge(flatten, None) == "right"
    assert judge(flatten, "first", "tokens", (8, 8)) == "wrong: the model has no positions"
    assert judge(BY_NAME["toy:perceiver()@3x48x80"], None) == "right"
    assert judge(VIT, None).startswith("wrong: refused")
