"""Maps of many pictures, measured: what is read, what is shared, what is said, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import camlucida
import zoo
from camlucida import Explainer
from camlucida.errors import OptionError, PictureError, TargetError
from camlucida.evaluation.dataset import Item, items_in
from camlucida.evaluation.evaluator import Evaluator, Row, TensorItem
from camlucida.evaluation.masks import mask_of
from camlucida.evaluation.picture_trials import MapSource
from camlucida.evaluation.randomise import randomised
from camlucida.evaluation.run import Evaluation, advice, evaluate, map_sources, metrics_of
from camlucida.evaluation.statistics import better, estimates, ranking
from camlucida.images import Frame
from camlucida.metrics.controls import CONTROLS
from camlucida.metrics.registry import Metric, get_metric
from camlucida.metrics.variant_scores import RunCount, VariantScores
from camlucida.registry import Paper
from command import run as run_command

LABELS = ["tench, Tinca tinca", "tiger cat", "great white shark"]


def picture(path: Path, size: tuple[int, int] = (40, 30), seed: int = 0) -> Path:
    """A file of noise, ``size`` being (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def metric(name: str = "m", better: Any = "higher", **facts: Any) -> Metric:
    return Metric(name, lambda: 0.0, "faithfulness", (), {}, Paper("", 0, "", ""), better, (0, 1), **facts)


def rows_of(values: dict[str, list[float]], name: str = "m") -> list[Row]:
    return [
        Row(f"{i}.png", source, 0, 0.5, {name: value}, 0.1, control=source in CONTROLS)
        for source, numbers in values.items()
        for i, value in enumerate(numbers)
    ]


# -- what is evaluated ------------------------------------------------------------------------------------


def test_a_folder_by_classes(tmp_path: Path) -> None:
    for name in ("tiger_cat/b.png", "tiger_cat/a.png", "2/c.jpg"):
        picture(tmp_path / name)
    (tmp_path / "notes").mkdir()
    found = items_in(tmp_path, LABELS)
    assert [(item.path.name, item.target) for item in found] == [("c.jpg", 2), ("a.png", 1), ("b.png", 1)]


def test_a_folder_of_pictures_has_no_classes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert items_in(tmp_path, LABELS) == [Item(tmp_path / "a.png")]


def test_a_table(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path,label,box\na.png,tinca tinca,1 2 3 4\nb.png,2,0 0 5 5; 6 6 7 8.5\nc.png,,\n")
    found = items_in(table, LABELS)
    assert [item.path for item in found] == [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    assert [item.target for item in found] == [0, 2, None]
    assert found[1].boxes == ((0, 0, 5, 5), (6, 6, 7, 8.5))


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("path,label\na.png,dog\n", TargetError, "dog"),
        ("path,label\na.png,3\n", OptionError, "classes 0 to 2"),
        ("file,label\na.png,1\n", OptionError, "columns path, label"),
        ("path,label,box\na.png,1,1 2 3\n", OptionError, "left top right bottom"),
        ("path,label,box\na.png,1,3 2 1 4\n", OptionError, "left is less than right"),
        ("path,label\n", PictureError, "names no picture"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(error, match=said):
        items_in(table, LABELS)


def test_each_picture_needs_its_mask(tmp_path: Path) -> None:
    for name in ("photos/a.png", "photos/b.png", "masks/a.png"):
        picture(tmp_path / name)
    with pytest.raises(OptionError, match=r"no mask for b\.png"):
        items_in(tmp_path / "photos", LABELS, tmp_path / "masks")
    picture(tmp_path / "masks" / "b.jpg")
    found = items_in(tmp_path / "photos", LABELS, tmp_path / "masks")
    assert [item.mask.name for item in found if item.mask] == ["a.png", "b.jpg"]


# -- where the object is ----------------------------------------------------------------------------------


def test_boxes_lie_in_the_models_input_as_in_the_picture() -> None:
    """A picture of 8×4 of which the model sees the 4×4 in the middle, at twice the size."""
    frame = Frame((4, 8), (2, 0, 6, 4), (8, 8))
    mask = mask_of(Item(Path("x"), boxes=((0, 1, 3, 2), (5, 3, 8, 4))), frame)
    assert mask is not None
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:4, 0:2] = True
    expected[6:8, 6:8] = True
    assert torch.equal(mask, expected)


def test_what_the_model_pads_is_not_the_object() -> None:
    frame = Frame((2, 2), (-1, -1, 3, 3), (4, 4))
    mask = mask_of(Item(Path("x"), boxes=((0, 0, 2, 2),)), frame)
    assert mask is not None
    assert mask.int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_a_mask_is_a_picture_of_the_same_size(tmp_path: Path) -> None:
    drawn = np.zeros((4, 6), np.uint8)
    drawn[1, 2:4] = 255
    Image.fromarray(drawn).save(tmp_path / "m.png")
    item = Item(Path("x"), mask=tmp_path / "m.png")
    mask = mask_of(item, Frame.whole((4, 6)))
    assert mask is not None
    assert torch.equal(mask, torch.from_numpy(drawn > 0))
    with pytest.raises(PictureError, match=r"6×4 and its picture 5×4"):
        mask_of(item, Frame.whole((4, 5)))
    with pytest.raises(PictureError, match="outside the picture"):
        mask_of(Item(Path("x"), boxes=((0, 0, 7, 2),)), Frame.whole((4, 6)))
    assert mask_of(Item(Path("x")), Frame.whole((4, 6))) is None


# -- what is shared ---------------------------------------------------------------------------------------


class Counting(nn.Module):
    def __init__(self, net: nn.Module, seen: list[int]) -> None:
        super().__init__()
        self.net, self.count = net, seen.append

    def forward(self, pictures: Tensor) -> Tensor:
        self.count(len(pictures))
        return self.net(pictures)


def test_a_variant_is_run_once() -> None:
    seen: list[int] = []
    net, count = Counting(zoo.resnet(), seen), RunCount()
    pictures = zoo.noise(4)
    scorer = VariantScores(net, lambda output: output, pictures[0], count)
    order = torch.tensor([0, 1, 0, 2, 2, 3, 1])
    found = scorer.logits(lambda indices: pictures[order[indices.start : indices.stop]], len(order))
    with torch.no_grad():
        assert torch.allclose(found.float(), net.net(pictures)[order], atol=1e-5)
    assert sum(seen) == count.run == 4
    assert count.asked == 7
    explain_inputs = scorer.logits(lambda indices: pictures[indices.start : indices.stop], 4)
    assert count.run == 4
    assert torch.equal(explain_inputs, found[[0, 1, 3, 5]])


def test_methods_and_measures_of_one_picture_share_runs() -> None:
    """The three drops look at the same picture, and both ends of a curve are the same for all methods."""
    net = zoo.resnet()
    metrics = metrics_of(["deletion", "average_drop", "average_gain", "increase_in_confidence"])
    evaluator = Evaluator(Explainer(net), map_sources(["gradcam", "layercam"], controls=False), metrics)
    evaluator.rows(TensorItem("x", zoo.noise()[0], 3))
    alone = []
    for source in evaluator.sources:
        for one in metrics:
            lone = Evaluator(Explainer(net), [source], [one])
            lone.rows(TensorItem("x", zoo.noise()[0], 3))
            alone.append(lone.count.run)
    assert evaluator.count.run < evaluator.count.asked
    assert evaluator.count.run < sum(alone) - 6


HEADS = {
    "softmax in the model": (nn.Softmax(dim=1), "auto", lambda logits: logits.softmax(dim=1)),
    "sigmoid in the model": (nn.Sigmoid(), "auto", lambda logits: logits.sigmoid()),
    "sigmoid told": (nn.Identity(), "sigmoid", lambda logits: logits.sigmoid()),
    "none": (nn.Identity(), "none", lambda logits: logits),
}


@pytest.mark.parametrize(("head", "activation", "made"), HEADS.values(), ids=HEADS)
def test_measures_take_outputs_for_what_they_are(head: nn.Module, activation: Any, made: Any) -> None:
    net, picture = zoo.resnet(), zoo.noise()[0]
    explainer = Explainer(nn.Sequential(net, head), activation=activation)
    metrics = metrics_of(["deletion"], {"deletion": {"steps": 1}})
    (row,) = Evaluator(explainer, map_sources(["gradcam"], ["0.layer4"], controls=False), metrics).rows(
        TensorItem("x", picture, 4)
    )
    with torch.no_grad():
        both = made(net(torch.stack([torch.zeros_like(picture), picture])))[:, 4]
    probability = row.score if activation == "none" else row.probability
    assert probability == pytest.approx(float(both[1]), abs=1e-5)
    assert row.values["deletion"] == pytest.approx(float(both.mean()), abs=1e-5)


def test_rows_are_what_each_measure_says_by_itself() -> None:
    explainer, shown = Explainer(zoo.resnet()), zoo.noise()[0]
    names = ["insertion", "entropy"]
    (row, control, *_) = Evaluator(explainer, map_sources(["gradcam"]), metrics_of(names)).rows(
        TensorItem("x", shown)
    )
    (explanation,) = explainer.explain(shown)
    assert (row.index, row.source, row.path) == (explanation.index, "gradcam", "x")
    assert row.probability == pytest.approx(explanation.probability, abs=1e-6)
    whole = torch.nn.functional.interpolate(explanation.heatmap[None, None], (64, 64), mode="bilinear")[0, 0]
    assert row.values["entropy"] == pytest.approx(get_metric("entropy").function(whole), rel=1e-6)
    assert set(control.values) == set(names)
    assert row.seconds > 0


def test_copies_lose_their_weights_from_the_last_layer_on() -> None:
    net = zoo.resnet()
    names = [name for name, part in net.named_modules() if list(part.parameters(recurse=False))]
    before = {name: net.get_submodule(name).weight.clone() for name in names}
    changed = []
    for copy in randomised(net, seed=1):
        assert copy is not net
        changed.append([not torch.equal(copy.get_submodule(name).weight, before[name]) for name in names])
    assert [sum(one) for one in changed] == [1, round(len(names) / 3), round(2 * len(names) / 3), len(names)]
    assert changed[0][-1]
    assert all(torch.equal(net.get_submodule(name).weight, before[name]) for name in names)
    first = next(randomised(net, seed=1)).fc.weight
    assert torch.equal(first, next(randomised(net, seed=1)).fc.weight)
    assert not torch.equal(first, next(randomised(net, seed=2)).fc.weight)


@pytest.mark.parametrize("build", [zoo.resnet, zoo.vit])
def test_sanity_is_measured_on_copies(build: Any) -> None:
    net = build()
    sources = [*map_sources(["gradcam", "eigencam"], controls=False), MapSource("edges", control=True)]
    evaluator = Evaluator(Explainer(net), sources, metrics_of(["randomisation", "random_logit"]))
    gradcam, eigencam, edges = evaluator.rows(TensorItem("x", zoo.noise()[0]))
    assert edges.values["randomisation"] == pytest.approx(1)  # which does not look at the model
    assert edges.values["random_logit"] == pytest.approx(1)
    assert eigencam.values["random_logit"] == pytest.approx(1)  # which does not look at the class
    assert abs(gradcam.values["randomisation"]) < 0.95


# -- what many say together -------------------------------------------------------------------------------


def test_a_method_has_to_beat_each_floor() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(size=30)
    rows = rows_of(
        {
            "good": list(base + 0.3),
            "lucky": list(base + rng.normal(0, 0.3, 30)),
            "random-map": list(base),
            "centre": list(base + 0.1),
        }
    )
    found = estimates(rows, [metric()])
    assert found["good", "m"].beats_controls
    assert not found["lucky", "m"].beats_controls
    assert found["centre", "m"].beats_controls is None
    worse = estimates(rows, [metric(better="lower")])
    assert not worse["good", "m"].beats_controls


def test_differences_are_judged_picture_by_picture() -> None:
    """Far smaller than the spread over pictures, and yet always there."""
    base = list(np.random.default_rng(0).uniform(size=20))
    one = {str(i): value + 0.01 for i, value in enumerate(base)}
    other = {str(i): value for i, value in enumerate(base)}
    assert better(one, other, metric())
    assert not better(other, one, metric())
    assert not better(one, other, metric(better="lower"))
    assert not better({"0": 1.0}, {"0": 0.0}, metric())  # one picture says nothing
    assert not better(one, {"elsewhere": 0.0}, metric())


def test_of_few_pictures_nothing_is_more_than_chance() -> None:
    """That four differences have one sign happens by chance once in eight."""
    for count, told in ((5, False), (6, True)):
        one, other = ({str(i): value for i in range(count)} for value in (0.9, 0.1))
        assert better(one, other, metric()) is told


def test_several_measures_are_several_chances() -> None:
    """What one measure alone would call better, three do not: 11 of 13 differences are of one sign."""
    values = [0.1] * 11 + [-0.1] * 2
    rows = [
        Row(
            f"{i}.png",
            source,
            0,
            0.5,
            dict.fromkeys(("insertion", "road_combined", "energy_inside"), value),
            0.1,
        )
        for source, numbers in (("a", values), ("b", [0.0] * 13))
        for i, value in enumerate(numbers)
    ]
    names = ["insertion", "road_combined", "energy_inside"]
    for metrics, not_significantly_worse in ((names[:1], False), (names, True)):
        found = advice(Evaluation(rows, [get_metric(name) for name in metrics]))
        assert [(one.source, one.not_significantly_worse) for one in found] == [
            ("a", True),
            ("b", not_significantly_worse),
        ]


def test_ranking_says_what_is_as_good_as_the_best() -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(size=25)
    values = {"a": base + 0.2, "b": base + 0.2 + rng.normal(0, 0.05, 25), "c": base, "edges": base + 9}
    rows = rows_of({source: list(numbers) for source, numbers in values.items()})
    found = ranking(rows, metric())
    assert [one.source for one in found] in (["a", "b", "c"], ["b", "a", "c"])
    assert [one.not_significantly_worse for one in found] == [True, True, False]


def test_advice_is_the_mean_rank_of_all_measures() -> None:
    rows = [
        Row(
            *(f"{i}.png", source, 0, 0.5, {"deletion": one + i / 100, "insertion": other + i / 100}, 0.1),
            control=source in CONTROLS,
        )
        for source, one, other in (("a", 0.5, 0.9), ("b", 0.1, 0.8), ("c", 0.3, 0.1), ("edges", 0.0, 1.0))
        for i in range(8)
    ]
    found = advice(Evaluation(rows, [get_metric("deletion"), get_metric("insertion")]))
    assert [(one.source, one.rank) for one in found] == [("b", 1.5), ("a", 2.0), ("c", 2.5)]
    assert [one.not_significantly_worse for one in found] == [True, False, False]


def test_what_only_rounding_tells_apart_shares_its_rank() -> None:
    values = {"b": 0.5, "a": 0.5 + 1e-8, "c": 0.9, "d": 0.1}
    rows = rows_of({source: [value] * 8 for source, value in values.items()}, "insertion")
    found = advice(Evaluation(rows, [get_metric("insertion")]))
    assert [(one.source, one.rank, one.not_significantly_worse) for one in found] == [
        ("c", 1, True),
        ("a", 2.5, False),
        ("b", 2.5, False),
        ("d", 4, False),
    ]
    same = advice(
        Evaluation(rows_of({"b": [0.5] * 8, "a": [0.5 + 1e-8] * 8}, "insertion"), [get_metric("insertion")])
    )
    assert [(one.rank, one.not_significantly_worse) for one in same] == [(1.5, True), (1.5, True)]


def test_a_value_that_is_not_a_number_is_left_out() -> None:
    cell = estimates(rows_of({"a": [0.2, float("nan"), 0.4]}), [metric()])["a", "m"]
    assert cell.value == pytest.approx(0.3)
    assert cell.count == 2
    assert np.isnan(estimates(rows_of({"a": [float("nan")]}), [metric()])["a", "m"].value)


# -- a run that is cut off, and pictures that fail --------------------------------------------------------


def small() -> Explainer:
    """Takes pictures."""
    return Explainer(zoo.resnet(), preprocess="tutorial")


def test_one_broken_picture_does_not_stop_the_others(tmp_path: Path) -> None:
    good = picture(tmp_path / "a.png", (64, 64))
    broken = tmp_path / "b.png"
    broken.write_bytes(b"no picture")
    evaluator = Evaluator(
        Explainer(zoo.resnet(), preprocess="tutorial"), map_sources(["gradcam"]), metrics_of(["entropy"])
    )
    found = evaluate(evaluator, [Item(broken), Item(good)])
    assert {row.path for row in found.rows} == {str(good)}
    assert list(found.failed) == [str(broken)]


def test_a_measure_that_needs_masks_says_so() -> None:
    evaluator = Evaluator(Explainer(zoo.resnet()), map_sources(["gradcam"]), metrics_of(["pointing_game"]))
    with pytest.raises(OptionError, match="pointing_game needs to know where the object is"):
        evaluator.rows(TensorItem("x", zoo.noise()[0]))


def test_a_class_that_the_model_does_not_have_is_said(tmp_path: Path) -> None:
    """Of a model without labels when the picture is shown to it, and the others go on."""
    evaluator = Evaluator(Explainer(zoo.resnet()), map_sources(["gradcam"]), metrics_of(["entropy"]))
    found = evaluate(evaluator, [TensorItem("a", zoo.noise()[0], 99), TensorItem("b", zoo.noise()[0], 3)])
    assert list(found.failed) == ["a"]
    assert "classes 0 to 9, got 99" in found.failed["a"]
    assert {row.path for row in found.rows} == {"b"}
    table = tmp_path / "table.csv"
    table.write_text("path,label\na.png,7\n")
    with pytest.raises(OptionError, match="classes 0 to 2"):
        items_in(table, LABELS)


def test_evaluate_in_python(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "photos" / f"{i}.png", (64, 64), i)
    (tmp_path / "photos" / "x.png").write_bytes(b"no picture")
    found = camlucida.evaluate(
        tmp_path / "photos", zoo.resnet(), ["gradcam"], ["entropy"], preprocess="tutorial"
    )
    assert found.pictures == 3
    assert list(found.failed) == [str(tmp_path / "photos" / "x.png")]
    assert [line.split()[0] for line in str(found).splitlines()] == [
        "method",
        "gradcam",
        "random-map",
        "centre",
        "edges",
    ]
    with pytest.raises(OptionError, match="pointing_game needs to know where the object is"):
        camlucida.evaluate(tmp_path / "photos", zoo.resnet(), metrics=["pointing_game"], preprocess="tutorial")


# -- the commands -----------------------------------------------------------------------------------------


MODEL = ("--model", "test_resnet.r160_in1k", "--weights", "random")


def test_evaluate_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        picture(tmp_path / "photos" / f"{i}.png", (64, 64), i)
    (tmp_path / "photos" / "x.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    asked = ("--method", "gradcam", "--metric", "entropy", "--metric", "average_drop", "--out", out)
    run_command("evaluate", tmp_path / "photos", *MODEL, *asked, code=1)
    said, errors = capsys.readouterr()
    lines = said.splitlines()
    assert lines[0].split()[:3] == ["method", "average_drop", "↓"] or "entropy" in lines[0]
    assert [line.split()[0] for line in lines[1:5]] == ["gradcam", "random-map", "centre", "edges"]
    assert "1 picture failed, measured: 3" in errors
    assert "x.png" in errors
    report = json.loads((out / "evaluation.json").read_text())
    assert report["pictures"] == 3
    assert report["ways"][0]["measures"]["entropy"]["pictures"] == 3
    table = (out / "evaluation.csv").read_text().splitlines()
    assert table[0] == "path,way,class,probability,score,predicted,right,entropy,average_drop"
    assert len(table) == 1 + 3 * 4
    with Image.open(out / "ranking.png") as drawn:
        assert drawn.width > 500


def test_recommend_says_what_is_as_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        picture(tmp_path / "photos" / f"{i}.png", (64, 64), i)
    asked = ("--method", "gradcam", "--method", "layercam", "--metric", "entropy", "--out", tmp_path / "out")
    run_command("recommend", tmp_path / "photos", *MODEL, *asked, "--quiet")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("best")
    assert len(lines) > 3  # more than one layer


def test_options_of_methods_and_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "photos" / "a.png", (64, 64))
    asked = (
        "--method",
        "random",
        "--metric",
        "deletion",
        "--option",
        "random.seed=3",
        "--out",
        tmp_path / "out",
    )
    run_command("evaluate", tmp_path / "photos", *MODEL, *asked, "--option", "deletion.steps=5", "--quiet")
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["asked"]["measures"] == {"deletion": {"steps": 5, "baseline": "zero"}}
    assert report["asked"]["options"] == {"random": {"seed": 3}}
    for wrong, said in (
        ("insertion.steps=5", "is for insertion, which is not used here"),
        ("deletion.step=5", "its options are: steps"),
    ):
        run_command("evaluate", tmp_path / "photos", *MODEL, *asked, "--option", wrong, code=2)
        assert said in capsys.readouterr().err


def test_metrics_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("metrics")
    said = capsys.readouterr().out
    for name in ("deletion", "insertion", "road_combined", "pointing_game", "randomisation", "adcc"):
        assert f"\n{name} " in said


def test_evaluate_refuses_what_it_cannot_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "photos" / "a.png", (64, 64))
    run_command(
        "evaluate", tmp_path / "photos", *MODEL, "--metric", "pointing_game", "--out", tmp_path / "o", code=2
    )
    assert "needs to know where the object is" in capsys.readouterr().err
    run_command(
        "evaluate", tmp_path / "photos", *MODEL, "--metric", "delation", "--out", tmp_path / "o", code=2
    )
    assert "deletion" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_half_precision_is_measured_too() -> None:
    """Variants are told apart by their bytes, which NumPy has no type for."""
    net = zoo.resnet().bfloat16()
    names = ["deletion", "road_combined", "pixel_flipping", "max_sensitivity", "adcc"]
    evaluator = Evaluator(Explainer(net), map_sources(["gradcam"]), metrics_of(names))
    for row in evaluator.rows(TensorItem("x", zoo.noise()[0].bfloat16(), 3)):
        assert all(np.isfinite(list(row.values.values())))


def test_a_picture_seen_through_a_map_is_run_once() -> None:
    """By adcc and by the three measures of drop and gain."""
    evaluator = Evaluator(
        Explainer(zoo.resnet()),
        map_sources(["gradcam"], controls=False),
        metrics_of(["average_drop", "average_gain", "adcc"]),
    )
    evaluator.rows(TensorItem("x", zoo.noise()[0]))
    assert (evaluator.count.asked, evaluator.count.run) == (4, 2)


def test_what_is_the_same_for_each_picture_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing is written: behind a class token no method is the first of all."""
    for i in range(3):
        picture(tmp_path / "photos" / f"{i}.png", (64, 64), i)
    model = ("--model", "test_vit.r160_in1k", "--weights", "random")
    asked = ("--method", "cam", "--metric", "entropy", "--out", tmp_path / "out")
    run_command("evaluate", tmp_path / "photos", *model, *asked, code=2)
    errors = capsys.readouterr().err
    assert errors.count("cam needs the layer") == 1
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_of_no_picture_there_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.png").write_bytes(b"no picture")
    for command in ("evaluate", "recommend"):
        out = tmp_path / command
        run_command(command, tmp_path / "photos", *MODEL, "--metric", "entropy", "--out", out, code=1)
        said, errors = capsys.readouterr()
        assert said == ""
        assert "x.png is not a picture" in errors
        assert not (out / "evaluation.json").exists()


@pytest.mark.parametrize("activation", ["softmax", "none"])
def test_a_score_is_not_called_a_probability(activation: str, tmp_path: Path) -> None:
    import csv

    from camlucida.evaluation import report

    explainer = Explainer(zoo.resnet(), activation=activation)
    evaluator = Evaluator(explainer, map_sources(["gradcam"]), metrics_of(["entropy"]))
    picture = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = evaluate(evaluator, [TensorItem("noise", picture, 1)])
    report.write(found, tmp_path, {})
    (first, *_) = csv.DictReader((tmp_path / "evaluation.csv").read_text(encoding="utf-8").splitlines())
    with torch.no_grad():
        logits = explainer.module(picture[None])[0]
    assert float(first["score"]) == pytest.approx(float(logits[1]), abs=1e-4)
    wanted = "" if activation == "none" else f"{float(logits.softmax(0)[1]):.4f}"
    assert (first["probability"] and f"{float(first['probability']):.4f}") == wanted
    assert first["right"] == str(int(logits.argmax()) == 1)
