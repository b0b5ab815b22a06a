"""Truth of torchvision's classifiers. The stride is 32 where nothing is said: 96 × 160 pixels are 3 × 5."""

from truth.layout import Layers, Truth, nchw, nhwc, tokens


def row(
    name: str,
    layers: Layers,
    size: tuple[int, int, int] = (3, 96, 160),
    *,
    wrong: str = "",
    also: Layers | None = None,
    **arguments: object,
) -> Truth:
    return Truth("torchvision:" + name, arguments, size, layers, tuple(wrong.split()), also or {})


LAYER = "encoder.layers.encoder_layer_11"
# Only the class token is read behind the last attention.
VIT_DEAD = f"encoder encoder.layers encoder.ln {LAYER} {LAYER}.[!l]* {LAYER}.ln_2"

TORCHVISION: list[Truth] = [
    row("resnet18", nchw("layer4 layer4.1", 3, 5)),
    # 230 → 115 → 58 → 29 → 15 → 8 and 170 → 85 → 43 → 22 → 11 → 6: halves are rounded up.
    row("resnet18", nchw("layer4 layer4.1", 8, 6), (3, 230, 170)),
    row("resnext50_32x4d", nchw("layer4 layer4.2", 3, 5)),
    # The pool resamples to 7 × 7 (6 × 6) whatever came in.
    row(
        "vgg11",
        nchw("features features.20", 3, 5) | nchw("features.19 features.18", 6, 10),
        wrong="avgpool classifier classifier.*",
    ),
    row(
        "vgg11_bn", nchw("features features.28", 3, 5) | nchw("features.27", 6, 10), wrong="avgpool classifier*"
    ),
    # (127, 191) → (31, 47) → (15, 23) → (7, 11) → (3, 5)
    row(
        "alexnet",
        nchw("features features.12", 3, 5) | nchw("features.11 features.10", 7, 11),
        (3, 127, 191),
        wrong="avgpool classifier classifier.*",
    ),
    # The last convolution already gives one map per class.
    row(
        "squeezenet1_0",
        nchw("features features.12", 5, 9),
        also=nchw("classifier.0 classifier.1 classifier.2", 5, 9),
        wrong="classifier.3 classifier",
    ),
    row("densenet121", nchw("features features.norm5 features.denseblock4", 3, 5)),
    row("inception_v3", nchw("Mixed_7c", 3, 6), (3, 160, 256), init_weights=False),
    row("googlenet", nchw("inception5b", 3, 5), init_weights=False),
    row("shufflenet_v2_x0_5", nchw("conv5 conv5.2 stage4 stage4.3", 3, 5)),
    row("mobilenet_v2", nchw("features features.18 features.18.2 features.17", 3, 5)),
    row("mobilenet_v3_small", nchw("features features.12 features.12.2", 3, 5)),
    row("mnasnet0_5", nchw("layers layers.16 layers.13", 3, 5)),
    row("regnet_y_400mf", nchw("trunk_output trunk_output.block4 trunk_output.block4.block4-5", 3, 5)),
    row("efficientnet_b0", nchw("features features.8 features.8.2 features.7", 3, 5)),
    row("efficientnet_v2_s", nchw("features features.7 features.7.2 features.6", 3, 5)),
    row(
        "convnext_tiny",
        nchw("features features.7 features.7.2", 3, 5),
        also=nhwc("features.7.2.block.1 features.7.2.block.2 features.7.2.block.5", 3, 5)
        | nchw("features.7.2.block.0 features.7.2.block.6 features.7.2.block", 3, 5),
        wrong="classifier.0",
    ),
    row(
        "vit_b_16",
        tokens(f"{LAYER}.ln_1 encoder.layers.encoder_layer_10", 4, 4, 1),
        (3, 64, 64),
        image_size=64,
        wrong=VIT_DEAD,
    ),
    row(
        "vit_b_32",
        tokens(f"{LAYER}.ln_1 encoder.layers.encoder_layer_10", 3, 3, 1),
        (3, 96, 96),
        image_size=96,
        wrong=VIT_DEAD,
    ),
    # Windows are cut inside the attention's function: its module gives (batch, height, width, channels) back.
    row(
        "swin_t",
        nchw("permute", 3, 5) | nhwc("norm features features.7 features.7.1", 3, 5),
        also=nhwc("features.7.1.norm1 features.7.1.attn features.7.1.mlp", 3, 5),
    ),
    # Patches of 4 round down, 100 → 25 and 150 → 37; merging pads, 25 → 13 → 7 → 4 and 37 → 19 → 10 → 5.
    row("swin_t", nchw("permute", 4, 5) | nhwc("norm features features.7 features.7.1", 4, 5), (3, 100, 150)),
    row(
        "swin_v2_t",
        nchw("permute", 3, 5) | nhwc("norm features features.7 features.7.1", 3, 5),
        also=nhwc("features.7.1.norm1 features.7.1.attn features.7.1.mlp", 3, 5),
        wrong="features.7.1.attn.cpb_mlp*",
    ),
    row(
        "maxvit_t",
        nchw("blocks.3 blocks.3.layers.1 blocks.3.layers.1.layers", 7, 7),
        (3, 224, 224),
        also=nchw("blocks.3.layers.1.layers.grid_attention", 7, 7),
        wrong="*_attention.attn_layer* *_attention.mlp_layer* *_attention.partition_*",
    ),
]
