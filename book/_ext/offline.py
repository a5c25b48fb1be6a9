"""Pages that ask nobody but their own site: MathJax comes along, Thebe's scripts stay out.

The theme loads MathJax from a content network, and Thebe's start-up code twice, which a browser reports as an error.
A classroom may be offline, so the site carries its own copy of MathJax, taken from the package sphinx-mathjax-offline.
"""

import shutil
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

SCRIPT = "mathjax/tex-chtml-full.js"
PARTS = ("tex-chtml-full.js", "output/chtml/fonts")


def use_copy(app: Sphinx, config: Config) -> None:
    config.mathjax_path = SCRIPT  # relative to _static


def drop_thebe(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    def thebe(script: object) -> bool:
        body = (getattr(script, "attributes", None) or {}).get("body") or ""
        return "sphinx-thebe" in str(getattr(script, "filename", "") or "") or "THEBE_JS_URL" in body

    context["script_files"] = [script for script in context.get("script_files", []) if not thebe(script)]


def copy_parts(package: str, distribution: str, folder: str, parts: Iterable[str], target: Path) -> None:
    """Copy files and folders of an installed package, named below its `folder`, to the same places below `target`."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"The package {distribution} is missing: run `make env`.")
    source = Path(spec.origin).parent / folder
    for part in parts:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / part, target / part)


def copy_mathjax(target: Path) -> None:
    """Put MathJax into a folder of its own."""
    copy_parts("sphinx-mathjax-offline", "sphinx-mathjax-offline", "static/mathjax", PARTS, target)


def finish(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        copy_mathjax(Path(app.outdir) / "_static" / "mathjax")


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", use_copy)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
