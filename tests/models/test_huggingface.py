"""transformers' image classifiers, from tiny configurations: by folder, and as modules."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from test_torchvision import landed, photo
from transformers import (
    BeitConfig,
    ConvNextConfig,
    DeiTConfig,
    MobileNetV2Config,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from camlucida.capture.logits import logits_of
from camlucida.errors import ModelError, OptionError, PictureError
from camlucida.images import Frame
from camlucida.models import huggingface
from camlucida.models.load import load
from camlucida.models.measured_frame import measured_frame
from camlucida.models.preprocessing import preprocessing

TOKENS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 12, 16, 24]}
MODELS = {
    "vit": ("ViTForImageClassification", ViTConfig(**TOKENS, num_labels=5)),
    "beit": ("BeitForImageClassification", BeitConfig(**TOKENS, num_labels=5)),
    "deit": ("DeiTForImageClassification", DeiTConfig(**TOKENS, num_labels=5)),
    "deit, two heads": ("DeiTForImageClassificationWithTeacher", DeiTConfig(**TOKENS, num_labels=5)),
    "convnext": ("ConvNextForImageClassification", ConvNextConfig(**STAGES, num_labels=5)),
    "resnet": ("ResNetForImageClassification", ResNetConfig(**STAGES, embedding_size=8, num_labels=5)),
    "swin": (
        "SwinForImageClassification",
        SwinConfig(
            image_size=32,
            patch_size=2,
            embed_dim=8,
            depths=[1, 1],
            num_heads=[1, 2],
            window_size=4,
            num_labels=5,
        ),
    ),
    "mobilenet_v2": (
        "MobileNetV2ForImageClassification",
        MobileNetV2Config(image_size=32, depth_multiplier=0.35, num_labels=5),
    ),
}
NAMES = {0: "tench", 1: "goldfish", 2: "newt", 3: "hen", 4: "ostrich"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever asks for the network is told that there is none."""

    def unreachable(*_arguments, **_named):
        raise OSError

    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setattr("urllib.request.getproxies", dict)


def saved(folder, name="vit", processor=None, **changes):
    kind, config = MODELS[name]
    torch.manual_seed(3)
    config = type(config).from_dict({**config.to_dict(), **changes})
    module = getattr(transformers, kind)(config).eval()
    module.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return module


SQUARE = ViTImageProcessor(size={"height": 32, "width": 32})

# ------------------------------------------------------------------------------------------------------ models


@pytest.mark.parametrize("name", MODELS)
def test_networks_of_a_folder(name, tmp_path, capfd):
    theirs = saved(tmp_path, name, SQUARE)
    capfd.readouterr()
    adapter = load(f"hf:{tmp_path}")
    assert capfd.readouterr().err == ""  # no bars, no advice
    assert (adapter.name, adapter.weights, adapter.library) == (f"hf:{tmp_path}", "pretrained", "transformers")
    assert adapter.input_size == (3, 32, 32)
    picture = photo(50, 70)
    tensor, _ = adapter.preprocess(picture)
    with torch.no_grad():
        output = adapter.module(tensor[None])
        expected = theirs(SQUARE(picture, return_tensors="pt")["pixel_values"]).logits
    torch.testing.assert_close(logits_of(output), expected, rtol=0, atol=1e-6)
    assert not adapter.module.training
    assert adapter.labels == [f"LABEL_{i}" for i in range(5)]


def test_labels_are_the_configurations(tmp_path):
    saved(tmp_path, processor=SQUARE, id2label=NAMES, label2id={name: i for i, name in NAMES.items()})
    assert load(f"hf:{tmp_path}").labels == list(NAMES.values())


def test_a_configuration_without_labels_names_none(tmp_path):
    module = saved(tmp_path, processor=SQUARE)
    module.config.id2label = {}
    assert load(module).labels is None


def test_a_configuration_that_names_no_class_gets_the_familys_first(tmp_path):
    MODELS["deit, two heads"][1].save_pretrained(tmp_path)
    assert type(load(f"hf:{tmp_path}", "random").module).__name__ == "DeiTForImageClassification"


def test_random_weights_need_the_configuration_alone(tmp_path):
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    before = torch.get_rng_state()
    one = load(f"hf:{tmp_path}", "random").module.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    other = load(f"hf:{tmp_path}", "random").module.state_dict()
    torch.testing.assert_close(dict(one), dict(other), rtol=0, atol=0)
    assert load(f"hf:{tmp_path}", "random").weights == "random"


def test_weights_of_a_file(tmp_path):
    theirs = saved(tmp_path)
    with torch.no_grad():
        theirs.classifier.bias.copy_(torch.arange(5.0))
    torch.save(theirs.state_dict(), tmp_path / "mine.pth")
    ours = load(f"hf:{tmp_path}", tmp_path / "mine.pth")
    torch.testing.assert_close(dict(ours.module.state_dict()), dict(theirs.state_dict()), rtol=0, atol=0)
    assert ours.weights == str(tmp_path / "mine.pth")


def test_weights_of_a_file_with_other_classes(tmp_path):
    theirs = saved(tmp_path / "seven", id2label={i: f"class {i}" for i in range(7)})
    saved(tmp_path / "five", id2label=NAMES, label2id={name: i for i, name in NAMES.items()})
    ours = load(f"hf:{tmp_path}/five", tmp_path / "seven" / "model.safetensors")
    assert ours.module.classifier.out_features == 7
    assert ours.labels == [f"LABEL_{i}" for i in range(7)]
    torch.testing.assert_close(dict(ours.module.state_dict()), dict(theirs.state_dict()), rtol=0, atol=0)
    save_file({"other": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="do not fit hf:"):
        load(f"hf:{tmp_path}/five", tmp_path / "other.safetensors")


def test_a_backbone_is_no_classifier(tmp_path):
    """transformers would draw the head at random and only warn."""
    saved(tmp_path, processor=SQUARE)
    state = load_file(tmp_path / "model.safetensors")
    backbone = {key: tensor for key, tensor in state.items() if not key.startswith("classifier")}
    save_file(backbone, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"no weights for classifier.bias and 1 more, .*no trained classifier"):
        load(f"hf:{tmp_path}")


def test_no_processor_is_said(tmp_path):
    saved(tmp_path)
    adapter = load(f"hf:{tmp_path}")
    assert adapter.input_size == (3, 32, 32)  # of the configuration
    with pytest.raises(PictureError, match="does not say how a picture becomes its input"):
        adapter.preprocess(photo(20, 30))


def bert(folder):
    config = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def foreign(folder):
    (folder / "config.json").write_text('{"model_type": "nonesuch"}', encoding="utf-8")


def no_json(folder):
    (folder / "config.json").write_text("{", encoding="utf-8")


def no_weights(folder):
    saved(folder)
    (folder / "model.safetensors").unlink()


FOLDERS = {
    "empty": (lambda _folder: None, "has no config.json: give a folder that save_pretrained"),
    "text": (bert, "transformers cannot make an image classifier of hf:"),
    "unknown kind": (foreign, "cannot make an image classifier.*nonesuch"),
    "no JSON": (no_json, "cannot make an image classifier.*JSON"),
    "no weights": (no_weights, "cannot make an image classifier.*model.safetensors"),
}


@pytest.mark.parametrize(("fill", "message"), FOLDERS.values(), ids=FOLDERS.keys())
def test_folders_without_a_classifier(tmp_path, fill, message):
    fill(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        load(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_names_of_the_hub_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"hf:some/vit needs config.json of some/vit, which is not on this"):
        load("hf:some/vit")
    with pytest.raises(ModelError, match=r"hf:some/vit@main needs config.json of some/vit@main"):
        load("hf:some/vit@main", "random")


def test_a_repository_in_the_cache_asks_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path), raising=False)
    commit = "0" * 40
    snapshot = tmp_path / "models--some--vit" / "snapshots" / commit
    theirs = saved(snapshot, processor=SQUARE)
    refs = tmp_path / "models--some--vit" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit, encoding="utf-8")
    adapter = load("hf:some/vit")
    torch.testing.assert_close(dict(adapter.module.state_dict()), dict(theirs.state_dict()), rtol=0, atol=0)
    assert adapter.input_size == (3, 32, 32)
    assert adapter.preprocess(photo(40, 30))[0].shape == (3, 32, 32)
    theirs.config._name_or_path = "some/vit"  # as from_pretrained leaves it
    assert load(theirs).preprocess(photo(40, 30))[0].shape == (3, 32, 32)


@pytest.mark.parametrize("name", ["hf:", "hf:./gone", "hf:a/b/c", "hf:/no/such"])
def test_what_is_neither_folder_nor_name(name):
    with pytest.raises(ModelError, match="takes a folder that save_pretrained.* is neither"):
        load(name)


def test_without_transformers_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"pip install camlucida\[hf\]"):
        load("hf:google/vit-base-patch16-224")


# ----------------------------------------------------------------------------------------------------- modules


def test_a_module_is_recognised(tmp_path):
    module = saved(tmp_path, processor=SQUARE, id2label=NAMES)
    own = load(module)
    assert (own.module is module, own.library, own.weights) == (True, "transformers", "own")
    assert own.name == "ViTForImageClassification"
    assert own.labels == list(NAMES.values())
    with pytest.raises(PictureError, match="does not say"):
        own.preprocess(photo(20, 30))
    loaded = ViTForImageClassification.from_pretrained(tmp_path)
    assert load(loaded).preprocess(photo(20, 30))[0].shape == (3, 32, 32)  # from where it came


def test_a_class_made_from_one_is_recognised():
    class Mine(ViTForImageClassification):
        pass

    assert huggingface.recognises(Mine(MODELS["vit"][1]))
    assert not huggingface.recognises(torch.nn.Linear(2, 2))


def test_recognising_imports_nothing():
    code = (
        "import sys, torch; from camlucida.models.load import load; load(torch.nn.Linear(2, 2));"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_that_reads_is_refused():
    part = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.CLIPConfig(
        text_config={**part, "vocab_size": 20}, vision_config={**part, "image_size": 16, "patch_size": 8}
    )
    with pytest.raises(ModelError, match="CLIPModel also takes text"):
        load(transformers.CLIPModel(config))


# ------------------------------------------------------------------------------------------------- processors

PROCESSORS = {
    "ViT": ViTImageProcessor(),
    "ViT, not square": ViTImageProcessor(size={"height": 60, "width": 91}),
    "ViT, nothing moves": ViTImageProcessor(do_resize=False),
    "ViT, no normalising": ViTImageProcessor(do_normalize=False),
    "ViT, nearest": ViTImageProcessor(resample=0),
    "ViT, Pillow": transformers.ViTImageProcessorPil(),
    "ConvNext, crop_pct": transformers.ConvNextImageProcessor(size={"shortest_edge": 112}, crop_pct=0.8),
    "ConvNext, 384": transformers.ConvNextImageProcessor(),
    "ConvNext, Pillow": transformers.ConvNextImageProcessorPil(size={"shortest_edge": 112}),
    "DeiT": transformers.DeiTImageProcessor(),
    "BEiT": transformers.BeitImageProcessor(),
    "BiT": transformers.BitImageProcessor(),
    "CLIP": transformers.CLIPImageProcessor(),
    "EfficientNet": transformers.EfficientNetImageProcessor(),
    "LeViT": transformers.LevitImageProcessor(),
    "MobileNetV2": transformers.MobileNetV2ImageProcessor(),
    "MobileViT, pads and exchanges channels": transformers.MobileViTImageProcessor(),
    "Perceiver": transformers.PerceiverImageProcessor(),
    "PoolFormer": transformers.PoolFormerImageProcessor(),
    "PVT": transformers.PvtImageProcessor(),
    "SigLIP": transformers.SiglipImageProcessor(),
    "DINOv3": transformers.DINOv3ViTImageProcessor(),
}
PICTURES = [(167, 250), (243, 151)]


@pytest.mark.parametrize("size", [*PICTURES, (61, 75), (9, 13), (2, 3)], ids=str)
@pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS.keys())
def test_the_processors_own_tensor(processor, size):
    picture = photo(*size)
    tensor, frame = preprocessing(processor)(picture)
    expected = processor(images=[picture], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)
    assert frame.picture == size
    assert frame.view == tuple(tensor.shape[1:])


@pytest.mark.parametrize("size", PICTURES, ids=str)
@pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS.keys())
def test_the_frame_says_where_a_marked_square_lands(processor, size):
    preprocess = preprocessing(processor)
    plain, frame = preprocess(Image.new("RGB", (size[1], size[0])))
    cell = max((frame.box[2] - frame.box[0]) / frame.view[1], (frame.box[3] - frame.box[1]) / frame.view[0])
    for y, x in ((size[0] // 2, size[1] // 2), (size[0] // 2 - 40, size[1] // 2 + 37)):
        values = np.zeros((*size, 3), dtype=np.uint8)
        values[y - 5 : y + 6, x - 5 : x + 6] = 255
        difference = (preprocess(Image.fromarray(values))[0] - plain).abs().sum(0)
        assert landed(difference, frame) == pytest.approx((x + 0.5, y + 0.5), abs=max(0.1, 0.5 * cell))


# what the configuration says, worked out by hand for a picture of 167×250
BY_HAND = {
    "ViT": (0, 0, 250, 167),
    "ViT, nothing moves": (0, 0, 250, 167),
    "ConvNext, 384": (0, 0, 250, 167),
    # short side to 140, long one to 209; 112 of them from (209 − 112)/2 = 48 and 14
    "ConvNext, crop_pct": (48 * 250 / 209, 14 * 167 / 140, 160 * 250 / 209, 126 * 167 / 140),
    # squashed to 256×256; 224 of them from 16
    "DeiT": (16 * 250 / 256, 16 * 167 / 256, 240 * 250 / 256, 240 * 167 / 256),
    # short side to 224, long one to 335, of which 224 from 55
    "BiT": (55 * 250 / 335, 0, 279 * 250 / 335, 167),
    # short side to 224, long one to 335; 256 of that from (335 − 256)/2 = 39 and −16
    "MobileViT, pads and exchanges channels": (
        39 * 250 / 335,
        -16 * 167 / 224,
        295 * 250 / 335,
        240 * 167 / 224,
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_frames_worked_out_by_hand(name):
    frame = preprocessing(PROCESSORS[name])(photo(167, 250))[1]
    assert frame.box == pytest.approx(BY_HAND[name], abs=0.02)


def test_frames_are_measured_once_for_each_size(monkeypatch):
    sizes = []

    def counted(process, size, quantised):
        sizes.append(size)
        return measured_frame(process, size, quantised)

    monkeypatch.setattr("camlucida.models.image_processor.measured_frame", counted)
    preprocess = preprocessing(SQUARE)
    for size in ((30, 40), (50, 20), (30, 40)):
        preprocess(photo(*size))
    assert sizes == [(30, 40), (50, 20)]


def cut(values, top, left, height, width):
    return values[:, top : top + height, left : left + width]


MOVES = {
    "nothing": (lambda v: v, (0, 0, 60, 40)),
    "crop": (lambda v: cut(v, 5, 7, 20, 30), (7, 5, 37, 25)),
    "half": (lambda v: torch.nn.functional.avg_pool2d(v, 2), (0, 0, 60, 40)),
    "padded": (lambda v: torch.nn.functional.pad(v, (3, 0, 2, 9)), (-3, -2, 60, 49)),
    "padded grey": (lambda v: torch.nn.functional.pad(v, (3, 1, 2, 9), value=60), (-3, -2, 61, 49)),
    "channels exchanged": (lambda v: cut(v, 5, 7, 20, 30).flip(0), (7, 5, 37, 25)),
    "scaled": (lambda v: v * 0.02, (0, 0, 60, 40)),
}


@pytest.mark.parametrize(("move", "box"), MOVES.values(), ids=MOVES.keys())
@pytest.mark.parametrize("quantised", [False, True])
def test_frames_are_measured(move, box, quantised):
    frame = measured_frame(move, (40, 60), quantised)
    assert frame.box == pytest.approx(box, abs=0.15 if quantised else 1e-3)
    assert frame.picture == (40, 60)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 5)], ids=str)
def test_frames_of_tiny_pictures(size):
    def process(values):
        return torch.nn.functional.interpolate(values[None], (32, 48), mode="bilinear", antialias=True)[0]

    assert measured_frame(process, size, False) == Frame(size, (0, 0, size[1], size[0]), (32, 48))


BENT = {
    "mirrored": (lambda v: v.flip(2), "mirrors or turns"),
    "upside down": (lambda v: v.flip(1), "mirrors or turns"),
    "turned": (lambda v: v.transpose(1, 2), "turns it"),
    "rolled": (lambda v: v.roll(20, 2), "mirrors or turns|bends or turns"),
    "bent": (lambda v: v[:, :, torch.arange(60).square() // 60], "bends or turns"),
    "sheared": (lambda v: torch.stack([v[:, i, i // 2 : i // 2 + 30] for i in range(40)], 1), "bends or turns"),
    "one channel": (lambda v: v[:1], r"makes \(1, 40, 60\)"),
    "patches": (lambda v: v.reshape(3, 4, 10, 60), r"makes \(3, 4, 10, 60\)"),
    "black": (lambda v: v * 0, "shows nothing"),
}


@pytest.mark.parametrize(("move", "message"), BENT.values(), ids=BENT.keys())
def test_what_cannot_be_drawn_back_is_refused(move, message):
    with pytest.raises(OptionError, match=f"({message}).*pass preprocess="):
        measured_frame(move, (40, 60), False)


def test_processors_that_cut_the_picture_up_are_refused():
    with pytest.raises(OptionError, match=r"Siglip2ImageProcessor cuts a picture into pieces|cannot make this"):
        preprocessing(transformers.Siglip2ImageProcessor())(photo(50, 60))


def test_pictures_for_one_channel_and_for_five(tmp_path):
    grey = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5], image_std=[0.25])
    saved(tmp_path, processor=grey, num_channels=1)
    adapter = load(f"hf:{tmp_path}")
    tensor, frame = adapter.preprocess(Image.new("RGB", (60, 40), (255, 0, 0)))
    assert adapter.input_size == (1, 32, 32)
    torch.testing.assert_close(tensor, torch.full((1, 32, 32), (76 / 255 - 0.5) / 0.25), atol=1e-4, rtol=0)
    assert frame == Frame((40, 60), (0, 0, 60, 40), (32, 32))
    with pytest.raises(PictureError, match="takes 5 channels"):
        preprocessing(SQUARE, 5)(photo(20, 30))


def test_normalisation_is_the_processors(tmp_path):
    saved(tmp_path, processor=SQUARE)
    assert load(f"hf:{tmp_path}").normalisation == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_timms_networks_in_transformers(tmp_path):
    wrapper = transformers.TimmWrapperConfig(
        architecture="resnet10t",
        num_labels=4,
        pretrained_cfg={"input_size": [3, 64, 64], "crop_pct": 0.875, "mean": [0.5] * 3, "std": [0.5] * 3},
    )
    module = transformers.TimmWrapperForImageClassification(wrapper)
    module.save_pretrained(tmp_path)
    adapter = load(f"hf:{tmp_path}")
    assert adapter.library == "transformers"
    tensor, _ = adapter.preprocess(photo(90, 70))
    with torch.no_grad():
        assert logits_of(adapter.module(tensor[None])).shape == (1, 4)
