"""The reference is made of docstrings: their formulas become TeX, their marks plain text."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_ext"))

import formulas
import reference
from docutils.core import publish_doctree
from docutils.nodes import field_name, problematic, title_reference


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("δₜ = rₜ + γₜ v(sₜ₋₁)", r"\delta _{t} = r_{t} + \gamma _{t} v(s_{t-1})"),
        ("√(v̂ₜ + ε̄) + ε", r"\sqrt{\hat {v}_{t} + \bar {\varepsilon}} + \varepsilon"),
        ("Σᵢ xᵢ² ≤ c_visit", r"\sum _{i} x_{i}^{2} \le c_{\mathrm{visit}}"),
        ("x ~ 𝒩(0, Σ)", r"x \sim \mathcal{N}(0,\ \Sigma )"),
        ("stop_gradient(p)", r"\mathrm{stop\_gradient}(p)"),
        ("e^|x| w^(-2i)", r"e^{|x|} w^{-2i}"),
        ("a = 1\nbb = 2", "\\begin{aligned}a &= 1\\\\\n\\mathrm{bb}\\ &= 2\\end{aligned}"),
        ("猫 = 1", None),
    ],
)
def test_formulas_become_tex(text, tex):
    found = formulas.tex(text)
    assert (found and re.sub(" +", " ", found)) == tex


def test_every_formula_of_a_docstring_is_balanced():
    count = 0
    for name in reference.modules():
        module = importlib.import_module(name)
        for member in reference.names(module):
            for line in formulas.typeset((inspect.getdoc(getattr(module, member)) or "").splitlines()):
                if line.startswith("   ") and "\\" in line:
                    bare = line.replace(r"\{", "").replace(r"\}", "")
                    assert bare.count("{") == bare.count("}"), (member, line)
                    assert r"^\_" not in line, (member, line)
                    count += 1
    assert count > 200


def test_marks_of_a_docstring_are_plain_text():
    lines = [
        "The norm |g| of *args, `name` and `a: b`.",
        "  * a point",
        "",
        "Args:",
        "  x: x.",
        "",
        "Example:",
        "  >>> 2 * 3",
    ]
    assert reference.plain(lines) == [
        r"The norm \|g\| of \*args, `name` and ``a: b``.",
        "",
        "  * a point",
        "",
        "Args:",
        r"  x: \x.",
        "",
        "Example:",
        "  >>> 2 * 3",
    ]


@pytest.mark.parametrize("text", ["±`torque`", "`step`s", "2`x`", "a `b` c"])
def test_code_is_seen_as_code_beside_any_character(text):
    nodes = publish_doctree(reference.plain([text])[0], settings_overrides={"report_level": 5})
    assert list(nodes.findall(title_reference))
    assert "`" not in nodes.astext()


def test_arguments_are_shown_by_their_names():
    fields, names = [], []
    for name in reference.modules():
        module = importlib.import_module(name)
        for member in filter(inspect.isfunction, (getattr(module, member) for member in reference.names(module))):
            described = (inspect.getdoc(member) or "").partition("Args:\n")[2].partition("\n\n")[0].splitlines()
            for line in reference.plain(["Args:", *described]):
                if head := re.match(r"  ([a-z]\w*(?:\\_)?): ", line):
                    fields.append(f":param {head[1]}: text")
                    names.append(inspect.signature(member).parameters)
    document = publish_doctree("\n".join(fields), settings_overrides={"report_level": 5})
    assert not list(document.findall(problematic))  # a name that is taken for a link
    shown = [node.astext().split()[1] for node in document.findall(field_name)]
    assert [name for name, parameters in zip(shown, names, strict=True) if name not in parameters] == []
    assert len(shown) > 500


def test_a_public_name_without_a_docstring_has_a_text_and_its_value_as_the_source_writes_it():
    count = 0
    for name in reference.modules():
        module = importlib.import_module(name)
        for member in reference.names(module):
            value = getattr(module, member)
            described = reference._is_described(value) or inspect.ismodule(value)
            is_home = reference.homes().get(reference._key(member, value), f"{name}.{member}") == f"{name}.{member}"
            if is_home and not described:
                said, written = reference.definition(module, member)
                assert written, f"{name}.{member}: no definition found"
                said = reference.OF_SYSTEMS.get(member, said)
                assert len(said.split()) > 1, f"{name}.{member}: no comment above its definition"
                count += 1
    assert count > 50


def test_every_public_name_has_one_home_and_a_topic():
    homes = set(reference.homes().values())
    for name in reference.modules():
        module = importlib.import_module(name)
        listed = [member for members in reference.topics(module).values() for member in members]
        assert sorted(listed) == sorted(reference.names(module))
    assert {"renga.nn.Linear", "renga.optim.adamw", "renga.rl.vtrace", "renga.search.muzero_policy"} <= homes
    assert "renga.optim.transforms.adamw" not in homes  # it is that of `renga.optim`


def test_annotations_show_the_names_that_the_source_writes():
    def words(text):
        return set(re.findall(r"[A-Za-z_]\w*", re.sub(r"renga(\.\w+)*\.(?=\w)", "", text)))

    count = 0
    for name in reference.modules():
        module = importlib.import_module(name)
        for member in reference.names(module):
            function = getattr(module, member)
            shown = inspect.isfunction(function) and reference.signature(
                None, "function", member, function, None, "", ""
            )
            if not shown:
                continue
            shown, source = words(" ".join(filter(None, shown))), words(inspect.getsource(inspect.unwrap(function)))
            of_classes = {other for other in shown if inspect.isclass(getattr(module, other, None))}
            assert shown <= source | of_classes, member
            count += 1
    assert count > 500


def test_topics_that_come_first_exist():
    for library, files in reference.FIRST.items():
        for file in files.split():
            assert importlib.import_module(f"{library}.{file}")
