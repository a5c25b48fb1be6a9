"""The button for Colab leads to the copy of a notebook that installs what it needs, in `colab/`.

There are such buttons only if the site was built with the address of a repository; `book/scripts/online.py` makes the
copies.
"""

from sphinx.application import Sphinx


def to_the_copy(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("text") == "Colab":
                button["url"] = button["url"].replace("/notebooks/", "/colab/")


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", to_the_copy, priority=900)  # after the theme
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
