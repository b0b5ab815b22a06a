"""One result that knows where it came from, draws itself and saves itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from camlucida.errors import OptionError, spoken
from camlucida.files import png_bytes, save_picture
from camlucida.findings import Finding
from camlucida.heatmaps.examine import examine
from camlucida.heatmaps.project import model_input_only, project_to_picture
from camlucida.heatmaps.scale import Scale, full_colour_values
from camlucida.images import Frame
from camlucida.images.colour import DEFAULT_COLORMAP, diverging
from camlucida.images.overlay import DEFAULT_ALPHA, overlay
from camlucida.pipeline import explanation_files
from camlucida.pipeline.file_marks import mark_of, written
from camlucida.pipeline.provenance import Provenance

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Show = Literal["map", "spread"]
_RANDOM_MARK = "random weights"


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Where the model looked.

    ``heatmap`` is the raw map (height, width) at the layer's resolution, before any ReLU or scaling,
    float32, on the CPU. ``score`` is what was explained, a logit unless another target was
    asked for; ``index``, ``label`` and ``probability`` belong to the class, and are None for targets that
    speak of no single class. ``picture`` is what the map is drawn on and ``frame`` says where the model's
    input lies on it. ``source`` is the file the picture came from. ``spread`` (height, width) is how much the
    map varies over the views of aug smoothing, None without it; ``findings`` are findings from making the map.
    ``target`` says in few words what was explained: a class, "A − B" of a contrast, or a function's name.
    ``picture_id`` is the picture's file, or its number among those given, "#0" the first.
    """

    heatmap: Tensor
    index: int | None
    label: str | None
    score: float
    probability: float | None
    provenance: Provenance
    frame: Frame
    shown: Image | Tensor  # or bytes (channels, height, width)
    source: Path | None = None
    spread: Tensor | None = None
    findings: tuple[Finding, ...] = ()
    target: str = ""
    picture_id: str = ""

    def __repr__(self) -> str:
        grid = "×".join(map(str, self.heatmap.shape))
        return f"<Explanation {self.caption}: {self.model}#{self.layer} {self.method}, {grid}>"

    @property
    def model(self) -> str:
        return self.provenance.model

    @property
    def method(self) -> str:
        return self.provenance.method

    @property
    def layer(self) -> str:
        return self.provenance.layer

    @cached_property
    def picture(self) -> Image:
        return _as_picture(self.shown)

    @cached_property
    def health(self) -> tuple[Finding, ...]:
        """Reasons why the map is blank or not to be trusted; none if there are none."""
        return (*self.findings, *examine(self.heatmap))

    @property
    def caption(self) -> str:
        """What was explained and its probability, or its score where that is no single class's or unknown."""
        if self.probability is None:
            return self.named + ("" if self.named == "score" else ", score") + f" {self.score:.3g}"
        return f"{self.named} {self.probability:.2f}"

    @property
    def named(self) -> str:
        """What was explained, in few words."""
        if self.target:
            return self.target
        return "score" if self.index is None else name_of(self.label, self.index)

    def overlay(
        self,
        alpha: float = DEFAULT_ALPHA,
        colormap: str = DEFAULT_COLORMAP,
        scale: Scale = "picture",
        full_at: float | None = None,
        show: Show = "map",
    ) -> Image:
        """The map over the picture, at the picture's own size; what the model never saw is not tinted.

        ``alpha`` is the weight of the colours. A diverging colormap (RdBu_r, coolwarm, …) shows evidence
        against as well. ``full_at`` is the value of full colour, in place of the one that ``scale`` gives.
        ``show="spread"`` draws how much the map varies over the views of aug smoothing.

        Raises:
            OptionError: there is no spread to show, or one of the others is none that exists.
        """
        drawn = self.map_or_spread(show)
        peak = full_colour_values([drawn], scale, diverging(colormap))[0] if full_at is None else full_at
        mark = _RANDOM_MARK if self.provenance.weights == "random" else ""
        laid = model_input_only(project_to_picture(drawn, self.frame), self.frame)
        return overlay(self.picture, laid, peak, alpha, colormap, mark)

    def map_or_spread(self, show: Show) -> Tensor:
        """The map itself, or its spread.

        Raises:
            OptionError: there is no spread without aug smoothing.
        """
        if show == "map":
            return self.heatmap
        if show != "spread" or self.spread is None:
            asked = spoken("`--aug-smooth`", 'smooth="aug"')
            raise OptionError(f"there is no {show} to show: 'spread' comes with aug smoothing ({asked})")
        return self.spread

    def save(
        self, path: str | Path, *, never: Sequence[Path] = (), overwrite: bool = False, **drawing: Any
    ) -> Path:
        """Write the overlay (.png, .jpg, .webp; ``drawing`` goes to ``overlay``) or, as .npz, everything.

        The .npz holds the raw map, the picture and what made them, all that ``load`` needs; the .json beside it
        has the last of these once more, for people and other programs.

        ``never`` are files that must not be overwritten, besides the input picture; ``overwrite`` lets a file
        be replaced that camlucida did not write.

        Raises:
            OutputError: the file cannot be written, is an input, or exists and is not camlucida's.
            OptionError: its name ends in none of these.
        """
        import numpy as np

        path = Path(path)
        inputs = [*never, *([] if self.source is None else [self.source])]
        if path.suffix.lower() == ".npz":
            maps = {"heatmap": self.heatmap} | ({} if self.spread is None else {"spread": self.spread})
            arrays: dict[str, Any] = {name: one.detach().cpu().numpy() for name, one in maps.items()}
            arrays["picture"] = np.asarray(self.picture)
            explanation_files.write(path, arrays, self.manifest(), inputs, overwrite)
        else:
            save_picture(self.overlay(**drawing), path, inputs, overwrite, written(mark_of(self.manifest())))
        return path

    def manifest(self) -> dict[str, Any]:
        """All but the pixels, as it stands in the .json."""
        return {
            "index": self.index,
            "label": self.label,
            "target": self.named,
            "score": self.score,
            "probability": self.probability,
            **asdict(self.provenance),
            "frame": asdict(self.frame),
            "source": None if self.source is None else str(self.source),
            "health": [asdict(finding) for finding in self.health],
            "notes": len(self.findings),
        }

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """What ``save`` wrote as .npz.

        Raises:
            OutputError: there is no such file, it is damaged, or camlucida did not write it.
        """
        import torch
        from PIL import Image

        found = explanation_files.read(Path(path))
        facts, maps = found.manifest, {name: torch.from_numpy(one) for name, one in found.arrays.items()}
        names = Provenance.__dataclass_fields__
        return cls(
            heatmap=maps["heatmap"],
            index=facts["index"],
            label=facts["label"],
            score=facts["score"],
            probability=facts["probability"],
            provenance=Provenance(
                **{name: facts[name] for name in names if name in facts} | {"smooth": tuple(facts["smooth"])}
            ),
            frame=Frame.of(facts["frame"]),
            shown=Image.fromarray(found.arrays["picture"]),
            source=None if facts["source"] is None else Path(facts["source"]),
            spread=maps.get("spread"),
            findings=tuple(Finding(**one) for one in facts["health"][: facts["notes"]]),
            target=facts.get("target", ""),
        )

    def _repr_png_(self) -> bytes:
        return png_bytes(self.overlay())


def name_of(label: str | None, index: int | None) -> str:
    """A class in few words: the first of ImageNet's synonyms, or its index where it has no name."""
    return label.split(",")[0] if label else f"class {index}"


def _as_picture(shown: Image | Tensor) -> Image:
    """The picture, or one made of a tensor of bytes; other channels than three are shown as grey."""
    from PIL import Image
    from torchvision.transforms.functional import to_pil_image

    if isinstance(shown, Image.Image):
        return shown
    values = shown if shown.shape[0] == 3 else shown.float().mean(dim=0, keepdim=True).round().byte()
    picture: Image.Image = to_pil_image(values.cpu()).convert("RGB")
    return picture
