"""Where the logits are in what a model returns, and what its classes are called."""

import json
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from camlucida.capture.logits import check_rows, logits_of
from camlucida.errors import ModelError, OptionError
from camlucida.models.adapter import Adapter
from camlucida.models.labels import check_count, labels_from
from camlucida.models.load import with_user_labels
from camlucida.models.preprocessing_steps import no_preprocess

ADAPTER = Adapter(torch.nn.Identity(), "x", no_preprocess, None, None, None, "own", "torch")
LOGITS = torch.arange(10.0).reshape(2, 5)
MAPS = torch.ones(2, 4, 3, 3)
Pair = namedtuple("Pair", ["scores", "maps"])
Heads = namedtuple("Heads", ["logits", "aux_logits"])


@dataclass
class Record:
    features: Tensor
    scores: Tensor


class Property:
    @property
    def logits(self) -> Tensor:
        return LOGITS


FOUND = {
    "tensor": LOGITS,
    "half": LOGITS.half(),
    "tuple": (MAPS, LOGITS),
    "list": [LOGITS, None],
    "tuple, return_dict=False": (LOGITS, (torch.ones(2, 7, 8), torch.ones(2, 7, 8))),
    "namedtuple": Pair(LOGITS, MAPS),
    "inception in training": Heads(LOGITS, torch.ones(2, 5)),
    "dict": {"out": LOGITS, "maps": MAPS},
    "dict, named": {"features": torch.ones(2, 8), "logits": LOGITS},
    "ordered dict": OrderedDict(logits=LOGITS, cls_logits=LOGITS * 2),
    "dataclass": Record(MAPS, LOGITS),
    "namespace": SimpleNamespace(logits=LOGITS, embedding=torch.ones(2, 8)),
    "property": Property(),
    "nested": ({"head": {"out": LOGITS}}, MAPS),
    "twice the same": {"out": LOGITS, "main": LOGITS},
    "beside integers": (LOGITS, torch.ones(2, 5, dtype=torch.int64)),
    "beside a loss": {"loss": torch.tensor(1.0), "out": LOGITS},
    "beside one number a picture": {"weight": torch.ones(2), "out": LOGITS},
    "axes of length 1": LOGITS[:, :, None, None],
}


@pytest.mark.parametrize("output", FOUND.values(), ids=FOUND.keys())
def test_logits_are_found(output):
    torch.testing.assert_close(logits_of(output).float(), LOGITS, rtol=0, atol=0)


ONE = torch.tensor([3.0, -1.0])
SINGLE = {
    "(batch,)": ONE,
    "(batch, 1)": ONE[:, None],
    "in a dict": {"score": ONE, "maps": MAPS},
    "named": SimpleNamespace(logits=ONE),
}


@pytest.mark.parametrize("output", SINGLE.values(), ids=SINGLE.keys())
def test_one_number_a_picture_is_one_class(output):
    torch.testing.assert_close(logits_of(output), ONE[:, None], rtol=0, atol=0)
    assert logits_of(ONE[0]).tolist() == [[3.0]]


def test_gradients_pass_through():
    score = torch.tensor([1.0, 2.0], requires_grad=True)
    logits_of({"out": score}).sum().backward()
    assert score.grad.tolist() == [1, 1]


REFUSED = {
    "None": (None, "returns NoneType"),
    "number": (3.5, "returns float"),
    "maps": (MAPS, r"returns a tensor \(2, 4, 3, 3\): wrap it"),
    "classes chosen already": (LOGITS.argmax(1), r"int64 \(2,\)"),
    "named, but maps": ({"logits": MAPS, "out": LOGITS}, r"\(2, 4, 3, 3\) as its logits"),
    "no tensors": ({"a": "b"}, "returns dict"),
    "maps alone": ((MAPS, MAPS * 2), r"output\[0\] \(2, 4, 3, 3\), output\[1\] \(2, 4, 3, 3\): .*logits_of="),
    "too deep": ([[[[LOGITS]]]], "returns list"),
}


@pytest.mark.parametrize(("output", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_holds_no_logits_is_refused(output, message):
    with pytest.raises(ModelError, match=message):
        logits_of(output)


SEVERAL = {
    "tuple": ((LOGITS, torch.ones(2, 8)), r"output\[0\] \(2, 5\) and output\[1\] \(2, 8\)"),
    "dict": ({"main": LOGITS, "aux": LOGITS + 1}, r"output\['main'\] \(2, 5\) and output\['aux'\] \(2, 5\)"),
    "record": (Record(torch.ones(2, 8), LOGITS), r"output\.features \(2, 8\) and output\.scores \(2, 5\)"),
    "namedtuple": (Pair(LOGITS, LOGITS + 1), r"output\.scores .* and output\.maps \(2, 5\)"),
    "numbers": ({"a": ONE, "b": ONE + 1}, r"output\['a'\] \(2,\) and output\['b'\] \(2,\)"),
}


@pytest.mark.parametrize(("output", "message"), SEVERAL.values(), ids=SEVERAL.keys())
def test_several_that_may_be_meant_are_named(output, message):
    with pytest.raises(ModelError, match=message + r" may be meant: .*logits_of="):
        logits_of(output)


def test_the_users_own_way_to_the_logits():
    adapter = with_user_labels(ADAPTER, logits_of=lambda output: output["aux"])
    assert torch.equal(adapter.logits_of({"main": LOGITS, "aux": LOGITS + 1}), LOGITS + 1)
    assert ADAPTER.logits_of is logits_of
    assert with_user_labels(ADAPTER) is ADAPTER
    assert with_user_labels(ADAPTER, logits_of=lambda output: output[:, 0]).logits_of(LOGITS).shape == (2, 1)
    with pytest.raises(ModelError, match="logits_of returns a tensor .* got int"):
        with_user_labels(ADAPTER, logits_of=len).logits_of(LOGITS)
    with pytest.raises(ModelError, match=r"\(2, 4, 3, 3\) by logits_of"):
        with_user_labels(ADAPTER, logits_of=lambda output: output).logits_of(MAPS)


def test_rows_are_pictures():
    check_rows(LOGITS, 2)
    with pytest.raises(ModelError, match="2 rows for a batch of 1: keep the axis of the batch"):
        check_rows(LOGITS, 1)


# ------------------------------------------------------------------------------------------------- labels

NAMES = ["tench", "goldfish, Carassius auratus", "große Fische"]

FILES = {
    "lines": ("names.txt", "tench\ngoldfish, Carassius auratus\ngroße Fische"),
    "lines, ended": ("names.txt", "tench\n  goldfish, Carassius auratus \r\ngroße Fische\n\n\n"),
    "no suffix": ("names", "tench\ngoldfish, Carassius auratus\ngroße Fische\n"),
    "byte order mark": ("names.txt", "\ufefftench\ngoldfish, Carassius auratus\ngroße Fische\n"),
    "list": ("names.json", json.dumps(NAMES)),
    "index → name": ("names.json", json.dumps({"2": NAMES[2], "0": NAMES[0], "1": NAMES[1]})),
    "name → index": ("names.JSON", json.dumps({NAMES[2]: 2, NAMES[0]: 0, NAMES[1]: 1})),
    "class_index.json": ("names.json", json.dumps({str(i): [f"n{i}", name] for i, name in enumerate(NAMES)})),
}


@pytest.mark.parametrize(("name", "text"), FILES.values(), ids=FILES.keys())
def test_labels_of_files(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert labels_from(file) == labels_from(str(file)) == NAMES


@pytest.mark.parametrize(
    "given", [NAMES, tuple(NAMES), dict(enumerate(NAMES)), {name: i for i, name in enumerate(NAMES)}]
)
def test_labels_as_they_are(given):
    assert labels_from(given) == NAMES


BAD = {
    "missing": (None, None, "no labels in .*names.txt .no such file.*one name a line"),
    "empty": ("names.txt", "\n\n", "hold no names"),
    "a hole": ("names.txt", "tench\n\ngoldfish\n", "class 1 of .*names.txt has no name but ''"),
    "no JSON": ("names.json", "tench\n", "names.json is not JSON"),
    "a number": ("names.json", "3", "hold int, give"),
    "a string": ("names.json", '"tench"', "hold str, give"),
    "numbers": ("names.json", "[1, 2]", "class 0 of .* has no name but 1"),
    "an index is missing": ("names.json", '{"0": "a", "2": "b"}', "have 2 names and none for class 1"),
    "twice an index": ("names.json", '{"a": 0, "b": 0}', "have 2 names and none for class 1"),
    "no index": ("names.json", '{"a": "b"}', "map something else than an index"),
    "nothing": ("names.json", "[]", "hold no names"),
}


@pytest.mark.parametrize(("name", "text", "message"), BAD.values(), ids=BAD.keys())
def test_labels_that_are_refused(tmp_path, name, text, message):
    file = tmp_path / (name or "names.txt")
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=message):
        labels_from(file)


def test_a_file_that_is_no_text(tmp_path):
    file = tmp_path / "names.txt"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match="not text in UTF-8"):
        labels_from(file)
    with pytest.raises(OptionError, match=r"no labels in .*directory"):
        labels_from(tmp_path)


def test_labels_are_counted():
    check_count(NAMES, 3)
    with pytest.raises(OptionError, match="labels name 3 classes but this model has 5"):
        check_count(NAMES, 5)


def test_a_class_without_a_name_has_none():
    adapter = with_user_labels(ADAPTER, NAMES)
    assert (adapter.labels_given, ADAPTER.labels_given) == (True, False)
    assert [adapter.label(i) for i in (0, 2, 3, -1, None)] == [NAMES[0], NAMES[2], None, None, None]
