"""Sphinx configuration; the page of each method is written from the registry before each build."""

import sys
from pathlib import Path
from typing import Any

import torch
from sphinx_gallery.scrapers import figure_rst

import camlucida
from camlucida.methods.registry import Method, all_methods
from camlucida.metrics.registry import Metric, all_metrics
from camlucida.registry import Paper

HERE = Path(__file__).parent
sys.path.append(str(HERE))

from tables import write_tables  # noqa: E402 - it lies beside this file

project = "camlucida"
author = "The camlucida contributors"
release = camlucida.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
html_theme = "furo"
html_title = "camlucida"
html_static_path = ["images"]
exclude_patterns = ["_build", "gallery/**.py", "gallery/**.md5"]
myst_enable_extensions = ["colon_fence", "deflist"]
nitpicky = False
autodoc_typehints = "description"
autodoc_member_order = "bysource"
suppress_warnings = ["config.cache"]


def scrape(block: object, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Show what a block of an example ends in, if it can show itself in a notebook as PNG."""
    value = block_vars["example_globals"].get("___")
    if not hasattr(value, "_repr_png_"):
        return ""
    path = Path(next(block_vars["image_path_iterator"]))
    path.write_bytes(value._repr_png_())
    return figure_rst([str(path)], gallery_conf["src_dir"])


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "ignore_pattern": r"(__init__|tutorial)\.py",
    "filename_pattern": r"plot_",
    "write_computation_times": False,
    "image_scrapers": (scrape,),
    "capture_repr": ("__repr__",),
    "ignore_repr_types": r"camlucida|PIL",
    "abort_on_example_error": True,
    "show_signature": False,
}
torch.set_num_threads(2)


def cited(paper: Paper) -> str:
    """Authors, year, title with its address, equation."""
    source = f"[{paper.title}]({paper.url})" if paper.url else paper.title
    return f"{paper.citation}, {source}" + (f", {paper.equation}" if paper.equation else "")


def page_of(entry: Method) -> str:
    """The page of one method, all of it from its registry entry."""
    summary, _, rest = entry.doc.partition("\n")
    options = "".join(f"- `{o.name}` (default `{o.default}`): {o.doc}\n" for o in entry.options.values())
    option_lines = [line for line in rest.splitlines() if line.partition(":")[0].strip() not in entry.options]
    facts = {
        "Family": entry.family,
        "Needs": " and ".join(entry.needs),
        "Depends on the class": "no" if entry.classless else "yes",
        "Below zero": "evidence against" if entry.signed else "no meaning of its own",
        "Eigen smoothing": "no: it has no contributions" if entry.returns == "heatmap" else "applies",
        "Cost": entry.cost,
        "Source": cited(entry.paper),
    }
    table = "".join(f"| {name} | {value} |\n" for name, value in facts.items())
    flags = "".join(f" --option {entry.name}.{o.name}={o.default}" for o in entry.options.values())
    return (
        f"# {entry.name}\n\n{summary}\n\n"
        + "\n".join(option_lines).strip()
        + f"\n\n| | |\n|---|---|\n{table}\n"
        + (f"## Options\n\n{options}\n" if options else "")
        + f"## Use\n\n```console\n$ camlucida explain photo.jpg --method {entry.name}{flags}\n```\n\n"
        + f'```python\nimport camlucida as cl\n\ncl.explain("photo.jpg", method="{entry.name}")\n```\n'
    )


def write_method_pages(*_: object) -> None:
    """``docs/methods``: a page a method, and their table."""
    folder = HERE / "methods"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    rows, pages = "", ""
    for entry in all_methods().values():
        file = entry.name.replace("+", "p")
        (folder / f"{file}.md").write_text(page_of(entry), encoding="utf-8")
        rows += f"| [{entry.name}]({file}.md) | {entry.family} | {entry.summary} | {entry.paper.citation} |\n"
        pages += f"{file}\n"
    index = (
        "# Methods\n\nWhat `camlucida methods` lists, a page each.\n\n"
        f"| method | family | what it shows | source |\n|---|---|---|---|\n{rows}\n"
        f"```{{toctree}}\n:hidden:\n\n{pages}```\n"
    )
    (folder / "index.md").write_text(index, encoding="utf-8")


def section_of(metric: Metric) -> str:
    """The section of one metric, all of it from its registry entry."""
    lines = [line for line in metric.doc.splitlines() if line.partition(":")[0].strip() not in metric.options]
    options = "".join(f"- `{o.name}` (default `{o.default}`): {o.doc}\n" for o in metric.options.values())
    bounds = f"{metric.bounds[0]:g} to {metric.bounds[1]:g}"
    text = "\n".join(lines).strip()
    facts = f"*{metric.better.capitalize()} is better, {bounds}. {cited(metric.paper)}.*"
    return f"### {metric.name}\n\n{text}\n\n{options}\n{facts}\n\n"


def write_metrics_page(*_: object) -> None:
    """``docs/metrics/index.md``: all metrics by family."""
    folder = HERE / "metrics"
    folder.mkdir(exist_ok=True)
    text = (
        "# Metrics\n\nWhat `camlucida metrics` lists. {doc}`../measuring` says how to use them.\n\n"
        "Each was written from its paper and is tested against an independent oracle in float64.\n\n"
    )
    family = ""
    for metric in all_metrics().values():
        if metric.family != family:
            family = metric.family
            text += f"## {family.capitalize()}\n\n"
        text += section_of(metric)
    (folder / "index.md").write_text(text, encoding="utf-8")


def setup(app: object) -> None:
    """Sphinx calls this once."""
    write_method_pages()
    write_metrics_page()
    write_tables(HERE / "measured")
