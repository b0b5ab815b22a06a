"""Reasons, not zeros: why a map is blank or not to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from camlucida.errors import setting, spoken

_SATURATED = 0.999  # probability above which its gradient is next to nothing


@dataclass(frozen=True)
class Finding:
    """Something to know before a map is believed: a code, what was found, and the next step."""

    code: str
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found}: {self.advice}"


def narrow_range(low: int, high: int) -> Finding:
    """Of a picture whose values, as eight bits, lie from ``low`` to ``high`` but for a few."""
    found = f"the picture uses {low} to {high} of 255 grey levels, less than a tenth"
    advice = (
        "if it should not look so flat, scale its values to 0…255, or write the largest into the file (TIFF's "
        "MaxSampleValue, PNG's sBIT)"
    )
    return Finding("narrow-range", found, advice)


def band_left_out() -> Finding:
    """Of a TIFF whose last band may be alpha by the file's tags, and is not by its values."""
    found = "the picture's last band does not look like transparency and is left out"
    return Finding("band-left-out", found, "lay the picture on white yourself if it is transparency")


def unlikely_alpha() -> Finding:
    """Of an array whose fourth band is taken as alpha, as always, and does not look like it."""
    found = "the array's fourth band is taken for transparency and does not look like it"
    return Finding("unlikely-alpha", found, "leave it out (`array[..., :3]`) if it is another band")


def zero_gradient() -> Finding:
    """Of a layer whose gradient is zero everywhere."""
    found = "the score does not change with any position of this layer"
    advice = "choose an earlier layer; where only the class token is read, one before the last attention"
    return Finding("zero-gradient", found, advice)


def saturated(probability: float) -> tuple[Finding, ...]:
    """Of a target that is a probability of this value."""
    if probability < _SATURATED:
        return ()
    found = f"the probability is {probability:.4f}, where its gradient is next to nothing"
    return (Finding("saturated", found, "explain the class's logit instead (`ClassScore`)"),)


def layout_unsure(layer: str, layout: str, verdict: str) -> Finding:
    """Of a layer whose positions the probe could not confirm."""
    found = f"that {layer} returns {layout} is read off its shape, and the probe did not confirm it ({verdict})"
    return Finding(f"layout-{verdict}", found, "compare with a map of another layer before you believe it")


def uneven_grid(where: str) -> Finding:
    """Of a model that pads, crops or moves the picture inside, and so has it elsewhere in its grid."""
    found = f"the model pads or crops the picture inside ({where}), and the map is laid evenly over the input"
    return Finding("uneven-grid", found, "pad or crop before the model, by its preprocessing, and explain that")


def draws_lots() -> Finding:
    """Of a model that gives another output for the same input each time."""
    found = "the model gives other scores for the same picture each time it runs, since it draws random numbers"
    advice = "a map is of one such draw: average several, or switch the drawing off in the model"
    return Finding("draws-lots", found, advice)


def leans_on_batch() -> Finding:
    """Of a model whose output for a picture depends on those beside it."""
    found = "the score of a picture depends on the pictures beside it (statistics of the batch)"
    return Finding(
        "leans-on-batch", found, "each was run alone here: compare with scores of pictures run alone"
    )


def under_autocast(dtype: str) -> Finding:
    """Of a map that was made while the caller's autocast was on."""
    found = f"the model ran under autocast, so that the map has the precision of {dtype}"
    return Finding("autocast", found, "explain outside `torch.autocast` for float32's")


def layer_chosen(layer: str, remark: str) -> Finding:
    """Of a default layer that is not where one would expect it."""
    return Finding(
        "layer-choice",
        f"{layer} is looked at: {remark}",
        f"name another ({setting('layers', 'NAME')}) if you know one",
    )


def resume_fallback() -> Finding:
    """Of channels for which the whole network ran, where running what follows the layer is not right."""
    found = "what follows the layer could not be run alone, so the whole network ran for each channel"
    return Finding("resume-fallback", found, "the map is right; choose a later layer if it takes too long")


def memory_ended(smaller: str) -> Finding:
    """Of work that did not fit into the device's memory at once and was done in ``smaller`` parts."""
    smaller_still = spoken("input", "Explainer(batch_size=…) or input")
    advice = f"the map is right; a smaller {smaller_still} spares the attempt"
    return Finding("memory-ended", f"the device's memory ended, so {smaller} were run at once", advice)


def no_component(method: str) -> Finding:
    """Of a method to which eigen smoothing does not apply."""
    found = f"eigen smoothing does not apply to {method}, which has no contributions of channels"
    return Finding("eigen-smooth-not-applied", found, "take the map as it is, or another method")


def single_layer(method: str) -> Finding:
    """Of a method that multiplies the maps of several layers, given one."""
    found = f"{method} multiplies the maps of several layers and got one, whose map this is"
    return Finding(
        "single-layer", found, f"name several with a plus, earlier ones too ({setting('layers', 'a+b+c')})"
    )


def no_curvature() -> Finding:
    """Of a second-order method where the score is linear in the layer, as far as can be seen from here."""
    found = "the score's second derivatives are zero at this layer, so that this is the map of gradcam"
    return Finding("no-curvature", found, "choose an earlier layer, or save the time and take gradcam")
