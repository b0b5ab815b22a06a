"""``file.py:factory``, and which name means which library."""

import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from camlucida.errors import CamlucidaWarning, ModelError, OptionError
from camlucida.models.load import load, split_layer


def photo(height: int, width: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


NETWORK = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, width=4, classes=3):
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 3, stride=4, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        return self.classifier(self.pool(self.convolution(x).relu()).flatten(1))
"""

FACTORIES = (
    NETWORK
    + """
from torchvision import transforms
STEPS = transforms.Compose([transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor()])
NUMBER = 3
READY = Small()

def plain(): return Small()
def described(): return Small(), STEPS
def named(): return Small(), STEPS, ["cat", "dog", "newt"]
def unnamed(): return Small(), None, {0: "cat", 1: "dog", 2: "newt"}
def needs(argument): return Small()
def fails(): raise RuntimeError("the disk is full\\nof stars")
def leaves(): raise SystemExit(3)
def nothing(): return None
def turned(): return STEPS, Small()
def four(): return Small(), 1, 2, 3
def unfit(): return Small(), 5
def badly_named(): return Small(), None, [1, 2]
"""
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "network.py"
    path.write_text(FACTORIES, encoding="utf-8")
    return path


def test_a_factory_makes_the_model(file):
    adapter = load(f"{file}:plain")
    assert type(adapter.module).__name__ == "Small"
    assert (adapter.name, adapter.weights, adapter.library) == (f"{file}:plain", "own", "torch")
    assert adapter.labels is adapter.input_size is None
    assert sys.modules[type(adapter.module).__module__].__file__ == str(file)


def test_a_module_of_the_file_is_taken(file):
    assert isinstance(load(f"{file}:READY").module, torch.nn.Module)


def test_its_preprocessing_and_its_labels_are_used(file):
    adapter = load(f"{file}:named")
    tensor, frame = adapter.preprocess(photo(80, 60))
    assert tensor.shape == (3, 32, 32)
    assert frame.box == pytest.approx((6, 16, 54, 64), abs=1)
    assert adapter.labels == ["cat", "dog", "newt"] == load(f"{file}:unnamed").labels
    assert load(f"{file}:named").labels_given
    assert load(f"{file}:described").labels is None


def test_it_is_explained(file):
    from camlucida.pipeline.explainer import Explainer

    explanation = Explainer(f"{file}:named#convolution", device="cpu").explain(photo(80, 60))[0]
    assert explanation.label in ("cat", "dog", "newt")
    assert tuple(explanation.heatmap.shape) == (8, 8)
    assert explanation.model == f"{file}:named"


def test_a_library_network_keeps_what_its_library_says(tmp_path):
    (tmp_path / "fine.py").write_text(
        "import timm\ndef tuned(): return timm.create_model('resnet10t')\n"
        "def renamed(): return tuned(), None, [f'class {i}' for i in range(1000)]\n",
        encoding="utf-8",
    )
    adapter = load(f"{tmp_path}/fine.py:tuned")
    assert (adapter.library, adapter.input_size, adapter.name) == (
        "timm",
        (3, 176, 176),
        f"{tmp_path}/fine.py:tuned",
    )
    assert adapter.label(1) == "goldfish, Carassius auratus"
    renamed = load(f"{tmp_path}/fine.py:renamed")
    assert (renamed.input_size, renamed.label(1)) == ((3, 176, 176), "class 1")


def test_neighbours_are_imported_and_not_confused(tmp_path):
    for folder, classes in (("one", 3), ("two", 7)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "camlucida_test_parts.py").write_text(
            NETWORK + f"CLASSES = {classes}\n", encoding="utf-8"
        )
        (tmp_path / folder / "net.py").write_text(
            "import camlucida_test_parts as parts\n"
            "def make():\n"
            "    from camlucida_test_parts import CLASSES\n"
            "    return parts.Small(classes=CLASSES)\n",
            encoding="utf-8",
        )
    path = list(sys.path)
    made = [load(f"{tmp_path}/{folder}/net.py:make").module for folder in ("one", "two", "one")]
    assert [module.classifier.out_features for module in made] == [3, 7, 3]
    assert sys.path == path


def test_neighbours_come_before_installed_modules(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    (tmp_path / "tabnanny.py").write_text(NETWORK, encoding="utf-8")
    (tmp_path / "net.py").write_text("import tabnanny\ndef make(): return tabnanny.Small()\n", encoding="utf-8")
    assert type(load(f"{tmp_path}/net.py:make").module).__module__ == "tabnanny"


def test_a_file_is_read_anew(file):
    load(f"{file}:plain")
    file.write_text(NETWORK + "def plain(): return Small(classes=9)\n# longer, so that no cache fits\n" * 3)
    assert load(f"{file}:plain").module.classifier.out_features == 9


def test_weights_of_a_file(file, tmp_path):
    torch.manual_seed(3)
    theirs = load(f"{file}:plain").module.state_dict()
    save_file(theirs, tmp_path / "weights.safetensors")
    adapter = load(f"{file}:plain", tmp_path / "weights.safetensors")
    torch.testing.assert_close(dict(adapter.module.state_dict()), dict(theirs), rtol=0, atol=0)
    assert adapter.weights == str(tmp_path / "weights.safetensors")
    save_file({"other": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"do not fit .*network.py:plain"):
        load(f"{file}:plain", tmp_path / "other.safetensors")


REFUSED = {
    "no such file": ("gone.py:plain", ModelError, "no file at .*gone.py"),
    "no factory": ("network.py", ModelError, r"which function.*network.py:FUNCTION"),
    "no such factory": ("network.py:namd", ModelError, "function in .*, 'namd' is not known: .*'named'"),
    "none near": ("network.py:qqqq", ModelError, "'qqqq' is not known: it has .*plain"),
    "a number": ("network.py:NUMBER", ModelError, "NUMBER in .* is int, and a factory is a function"),
    "needs arguments": ("network.py:needs", ModelError, r"needs\(\) of .* raised TypeError: .*argument"),
    "raises": ("network.py:fails", ModelError, r"raised RuntimeError: the disk is full of stars, run it"),
    "exits": ("network.py:leaves", ModelError, "raised SystemExit: 3"),
    "nothing": ("network.py:nothing", ModelError, r"returns an nn.Module, .* returned NoneType"),
    "turned": ("network.py:turned", ModelError, r"returned \(Compose, Small\)"),
    "four": ("network.py:four", ModelError, r"returned \(Small, int, int, int\)"),
    "no preprocessing": ("network.py:unfit", OptionError, "Compose.*got int"),
    "no labels": ("network.py:badly_named", OptionError, "class 0 of labels has no name but 1"),
    "does not compile": ("broken.py:plain", ModelError, "broken.py raised SyntaxError"),
    "does not import": (
        "lonely.py:plain",
        ModelError,
        "raised ModuleNotFoundError: No module named 'nonesuch_",
    ),
}


@pytest.mark.parametrize(("name", "kind", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(file, name, kind, message):
    (file.parent / "broken.py").write_text("def plain(:\n", encoding="utf-8")
    (file.parent / "lonely.py").write_text("import nonesuch_library\n", encoding="utf-8")
    path = list(sys.path)
    with pytest.raises(kind, match=message) as caught:
        load(f"{file.parent}/{name}")
    assert "\n" not in str(caught.value)
    assert sys.path == path


def test_the_cause_is_kept(file):
    with pytest.raises(ModelError) as caught:
        load(f"{file}:fails")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_random_weights_are_the_factorys(file):
    with pytest.raises(ModelError, match="sets its weights: omit weights=.random."):
        load(f"{file}:plain", "random")


# ----------------------------------------------------------------------------------------------- which library


def test_timm_by_its_prefix():
    plain, prefixed = load("resnet10t", "random"), load("timm:resnet10t", "random")
    assert (prefixed.name, prefixed.library) == (plain.name, "timm")
    # the packages' network of that name is asked for without a prefix
    assert load("timm:efficientnet_lite0", "random").library == "timm"


UNKNOWN = {
    "torchvision's alone": ("vit_b_16", "vit_b_16 is torchvision's and not timm's: torchvision:vit_b_16"),
    "near torchvision's": ("vit_b16", "model 'vit_b16' is not known: did you mean .*'torchvision:vit_b_16'"),
    "near both's": ("resnt50", "did you mean 'resnet50'"),
    "far": ("qqqq", "model 'qqqq' is not known: `camlucida models` lists them all"),
    "source": ("torchvison:resnet50", "model source 'torchvison:' is not known: did you mean 'torchvision:'"),
    "hub": ("google/vit-base-patch16-224", "hf:google/vit-base-patch16-224 or hf-hub:google"),
    "timm's, unknown": ("timm:resnt50", "did you mean 'resnet50'"),
    "torchvision's, unknown": (
        "torchvision:resnt50",
        "torchvision model 'resnt50' is not known: did you mean .*'resnet50'",
    ),
    "torchvision's, quantised": ("torchvision:quantized_resnet50", "is not known"),
    "torchvision's, detector": ("torchvision:fasterrcnn_resnet50_fpn", "is not known"),
    "weights": (
        "torchvision:resnet50.IMAGENET1K_V3",
        "weights of resnet50, 'IMAGENET1K_V3' is not known: did you mean 'IMAGENET1K_V[12]'",
    ),
}


@pytest.mark.parametrize(("name", "message"), UNKNOWN.values(), ids=UNKNOWN.keys())
@pytest.mark.parametrize("weights", ["pretrained", "random", "gone.safetensors"])
def test_unknown_names(name, message, weights):
    with pytest.raises(ModelError, match=message):
        load(name, weights)


def test_a_folder_is_told_from_a_name(tmp_path):
    with pytest.raises(ModelError, match=f"hf:{tmp_path} if transformers wrote it"):
        load(str(tmp_path))


def test_wrapped_modules_are_unwrapped():
    module = timm.create_model("resnet10t")
    assert load(torch.nn.DataParallel(module)).module is module
    assert load(torch.compile(module)).module is module
    with pytest.raises(ModelError, match="TorchScript"):
        load(torch.jit.ScriptModule())


def test_what_the_users_code_prints_is_no_result(tmp_path, capsys):
    (tmp_path / "loud.py").write_text(
        "import torch\nprint('at the top')\ndef net():\n    print('inside')\n    return torch.nn.ReLU()\n",
        encoding="utf-8",
    )
    load(f"{tmp_path}/loud.py:net")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "at the top\ninside\n")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50#layer3", ("resnet50", "layer3")),
        ("resnet50", ("resnet50", None)),
        ("{0}/a#b/net.py:make", ("{0}/a#b/net.py:make", None)),
        ("{0}/a#b/net.py:make#layer3", ("{0}/a#b/net.py:make", "layer3")),
        ("hf:{0}/a#b", ("hf:{0}/a#b", None)),
        ("hf:{0}/a#b#layer.3", ("hf:{0}/a#b", "layer.3")),
    ],
)
def test_a_layer_stands_behind_the_last_number_sign(name, expected, tmp_path):
    (tmp_path / "a#b").mkdir()
    (tmp_path / "a#b" / "net.py").write_text("", encoding="utf-8")
    model, layer = expected
    assert split_layer(name.format(tmp_path)) == (model.format(tmp_path), layer)


@pytest.mark.parametrize("name", ["rn18.pt", "resnet18.pt", "runs/last.ckpt", "x.safetensors"])
def test_a_file_of_weights_is_no_model(name):
    with pytest.raises(ModelError, match=f"resnet50@{name}"):
        load(name)


@pytest.mark.parametrize("wrapped", ["model_state_dict", "model_state", "state_dict", None])
@pytest.mark.parametrize("prefix", ["model.", "net.", "encoder.", "model.backbone."])
def test_weights_as_training_saves_them(file, tmp_path, wrapped, prefix):
    own = load(f"{file}:plain").module.state_dict()
    wanted = {name: torch.full_like(value, 0.5) for name, value in own.items()}
    state = {f"{prefix}{name}": value for name, value in wanted.items()} | {"loss.weight": torch.ones(2)}
    torch.save({wrapped: state, "epoch": 3} if wrapped else state, tmp_path / "last.ckpt")
    with pytest.warns(CamlucidaWarning, match=f"begin with '{prefix}', which is taken away .1 others"):
        found = load(f"{file}:plain", tmp_path / "last.ckpt").module.state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_names_that_do_not_fit_are_shown_of_both_sides(file, tmp_path):
    torch.save({f"stage{i}.weight": torch.ones(2) for i in range(9)}, tmp_path / "other.pt")
    own = next(iter(load(f"{file}:plain").module.state_dict()))
    with pytest.raises(ModelError, match=f"stage0.weight.*and 6 more, the model has {own}"):
        load(f"{file}:plain", tmp_path / "other.pt")


def test_an_adapter_is_no_whole_model(file, tmp_path):
    torch.save({"base_model.model.q.lora_A.weight": torch.ones(2, 2)}, tmp_path / "adapter.pt")
    with pytest.raises(ModelError, match="holds only the weights of an adapter .LoRA.: merge it"):
        load(f"{file}:plain", tmp_path / "adapter.pt")
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="adapter of peft .adapter_config.json.*merge it"):
        load(f"hf:{tmp_path}")
