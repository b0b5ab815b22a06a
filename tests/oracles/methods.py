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


def kernel_component(table: np.ndarray, kernel: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
    """Where the rows of ``table`` lie along the first component in the kernel's space, of arbitrary sign.

    Scholkopf et al.: the kernel's matrix, centred in that space, has the components as its eigenvectors.
    """
    count = len(table)
    similar = np.array([[kernel(one, other) for other in table] for one in table])
    centre = np.eye(count) - np.ones((count, count)) / count
    sizes, vectors = np.linalg.eigh(centre @ similar @ centre)
    return vectors[:, np.argmax(sizes)] * np.sqrt(sizes.max())


def kpcacam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Karmani et al., with the sigmoid kernel and its usual constants; the sign is eigencam's."""
    channels, height, width = activations.shape
    table = np.array([[channel[place] - channel.mean() for channel in activations]
                      for place in positions(activations)])  # fmt: skip
    found = kernel_component(table, lambda one, other: np.tanh(one @ other / channels + 1))
    heatmap = found.reshape(height, width)
    length = np.sqrt((activations**2).sum(axis=0))
    return heatmap if (heatmap * (length - length.mean())).sum() >= 0 else -heatmap


def segeigencam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Chung and Ying: of activation times the gradient's magnitude; the larger extreme is hot (equation 13).

    Of two extremes alike, that where the products are long.
    """
    products = np.zeros(activations.shape)
    for channel in range(len(activations)):
        for place in positions(activations):
            products[channel][place] = activations[channel][place] * abs(gradients[channel][place])
    heatmap = first_component(products, np.sqrt((products**2).sum(axis=0)))
    return -heatmap if abs(heatmap.min()) > heatmap.max() * (1 + 1e-6) else heatmap


def fem(activations: np.ndarray, gradients: np.ndarray, k: float = 2) -> np.ndarray:
    """Fuad et al.: binary maps by the k-sigma rule, each weighted by its channel's mean and added up."""
    heatmap = np.zeros(activations.shape[1:])
    for channel in activations:
        mean = sum(channel.ravel()) / channel.size
        sigma = (sum((value - mean) ** 2 for value in channel.ravel()) / channel.size) ** 0.5
        for place in positions(activations):
            if channel.max() > channel.min() and channel[place] >= mean + k * sigma:
                heatmap[place] += mean
    return heatmap


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
    "kpcacam": kpcacam,
    "segeigencam": segeigencam,
    "fem": fem,
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


# -- methods that ask for more than one backward ------------------------------------------------------------


def cam(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Zhou et al., equation 2: a channel's weight (channels,) is that of the linear layer for the class."""
    return weighted_sum(list(weights), activations)


def finercam(
    activations: np.ndarray,
    variant_gradients: np.ndarray,
    logits: np.ndarray,
    index: int,
    alpha: float,
    references: int,
) -> np.ndarray:
    """Zhang et al.: Grad-CAM of the logit less alpha times the mean of those most like it.

    ``variant_gradients`` (classes, channels, height, width) are the gradients of all logits (classes,).
    """
    others = sorted(
        (other for other in range(len(logits)) if other != index),
        key=lambda other: abs(logits[other] - logits[index]),
    )[:references]
    heatmaps = [
        gradcam(activations, variant_gradients[index] - alpha * variant_gradients[other]) for other in others
    ]
    return np.mean(heatmaps, axis=0)


def refinecam(heatmaps: list[np.ndarray]) -> np.ndarray:
    """Domeniconi et al.: maps of several layers, cut off at zero, scaled, upsampled and multiplied."""
    size = max((heatmap.shape for heatmap in heatmaps), key=lambda shape: shape[0] * shape[1])
    product = np.ones(size)
    for heatmap in heatmaps:
        cut = np.maximum(heatmap, 0)
        product *= upsampled(cut / cut.max(), size)
    return product


def smoothgradcam_plus_plus(activations: np.ndarray, samples: list[np.ndarray]) -> np.ndarray:
    """Omeiza et al., with the gradients of noisy pictures; alpha's numerator as in Grad-CAM++.

    A mean third power below zero counts nothing, else the denominator could be anything.
    """
    weights = []
    for k, activation in enumerate(activations):
        mass, weight = sum(max(float(value), 0.0) for value in activation.ravel()), 0.0
        for place in positions(activations):
            draws = [float(gradients[k][place]) for gradients in samples]
            first, second, third = (sum(one**n for one in draws) / len(draws) for n in (1, 2, 3))
            if first > 0:
                weight += second / (2 * second + mass * max(third, 0.0)) * first
        weights.append(weight)
    return weighted_sum(weights, activations)


def shapleycam(activations: np.ndarray, gradients: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """Cai: weights are means of g - H a / 2; ``hessian`` is (size, size) of all activations in a row."""
    flat, variant_gradients = activations.ravel(), gradients.ravel()
    values = np.zeros(flat.size)
    for i in range(flat.size):
        values[i] = variant_gradients[i] - sum(hessian[i, j] * flat[j] for j in range(flat.size)) / 2
    weights = [float(one.mean()) for one in values.reshape(activations.shape)]
    return weighted_sum(weights, activations)


RUN_ORACLES: dict[str, Callable[..., np.ndarray]] = {
    "scorecam": scorecam,
    "ablationcam": ablationcam,
    "fullgrad": fullgrad,
    "cam": cam,
    "finercam": finercam,
    "refinecam": refinecam,
    "smoothgradcam++": smoothgradcam_plus_plus,
    "shapleycam": shapleycam,
}
