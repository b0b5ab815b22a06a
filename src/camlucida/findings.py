"""Findings: why a map is blank or should not be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from camlucida.errors import setting, spoken

_SATURATED = 0.999  # probability above which its gradient is next to nothing


@dataclass(frozen=True)
class Finding:
    """Something to know before a map is trusted: a code, what was found, and the next step."""

    code: str
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found}: {self.advice}"


def narrow_range(low: int, high: int) -> Finding:
    """For a picture whose values nearly all lie between ``low`` and ``high`` of eight bits."""
    found = f"the picture uses {low} to {high} of 255 grey levels, less than a tenth"
    advice = (
        "if it should not look so flat, scale its values to 0…255, or write the largest into the file (TIFF's "
        "MaxSampleValue, PNG's sBIT)"
    )
    return Finding("narrow-range", found, advice)


def band_left_out() -> Finding:
    """For a TIFF whose last band may be alpha by its tags, but not by its values."""
    found = "the picture's last band does not look like transparency and is ignored"
    return Finding("band-left-out", found, "composite the picture on white yourself if it is transparency")


def unlikely_alpha() -> Finding:
    """For an array whose fourth band is read as alpha but does not look like it."""
    found = "the array's fourth band is read as transparency but does not look like it"
    return Finding("unlikely-alpha", found, "drop it (`array[..., :3]`) if it is another band")


def zero_gradient() -> Finding:
    """For a layer whose gradient is zero everywhere."""
    found = "the score does not depend on any position of this layer"
    advice = "choose an earlier layer; if the head reads only the class token, one before the last attention"
    return Finding("zero-gradient", found, advice)


def saturated(probability: float) -> tuple[Finding, ...]:
    """For a target that is a probability of this value."""
    if probability < _SATURATED:
        return ()
    found = f"the probability is {probability:.4f}, where its gradient almost vanishes"
    return (Finding("saturated", found, "explain the class's logit instead (`ClassScore`)"),)


def layout_unsure(layer: str, layout: str, verdict: str) -> Finding:
    """For a layer whose layout the probe could not confirm."""
    found = (
        f"the layout of {layer}, {layout}, follows from its shape, but the probe did not confirm it ({verdict})"
    )
    return Finding(f"layout-{verdict}", found, "compare with a map of another layer before you trust it")


def uneven_grid(where: str) -> Finding:
    """For a model that pads, crops or moves its input, so that its grid does not cover the input evenly."""
    found = f"the model pads or crops its input inside ({where}), but the map is spread evenly over the input"
    return Finding("uneven-grid", found, "pad or crop in the preprocessing instead, and explain that")


def draws_lots() -> Finding:
    """For a model whose output differs from run to run."""
    found = "the model is random, its scores for the same input differ from run to run"
    advice = "the map shows one run: average several, or switch the randomness off in the model"
    return Finding("draws-lots", found, advice)


def leans_on_batch() -> Finding:
    """For a model whose output for an input depends on the rest of the batch."""
    found = "the score of an input depends on the other inputs of its batch (batch statistics)"
    return Finding(
        "leans-on-batch", found, "each input was run alone here: compare with scores of inputs run alone"
    )


def under_autocast(dtype: str) -> Finding:
    """For a map made under the caller's autocast."""
    found = f"the model ran under autocast, so the map has the precision of {dtype}"
    return Finding("autocast", found, "explain outside `torch.autocast` for float32 precision")


def layer_chosen(layer: str, remark: str) -> Finding:
    """For a default layer that is not where one would expect it."""
    return Finding(
        "layer-choice",
        f"{layer} was chosen: {remark}",
        f"name another ({setting('layers', 'NAME')}) if you know one",
    )


def resume_fallback() -> Finding:
    """For channels for which the whole network ran, since the part behind the layer could not run alone."""
    found = "the part behind the layer could not run alone, so the whole network ran for each channel"
    return Finding("resume-fallback", found, "the map is right; choose a later layer if it takes too long")


def memory_ended(smaller: str) -> Finding:
    """For a batch that did not fit into the device's memory and ran in ``smaller`` parts."""
    smaller_still = spoken("input", "Explainer(batch_size=…) or input")
    advice = f"the map is right; a smaller {smaller_still} avoids the failed attempt"
    return Finding("memory-ended", f"the device ran out of memory, so {smaller} were run at once", advice)


def no_component(method: str) -> Finding:
    """For a method to which eigen smoothing does not apply."""
    found = f"eigen smoothing does not apply to {method}, which has no channel contributions"
    return Finding("eigen-smooth-not-applied", found, "use the map as it is, or another method")


def single_layer(method: str) -> Finding:
    """For a method that multiplies the maps of several layers, given one."""
    found = f"{method} multiplies the maps of several layers but got one, and this is its map"
    return Finding(
        "single-layer", found, f"join several with a plus, earlier ones too ({setting('layers', 'a+b+c')})"
    )


def no_curvature() -> Finding:
    """For a second-order method where the score is linear in the layer."""
    found = "the score's second derivatives are zero at this layer, so this is the map of gradcam"
    return Finding("no-curvature", found, "choose an earlier layer, or use gradcam, which is faster")
