"""Truth of timm's transformers with one sequence of patches and a twist: late class tokens, branches, maps."""

from dataclasses import replace

from truth.layout import Truth, dead, nchw, nhwc, tokens
from truth.layout import timm_row as row

PIT = "transformers.2.blocks.3"
PIT_DEAD = " ".join((*dead(PIT), "transformers.2.blocks transformers.2 transformers norm"))

TIMM_TOKENS: list[Truth] = [
    # Encoders of language models: maps around a sequence.
    row(
        "qwen3_vit_88m",
        nhwc("encoder", 6, 10) | tokens("encoder.blocks.2", 6, 10),
        depth=3,
        num_classes=10,
        wrong="norm",
    ),
    row(  # A 2 × 2 patch is merged into one token.
        "qwen3_vit_88m_merge",
        tokens("encoder encoder.merger", 3, 5)
        | tokens("encoder.blocks.2", 6, 10)
        | nhwc("encoder.merger.norm", 6, 10),
        depth=3,
        num_classes=10,
    ),
    row("gemma4_vit_167m", tokens("encoder encoder.blocks.2", 6, 9), (3, 96, 144), depth=3, num_classes=10),
    row(
        "deepseek_vit_412m",
        nhwc("encoder", 6, 10) | tokens("encoder.norm encoder.blocks.2", 6, 10),
        (3, 84, 140),
        depth=3,
        num_classes=10,
    ),
    row(  # A sequence in the MLP, channels last behind the block, channels first behind the neck.
        "samvit_base_patch16_224",
        nchw("neck", 6, 10) | nhwc("blocks blocks.2", 6, 10),
        img_size=(96, 160),
        depth=3,
        also=tokens("blocks.2.norm2 blocks.2.mlp", 6, 10) | nhwc("blocks.2.norm1", 6, 10),
    ),
    # The class token joins late: metadata says one prefix token, the last tensor with all patches has none.
    row(
        "cait_xxs24_224",
        tokens("blocks blocks.23", 6, 10),
        img_size=(96, 160),
        also=tokens("blocks_token_only.0.norm1 blocks_token_only.1.norm1", 6, 10, 1),
        wrong="norm *_token_only.? *_only.?.norm2 *_only.?.attn *_only.?.attn.[qp]* *_only.?.mlp*",
    ),
    row(
        "xcit_nano_12_p16_224",
        tokens("blocks.11 blocks.10", 6, 10),
        img_size=(96, 160),
        also=tokens("cls_attn_blocks.0.norm1 cls_attn_blocks.1.norm1 cls_attn_blocks.0", 6, 10, 1)
        | nchw("blocks.11.local_mp.conv1", 6, 10),
        wrong="norm cls_attn_blocks.1 cls_*.attn cls_*.attn.[qp]* cls_*.norm2 cls_*.mlp*",
    ),
    row(
        "volo_d1_224",
        nhwc("network.4 network.4.1 network.3", 6, 10),
        img_size=(96, 160),
        also=tokens("norm post_network.0 post_network.1 post_network.0.norm1", 6, 10, 1),
        wrong="aux_head post_network.?.attn post_network.?.attn.[qp]* post_network.?.norm2 post_network.?.mlp*",
    ),
    row(  # GPSA blocks 0 to 9 know no class token.
        "convit_tiny",
        tokens("blocks.11.norm1 blocks.10", 6, 6, 1),
        (3, 96, 96),
        img_size=96,
        also=tokens("blocks.9 blocks.0", 6, 6),
        wrong="norm blocks.11 blocks.11.attn blocks.11.attn.proj* blocks.11.norm2 blocks.11.mlp*",
    ),
    row(  # A stage returns (map, class token), and what follows its last block's attention is dead.
        "pit_ti_224",
        tokens(f"{PIT}.norm1 transformers.2.blocks.2", 3, 5, 1),
        img_size=(96, 160),
        also=nchw("transformers.2.pool.conv", 3, 5),
        wrong=PIT_DEAD,
    ),
    row(
        "pit_ti_distilled_224",
        tokens(f"{PIT}.norm1 transformers.2.blocks.2", 3, 5, 2),
        img_size=(96, 160),
        also=nchw("transformers.2.pool.conv", 3, 5),
        wrong=PIT_DEAD,
    ),
    # Parallel branches: no single tensor sees all of the picture's influence.
    replace(
        row(
            "crossvit_tiny_240",
            tokens("blocks.2.blocks.0 blocks.2.fusion.1.norm1", 10, 20, 1)
            | tokens("blocks.2.blocks.1 blocks.2.fusion.0.norm1", 7, 14, 1),
            (3, 120, 240),
            img_size=(120, 240),
            wrong="blocks.2 norm.? *.2.fusion.? *fusion.?.attn *fusion.?.attn.wq *fusion.?.attn.proj* *projs.?",
        ),
        branches=2,
    ),
    replace(
        row(
            "coat_tiny",
            tokens("parallel_blocks.5.norm12", 12, 20, 1)
            | tokens("parallel_blocks.5.norm13", 6, 10, 1)
            | tokens("parallel_blocks.5.norm14", 3, 5, 1),
            img_size=(96, 160),
            wrong="norm? aggregate parallel_blocks.5 parallel_blocks.5.norm2? *blocks.5.factoratt_crpe?",
        ),
        branches=3,
    ),
    row(  # The serial variant is a pyramid with a class token in each stage.
        "coat_lite_tiny",
        tokens("serial_blocks4.1.norm1 serial_blocks4.0", 3, 5, 1),
        img_size=(96, 160),
        wrong="norm4 serial_blocks4.1 serial_blocks4.1.norm2 serial_blocks4.1.mlp* *blocks4.1.factoratt_crpe",
    ),
    row(  # A second sequence, pixels (batch · patches, 16, channels), joins it before `norm_out`.
        "tnt_s_patch16_224",
        tokens("blocks.2.norm_out blocks.1.norm_out", 6, 10, 1),
        img_size=(96, 160),
        depth=3,
        also=tokens("blocks.2.norm2_proj blocks.2.proj", 6, 10) | tokens("blocks.1", 6, 10, 1),
        wrong="norm blocks.2 blocks.2.*_in blocks.2.attn_out blocks.2.norm_mlp blocks.2.mlp",
    ),
]
