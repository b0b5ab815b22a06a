"""Every method × every measure that matters, with intervals and floors: which maps can be trusted?

python benchmarks/leaderboard.py [--boards resnet convnext vit swin grid photos] [--pictures 60]

Boards: the testbed's four networks on its pictures; EfficientNet-Lite0 on mosaics of the bundled photos and
on the photos themselves. Boards that are not asked for stay as they were measured before.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

import measure
from camlucida import Explainer, testbed
from camlucida.errors import CamlucidaError
from camlucida.evaluation.dataset import Item
from camlucida.evaluation.evaluator import Evaluator, TensorItem
from camlucida.evaluation.mosaic_game import grids, mosaic_photos
from camlucida.evaluation.row_store import Records, what_rows_are_of
from camlucida.evaluation.run import Evaluation, advice, evaluate, map_sources, metrics_of
from camlucida.methods.registry import all_methods
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.testbed import networks, train

HERE = Path(__file__).parent
SEED = 2_000_000_002  # of pictures that neither training nor tests have seen
FAITHFULNESS = ("deletion", "insertion", "road_combined")
SANITY = ("randomisation", "random_logit")
LOCALISATION = ("pointing_game", "energy_inside")
DROPS = ("average_drop", "increase_in_confidence", "average_gain")
MEASURES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(networks.NETWORKS, (*FAITHFULNESS, *DROPS, *SANITY, *LOCALISATION)),
    "grid": LOCALISATION,
    "photos": (*FAITHFULNESS, *DROPS, *SANITY),
}
RANKED = {**dict.fromkeys(networks.NETWORKS, FAITHFULNESS), "grid": ("energy_inside",), "photos": FAITHFULNESS}
TESTBED = {"pointing_game": {"tolerance": 4}}  # pixels: half a cell of these maps; outlines are evidence, too
PHOTOS = {  # what scikit-image and scikit-learn bring along, and what is on it
    "coffee": "espresso",
    "chelsea": "tiger cat",
    "camera": "tripod",
    "stereo_motorcycle": "moped",
    "rocket": "missile",
    "flower": "daisy",
    "china": "palace",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--boards", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--pictures", type=int, default=60, help="of the testbed, for each network (60)")
    parser.add_argument("--grids", type=int, default=60, help="mosaics of photos (60)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (1)")
    parser.add_argument(
        "--keep", type=Path, help="a folder for rows, from which a run that was cut off goes on"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / "leaderboard.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.boards:
        begun = time.perf_counter()
        made = _board(name, options)
        made["minutes"] = round((time.perf_counter() - begun) / 60, 1)
        report = (
            json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {"boards": {}}
        )
        boards = report["boards"] | {name: made}
        report["boards"] = {key: boards[key] for key in MEASURES if key in boards}
        report |= {"date": made["date"], "machine": made["machine"]}
        options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        Console().log(f"{name}: {made['minutes']} minutes")


def _board(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One network on one set of pictures."""
    explainer = Explainer(DEFAULT_MODEL) if name not in networks.NETWORKS else _tiny(name)
    with TemporaryDirectory() as folder:
        photos = options.keep / "pictures" if options.keep else Path(folder)
        subjects = _subjects(name, explainer, options, photos)
        methods, refused = _methods(explainer, subjects[0])
        measures = metrics_of(MEASURES[name], TESTBED if name in networks.NETWORKS else {})
        evaluator = Evaluator(explainer, map_sources(methods), measures)
        layer = "+".join(explainer.layer_names(None, _input(explainer, subjects[0])))
        of = {"board": name, **what_rows_are_of(explainer, evaluator.seed)}
        records = Records(options.keep / name, of, evaluator.metrics) if options.keep else None
        found = evaluate(evaluator, subjects, records, partial(track, description=name, transient=True))
    if found.failed:
        raise SystemExit(f"{name}: {found.failed}")
    facts: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    facts |= {"machine": measure.machine(options.threads), "model": explainer.title, "layer": layer}
    if name in networks.NETWORKS:
        facts["right"] = train.accuracy(explainer.module, name)
    return facts | {"refused": refused} | _told(found, RANKED[name])


def _tiny(family: str) -> Explainer:
    return Explainer(networks.read(family), labels=testbed.CLASSES)


def _subjects(
    name: str, explainer: Explainer, options: argparse.Namespace, folder: Path
) -> Sequence[Item | TensorItem]:
    if name in networks.NETWORKS:
        made = testbed.samples(options.pictures, SEED)
        rows = zip(made.pictures, made.labels.tolist(), made.masks, strict=True)
        return [TensorItem(f"sample {place}", *row) for place, row in enumerate(rows)]
    items = _photos(folder, explainer.adapter.labels or ())
    if name == "photos":
        return items
    estimates = mosaic_photos(explainer, items, len(items))
    if len(estimates.paths) < len(items):
        raise SystemExit(f"left out of the mosaics: {estimates.mistaken} {estimates.failed}")
    return grids(estimates, 2, options.grids)


def _photos(folder: Path, labels: Sequence[str]) -> list[Item]:
    from skimage import data
    from sklearn.datasets import load_sample_image

    items = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, label in PHOTOS.items():
        path = folder / f"{name}.png"
        items.append(Item(path, labels.index(label)))
        if path.exists():
            continue  # rows are known by the file's time, too
        if name in ("flower", "china"):
            pixels = load_sample_image(f"{name}.jpg")
        else:
            pixels = data.stereo_motorcycle()[0] if name == "stereo_motorcycle" else getattr(data, name)()
        Image.fromarray(pixels).convert("RGB").save(path)
    return items


def _input(explainer: Explainer, subject: Item | TensorItem) -> torch.Tensor:
    from camlucida.models.inputs import prepare

    given = subject.picture if isinstance(subject, TensorItem) else subject.path
    return prepare(given, explainer.adapter, explainer.preprocess).tensor


def _methods(explainer: Explainer, subject: Item | TensorItem) -> tuple[list[str], dict[str, str]]:
    """The methods that this network takes, and why others are refused."""
    methods, refused = [], {}
    for name in all_methods():
        try:
            explainer.explain(_input(explainer, subject), [name])
            methods.append(name)
        except CamlucidaError as error:
            refused[name] = str(error)
    return methods, refused


def _told(found: Evaluation, ranked: Sequence[str]) -> dict[str, Any]:
    estimates, by = found.estimates(), [one for one in found.metrics if one.name in ranked]
    rankings = advice(Evaluation(found.rows, by, found.seed))
    places = {
        one.source: {"rank": one.rank, "not_significantly_worse": one.not_significantly_worse}
        for one in rankings
    }
    sources: dict[str, Mapping[str, Any]] = {
        source: {
            "seconds": found.seconds(source),
            **places.get(source, {}),
            "measures": {one.name: asdict(estimates[source, one.name]) for one in found.metrics},
        }
        for source in found.sources
    }
    return {
        "pictures": found.pictures,
        "ranked_by": list(ranked),
        "judged_by": "largest lead",
        "variants": {"asked": found.asked, "run": found.run},
        "ways": sources,
    }


if __name__ == "__main__":
    main()
