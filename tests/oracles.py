"""One naive float64 oracle a method, from its paper's formula: loops and nothing clever.

Each takes the activations and gradients of one picture, both (channels, height, width), and gives its map
(height, width). Nothing here may be copied from, or shared with, what it judges.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

Oracle = Callable[[np.ndarray, np.ndarray], np.ndarray]


def positions(maps: np.ndarray) -> Iterator[tuple[int, int]]:
    """Every (row, column) of (channels, height, width)."""
    _, height, width = maps.shape
    for row in range(height):
        for column in range(width):
            yield row, column


def weighted_sum(weights: list[float], activations: np.ndarray) -> np.ndarray:
    """Each channel times its weight, added up."""
    total = np.zeros(activations.shape[1:])
    for weight, channel in zip(weights, activations, strict=True):
        total += weight * channel
    return total


def gradcam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Selvaraju et al.: a channel's weight is 1/Z times the sum of its gradients."""
    weights = []
    for gradient in gradients:
        total = 0.0
        for row, column in positions(gradients):
            total += gradient[row, column]
        weights.append(total / gradient.size)
    return weighted_sum(weights, activations)


def gradcam_plus_plus_weights(activations: np.ndarray, gradients: np.ndarray) -> list[float]:
    """Chattopadhay et al.: alpha as it stands in the paper, where the gradient is positive.

    The paper's sum of activations is one of ReLU outputs; a signed layer is given the same by leaving what
    is negative out of that sum.
    """
    weights = []
    for activation, gradient in zip(activations, gradients, strict=True):
        mass = sum(max(float(value), 0.0) for value in activation.ravel())
        weight = 0.0
        for row, column in positions(gradients):
            slope = float(gradient[row, column])
            if slope > 0:
                alpha = slope**2 / (2 * slope**2 + mass * slope**3)
                weight += alpha * slope
        weights.append(weight)
    return weights


def gradcam_plus_plus(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return weighted_sum(gradcam_plus_plus_weights(activations, gradients), activations)


def xgradcam_weights(activations: np.ndarray, gradients: np.ndarray) -> list[float]:
    """Fu et al.: gradients averaged, each with the share that its position has of the channel's activation."""
    weights = []
    for activation, gradient in zip(activations, gradients, strict=True):
        total = float(sum(activation.ravel()))
        weight = 0.0
        for row, column in positions(gradients):
            if total != 0:
                weight += activation[row, column] / total * gradient[row, column]
        weights.append(weight)
    return weights


def xgradcam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return weighted_sum(xgradcam_weights(activations, gradients), activations)


def each_position(rule: Callable[[float, float], float]) -> Oracle:
    """An oracle that adds up over channels what ``rule`` makes of one activation and its gradient."""

    def oracle(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        heatmap = np.zeros(activations.shape[1:])
        for row, column in positions(activations):
            for channel in range(len(activations)):
                heatmap[row, column] += rule(
                    float(activations[channel, row, column]), float(gradients[channel, row, column])
                )
        return heatmap

    return oracle


def _positive_slope(activation: float, slope: float) -> float:
    """Jiang et al., LayerCAM: an activation's weight is its own gradient, or nothing if that is negative."""
    return slope * activation if slope > 0 else 0.0


def _product(activation: float, slope: float) -> float:
    """Draelos and Carin, HiResCAM: gradient times activation, of either sign."""
    return slope * activation


def _positive_product(activation: float, slope: float) -> float:
    """What speaks for the class alone."""
    return slope * activation if slope * activation > 0 else 0.0


def first_component(values: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Positions projected on the first right singular vector of (positions, channels), channels centred.

    Of the two signs the one for which the projection rises with ``towards`` (height, width).
    """
    channels, height, width = values.shape
    table = np.array([[values[channel, row, column] for channel in range(channels)]
                      for row, column in positions(values)])  # fmt: skip
    for channel in range(channels):
        table[:, channel] -= table[:, channel].mean()
    _, _, right = np.linalg.svd(table, full_matrices=True)
    heatmap = (table @ right[0]).reshape(height, width)
    rises = sum(
        heatmap[place] * (towards[place] - towards.mean())  # the mean of heatmap is zero
        for place in positions(values)
    )
    return heatmap if rises >= 0 else -heatmap


def eigencam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Muhammad and Yeasin; hot where activations are long."""
    length = np.zeros(activations.shape[1:])
    for place in positions(activations):
        length[place] = sum(channel[place] ** 2 for channel in activations) ** 0.5
    return first_component(activations, length)


def eigengradcam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Of activation times gradient; hot where these add up to evidence."""
    products = np.zeros(activations.shape)
    for channel in range(len(activations)):
        for row, column in positions(activations):
            products[channel, row, column] = activations[channel, row, column] * gradients[channel, row, column]
    return first_component(products, each_position(_product)(activations, gradients))


def random(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Weights uniform in -1 to 1, the first of torch's generator at seed 0, one a channel."""
    draws = torch.rand(len(activations), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return weighted_sum([2 * float(draw) - 1 for draw in draws], activations)


ORACLES: dict[str, Oracle] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
    "layercam": each_position(_positive_slope),
    "hirescam": each_position(_product),
    "gradcam_elementwise": each_position(_positive_product),
    "eigencam": eigencam,
    "eigengradcam": eigengradcam,
    "random": random,
}


# -- methods that run the network ---------------------------------------------------------------------------


def _interpolation(cells: int, pixels: int) -> np.ndarray:
    """The share (pixels, cells) that each cell has in each pixel: linear between centres, level beyond."""
    shares = np.zeros((pixels, cells))
    for pixel in range(pixels):
        centre = min(max((pixel + 0.5) * cells / pixels - 0.5, 0.0), cells - 1.0)
        cell = int(centre)
        shares[pixel, cell] += 1 - (centre - cell)
        if cell + 1 < cells:
            shares[pixel, cell + 1] += centre - cell
    return shares


def upsampled(channel: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) brought to ``size`` (height, width), bilinear, corners not aligned."""
    down, across = (_interpolation(*pair) for pair in zip(channel.shape, size, strict=True))
    return down @ channel @ across.T


def scorecam(activations: np.ndarray, picture: np.ndarray, score: Callable[[np.ndarray], float]) -> np.ndarray:
    """Wang et al., Algorithm 1, with the black baseline, whose score is the same for all channels.

    The normalisation of a channel that is the same everywhere is not defined: it takes no part.
    """
    baseline = score(np.zeros_like(picture))
    gains: dict[int, float] = {}
    for k, channel in enumerate(activations):
        mask = upsampled(channel, picture.shape[1:])
        if mask.max() > mask.min() and channel.max() > channel.min():
            gains[k] = score(picture * (mask - mask.min()) / (mask.max() - mask.min())) - baseline
    largest = max(gains.values(), default=0.0)
    total = sum(np.exp(gain - largest) for gain in gains.values())
    heatmap = np.zeros(activations.shape[1:])
    for k, gain in gains.items():
        heatmap += np.exp(gain - largest) / total * activations[k]
    return heatmap


def ablationcam(activations: np.ndarray, score: Callable[[np.ndarray], float]) -> np.ndarray:
    """Desai and Ramaswamy, equation 2: what the score loses without a channel, as a share of the score.

    Of its magnitude, where the paper has positive scores only.
    """
    whole = score(activations)
    heatmap = np.zeros(activations.shape[1:])
    for k, channel in enumerate(activations):
        ablated = activations.copy()
        ablated[k] = 0
        heatmap += (whole - score(ablated)) / abs(whole) * channel
    return heatmap


def fullgrad(picture: np.ndarray, gradient: np.ndarray, terms: list[np.ndarray]) -> np.ndarray:
    """Srinivas and Fleuret, equation 8: magnitudes rescaled to 0…1, upsampled, added over all channels."""
    heatmap = np.zeros(picture.shape[1:])
    for term in [picture * gradient, *terms]:
        magnitudes = np.abs(term)
        if magnitudes.max() == magnitudes.min():
            continue
        for channel in (magnitudes - magnitudes.min()) / (magnitudes.max() - magnitudes.min()):
            heatmap += upsampled(channel, picture.shape[1:])
    return heatmap


RUN_ORACLES: dict[str, Callable[..., np.ndarray]] = {
    "scorecam": scorecam,
    "ablationcam": ablationcam,
    "fullgrad": fullgrad,
}
