"""Makes the tree of pages beside each page sooner: it shows titles, so nothing else is copied for it."""

from sphinx import addnodes
from sphinx.application import Sphinx


def titles(toc):
    """Returns a page's table of contents with nothing below its title but the tables of further pages."""
    toc = toc.deepcopy()
    for item in list(toc.findall(lambda node: node.tagname == "list_item"))[1:]:
        if item.parent and not any(item.findall(addnodes.toctree)):
            item.parent.remove(item)
    return toc


def give_titles(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Has the theme's function that makes the tree see titles alone."""
    env, whole, tree = app.env, app.env.tocs, context["toctree"]
    if not hasattr(env, "titles_only"):
        env.titles_only = {name: titles(toc) for name, toc in whole.items()}

    def toctree(**options):
        if not options.get("titles_only"):
            return tree(**options)
        env.tocs = env.titles_only
        try:
            return tree(**options)
        finally:
            env.tocs = whole

    context["toctree"] = toctree


def setup(app: Sphinx) -> dict[str, bool]:
    """Adds this to Sphinx."""
    app.connect("html-page-context", give_titles, priority=1)  # the theme asks for the tree after that
    return {"parallel_read_safe": True, "parallel_write_safe": True}
