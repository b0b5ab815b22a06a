"""What is explained: classes by index and name, and other numbers made from the logits."""

import pytest
import torch
from timm.data import ImageNetInfo
from torch import Tensor

import zoo
from camlucida.errors import TargetError
from camlucida.pipeline.api import explain
from camlucida.pipeline.comparison import compare
from camlucida.pipeline.explainer import Explainer
from camlucida.targets.base import ClassProbability, ClassScore, Contrast, Custom, PerPicture, TopClass
from camlucida.targets.class_names import find_class, short_name
from camlucida.targets.resolve import resolve

LABELS = [
    "tabby, tabby cat",
    "tiger cat",
    "Persian cat",
    "tiger, Panthera tigris",
    "tiger beetle",
    "crane",
    "crane",
    "Gordon setter",
    "maillot",
    "maillot, tank suit",
]


@pytest.fixture(scope="module")
def imagenet() -> list[str]:
    info = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(index) for index in range(info.num_classes())]


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(zoo.resnet())


# ------------------------------------------------------------------------------------------------- resolve

RESOLVED = {
    "top class": (None, TopClass()),
    "index": (3, ClassScore(3)),
    "digits": ("3", ClassScore(3)),
    "digits with spaces": (" 3 ", ClassScore(3)),
    "whole name": ("tiger cat", ClassScore(1)),
    "other capitals": ("TIGER Cat", ClassScore(1)),
    "spaces around": ("  tiger cat ", ClassScore(1)),
    "synonym": ("tabby cat", ClassScore(0)),
    "first synonym": ("tabby", ClassScore(0)),
    "all synonyms": ("tabby, tabby cat", ClassScore(0)),
    "whole name that others contain": ("tiger", ClassScore(3)),
    "part": ("beetle", ClassScore(4)),
    "part of a word": ("gord", ClassScore(7)),
    "part across synonyms": ("panthera", ClassScore(3)),
    "a target": (Contrast(1, 2), Contrast(1, 2)),
}


@pytest.mark.parametrize(("given", "expected"), RESOLVED.values(), ids=RESOLVED.keys())
def test_a_target_is_meant(given, expected):
    assert resolve(given, LABELS) == expected


@pytest.mark.parametrize(
    "index", [torch.tensor([1, 5, 2]).argmax(), torch.tensor([1, 5, 2]).argmax().numpy()[()]]
)
def test_the_index_that_argmax_gives_is_an_index(index):
    """A tensor without dimensions, a numpy integer: both say of themselves that they are integers."""
    assert resolve(index, LABELS) == ClassScore(1)


def test_a_callable_is_a_target():
    def function(logits: Tensor) -> Tensor:
        return logits[:, 0]

    assert resolve(function, LABELS) == Custom(function)


AMBIGUOUS = {
    "cat": ["0 tabby, tabby cat", "1 tiger cat", "2 Persian cat"],
    "crane": ["5 crane", "6 crane"],
    "maillot": ["8 maillot", "9 maillot, tank suit"],
}


@pytest.mark.parametrize(("name", "candidates"), AMBIGUOUS.items(), ids=AMBIGUOUS)
def test_of_an_ambiguous_name_the_candidates_are_listed(name, candidates):
    listed = ", ".join(candidates)
    with pytest.raises(TargetError, match=f"'{name}' matches {len(candidates)} classes.*its index: {listed}$"):
        resolve(name, LABELS)


def test_of_many_candidates_some_are_listed():
    labels = [f"kind {i} of bird" for i in range(40)]
    with pytest.raises(
        TargetError, match=r"matches 40 classes.*: 0 kind 0 of bird.*11 kind 11 of bird and 28 more$"
    ):
        resolve("bird", labels)


REFUSED = {
    "unknown, close": ("tigr cat", "class 'tigr cat' is not known: did you mean 'tiger cat'"),
    "unknown, far": ("zzzzqq", "class 'zzzzqq' is not known: give a part of its name, or its index"),
    "nothing": ("", "class '' is not known"),
    "spaces": ("   ", "class '' is not known"),
    "negative digits": ("-1", "class '-1' is not known"),
    "True": (True, "got a bool"),
    "False": (False, "got a bool"),
    "float": (3.0, "got float"),
    "list": ([3], "got list"),
    "per picture, nested": (PerPicture([1]), "got PerPicture"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_target_is_refused(given, message):
    with pytest.raises(TargetError, match=message):
        resolve(given, LABELS)


@pytest.mark.parametrize("labels", [None, []], ids=["None", "empty"])
def test_without_names_a_name_is_refused(labels):
    with pytest.raises(TargetError, match="no class names in which to look up 'cat': give the class"):
        resolve("cat", labels)
    assert resolve("3", labels) == ClassScore(3)


IMAGENET = {
    "tabby": 281,
    "tiger cat": 282,
    "Egyptian cat": 285,
    "tiger": 292,
    "espresso": 967,
    "golden retriev": 207,
}


@pytest.mark.parametrize(("name", "index"), IMAGENET.items(), ids=IMAGENET)
def test_imagenets_names(imagenet, name, index):
    assert find_class(name, imagenet) == index


def test_imagenets_cranes_are_two(imagenet):
    """A bird and a machine."""
    with pytest.raises(TargetError, match="matches 2 classes.*134 crane, 517 crane"):
        find_class("crane", imagenet)


# ---------------------------------------------------------------------------------------------------- bind

LOGITS = torch.tensor([[1.0, 5.0, 2.0], [7.0, 3.0, 4.0]], dtype=torch.float64)


def test_the_top_class_is_bound_per_picture_and_then_stays():
    bound = [TopClass().bind(LOGITS, picture) for picture in (0, 1)]
    assert [one.index for one in bound] == [1, 0]
    noisy = torch.tensor([[9.0, 1.0, 0.0]])  # another class would win here
    assert bound[0](noisy).item() == 1


VALUES = {
    "score": (ClassScore(2), [2.0, 4.0], 2),
    "probability": (
        ClassProbability(1),
        [torch.e**5 / (torch.e + torch.e**5 + torch.e**2), torch.e**3 / (torch.e**7 + torch.e**3 + torch.e**4)],
        1,
    ),
    "contrast": (Contrast(1, 0), [4.0, -4.0], 1),
    "custom": (Custom(lambda logits: logits[:, 0] * 2), [2.0, 14.0], None),
}


@pytest.mark.parametrize(("target", "values", "index"), VALUES.values(), ids=VALUES.keys())
def test_values(target, values, index):
    bound = target.bind(LOGITS, 0)
    torch.testing.assert_close(bound(LOGITS), torch.tensor(values, dtype=torch.float64))
    assert bound.index == index


@pytest.mark.parametrize(
    "target", [ClassScore, ClassProbability, lambda i: Contrast(i, 0), lambda i: Contrast(0, i)]
)
@pytest.mark.parametrize("index", [-1, 3, 1000])
def test_an_index_out_of_range_is_refused(target, index):
    with pytest.raises(TargetError, match=f"class index {index} does not exist, this model has classes 0 to 2"):
        target(index).bind(LOGITS, 0)


NO_NUMBERS = {
    "all logits": (lambda logits: logits, r"shape \(2,\), but this one gave \(2, 3\)"),
    "their sum": (lambda logits: logits.sum(), r"shape \(2,\), but this one gave \(\)"),
    "a float": (lambda logits: 3.0, r"shape \(2,\), but this one gave float"),
    "nothing": (lambda logits: None, r"shape \(2,\), but this one gave NoneType"),
}


@pytest.mark.parametrize(("function", "message"), NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
def test_a_function_that_gives_no_number_a_picture_is_refused(function, message):
    with pytest.raises(TargetError, match=f"{message}.*return for example"):
        Custom(function)(LOGITS)


# ------------------------------------------------------------------------------------- through an Explainer


def logits(explainer: Explainer, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return explainer.module(inputs)


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_the_map_of_a_contrast_is_the_difference_of_maps(explainer, method):
    """Both methods are linear in the gradient."""
    first, second, contrast = explainer.explain(zoo.noise(), [method], [1, 2, Contrast(1, 2)])
    assert not zoo.is_flat(contrast.heatmap)
    peak = float(contrast.heatmap.abs().max())
    torch.testing.assert_close(contrast.heatmap, first.heatmap - second.heatmap, atol=1e-4 * peak, rtol=0)
    assert contrast.score == pytest.approx(first.score - second.score, abs=1e-5)


NUMBERS = ["1", "10", "11", "2"]  # classes as a folder's order of text has them


@pytest.mark.parametrize(
    ("text", "index"), [("index:1", 1), ("name:1", 0), ("11", 2), ("name:2", 3), (" index: 2 ", 2)]
)
def test_digits_are_an_index_or_a_name_where_it_is_said(text, index):
    assert resolve(text, NUMBERS) == ClassScore(index)


@pytest.mark.parametrize("text", ["1", "2"])
def test_digits_that_are_a_name_and_another_index_are_refused(text):
    with pytest.raises(TargetError, match=f"is ambiguous.*say name:{text} or index:{text}"):
        resolve(text, NUMBERS)
    assert resolve(int(text), NUMBERS) == ClassScore(int(text))


def test_digits_that_name_their_own_index_have_one_meaning():
    assert resolve("7", [str(i) for i in range(10)]) == ClassScore(7)


@pytest.mark.parametrize(
    ("index", "name"),
    [(0, "tabby"), (1, "drake, male"), (2, "drake, old"), (3, "crane (3)"), (4, "crane (4)"), (9, "class 9")],
)
def test_short_names_tell_classes_apart(index, name):
    assert short_name(index, ["tabby, tabby cat", "drake, male", "drake, old", "crane", "crane"]) == name


BY_NAME = {
    "contrast": (Contrast("tiger cat", "tabby"), Contrast(1, 0)),
    "contrast, one by index": (Contrast("tiger cat", 0), Contrast(1, 0)),
    "contrast in text": ("tiger cat - tabby", Contrast(1, 0)),
    "score": (ClassScore("tabby"), ClassScore(0)),
    "probability": (ClassProbability("tabby"), ClassProbability(0)),
}


@pytest.mark.parametrize(("given", "expected"), BY_NAME.values(), ids=BY_NAME.keys())
def test_targets_take_names(given, expected):
    assert resolve(given, LABELS) == expected


def test_a_name_with_a_line_in_it_is_no_contrast():
    assert resolve("dog - small", ["dog - small", "dog", "small"]) == ClassScore(0)


def test_several_classes_in_one_target_are_refused():
    with pytest.raises(TargetError, match="PerPicture"):
        resolve(torch.tensor([1, 2]), LABELS)


OUTPUTS = {
    "softmax": (torch.nn.Softmax(dim=1), lambda logits: logits.softmax(dim=1)),
    "sigmoid": (torch.nn.Sigmoid(), lambda logits: logits.sigmoid()),
}


@pytest.mark.parametrize(("last", "probability"), OUTPUTS.values(), ids=OUTPUTS)
def test_a_probability_is_what_the_models_outputs_are(explainer, last, probability):
    ends = Explainer(torch.nn.Sequential(explainer.module, last))
    (one,) = ends.explain(zoo.noise(), targets=[ClassProbability(4)], layers=["0.layer4"])
    expected = float(probability(logits(explainer, zoo.noise()))[0, 4])
    assert one.score == pytest.approx(expected, abs=1e-6)
    assert one.probability == pytest.approx(expected, abs=1e-6)


def test_a_probability_that_nobody_can_tell_is_refused(explainer):
    unknown = Explainer(explainer.module, activation="none")
    with pytest.raises(TargetError, match="cannot tell whether.*activation"):
        unknown.explain(zoo.noise(), targets=[ClassProbability(4)])
    sigmoid = Explainer(explainer.module, activation="sigmoid")
    (one,) = sigmoid.explain(zoo.noise(), targets=[ClassProbability(4)])
    assert one.score == pytest.approx(float(logits(explainer, zoo.noise())[0, 4].sigmoid()), abs=1e-6)


def test_what_a_targets_function_raises_says_what_it_got(explainer):
    with pytest.raises(TargetError, match=r"gets outputs \(1, 10\).*raised RuntimeError \(1D tensors"):
        explainer.explain(zoo.noise(), targets=lambda outputs: torch.dot(outputs, torch.ones(10)))


def test_a_contrast_is_named_as_such(explainer):
    named = Explainer(explainer.module, labels=[f"kind {i}, sort {i}" for i in range(10)])
    (one,) = named.explain(zoo.noise(), targets=[Contrast("kind 3", "kind 7")])
    assert one.caption == f"kind 3 − kind 7, score {one.score:.3g}"
    assert one.manifest()["target"] == "kind 3 − kind 7"
    assert one.probability is None


def test_the_map_of_a_probability_follows_the_chain_rule(explainer):
    """d softmax_a = p_a (d logit_a − Σ p_k d logit_k), and so are the maps."""
    probability, *scores = explainer.explain(zoo.noise(), ["gradcam"], [ClassProbability(4), *range(10)])
    p = logits(explainer, zoo.noise()).softmax(dim=1)[0]
    maps = torch.stack([one.heatmap for one in scores])
    expected = p[4] * (maps[4] - (p[:, None, None] * maps).sum(dim=0))
    torch.testing.assert_close(probability.heatmap, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
    assert probability.score == pytest.approx(float(p[4]), abs=1e-6)
    assert probability.index == 4


def test_scores_probabilities_and_indices_are_the_models(explainer):
    inputs = zoo.noise(3)
    outputs = logits(explainer, inputs)
    explanations = explainer.explain(inputs, targets=[None, 7])
    for i, (top, asked) in enumerate(zip(explanations[::2], explanations[1::2], strict=True)):
        assert top.index == int(outputs[i].argmax())
        assert asked.index == 7
        for explanation in (top, asked):
            assert explanation.score == pytest.approx(float(outputs[i, explanation.index]), abs=1e-4)
            expected = float(outputs[i].softmax(dim=0)[explanation.index])
            assert explanation.probability == pytest.approx(expected, abs=1e-5)


def test_a_function_of_the_users_own(explainer):
    by_function, by_index = explainer.explain(zoo.noise(), targets=[lambda outputs: outputs[:, 3], 3])
    assert torch.equal(by_function.heatmap, by_index.heatmap)
    assert by_function.score == by_index.score
    assert (by_function.index, by_function.label, by_function.probability) == (None, None, None)


@pytest.mark.parametrize(("function", "message"), NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
def test_a_function_of_no_use_is_refused(explainer, function, message):
    with pytest.raises(TargetError, match="return for example"):
        explainer.explain(zoo.noise(), targets=[function])


def test_each_picture_has_its_own(explainer):
    inputs = zoo.noise(3)
    own = [4, Contrast(1, 2), None]
    together = explainer.explain(inputs, targets=[PerPicture(own)])
    alone = [explainer.explain(one, targets=[target])[0] for one, target in zip(inputs, own, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert one.index == other.index
        assert one.score == pytest.approx(other.score, abs=1e-4)
        peak = float(other.heatmap.abs().max())
        torch.testing.assert_close(one.heatmap, other.heatmap, atol=1e-5 * peak, rtol=0)


def test_each_picture_keeps_its_own_across_batches(explainer):
    """More pictures than go through the model at once, beside a target that is everybody's."""
    small = Explainer(explainer.module, batch_size=2)
    explanations = small.explain(zoo.noise(5), targets=[PerPicture([0, 1, 2, 3, 4]), 9])
    assert [one.index for one in explanations] == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]


@pytest.mark.parametrize("count", [0, 1, 2, 4])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_list_of_another_length_is_refused(explainer, count, batch_size):
    small = Explainer(explainer.module, batch_size=batch_size)
    with pytest.raises(TargetError, match=f"a target for each picture, got {count} for 3 pictures"):
        small.explain(zoo.noise(3), targets=[None, PerPicture([1] * count)])


def test_one_bad_target_among_the_pictures_own_is_refused(explainer):
    with pytest.raises(TargetError, match="class index 99 does not exist"):
        explainer.explain(zoo.noise(2), targets=[PerPicture([1, 99])])


@pytest.mark.parametrize("target", [10, "12", ClassProbability(-1)])
def test_an_index_that_the_model_does_not_have_is_refused(explainer, target):
    with pytest.raises(TargetError, match="does not exist, this model has classes 0 to 9"):
        explainer.explain(zoo.noise(), targets=[target])


def test_explain_takes_a_target_too(explainer):
    assert explain(zoo.noise(), explainer.module, target=5).index == 5


def test_a_sheet_gives_each_picture_its_own_target(explainer):
    sheet = compare(zoo.noise(2), models=[explainer.module], targets=[PerPicture([3, 6])])
    assert [one.index for one in sheet.explanations] == [3, 6]


def test_a_sheet_refuses_a_list_of_another_length(explainer):
    with pytest.raises(TargetError, match="got 3 for 2 pictures"):
        compare(zoo.noise(2), models=[explainer.module], targets=[PerPicture([3, 6, 1])])
