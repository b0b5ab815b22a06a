"""Truth of timm's convolutional networks. The stride is 32 where nothing is said: 96 × 160 pixels are 3 × 5."""

from truth.layout import Truth, nchw, nhwc, tokens
from truth.layout import timm_row as row

RESNET = "layer4 layer4.1 layer4.1.act2"

TIMM_MAPS: list[Truth] = [
    # ResNets and their kin: the last activation is the last thing before the pool.
    row("resnet18", nchw(RESNET, 3, 5)),
    row("resnet18", nchw(RESNET, 3, 5), (1, 96, 160), in_chans=1),
    row("resnet18", nchw(RESNET, 12, 20), output_stride=8),
    row("resnet18", nchw(RESNET, 3, 5), global_pool="catavgmax"),
    # Every stride-2 convolution rounds up: 101 → 51 → 26 → 13 → 7 → 4 and 157 → 79 → 40 → 20 → 10 → 5.
    row("resnet18", nchw(RESNET, 4, 5), (3, 101, 157)),
    row("resnet10t", nchw("layer4 layer4.0 layer4.0.act2", 3, 5), (4, 96, 160), in_chans=4),
    row("legacy_seresnet18", nchw("layer4 layer4.1", 3, 5), wrong="layer4.1.se_module.fc*"),
    row("skresnet18", nchw("layer4 layer4.1", 3, 5), wrong="layer4.1.conv1.attn*"),
    row("resnest14d", nchw("layer4 layer4.0 layer4.0.act3", 3, 5)),
    row("res2net50_14w_8s", nchw("layer4 layer4.2", 3, 5)),
    row(  # Pre-activation: the norm after the stages is the last map.
        "resnetv2_18", nchw("norm stages stages.3 stages.3.blocks stages.3.blocks.1", 3, 5)
    ),
    row("resnetv2_50x1_bit", nchw("norm stages stages.3 stages.3.blocks stages.3.blocks.2", 3, 5)),
    row("nf_resnet26", nchw("final_act final_conv stages stages.3 stages.3.1", 3, 5)),
    row("test_nfnet", nchw("final_act final_conv stages stages.3 stages.3.0", 3, 5)),
    row("tresnet_m", nchw("body body.layer4 body.layer4.2 body.layer4.2.act", 3, 5)),
    row("regnetx_002", nchw("final_conv s4 s4.b7 s4.b7.act3", 3, 5)),
    row(
        "regnety_002",
        nchw("final_conv s4 s4.b7 s4.b7.act3", 3, 5),
        wrong="s4.b7.se.fc* s4.b7.se.gate s4.b7.se.bn",
    ),
    row("regnetz_b16", nchw("final_conv stages stages.3 stages.3.1", 3, 5)),
    row(  # AttentionPool2d puts the mean before the positions; only that token is returned.
        "resnet50_clip",
        nchw("final_conv stages stages.3 stages.3.2 stages.3.2.act", 3, 5),
        img_size=(96, 160),
        also=tokens("head.k head.v", 3, 5, 1),
        wrong="head head.q head.drop head.proj",
    ),
    # Attention inside a ResNet: maps all the way, the block's own tensors hold windows or relative positions.
    row(
        "botnet26t_256",
        nchw("final_conv stages stages.3 stages.3.1", 3, 5),
        img_size=(96, 160),
        wrong="stages.3.1.self_attn.pos_embed",
    ),
    row("halonet26t", nchw("final_conv stages stages.3 stages.3.1", 8, 8), (3, 256, 256)),
    row("lambda_resnet26t", nchw("final_conv stages stages.3 stages.3.1", 3, 5)),
    # Plain and dense ones. A VGG of timm resizes its map to at least 7 × 7 before its fully connected layers.
    row(
        "vgg11",
        nchw("features features.20", 3, 5) | nchw("features.18 features.19", 6, 10),
        wrong="pre_logits pre_logits.*",
    ),
    row("densenet121", nchw("features features.norm5 features.denseblock4", 3, 5)),
    row("dla46_c", nchw("level5 level5.root level5.root.relu", 3, 5)),
    row("dpn68", nchw("features features.conv5_bn_ac features.conv5_bn_ac.bn", 3, 5)),
    row("rdnet_tiny", nchw("norm_pre dense_stages dense_stages.6 dense_stages.6.2", 3, 5)),
    row("cspresnet50", nchw("stages stages.3 stages.3.conv_transition", 3, 5)),
    row("cs3darknet_s", nchw("stages stages.3 stages.3.conv_transition", 3, 5)),
    row("cspnext_tiny", nchw("stages stages.3 stages.3.2 stages.3.2.final_conv", 3, 5)),
    row("ese_vovnet19b_slim", nchw("stages stages.3 stages.3.blocks stages.3.blocks.0", 3, 5)),
    row("hgnetv2_b0", nchw("stages stages.3 stages.3.blocks stages.3.blocks.0", 3, 5), wrong="head.last_conv*"),
    row("selecsls42", nchw("head head.3", 2, 3)),  # stride 64
    row(  # All four resolutions end in one layer.
        "hrnet_w18_small",
        nchw("final_layer final_layer.2", 3, 5),
        wrong="incre_modules.0 incre_modules.1 incre_modules.2",
    ),
    # Inceptions do not pad: 160 → 79 → 77 → 38 → 36 → 17 → 8 → 3 and 256 → 127 → 125 → 62 → 60 → 29 → 14 → 6.
    row("inception_v3", nchw("Mixed_7c", 3, 6), (3, 160, 256)),
    row("inception_v4", nchw("features features.21", 3, 6), (3, 160, 256)),
    row("inception_resnet_v2", nchw("conv2d_7b conv2d_7b.bn", 3, 6) | nchw("block8", 3, 6), (3, 160, 256)),
    row("legacy_xception", nchw("act4 bn4 conv4", 3, 5)),
    row("xception41", nchw("act blocks blocks.12", 3, 5)),
    # The activation behind the last cell works in place: what the cell returned is rewritten.
    row("nasnetalarge", nchw("act cell_17", 3, 5)),
    row("pnasnet5large", nchw("act cell_11", 3, 5)),
    # Re-parametrised and mobile ones. Where the last 1×1 convolution comes after the pool it sees no positions.
    row("repvgg_a0", nchw("final_conv stages stages.3 stages.3.0", 3, 5)),
    row("repghostnet_050", nchw("blocks blocks.9 blocks.9.0", 3, 5), wrong="conv_head act2"),
    row("ghostnet_050", nchw("blocks blocks.9 blocks.9.0", 3, 5), wrong="conv_head act2"),
    row("ghostnetv2_100", nchw("blocks blocks.9 blocks.9.0", 3, 5), wrong="conv_head act2"),
    row("ghostnetv3_050", nchw("blocks blocks.9 blocks.9.0", 3, 5), wrong="conv_head act2"),
    row("efficientnet_b0", nchw("bn2 conv_head blocks blocks.6 blocks.6.0", 3, 5), wrong="blocks.6.0.se.conv*"),
    row("tf_efficientnetv2_b0", nchw("bn2 conv_head blocks blocks.5", 3, 5)),
    row("mobilenetv2_100", nchw("bn2 conv_head blocks blocks.6", 3, 5)),
    row("mobilenetv3_small_050", nchw("blocks blocks.5 blocks.5.0", 3, 5), wrong="conv_head act2 norm_head"),
    row("mobilenetv4_conv_small", nchw("blocks blocks.4 blocks.4.0", 3, 5), wrong="conv_head norm_head act2"),
    row(  # Two stages fused at stride 16, then resized to 16 × 16 whatever the picture's shape.
        "mobilenetv5_base",
        nchw("msfa.ffn", 6, 10) | nchw("msfa msfa.norm", 16, 16),
        also=nchw("blocks.3", 3, 5) | nchw("blocks.2", 6, 10),
    ),
    row("hardcorenas_a", nchw("blocks blocks.6 blocks.6.0", 3, 5), wrong="conv_head act2"),
    row("lcnetv2_small", nchw("stages stages.3 stages.3.1", 3, 5), wrong="conv_head act2"),
    row("rexnet_100", nchw("features features.16 features.16.bn", 3, 5)),
    row("fasternet_t0", nchw("stages stages.3 stages.3.blocks stages.3.blocks.1", 3, 5), wrong="conv_head act"),
    row("starnet_s050", nchw("norm stages stages.3 stages.3.1", 3, 5)),
    row("convmixer_1024_20_ks9_p14", nchw("blocks blocks.19 blocks.19.3", 6, 10), (3, 84, 140)),
    # ConvNeXt: the norm inside a block sees channels last or first, depending on the variant.
    row(
        "test_convnext",
        nchw("norm_pre stages stages.3 stages.3.blocks stages.3.blocks.1", 3, 5),
        also=nhwc("stages.3.blocks.1.norm stages.3.blocks.1.mlp", 3, 5)
        | nchw("stages.3.blocks.1.conv_dw", 3, 5),
        wrong="head.norm",
    ),
    row(
        "convnext_tiny",
        nchw("norm_pre stages stages.3 stages.3.blocks stages.3.blocks.2", 3, 5),
        also=nhwc("stages.3.blocks.2.norm stages.3.blocks.2.mlp", 3, 5)
        | nchw("stages.3.blocks.2.conv_dw", 3, 5),
        wrong="head.norm",
    ),
    row(
        "convnext_atto",
        nchw("norm_pre stages stages.3 stages.3.blocks stages.3.blocks.1", 3, 5),
        also=nchw("stages.3.blocks.1.norm stages.3.blocks.1.mlp", 3, 5),
        wrong="head.norm",
    ),
    row(
        "convnextv2_atto",
        nchw("norm_pre stages stages.3 stages.3.blocks stages.3.blocks.1", 3, 5),
        also=nchw("stages.3.blocks.1.norm stages.3.blocks.1.mlp", 3, 5),
        wrong="head.norm",
    ),
    # Patches round down everywhere: 101 → 25 → 12 → 6 → 3 and 157 → 39 → 19 → 9 → 4.
    row("convnext_atto", nchw("norm_pre stages stages.3 stages.3.blocks", 3, 4), (3, 101, 157)),
    row(  # The norm before the pool: a layer of its own.
        "convnext_atto",
        nchw("norm_pre stages stages.3 stages.3.blocks stages.3.blocks.1", 3, 5),
        head_norm_first=True,
    ),
    row("inception_next_atto", nchw("stages stages.3 stages.3.blocks stages.3.blocks.1", 3, 5)),
    row(
        "mambaout_femto",
        nhwc("stages stages.3 stages.3.blocks stages.3.blocks.2", 3, 5),
        also=nchw("stages.3.blocks.2.conv", 3, 5) | nhwc("stages.3.blocks.2.norm", 3, 5),
        wrong="head.norm",
    ),
]
