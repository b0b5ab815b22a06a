"""Other intervals of a mean that were tried beside camlucida's: values, bounds and a seed in, both ends out."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from scipy import stats

from camlucida.evaluation.intervals import DRAWS, Interval, Values


def percentile(values: Values, _: Interval, seed: int) -> Interval:
    return _ends(np.quantile(_samples(values, seed).mean(axis=1), [0.025, 0.975]))


def student(values: Values, _: Interval, __: int) -> Interval:
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean() - reach, values.mean() + reach


def bca(values: Values, _: Interval, seed: int) -> Interval:
    """Bias-corrected and accelerated (Efron and Tibshirani 1993, ch. 14)."""
    if np.ptp(values) == 0:
        return _ends(values[:2])
    means, normal = _samples(values, seed).mean(axis=1), stats.norm
    below = ((means < values.mean()).mean() + (means <= values.mean()).mean()) / 2
    bias = normal.ppf(np.clip(below, 1 / DRAWS, 1 - 1 / DRAWS))
    left_out = values - values.mean()  # as far as means without one picture differ, but for a factor
    skew = (left_out**3).sum() / (6 * (left_out**2).sum() ** 1.5)
    z = bias + normal.ppf([0.025, 0.975])
    return _ends(np.quantile(means, normal.cdf(bias + z / (1 - skew * z))))


def bootstrap_t(values: Values, bounds: Interval, seed: int) -> Interval:
    """Without smaller tails for few pictures."""
    samples, own = _samples(values, seed), values.std(ddof=1) / len(values) ** 0.5
    error = samples.std(axis=1, ddof=1) / len(values) ** 0.5
    apart = samples.mean(axis=1) - values.mean()
    ratios = np.where(error > 1e-12, apart / np.maximum(error, 1e-12), np.copysign(1e9, apart))
    low, high = np.quantile(ratios, [0.025, 0.975])
    return max(values.mean() - high * own, bounds[0]), min(values.mean() - low * own, bounds[1])


def wilson(values: Values, _: Interval, __: int) -> Interval:
    z, count, share = NormalDist().inv_cdf(0.975), len(values), values.mean()
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return middle - reach, middle + reach


def _samples(values: Values, seed: int) -> Values:
    count = len(values)
    return values[np.random.default_rng(seed).integers(count, size=(DRAWS, count))]


def _ends(pair: Values) -> Interval:
    return float(pair[0]), float(pair[1])
