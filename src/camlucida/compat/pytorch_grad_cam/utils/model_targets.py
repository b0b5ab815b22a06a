"""What of a model's output is explained, as in pytorch-grad-cam: callables of the output.

Those of classes take one picture's scores (classes,) or a batch's (batch, classes). An index out of range
raises torch's IndexError; a negative one counts from the end, unless said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from camlucida.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from torch import Tensor


def _of_class(scores: Tensor, category: int) -> Tensor:
    return scores[category] if scores.dim() == 1 else scores[:, category]


class ClassifierOutputTarget:
    """The score of a class."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, model_output: Tensor) -> Tensor:
        return _of_class(model_output, self.category)


class ClassifierOutputSoftmaxTarget(ClassifierOutputTarget):
    """The probability of a class."""

    def __call__(self, model_output: Tensor) -> Tensor:
        return _of_class(model_output.softmax(dim=-1), self.category)


class ClassifierOutputReST(ClassifierOutputTarget):
    """The score of a class plus the logarithm of its probability (arXiv:2501.06261).

    A negative class is out of range, as in the peer.
    """

    def __call__(self, model_output: Tensor) -> Tensor:
        if self.category < 0:
            raise IndexError(f"the class is 0 or above, got {self.category}: count from the first")
        logarithm = model_output.log_softmax(dim=-1)
        return _of_class(model_output, self.category) + _of_class(logarithm, self.category)


class BinaryClassifierOutputTarget(ClassifierOutputTarget):
    """The score itself for category 1, its negative for any other; for models with one output."""

    def __call__(self, model_output: Tensor) -> Tensor:
        return model_output if self.category == 1 else -model_output


class SoftmaxOutputTarget:
    """The probabilities of all classes."""

    def __call__(self, model_output: Tensor) -> Tensor:
        return model_output.softmax(dim=-1)


class RawScoresOutputTarget:
    """The output as it is."""

    def __call__(self, model_output: Tensor) -> Tensor:
        return model_output


class SemanticSegmentationTarget:
    """The scores of a class summed where ``mask`` (height, width) is set, weighted by it.

    Takes (classes, height, width), and (batch, classes, height, width) with a sum for each picture.
    """

    def __init__(self, category: int, mask: np.ndarray | Tensor) -> None:
        self.category = category
        self.mask = torch.as_tensor(mask)

    def __call__(self, model_output: Tensor) -> Tensor:
        weighed = model_output[..., self.category, :, :] * self.mask.to(model_output.device)
        return weighed.flatten(1).sum(dim=1) if model_output.dim() == 4 else weighed.sum()


class FasterRCNNBoxScoreTarget:
    """How well a detector's boxes match those that were found before, as one number (1,).

    For each earlier box the overlap (IoU) and the score of the box that overlaps most, nothing where that is
    not above ``iou_threshold`` or has another label.
    """

    def __init__(
        self,
        labels: Sequence[int] | np.ndarray | Tensor,
        bounding_boxes: Sequence[Sequence[float]] | np.ndarray | Tensor,
        iou_threshold: float = 0.5,
    ) -> None:
        if len(labels) != len(bounding_boxes):
            raise TargetError(
                f"each box has its label, got {len(bounding_boxes)} boxes and {len(labels)} labels: "
                "give both lists whole"
            )
        self.labels = labels
        self.bounding_boxes = bounding_boxes
        self.iou_threshold = iou_threshold

    def __call__(self, model_outputs: Mapping[str, Tensor]) -> Tensor:
        from torchvision.ops import box_iou

        boxes, labels, scores = (model_outputs[name] for name in ("boxes", "labels", "scores"))
        if len(boxes) == 0 or len(self.labels) == 0:
            return boxes[:0].sum().reshape(1)  # zero, and differentiable
        earlier = _stacked(self.bounding_boxes).to(boxes)
        overlap, best = box_iou(earlier, boxes).max(dim=1)
        same = labels[best] == _stacked(self.labels).to(labels.device)
        total: Tensor = (overlap + scores[best])[same & (overlap > self.iou_threshold)].sum()
        return total.reshape(1)


class FinerWeightedTarget:
    """How far a class is ahead of others: the mean of its score less ``alpha`` times theirs (arXiv:2501.11309).

    The others count by their probabilities.
    """

    def __init__(self, main_category: int, comparison_categories: Sequence[int], alpha: float) -> None:
        if len(comparison_categories) == 0:
            raise TargetError(
                "a class is compared with at least one other, got none: give comparison_categories"
            )
        self.main_category = main_category
        self.comparison_categories = comparison_categories
        self.alpha = alpha

    def __call__(self, model_output: Tensor) -> Tensor:
        others = torch.stack([model_output[..., index] for index in self.comparison_categories], dim=-1)
        shares = others.softmax(dim=-1)  # of all classes' probabilities, without dividing by next to nothing
        return model_output[..., self.main_category] - self.alpha * (shares * others).sum(dim=-1)


def _stacked(values: Sequence[object] | np.ndarray | Tensor) -> Tensor:
    """One tensor of a tensor, an array, or a list of numbers, arrays or tensors."""
    whole = hasattr(values, "shape")
    return torch.as_tensor(values) if whole else torch.stack([torch.as_tensor(one) for one in values])
