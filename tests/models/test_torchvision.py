"""torchvision's classifiers: by name, and as modules."""

import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import transforms
from torchvision.models import get_model, get_model_weights

from camlucida.capture.logits import logits_of
from camlucida.errors import ModelError, PictureError
from camlucida.images import Frame
from camlucida.models import torchvision as torchvision_models
from camlucida.models.load import load
from camlucida.models.preprocessing import preprocessing

SIZES = [(167, 250), (243, 151), (61, 75), (301, 300), (256, 256), (9, 13)]


def photo(height: int, width: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


# ---------------------------------------------------------------------------------------------- preprocessing


def presets() -> dict[str, object]:
    """One preset of each kind that torchvision's default weights have."""
    found = {}
    for name in torchvision_models.names():
        for weights in get_model_weights(name):
            preset = weights.transforms()
            found[f"{preset.resize_size}{preset.crop_size}{preset.interpolation}{preset.mean}"] = preset
    return found


PRESETS = presets()


def test_there_are_several_kinds():
    assert len(PRESETS) >= 20


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_presets_own_tensor(size):
    picture = photo(*size)
    for name, preset in PRESETS.items():
        tensor, frame = preprocessing(preset)(picture)
        assert torch.equal(tensor, preset(picture)), name
        assert frame.picture == size
        assert frame.view == tuple(tensor.shape[1:])


@pytest.mark.parametrize("size", [(167, 250), (243, 151)], ids=str)
def test_the_frame_says_where_a_marked_pixel_lands(size):
    preprocess = preprocessing(get_model_weights("resnet50").DEFAULT.transforms())
    plain, frame = preprocess(Image.new("RGB", (size[1], size[0])))
    for y, x in ((size[0] // 2, size[1] // 2), (size[0] // 2 - 40, size[1] // 2 + 37)):
        values = np.zeros((*size, 3), dtype=np.uint8)
        values[y, x] = 255
        difference = (preprocess(Image.fromarray(values))[0] - plain)[0].clamp(min=0)
        assert landed(difference, frame) == pytest.approx((x + 0.5, y + 0.5), abs=0.1)


def landed(difference: torch.Tensor, frame: Frame) -> tuple[float, float]:
    """Where on the picture, by the frame, the centre of what differs lies."""
    rows, columns = (torch.arange(length) + 0.5 for length in difference.shape)
    total = difference.sum()
    v = float((difference.sum(1) * rows).sum() / total)
    u = float((difference.sum(0) * columns).sum() / total)
    left, top, right, bottom = frame.box
    return left + u * (right - left) / frame.view[1], top + v * (bottom - top) / frame.view[0]


# ----------------------------------------------------------------------------------------------------- by name

FAMILIES = [
    "alexnet",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_with_random_weights(name):
    adapter = load(f"torchvision:{name}", "random")
    assert (adapter.name, adapter.weights, adapter.library) == (f"torchvision:{name}", "random", "torchvision")
    assert len(adapter.labels) == 1000
    assert adapter.label(1) == "goldfish"
    preset = get_model_weights(name).DEFAULT.transforms()
    assert adapter.input_size == (3, preset.crop_size[0], preset.crop_size[0])
    assert adapter.normalisation == (tuple(preset.mean), tuple(preset.std))
    assert not adapter.module.training
    picture = photo(120, 90)
    tensor, _ = adapter.preprocess(picture)
    assert torch.equal(tensor, preset(picture))
    with torch.no_grad():
        assert logits_of(adapter.module(tensor[None])).shape == (1, 1000)


def test_random_weights_are_the_same_each_time_and_disturb_nobody():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = load("torchvision:squeezenet1_1", "random").module.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    other = load("torchvision:squeezenet1_1", "random").module.state_dict()
    torch.testing.assert_close(dict(one), dict(other), rtol=0, atol=0)


def test_other_weights_by_their_name():
    one = load("torchvision:resnet50.IMAGENET1K_V1", "random").preprocess(photo(300, 300))[1]
    two = load("torchvision:resnet50", "random").preprocess(photo(300, 300))[1]
    assert one.box[0] == pytest.approx(300 * 16 / 256)  # resized to 256
    assert two.box[0] == pytest.approx(300 * 4 / 232)  # to 232


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A hub folder of torch's, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_pretrained_weights_that_are_here(here, monkeypatch):
    torch.manual_seed(5)
    theirs = get_model("squeezenet1_1").state_dict()
    url = get_model_weights("squeezenet1_1").DEFAULT.url

    def never(*_arguments, **_named):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.create_connection", never)
    # torchvision compares a file's hash only when it downloads it
    torch.save(theirs, here / url.rpartition("/")[2])
    adapter = load("torchvision:squeezenet1_1")
    torch.testing.assert_close(dict(adapter.module.state_dict()), dict(theirs), rtol=0, atol=0)
    assert adapter.weights == "pretrained"


@pytest.mark.usefixtures("here")
def test_without_a_network_it_is_said_which_file_is_missing(monkeypatch):
    def unreachable(*_arguments, **_named):
        raise OSError

    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(
        ModelError, match=r"torchvision:resnet18 needs https.*resnet18-f37072fd.pth.*cannot be rea"
    ):
        load("torchvision:resnet18")


@pytest.mark.usefixtures("here")
def test_a_download_that_fails(monkeypatch):
    def broken(*_arguments, **_named):
        raise urllib.error.URLError("reset by peer")

    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy"})
    monkeypatch.setattr("torch.hub.urlopen", broken)
    with pytest.raises(ModelError, match=r"torchvision cannot get https.*reset by peer.*weights="):
        load("torchvision:resnet18")


# ------------------------------------------------------------------------------------------- weights of a file


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "googlenet", "mobilenet_v3_small"])
def test_a_file_with_other_classes(name, tmp_path):
    theirs = get_model(name, num_classes=7, **({"init_weights": True} if name == "googlenet" else {}))
    torch.save(theirs.state_dict(), tmp_path / "mine.pth")
    adapter = load(f"torchvision:{name}", tmp_path / "mine.pth")
    ours = adapter.module.state_dict()
    for key, tensor in theirs.state_dict().items():
        assert key.startswith("aux") or torch.equal(ours[key], tensor)
    with torch.no_grad():
        assert adapter.module(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert adapter.labels is None
    assert adapter.input_size is not None


def test_a_file_without_auxiliary_heads(tmp_path):
    """As torchvision saves a network that was made with pretrained weights."""
    theirs = get_model("googlenet", aux_logits=False, init_weights=True).eval()
    save_file(theirs.state_dict(), tmp_path / "mine.safetensors")
    adapter = load("torchvision:googlenet", tmp_path / "mine.safetensors")
    picture = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(adapter.module(picture), theirs(picture))
    assert len(adapter.labels) == 1000


def test_a_file_of_another_network(tmp_path):
    torch.save(get_model("resnet18").state_dict(), tmp_path / "mine.pth")
    with pytest.raises(ModelError, match=r"mine.pth do not fit torchvision:squeezenet1_1"):
        load("torchvision:squeezenet1_1", tmp_path / "mine.pth")


# --------------------------------------------------------------------------------------------------- as modules


def hollow(name: str) -> nn.Module:
    with torchvision_models._hollow():
        return torchvision_models._create(name)


# The first and the last network of each file of torchvision; benchmarks/support.py goes through all of them.
BY_FILE = {}
for _name in torchvision_models.names():
    BY_FILE.setdefault(torchvision.models.get_model_builder(_name).__module__, []).append(_name)
ENDS = sorted({end for names in BY_FILE.values() for end in (names[0], names[-1])})


@pytest.mark.parametrize("name", ENDS)
def test_networks_are_recognised(name):
    module = hollow(name)
    assert any(parameter.is_meta for parameter in module.parameters())  # some have gigabytes
    assert torchvision_models.recognises(module)
    assert torchvision_models._name_of(module) == name


def test_a_module_gets_the_preprocessing_of_its_network():
    module = get_model("resnet18").train()
    adapter = load(module)
    assert adapter.module is module
    assert module.training
    assert (adapter.name, adapter.weights, adapter.library) == ("resnet18", "own", "torchvision")
    picture = photo(160, 120)
    expected = get_model_weights("resnet18").DEFAULT.transforms()(picture)
    assert torch.equal(adapter.preprocess(picture)[0], expected)
    assert len(adapter.labels) == 1000


def test_a_tuned_module_keeps_the_preprocessing_and_loses_the_labels():
    module = get_model("mobilenet_v3_small")
    module.classifier = nn.Sequential(nn.Dropout(), nn.Linear(576, 5))
    adapter = load(module)
    assert (adapter.name, adapter.input_size, adapter.labels) == ("mobilenet_v3_small", (3, 224, 224), None)


def changed_width() -> nn.Module:
    return torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])


def grey() -> nn.Module:
    module = get_model("resnet18")
    module.conv1 = nn.Conv2d(1, 64, 7, 2, 3)
    return module


@pytest.mark.parametrize("make", [changed_width, grey])
def test_a_module_that_is_no_known_network_says_nothing(make):
    adapter = load(make())
    assert (adapter.library, adapter.labels, adapter.input_size) == ("torchvision", None, None)
    with pytest.raises(PictureError, match="does not say how a picture becomes its input"):
        adapter.preprocess(photo(20, 30))


def test_other_modules_of_torchvision_are_not_classifiers():
    assert not torchvision_models.recognises(torchvision.models.detection.rpn.AnchorGenerator())
    assert not torchvision_models.recognises(transforms.Resize(3))
    assert not torchvision_models.recognises(nn.Linear(2, 2))
