"""Truth of timm's plain vision transformers: 96 × 160 pixels are 6 × 10 patches of 16."""

from truth.layout import Truth, dead, tokens
from truth.layout import timm_row as row

SIZE = (96, 160)
SIZE_14 = (84, 140)  # 6 × 10 patches of 14
POOL = "attn_pool attn_pool.q attn_pool.proj attn_pool.norm attn_pool.mlp*"


def class_token(
    name: str,
    last: int,
    grid: tuple[int, int] = (6, 10),
    prefix: int = 1,
    size: tuple[int, int, int] = (3, *SIZE),
    **arguments: object,
) -> Truth:
    """Only prefix tokens are read: patches matter for the last time before the attention of block `last`."""
    layers = tokens(f"blocks.{last}.norm1 blocks.{last - 1}", *grid, prefix)
    wrong = (*dead(f"blocks.{last}"), "blocks", "norm")
    return Truth("timm:" + name, {"img_size": size[1:], **arguments}, size, layers, wrong)


def pooled(name: str, last: int, prefix: int, *, read: int | None = None, **arguments: object) -> Truth:
    """All patches are read, so everything up to the end counts. A prefix is not averaged.

    Where an attention pool reads them, `read` says how many prefix tokens it reads with them.
    """
    layers = tokens(f"norm blocks blocks.{last}", 6, 10, prefix)
    also = {} if read is None else tokens("attn_pool.kv", 6, 10, read)
    wrong = () if read is None else tuple(POOL.split())
    settings = {"img_size": SIZE, **arguments}
    return Truth("timm:" + name, settings, (3, *SIZE), layers, wrong, also)


TINY = "vit_tiny_patch16_224"

TIMM_VITS: list[Truth] = [
    class_token("test_vit", 5),
    class_token(TINY, 11, (10, 14), 1, (3, 160, 224)),
    class_token(TINY, 2, size=(1, *SIZE), depth=3, in_chans=1),
    class_token(TINY, 2, size=(4, *SIZE), depth=3, in_chans=4),
    class_token(TINY, 2, (12, 20), depth=3, patch_size=8),
    class_token(TINY, 2, depth=3, img_size=224, dynamic_img_size=True),
    # Padded to whole patches: 100 → 7 · 16 and 150 → 10 · 16.
    class_token(TINY, 2, (7, 10), 1, (3, 100, 150), depth=3, dynamic_img_size=True, dynamic_img_pad=True),
    class_token(TINY, 2, (5, 7), 1, (3, 80, 112), depth=3),  # 1 + 5 × 7 = 6 × 6: a square that is none
    class_token(TINY, 2, prefix=5, depth=3, reg_tokens=4),
    class_token(TINY, 2, prefix=1, depth=3, pos_embed="none"),  # nothing tells it where a patch stands
    class_token("vit_base_patch16_clip_224", 2, depth=3),
    class_token("vit_tiny_r_s16_p8_224", 11, (3, 5)),  # a ResNet's stride 16, then patches of 2
    class_token("flexivit_small", 2, depth=3),
    class_token("deit_tiny_distilled_patch16_224", 11, prefix=2),
    class_token("deit3_small_patch16_224", 2, depth=3),
    class_token("vit_small_patch14_dinov2", 11, size=(3, *SIZE_14), num_classes=10),
    class_token("vit_small_patch14_reg4_dinov2", 11, prefix=5, size=(3, *SIZE_14), num_classes=10),
    class_token("vit_relpos_base_patch16_cls_224", 2, depth=3),
    pooled("test_vit2", 7, 1),
    pooled("test_vit4", 8, 1),
    pooled(TINY, 2, 0, depth=3, class_token=False, global_pool="avg"),
    pooled(TINY, 2, 1, depth=3, global_pool="avg"),
    pooled(TINY, 2, 1, depth=3, global_pool="max"),
    pooled(TINY, 2, 4, depth=3, class_token=False, global_pool="avg", reg_tokens=4),  # 4 + 60 = 8 × 8
    pooled(TINY, 2, 16, depth=3, class_token=False, global_pool="avg", reg_tokens=16),
    pooled("vitamin_small_224", 13, 0, num_classes=10),
    row("test_vit_relpos", tokens("norm blocks.8", 6, 10), img_size=SIZE),
    row(
        "aimv2_large_patch14_224",
        tokens("norm blocks blocks.2", 6, 10),
        (3, *SIZE_14),
        img_size=SIZE_14,
        depth=3,
        num_classes=10,
    ),
    # Attention pooling: its key-value projection still has positions, what it returns has none. A prefix token
    # is read with the patches in one model and left out in another.
    pooled("test_vit3", 8, 1, read=1),
    pooled("vit_base_patch16_siglip_224", 2, 0, read=0, depth=3, num_classes=10),
    pooled(TINY, 2, 1, read=0, depth=3, global_pool="map"),
    row("naflexvit_base_patch16_gap", tokens("norm blocks.2", 6, 10, 4), depth=3),
    row(  # The pool leaves the register out.
        "naflexvit_base_patch16_map",
        tokens("norm blocks.2", 6, 10, 1),
        depth=3,
        also=tokens("attn_pool.kv", 6, 10),
        wrong=POOL,
    ),
    # EVA and BeiT
    row("vit_small_patch16_dinov3", tokens("norm blocks.11", 6, 10, 5), img_size=SIZE, num_classes=10),
    row(
        "eva02_tiny_patch14_224",
        tokens("norm blocks.11", 6, 10, 1),
        (3, *SIZE_14),
        img_size=SIZE_14,
        num_classes=10,
    ),
    row("vit_base_patch16_rope_reg1_gap_256", tokens("norm blocks.2", 6, 10, 1), img_size=SIZE, depth=3),
    row("beit_base_patch16_224", tokens("norm blocks.2", 6, 10, 1), img_size=SIZE, depth=3),
    class_token("beit_base_patch16_224", 2, depth=3, global_pool="token"),
]
