"""Which networks the table of support is made on: name, constructor's arguments and input of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
import torchvision
from torch import nn
from truth_layout import Truth

from truth.rows import TRUTHS, build

# The smallest variant of every class in every module of timm 1.0.31, by parameters times input side; encoders
# that have no classes are left out.
TIMM = tuple(
    """
    beit_base_patch16_224 halonet_h1 test_byobnet cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32
    test_convnext cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_focus_s cspnext_tiny davit_tiny
    deepseek_vit_412m deit_tiny_patch16_224 deit_tiny_distilled_patch16_224
    densenet121 dla46x_c dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0
    test_efficientnet efficientvim_m1 efficientvim_m1_dist efficientvit_b0 efficientvit_l1
    efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny
    gemma4_vit_167m ghostnet_050 hardcorenas_b hgnetv2_b0 hiera_tiny_224
    hieradet_small hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3
    inception_v4 lcnetv2_small levit_256d levit_128s lowformer_b0 test_mambaout test_coatnet
    poolformerv2_s12 gmlp_ti16_224 lcnet_035 mobilenetv5_base mobilevit_xxs
    mvitv2_tiny naflexvit_base_patch16_parfac_gap nasnetalarge nest_tiny nextvit_small test_nfnet
    pit_ti_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002
    repghostnet_050 repvit_m1 res2next50 resnest14d test_resnet resnetv2_18 rexnet_100 selecsls42
    legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
    swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224
    tnt_s_legacy_patch16_224 tresnet_m twins_svt_small vgg11 visformer_tiny test_vit
    vit_tiny_r_s16_p8_224 test_vit_relpos samvit_base_patch16_224 vitamin_small_224 volo_d1_224
    ese_vovnet19b_slim_dw legacy_xception xception41p xcit_nano_12_p8_224
    """.split()  # noqa: SIM905 - a hundred names, readable
)

# What is too large for this machine as it is.
SMALLER: dict[str, dict[str, Any]] = {"gemma4_vit_167m": {"depth": 4, "img_size": 192}}
SIZES = {"gemma4_vit_167m": (3, 192, 192), "mobilenetv5_base": (3, 256, 256)}

_SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
_VIT = {**_SMALL, "image_size": 64, "patch_size": 8}
_STAGES = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
_SWIN = {"image_size": 64, "patch_size": 4, "embed_dim": 24, "depths": [1, 1, 2], "num_heads": [2, 2, 4]}
_PYRAMID = {"num_encoder_blocks": 4, "depths": [1, 1, 1, 1], "hidden_sizes": [16, 24, 32, 48]}
_WIDE = (3, 64, 96)

# model type → (arguments of its configuration, input)
HUGGING_FACE: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "vit": (_VIT, (3, 64, 64)),
    "deit": ({**_VIT, "architectures": ["DeiTForImageClassification"]}, (3, 64, 64)),
    "beit": (_VIT, (3, 64, 64)),
    "data2vec-vision": (_VIT, (3, 64, 64)),
    "dinov2": (_VIT, (3, 64, 64)),
    "dinov2_with_registers": (_VIT, (3, 64, 64)),
    "vit_msn": (_VIT, (3, 64, 64)),
    "ijepa": (_VIT, (3, 64, 64)),
    "swin": ({**_SWIN, "window_size": 4}, (3, 64, 64)),
    "swinv2": ({**_SWIN, "window_size": 4}, (3, 64, 64)),
    "donut-swin": ({**_SWIN, "window_size": 4}, (3, 64, 64)),
    "focalnet": ({"image_size": 64, "embed_dim": 24, "depths": [1, 1, 2]}, (3, 64, 64)),
    "convnext": (_STAGES, _WIDE),
    "convnextv2": (_STAGES, _WIDE),
    "resnet": ({**_STAGES, "embedding_size": 16}, _WIDE),
    "regnet": ({**_STAGES, "embedding_size": 16, "groups_width": 8}, _WIDE),
    "bit": ({**_STAGES, "hidden_sizes": [128, 128, 256, 256], "embedding_size": 32}, (3, 96, 128)),
    "mobilenet_v1": ({"depth_multiplier": 0.25}, (3, 128, 192)),
    "mobilenet_v2": ({"depth_multiplier": 0.35}, (3, 128, 192)),
    "mobilevit": ({"image_size": 64, "hidden_sizes": [32, 40, 48]}, (3, 128, 128)),
    "mobilevitv2": ({"image_size": 64, "width_multiplier": 0.25}, (3, 128, 128)),
    "efficientnet": ({"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640}, (3, 128, 192)),
    "levit": (
        {"image_size": 64, "depths": [1, 1, 1], "architectures": ["LevitForImageClassification"]},
        (3, 64, 64),
    ),
    "poolformer": ({"depths": [1, 1, 1, 1], "hidden_sizes": [16, 24, 32, 48]}, (3, 64, 96)),
    "pvt": ({"image_size": 64, **_PYRAMID, "num_attention_heads": [1, 2, 2, 4]}, (3, 64, 64)),
    "pvt_v2": ({"image_size": 64, **_PYRAMID, "num_attention_heads": [1, 2, 2, 4]}, (3, 64, 96)),
    "segformer": (_PYRAMID, _WIDE),
    "cvt": ({}, (3, 64, 64)),
    "swiftformer": ({"depths": [1, 1, 2, 1], "embed_dims": [16, 24, 32, 48]}, (3, 128, 128)),
    "hiera": ({"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 2, 1]}, (3, 64, 64)),
    "hgnet_v2": ({}, (3, 96, 128)),
    "textnet": ({}, (3, 96, 128)),
}


@dataclass(frozen=True)
class Row:
    """One network. ``truth`` is what is written down of it by hand, if anything."""

    source: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int, int] | None = None
    truth: Truth | None = None

    def build(self) -> nn.Module:
        """The network with random weights, the same ones each time."""
        torch.manual_seed(0)
        if self.truth is not None:
            return build(self.truth)
        if self.source == "timm":
            return timm.create_model(self.name, **self.arguments).eval()
        if self.source == "torchvision":
            return torchvision.models.get_model(self.name, weights=None).eval()
        from transformers import AutoConfig, AutoModelForImageClassification

        config = AutoConfig.for_model(self.name, num_labels=7, **self.arguments)
        return AutoModelForImageClassification.from_config(config).eval()

    @property
    def size(self) -> tuple[int, int, int]:
        """(channels, height, width) of its input."""
        if self.input_size:
            return self.input_size
        if self.source == "torchvision":
            return (3, 299, 299) if "inception" in self.name else (3, 224, 224)
        size: tuple[int, int, int] = timm.get_pretrained_cfg(self.name).input_size
        return size


def rows() -> Iterator[Row]:
    """All of them: those written down by hand, one of each class of timm, torchvision's, Hugging Face's."""
    for truth in TRUTHS:
        source, name = truth.model.split(":")
        if source != "toy":
            yield Row(source, name, dict(truth.arguments), truth.input_size, truth)
    for name in TIMM:
        yield Row("timm", name, {"num_classes": 10, **SMALLER.get(name, {})}, SIZES.get(name))
    for name in torchvision.models.list_models(module=torchvision.models):
        if not name.startswith(("regnet_y_128", "vit_h", "vit_l")):  # larger than this machine's memory
            yield Row("torchvision", name)
    for name, (arguments, size) in HUGGING_FACE.items():
        yield Row("hf", name, arguments, size)
