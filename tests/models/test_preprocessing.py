"""How pictures are made ready: the real numbers are told, and those of a checkpoint or the user's are taken."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import transforms

import camlucida
import zoo
from camlucida.cli.model_options import joined
from camlucida.errors import CamlucidaWarning, OptionError
from camlucida.models.preprocessing_steps import preprocess_of
from camlucida.pipeline import diagnosis
from command import run

OWN = {"input_size": (3, 48, 64), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "nearest"}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    import timm

    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3).state_dict()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)).save(path)
    return path


def facts(explainer: camlucida.Explainer) -> dict[str, object]:
    return explainer.preprocess.recipe.facts()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"state_dict": state, "pretrained_cfg": {**OWN, "crop_pct": 0.8}},
        lambda state: {"state_dict": state, "args": Namespace(**OWN, crop_pct=0.8, lr=0.1, img_size=None)},
        lambda state: {"model_state_dict": state, "hyper_parameters": {**OWN, "crop_pct": 0.8}},
        lambda state: {"model": state, **OWN, "crop_pct": 0.8},
    ],
)
def test_a_checkpoints_own_config_wins(wrapped, state, tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    torch.save(wrapped(state), file)
    explainer = camlucida.Explainer("test_resnet", weights=file, cache=False)
    told = facts(explainer)
    assert (told["crop"], told["resize"]) == ([48, 64], {"min_height": 60, "min_width": 80})
    assert (told["mean"], told["std"], told["interpolation"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6], "nearest")
    assert "last.pt" in str(told["from"])
    assert explainer.adapter.input_size == (3, 48, 64)
    # as the same steps written by hand
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (60, 80, 3), np.uint8))
    values = torch.from_numpy(np.asarray(picture)[6:54, 8:72].copy()).permute(2, 0, 1) / 255
    wanted = (values - torch.tensor(OWN["mean"])[:, None, None]) / torch.tensor(OWN["std"])[:, None, None]
    torch.testing.assert_close(explainer.preprocess(picture)[0], wanted)


def test_class_names_and_config_of_safetensors(state, tmp_path: Path) -> None:
    file = tmp_path / "last.safetensors"
    told = {
        "pretrained_cfg": json.dumps({"mean": [0.5] * 3}),
        "class_to_idx": json.dumps({"b": 1, "a": 0, "c": 2}),
    }
    save_file(state, file, metadata=told)
    explainer = camlucida.Explainer("test_resnet", weights=file, cache=False)
    assert facts(explainer)["mean"] == [0.5] * 3
    assert explainer.adapter.labels == ["a", "b", "c"]


def test_a_folder_of_timm_names_classes_and_preprocessing_however_it_is_loaded(state, tmp_path: Path) -> None:
    import timm

    folder = tmp_path / "mine"
    module = timm.create_model("test_resnet", num_classes=3)
    module.load_state_dict(state)
    config = {"label_names": ["x", "y", "z"], "num_classes": 3}
    own = {**module.pretrained_cfg, "input_size": [3, 96, 96], "crop_pct": 0.5, "mean": [0.5] * 3}
    timm.models.save_for_hf(
        module, folder, model_config={**config, "pretrained_cfg": own}, safe_serialization=True
    )
    by_folder = camlucida.Explainer(f"local-dir:{folder}", cache=False)
    by_file = camlucida.Explainer("test_resnet", weights=folder / "model.safetensors", cache=False)
    for explainer in (by_folder, by_file):
        told = facts(explainer)
        assert (told["resize"], told["crop"], told["mean"]) == ({"shortest_edge": 192}, [96, 96], [0.5] * 3)
        assert list(explainer.adapter.labels or ()) == ["x", "y", "z"]


def test_names_of_another_number_of_classes_are_none_of_the_models(state, tmp_path: Path) -> None:
    torch.save({"state_dict": state, "classes": ["a", "b"]}, tmp_path / "last.pt")
    with pytest.warns(CamlucidaWarning, match="says nothing"):
        explainer = camlucida.Explainer("test_resnet", weights=tmp_path / "last.pt", cache=False)
    assert explainer.adapter.labels is None


def test_a_checkpoint_that_says_nothing_gets_the_usual_and_a_note(state, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "last.pt")
    with pytest.warns(CamlucidaWarning, match=r"last.pt says nothing .* timm's configuration of test_resnet"):
        camlucida.Explainer("test_resnet", weights=tmp_path / "last.pt", cache=False)


def test_numbers_of_the_user_win_and_no_note_is_needed(
    state, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    torch.save({"state_dict": state, "pretrained_cfg": OWN}, tmp_path / "last.pt")
    mine = {"size": 80, "crop": 1.0, "mean": 0.5}
    explainer = camlucida.Explainer("test_resnet", weights=tmp_path / "last.pt", preprocess=mine, cache=False)
    told = facts(explainer)
    assert (told["crop"], told["resize"], told["mean"]) == ([80, 80], {"shortest_edge": 80}, [0.5] * 3)
    assert (told["std"], told["interpolation"]) == ([0.4, 0.5, 0.6], "nearest")
    assert not recwarn


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 0}, "size"),
        ({"size": "224"}, "size"),
        ({"crop": 1.5}, "crop"),
        ({"mean": [123.7, 116.3, 103.5]}, "by 255"),
        ({"mean": [0.5, 0.5]}, "3 channels"),
        ({"std": 0}, "std"),
        ({"interpolation": "cubic"}, "bicubic"),
        ({"sise": 224}, "'size'"),
    ],
)
def test_wrong_numbers_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        camlucida.Explainer("test_resnet", weights="random", preprocess=wrong, cache=False)


def test_timms_own_form_of_the_numbers_and_a_number_beside_them() -> None:
    import timm

    module = timm.create_model("test_resnet", num_classes=2)
    config = {**timm.data.resolve_model_data_config(module), "input_size": (3, 64, 64), "crop_pct": 0.5}
    told = facts(camlucida.Explainer(module, preprocess=config))
    assert (told["resize"], told["crop"]) == ({"shortest_edge": 128}, [64, 64])
    with pytest.raises(TypeError, match="'mean'"):
        camlucida.Explainer(module, mean=0.5)  # type: ignore[call-arg]


def test_a_module_that_says_nothing_takes_numbers(photo: Path) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    with pytest.raises(OptionError, match="no size and no std"):
        camlucida.Explainer(module.eval(), preprocess={"mean": 0.5})
    found = camlucida.explain(photo, module, preprocess={"size": (30, 40), "mean": 0.5, "std": 0.5})
    assert found.frame.view == (30, 40)
    assert found.provenance.preprocessing["crop"] == [30, 40]


def test_the_rest_of_a_preprocessing_is_kept_to_the_pixel() -> None:
    steps = [
        transforms.Resize(232),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
    from camlucida.models.changed_preprocessing import changed

    base = preprocess_of(transforms.Compose(steps))
    told = changed(base, {"std": 0.25}, 3, "given").recipe
    assert (told.resize, told.crop, told.mean) == ({"shortest_edge": 232}, (224, 224), (0.5,) * 3)


def test_doctor_and_noise_have_the_size_that_a_factorys_preprocessing_gives(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import timm\nfrom torchvision import transforms as t\n"
        "def make():\n"
        "    steps = [t.Resize((40, 56)), t.ToTensor(), t.Normalize([.5] * 3, [.25] * 3)]\n"
        "    return timm.create_model('test_resnet', num_classes=2), t.Compose(steps)\n"
    )
    explainer = camlucida.Explainer(f"{tmp_path / 'net.py'}:make")
    noise = diagnosis.noise_for(explainer)
    assert tuple(noise.shape) == (3, 40, 56)
    said = dict(diagnosis.facts(explainer, noise, 1.0))
    assert said["input"] == "3×40×56"
    assert said["prepared"].startswith(
        "resized to 40×56, bilinear, mean 0.5 0.5 0.5, std 0.25 0.25 0.25 (from "
    )


def test_rows_of_another_preprocessing_are_others() -> None:
    from camlucida.evaluation.row_store import what_rows_are_of

    module = zoo.resnet()
    rows = [
        what_rows_are_of(
            camlucida.Explainer(module, preprocess=transforms.Compose([step, transforms.ToTensor()])), 0
        )
        for step in (transforms.Resize(64), transforms.Resize(65), transforms.CenterCrop(64))
    ]
    assert len({json.dumps(one) for one in rows}) == 3


def test_the_json_of_a_result_has_the_real_numbers(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--model", "test_resnet", "--weights", "random", "--save-raw", "--verbose", "--no-cache"]
    run("explain", *asked, "--size", "64", "96", "--mean", "0.5", "0.25", "0.5", "photo.png", "--std", ".5")
    told = json.loads(Path("results/photo.json").read_text(encoding="utf-8"))["preprocessing"]
    assert (told["crop"], told["mean"], told["std"]) == ([64, 96], [0.5, 0.25, 0.5], [0.5] * 3)
    assert "note: pictures for test_resnet: " in capsys.readouterr().err
    again = camlucida.Explanation.load("results/photo.npz")
    assert again.provenance.preprocessing == told


def test_numbers_on_the_command_line_take_no_picture() -> None:
    tokens = ["explain", "--mean", "0.5", ".5", "1e-1", "a.jpg", "--size", "224", "--top", "3", "4"]
    assert joined(tokens) == ["explain", "--mean", "0.5,.5,1e-1", "a.jpg", "--size", "224", "--top", "3", "4"]


def test_what_image_processors_do() -> None:
    from transformers import CLIPImageProcessor, ConvNextImageProcessor, ViTImageProcessor

    from camlucida.models.image_processor import processed_by

    wanted = [
        (ViTImageProcessor(), {"height": 224, "width": 224}, None, "bilinear"),
        (CLIPImageProcessor(), {"shortest_edge": 224}, [224, 224], "bicubic"),
        (ConvNextImageProcessor(size={"shortest_edge": 224}), {"shortest_edge": 256}, [224, 224], "bicubic"),
        (ConvNextImageProcessor(), {"height": 384, "width": 384}, None, "bicubic"),
    ]
    for processor, resize, crop, interpolation in wanted:
        preprocess = processed_by(processor)
        told = preprocess.recipe.facts()
        assert (told["resize"], told["crop"], told["interpolation"]) == (resize, crop, interpolation)
        assert told["mean"] == pytest.approx(processor.image_mean)
        size = crop or [resize["height"], resize["width"]]
        assert list(preprocess(Image.new("RGB", (500, 400)))[0].shape) == [3, *size]
