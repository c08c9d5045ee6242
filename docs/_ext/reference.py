"""The reference: every public name of a module, by topic, from its docstring.

`.. library:: renga.nn` lists what `renga.nn` exports. A topic is a private file of the package, its title the first
line of that file's docstring, up to a colon. A name that another module has already is listed with a link to it.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
import unicodedata
from pathlib import Path
from types import ModuleType
from typing import Any

import formulas
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.pycode import ModuleAnalyzer

import renga


def modules() -> list[str]:
    """The public modules, outer ones first."""
    found = [
        info.name
        for info in pkgutil.walk_packages(renga.__path__, "renga.")
        if not any(part.startswith("_") for part in info.name.split("."))
    ]
    return [name for name in sorted(found, key=lambda n: (n.count("."), n)) if names(importlib.import_module(name))]


def names(module: ModuleType) -> list[str]:
    """What a module exports. A system exports what it defines, as `renga.systems` says."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith(module.__name__)
    ]


# Where a reader begins: the topics that come first, by their files; the others follow by name.
FIRST = {
    "renga.nn": "_transform _module _linear _conv_fixed _attention _recurrent _unroll _norm _batch_norm",
    "renga.optim": "_transformation _chain _adam _adam_variants _momentum _rms _sign _scale _schedules _clip _apply",
    "renga.rl": "_value_learning _policy_gradients _multistep _vtrace _distributional _exploration",
    "renga.search": "_policies _types _search _tree _selections _qtransforms",
    "renga.dist": "_distribution _normal _discrete _policies _multivariate _transformed",
    "renga.graph": "_types _networks _layers _segment _extremes _batch _padding",
    "renga.loop": "_run _iterate _restore _checkpoint _directory _errors _config _sweep _outcome _members",
    "renga.testing": "_check _transforms _gradients _traces _trees _values",
}


def _key(name: str, value: Any) -> Any:
    """What tells a public object: itself; the name too of an alias such as `Params` and of a constant."""
    return id(value) if _is_described(value) or isinstance(value, ModuleType) else (name, id(value))


@functools.cache
def homes() -> dict[Any, str]:
    """The full name under which each object is described, by its key: the outermost module's."""
    found: dict[Any, str] = {}
    for module_name in modules():
        module = importlib.import_module(module_name)
        for name in names(module):
            value = getattr(module, name)
            if not isinstance(value, int | float | str | tuple | None):  # which may be one object by chance
                found.setdefault(_key(name, value), f"{module_name}.{name}")
    return found


def _is_described(value: Any) -> bool:
    is_ours = str(getattr(value, "__module__", "")).startswith("renga")
    return is_ours and (inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "__wrapped__"))


def topics(module: ModuleType) -> dict[str, list[str]]:
    """Title of a topic → the names in it."""
    found: dict[str, list[str]] = {}
    order: dict[str, Any] = {}
    first = FIRST.get(module.__name__, "").split()
    for name in names(module):
        value = getattr(module, name)
        origin = getattr(value, "__module__", "") if _is_described(value) else ""
        private = origin.rpartition(".")[2].startswith("_") and origin.startswith("renga.")
        title = _first_line(importlib.import_module(origin)).partition(": ")[0].rstrip(".") if private else ""
        file = origin.rpartition(".")[2]
        order.setdefault(title, (first.index(file) if file in first else len(first), origin))
        found.setdefault(title, []).append(name)
    return dict(sorted(found.items(), key=lambda item: (item[0] == "", order[item[0]])))


def _first_line(value: Any) -> str:
    text = (inspect.getdoc(value) or "").strip()
    return " ".join(text.split("\n\n")[0].split()) if text else ""


def imports(module_name: str) -> str:
    """What the examples of a module assume. The tests run them with nothing else."""
    return f"import jax, jax.numpy as jnp, numpy as np; from {module_name} import *"


class Modules(Directive):
    """All modules, each with what it is."""

    def run(self) -> list[nodes.Node]:
        """Makes the table."""
        lines = [".. list-table::", "   :widths: 30 70", "   :class: reference-table", ""]
        for name in modules():
            summary = plain([_first_line(importlib.import_module(name))])[0]
            lines += [f"   * - :doc:`{name} <{name}>`", f"     - {summary}"]
        node = nodes.container(document=self.state.document)
        self.state.nested_parse(StringList(lines, source="reference"), 0, node)
        return node.children


class Library(Directive):
    """The entries of one module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Makes the nodes of the page."""
        name = self.arguments[0]
        module = importlib.import_module(name)
        parts = topics(module)
        found = self._parse(nodes.container(), [f".. py:module:: {name}", "", *_paragraphs(module), ""]).children
        start = len(found)
        for title, members in parts.items():
            lines = _table(name, module, members)
            for member in members:
                lines += _entry(name, module, member)
            if len(parts) == 1:
                found += self._parse(nodes.container(), lines).children
                break
            title = title or "More"
            section = nodes.section(ids=[nodes.make_id(f"{name} {title}")])
            section += nodes.title(title, title)
            found.append(self._parse(section, lines))
        if any(list(node.findall(nodes.doctest_block)) for node in found[start:]):
            lines = ["The examples assume these imports:", "", ".. code-block:: python", "", f"   {imports(name)}", ""]
            found[start:start] = self._parse(nodes.container(), lines).children
        return found

    def _parse(self, node: nodes.Element, lines: list[str]) -> nodes.Element:
        node.document = self.state.document
        self.state.nested_parse(StringList(lines, source=self.arguments[0]), 0, node)
        return node


def _paragraphs(module: ModuleType) -> list[str]:
    """What a module says of itself, its indented blocks as code."""
    out: list[str] = []
    for line in (inspect.getdoc(module) or "").splitlines():
        if line.startswith("    ") and not out[-1].strip():
            out += ["::", ""]
        out.append(line)
    return plain(out)


def _table(module_name: str, module: ModuleType, members: list[str]) -> list[str]:
    lines = [".. list-table::", "   :widths: 35 65", "   :class: reference-table", ""]
    for name in members:
        value = getattr(module, name)
        home = homes().get(_key(name, value), f"{module_name}.{name}")
        summary = _first_line(value) if _is_described(value) else OF_SYSTEMS.get(name, definition(module, name)[0])
        lines += [f"   * - :py:obj:`{name} <{home}>`", f"     - {plain([summary])[0]}"]
    return [*lines, ""]


def _entry(module_name: str, module: ModuleType, name: str) -> list[str]:
    full, value = f"{module_name}.{name}", getattr(module, name)
    home = homes().get(_key(name, value), full)
    if home != full or isinstance(value, ModuleType):  # which has a page of its own
        return []
    if inspect.isclass(value) and _is_described(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        return [f".. auto{kind}:: {full}", "   :members:", ""]
    if _is_described(value):
        return [f".. autofunction:: {full}", ""]
    return [
        f".. py:data:: {name}",
        f"   :module: {module_name}",
        "",
        *textwrap.indent(_constant(module, name), "   ").splitlines(),
        "",
    ]


# What every system has.
OF_SYSTEMS = {
    "PRESETS": "Names for `--preset` → a config and the number of steps that it needs.",
    "STEPS": "The number of steps that `renga train` takes, if `--steps` does not say another.",
}


def _constant(module: ModuleType, name: str) -> str:
    """What is said of a name that has no docstring: the comment above its definition, and its value as written."""
    said, value = definition(module, name)
    return "\n\n".join(filter(None, (*plain([OF_SYSTEMS.get(name, said)]), f"``{value}``" if len(value) < 200 else "")))


def definition(module: ModuleType, name: str) -> tuple[str, str]:
    """The comment above the definition of a name in a module or beside it, and the value as it is written."""
    file = Path(inspect.getfile(module))
    for path in (file, *sorted(file.parent.rglob("*.py"))):
        node = _assignments(path).get(name)
        if node:
            lines, said = path.read_text().splitlines(), []
            for line in reversed(lines[: node.lineno - 1]):
                if not line.startswith("# ") or line.startswith("# ---"):
                    break
                said.insert(0, line[2:])
            return " ".join(said), ast.unparse(node.value)
    return "", ""


@functools.cache
def _assignments(path: Path) -> dict[str, Any]:
    """The assignments to a name at the top level of a file."""
    found: dict[str, Any] = {}
    for node in ast.parse(path.read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if getattr(node, "value", None) is not None:
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(name, ast.Name):
                    found.setdefault(name.id, node)
    return found


# --- pages ----------------------------------------------------------------------------------------


def write_pages(app: Sphinx) -> None:
    """Writes a page for each public module."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    for name in modules():
        page = f"# `{name}`\n\n```{{eval-rst}}\n.. library:: {name}\n```\n"
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != page:
            path.write_text(page)


# --- signatures as they are written ---------------------------------------------------------------


def signature(app: Sphinx, what: str, name: str, obj: Any, options: Any, given: str, returned: str) -> Any:
    """The signature with its annotations as the source has them."""
    try:
        function = inspect.unwrap(obj.__init__ if inspect.isclass(obj) else obj)
        if inspect.isclass(obj) and "__init__" not in vars(obj) and not _own_init(obj):
            return None
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (TypeError, OSError, SyntaxError, AttributeError, IndentationError):
        return None
    if not isinstance(node, ast.FunctionDef):
        return None
    found = node.args
    bound = inspect.ismethod(obj) or what in ("class", "method", "exception")
    if found.args and found.args[0].arg in ("self", "cls", "mcs") and bound:
        del found.args[0]
    node = _Named(function).visit(node)
    result = ast.unparse(node.returns) if node.returns and what not in ("class", "exception") else None
    return f"({ast.unparse(found)})", result


class _Named(ast.NodeTransformer):
    """Gives our types in annotations their full names, to link to; they are shown by the last part."""

    def __init__(self, function: Any):
        self._globals, self._homes = function.__globals__, homes()

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Replaces the name of a type."""
        home = self._homes.get(_key(node.id, self._globals.get(node.id)))
        return ast.Name(home) if home else node


def _own_init(cls: type) -> bool:
    return any("__init__" in vars(c) for c in cls.__mro__ if c.__module__.startswith("renga."))


_MARKED = re.compile(r"`[^`]*`|[*|]|\\(?!_)|(?<=\w)_(?!\w)")  # code, and what reStructuredText would take for marks


def plain(lines: list[str]) -> list[str]:
    """Escapes what reStructuredText would take for marks: in a docstring only backticks mean something."""
    out: list[str] = []
    opened: int | None = None  # indent of the line that opened a block that stays as it is
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if opened is not None and line.strip() and indent <= opened:
            opened = None
        if opened is None and not line.lstrip().startswith("..") and line.strip() != "::":
            item = re.match(r"\s*[*-] ", line)
            if item and out and out[-1].strip() and not out[-1].startswith((item[0], " " * len(item[0]))):
                out.append("")
            head = item or re.match(r"\s+\*{0,2}\w+:(?= )", line)  # or the name of an argument
            head = head[0] if head else ""
            text = _MARKED.sub(_escaped, line[len(head) :])
            head = head.replace("_:", r"\_:")  # not a reference
            line = head + re.sub(r"^(\s*)(?=\w{1,4}[.)](?:\s|$))", r"\1\\", text)  # which would number a list
        out.append(line)
        if opened is None and (line.strip() in ("Example:", "::") or line.startswith(".. math")):
            opened = indent
    return out


def _escaped(found: re.Match[str]) -> str:
    """A name in backticks as it stands, other code as code, a mark with a backslash."""
    if found[0][0] != "`":
        return "\\" + found[0]
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    code = found[0] if re.fullmatch(r"`[\w.]+`", found[0]) else f"`{found[0]}`"
    return "\\ " * _joins(before) + code + "\\ " * _joins(after)


def _joins(beside: str) -> bool:
    """Whether a character beside code, such as ±, would keep the code from being seen as such."""
    return bool(beside) and (beside.isalnum() or unicodedata.category(beside) == "Sm")


def docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Typesets formulas. What a module learns is no argument of it."""
    named = ["Learned parameters:" if line == "Parameters:" else line for line in lines]
    lines[:] = plain(formulas.typeset(named))


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leaves out fields of which nothing is said: but their number in a NamedTuple, but that a default is a dtype."""
    is_number = str(getattr(obj, "__doc__", "")).startswith("Alias for field number")
    is_dtype = inspect.isclass(obj) and not obj.__module__.startswith("renga")
    return True if is_number or is_dtype else None


def assigned_in(app: Sphinx, module_name: str, name: str) -> str | None:
    """The module itself, of a name that it assigns, as `load = Agent.load`: the link to the source leads there."""
    return module_name if name in _assignments(Path(inspect.getfile(importlib.import_module(module_name)))) else None


def source(app: Sphinx, module_name: str) -> tuple[str, dict[str, tuple[str, int, int]]] | None:
    """The source of a module of ours, and the lines of each name that it defines or assigns."""
    if not module_name.startswith("renga."):
        return None
    analyzer = ModuleAnalyzer.for_module(module_name)
    analyzer.find_tags()
    assigned = _assignments(Path(analyzer.srcname))
    tags = {name: ("other", node.lineno, node.end_lineno) for name, node in assigned.items()}
    return analyzer.code, {**tags, **analyzer.tags}


def called(app: Sphinx, domain: str, kind: str, content: nodes.Element) -> None:
    """Shows the brackets of a class that is made without arguments, if it is not one to derive from."""
    for found in content.parent.findall(addnodes.desc_signature) if kind == "class" else ():
        cls = getattr(importlib.import_module(found["module"]), found["fullname"], None)
        is_complete = inspect.isclass(cls) and not inspect.isabstract(cls) and not cls.__subclasses__()
        if is_complete and not list(found.findall(addnodes.desc_parameterlist)):
            after = next(i for i, child in enumerate(found) if isinstance(child, addnodes.desc_name)) + 1
            found.insert(after, addnodes.desc_parameterlist())


def complete(app: Sphinx, error: Exception | None) -> None:
    """Fails where a public name has no entry."""
    if error is None:
        found = set(app.env.domains.python_domain.objects)
        missing = sorted(set(homes().values()) - found)
        if missing:
            raise ExtensionError(f"no entry in the reference: {', '.join(missing)}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.viewcode")
    app.add_directive("library", Library)
    app.add_directive("modules", Modules)
    app.connect("builder-inited", write_pages)
    app.connect("viewcode-follow-imported", assigned_in)
    app.connect("viewcode-find-source", source)
    app.connect("build-finished", complete)
    app.connect("autodoc-process-signature", signature)
    app.connect("object-description-transform", called)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", docstring, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "version": "1"}
