"""Truth of timm's staged transformers, hybrids and mixers. The stride is 32 where nothing is said."""

from truth.layout import Truth, nchw, ncl, nhwc, tokens
from truth.layout import timm_row as row

STAGE = "stages stages.3 stages.3.blocks stages.3.blocks"
MVIT = "stages.3.blocks.1"

TIMM_STAGES: list[Truth] = [
    # Windows of 2 × 2 on 4 × 6 positions: the attention module itself returns (batch · windows, 4, channels).
    row(
        "swin_tiny_patch4_window7_224",
        nhwc("norm layers layers.3 layers.3.blocks layers.3.blocks.1", 4, 6),
        (3, 128, 192),
        img_size=(128, 192),
        window_size=2,
        also=nhwc("layers.3.blocks.1.norm1", 4, 6) | tokens("layers.3.blocks.1.norm2", 4, 6),
        wrong="layers.3.blocks.1.attn layers.3.blocks.1.attn.*",
    ),
    row(
        "swinv2_tiny_window8_256",
        nhwc("norm layers layers.3 layers.3.blocks.1", 4, 6),
        (3, 128, 192),
        img_size=(128, 192),
        window_size=2,
        also=nhwc("layers.3.blocks.1.norm1", 4, 6) | tokens("layers.3.blocks.1.norm2", 4, 6),
        wrong="layers.3.blocks.1.attn layers.3.blocks.1.attn.*",
    ),
    row(  # Channels last in its blocks, first behind its stages.
        "swinv2_cr_tiny_224",
        nchw("stages stages.3", 4, 6) | nhwc("stages.3.blocks.1", 4, 6),
        (3, 128, 192),
        img_size=(128, 192),
        window_size=2,
        also=tokens("stages.3.blocks.1.norm2", 4, 6),
        wrong="stages.3.blocks.1.attn stages.3.blocks.1.attn.*",
    ),
    row(
        "test_maxvit",
        nchw("norm stages stages.3 stages.3.blocks stages.3.blocks.0", 3, 5),
        img_size=(96, 160),
        also=nhwc("stages.3.blocks.0.attn_grid stages.3.blocks.0.attn_block", 3, 5),
    ),
    row(
        "test_coatnet",
        nchw("norm stages stages.3 stages.3.blocks stages.3.blocks.0", 3, 5),
        img_size=(96, 160),
    ),
    row("focalnet_tiny_srf", nchw("norm layers layers.3 layers.3.blocks.1", 3, 5)),
    row(
        "davit_tiny",
        nchw(f"norm_pre {STAGE}.0", 3, 5),
        wrong="head.norm",
        also=tokens("stages.3.blocks.0.0.norm1 stages.3.blocks.0.0.mlp", 3, 5),
    ),
    row(
        "gcvit_xxtiny",
        nchw("stages stages.3", 3, 5) | nhwc("stages.3.norm stages.3.blocks.1", 3, 5),
        img_size=(96, 160),
    ),
    row(
        "pvt_v2_b0",
        nchw("stages stages.3", 3, 5) | tokens("stages.3.norm stages.3.blocks.1", 3, 5),
        also=nhwc("stages.3.downsample", 3, 5),
    ),
    row(
        "twins_pcpvt_small",
        tokens("norm blocks.3.2", 3, 5),
        img_size=(96, 160),
        also=nchw("pos_block.3.proj", 3, 5) | tokens("pos_block.3", 3, 5),
    ),
    row("twins_svt_small", tokens("norm blocks.3.3", 3, 5), img_size=(96, 160)),
    row(  # Blocks of positions: (batch, blocks, positions of a block, channels); at the end there is one block.
        "nest_tiny",
        nchw("levels levels.2", 4, 4) | nhwc("norm", 4, 4),
        (3, 64, 64),
        img_size=64,
        wrong="levels.2.transformer_encoder* levels.1.transformer_encoder*",
    ),
    row(  # Tokens stand unrolled, pooled neighbours together, until the last pool has used all strides up.
        "hiera_tiny_224",
        tokens("blocks.11 blocks.10", 3, 5),
        img_size=(96, 160),
        wrong="blocks.9 blocks.9.* blocks.10.norm1 blocks.10.proj",
    ),
    row(  # The window is larger than the map: attention works on 7 × 7 with padding.
        "sam2_hiera_tiny",
        nhwc("blocks.11 blocks.10", 3, 5),
        num_classes=10,
        also=nhwc("blocks.11.norm1 blocks.11.norm2 blocks.11.mlp", 3, 5),
        wrong="blocks.11.attn blocks.11.attn.*",
    ),
    row(  # Blocks return (tokens, size). No class token.
        "mvitv2_tiny", tokens("norm stages.3 stages.3.blocks.1", 3, 3), (3, 96, 96), img_size=96
    ),
    row(
        "mvitv2_small_cls",
        tokens("stages.3.blocks.0 stages.3.blocks.1.norm1", 3, 3, 1),
        (3, 96, 96),
        img_size=96,
        wrong=f"norm stages.3 {MVIT} {MVIT}.attn {MVIT}.norm2 {MVIT}.mlp*",
    ),
    # Stage by stage convolutions and attention.
    row(
        "efficientformer_l1",
        tokens(f"norm {STAGE}.4", 7, 7),
        (3, 224, 224),
        also=nchw("stages.3.downsample", 7, 7),
    ),
    row("efficientformerv2_s0", nchw(f"norm {STAGE}.3", 3, 5), img_size=(96, 160)),
    row(  # (192, 320) / 16 = (12, 20) → (6, 10) → (3, 5). With random weights its attention is all but uniform.
        "levit_128s",
        tokens("stages stages.2 stages.2.blocks stages.2.blocks.3", 3, 5),
        (3, 192, 320),
        img_size=(192, 320),
    ),
    row(
        "levit_conv_128s",
        nchw("stages stages.2 stages.2.blocks stages.2.blocks.3", 3, 5),
        (3, 192, 320),
        img_size=(192, 320),
    ),
    row(  # 224 × 160: each stride-2 step rounds up, 14 × 10 → 7 × 5 → 4 × 3.
        "levit_128s",
        tokens("stages stages.2 stages.2.blocks stages.2.blocks.3", 4, 3),
        (3, 224, 160),
        img_size=(224, 160),
    ),
    row("efficientvit_b0", nchw(f"head.in_conv {STAGE}.2", 3, 5), wrong="head.classifier*"),
    row("efficientvit_l1", nchw("head.in_conv stages stages.3", 3, 5), wrong="head.classifier*"),
    row(
        "efficientvit_m0",
        nchw("stages stages.2 stages.2.blocks stages.2.blocks.2", 3, 5),
        (3, 192, 320),
        img_size=(192, 320),
    ),
    row(  # Four heads: three read hidden states (batch, channels, 49 / 25 / 9), which are no positions.
        "efficientvim_m1",
        nchw("norm.3 stages.2 stages.2.blocks.1", 3, 5),
        (3, 192, 320),
        wrong="norm.0 norm.1 norm.2",
    ),
    row(
        "edgenext_xx_small",
        nchw(f"norm_pre {STAGE}.1", 3, 5),
        also=nhwc("stages.3.blocks.1.norm", 3, 5) | tokens("stages.3.blocks.1.norm_xca", 3, 5),
        wrong="head.norm",
    ),
    row(  # Inside a block (batch · 4, positions / 4, channels): pixels of 2 × 2 patches are taken apart.
        "mobilevit_xxs",
        nchw("final_conv stages stages.4 stages.4.1", 3, 5),
        wrong="stages.4.1.norm stages.4.1.transformer*",
    ),
    row(  # Its block needs even sides and resizes 3 × 5 to 4 × 6 for good.
        "mobilevitv2_050",
        nchw("final_conv stages stages.4 stages.4.1", 4, 6),
        also=nchw("stages.4.0", 3, 5),
        wrong="stages.4.1.norm stages.4.1.transformer*",
    ),
    row(
        "fastvit_t8",
        nchw("final_conv final_conv.act stages.3 stages.3.blocks", 3, 5),
        wrong="final_conv.se.fc* final_conv.se.gate",
    ),
    row("repvit_m0_9", nchw(f"{STAGE}.1", 3, 5)),
    row("nextvit_small", nchw(f"norm {STAGE}.2", 3, 5)),
    row(  # Channels last in the blocks, first behind the stage.
        "tiny_vit_5m_224",
        nchw("stages stages.3", 3, 5) | nhwc("stages.3.blocks stages.3.blocks.1", 3, 5),
        num_classes=10,
        also=tokens("stages.3.blocks.1.mlp", 3, 5),
        wrong="head.norm",
    ),
    row(
        "csatv2",
        nchw("stages stages.3 stages.3.6", 3, 5),
        (3, 192, 320),
        also=nhwc("stages.3.1.norm", 3, 5) | tokens("stages.3.6.norm2 stages.3.6.mlp", 3, 5),
        wrong="head.norm",
    ),
    row("visformer_tiny", nchw("norm stage3 stage3.3", 3, 5), img_size=(96, 160)),
    row("swiftformer_xs", nchw(f"norm {STAGE}.3", 3, 5)),
    row("shvit_s1", nchw("stages stages.2 stages.2.blocks stages.2.blocks.4", 2, 3)),  # stride 64
    row("iformer_t", nchw(f"{STAGE}.5", 3, 5)),
    row("lowformer_b0", nchw("in_conv stages stages.3 stages.3.4", 3, 5)),
    row("cpubone_nano", nchw("head.in_conv stages stages.3 stages.3.2", 3, 5)),
    # MetaFormers
    row("poolformer_s12", nchw(f"{STAGE}.1", 3, 5), wrong="head.norm"),
    row("convformer_s18", nchw(f"{STAGE}.2", 3, 5), wrong="head.norm"),
    row(
        "caformer_s18",
        nchw("stages stages.3", 3, 5) | tokens("stages.3.blocks stages.3.blocks.2", 3, 5),
        wrong="head.norm",
    ),
    # Mixers: the token-mixing layers stand transposed (batch, channels, tokens).
    row(
        "mixer_s32_224",
        tokens("norm blocks blocks.7", 3, 5),
        img_size=(96, 160),
        also=ncl("blocks.7.mlp_tokens", 3, 5),
    ),
    row(
        "gmixer_12_224",
        tokens("norm blocks blocks.11", 6, 10),
        img_size=(96, 160),
        also=ncl("blocks.11.mlp_tokens", 6, 10),
    ),
    row(
        "resmlp_12_224",
        tokens("norm blocks blocks.11", 6, 10),
        img_size=(96, 160),
        also=ncl("blocks.11.linear_tokens", 6, 10),
    ),
    row("gmlp_ti16_224", tokens("norm blocks blocks.29", 6, 10), img_size=(96, 160)),
    row("sequencer2d_s", nhwc(f"norm {STAGE}.2", 6, 10), (3, 84, 140), img_size=(84, 140)),
]
