"""Formulas of docstrings, written in Unicode, typeset in the reference.

A docstring says `δₜ = rₜ + γₜ v(sₜ) − v(sₜ₋₁)` in an indented block, as one reads it in an editor. Here it becomes
TeX. A block with a character that is not known is left as it stands.
"""

import re
import unicodedata


def _pairs(table: str) -> dict[str, str]:
    parts = table.split()
    return {c: tex + " " * tex[-1].isalnum() for c, tex in zip(parts[::2], parts[1::2], strict=True)}


_SYMBOLS = _pairs(r"""
    α \alpha  β \beta  γ \gamma  δ \delta  ε \varepsilon  ζ \zeta  η \eta  θ \theta  ι \iota  κ \kappa  λ \lambda  μ \mu
    ν \nu  ξ \xi  π \pi  ρ \rho  σ \sigma  τ \tau  υ \upsilon  φ \varphi  χ \chi  ψ \psi  ω \omega  Γ \Gamma  Δ \Delta
    Θ \Theta  Λ \Lambda  Ξ \Xi  Π \Pi  Φ \Phi  Ψ \Psi  Ω \Omega  Σ \sum  ∑ \sum  ∏ \prod  ∫ \int  ∂ \partial  ∇ \nabla
    ∞ \infty  · \cdot  × \times  ⊙ \odot  ⊗ \otimes  ⊕ \oplus  ∘ \circ  ± \pm  − -  ∓ \mp  ≤ \le  ≥ \ge  ≠ \ne
    ≈ \approx  ≡ \equiv  ≪ \ll  ≫ \gg  ∝ \propto  ∈ \in  ∉ \notin  ∪ \cup  ∩ \cap  ⊂ \subset  ⊆ \subseteq  ∀ \forall
    ∃ \exists  → \to  ↦ \mapsto  ← \leftarrow  ⇒ \Rightarrow  ⇔ \Leftrightarrow  ‖ \Vert  ∥ \Vert  … \ldots  ⋯ \cdots
    ~ \sim  ∼ \sim  ⌈ \lceil  ⌉ \rceil  ⌊ \lfloor  ⌋ \rfloor  ⟨ \langle  ⟩ \rangle  ℓ \ell  𝒩 \mathcal{N}  ℝ \mathbb{R}
    ℤ \mathbb{Z}  ℕ \mathbb{N}  𝔼 \mathbb{E}  ½ \tfrac12  ¼ \tfrac14  ¾ \tfrac34  ⅓ \tfrac13  ′ '  ″ ''  ∧ \wedge
    ∨ \vee  ¬ \neg  ∅ \varnothing  † \dagger  ⋆ \star  ∗ *  ⊤ \top  % \%  & \&  # \#  $ \$  { \{  } \}  𝟙 \mathbb{1}
    – -  ‚ ,  µ \mu  ∖ \setminus  ⟂ \perp  ⊥ \perp  ≔ :=  ⁄ /
""")
_MARKS = {shown[-1]: tex for shown, tex in _pairs(r"◌̂ \hat  ◌̄ \bar  ◌̅ \bar  ◌̃ \tilde  ◌̇ \dot  ◌̈ \ddot").items()}
_SUB = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789+-=()aehijklmnoprstuvx", strict=True))
_SUB |= _pairs(r"ᵦ \beta  ᵧ \gamma  ᵨ \rho  ᵩ \varphi  ᵪ \chi")
_SUPER = dict(
    zip(
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴴᴷᴸᴹᴺᴾᴿ",
        "0123456789+-=()abcdefghijklmnoprstuvwxyzABDHKLMNPR",
        strict=True,
    )
)
_SUPER |= _pairs(r"ᵀ \top  ᵝ \beta  ᵞ \gamma  ᵟ \delta  ᵠ \varphi  ᵡ \chi")
_FUNCTIONS = {
    "min",
    "max",
    "log",
    "exp",
    "tanh",
    "cos",
    "sin",
    "tan",
    "cosh",
    "sinh",
    "det",
    "arg",
    "sup",
    "inf",
    "lim",
}


def tex(block: str) -> str | None:
    """The TeX of the lines of a formula, None if something in them is not known."""
    lines = [line for line in block.splitlines() if line.strip()]
    try:
        done = [_line(unicodedata.normalize("NFD", line.strip())) for line in lines]
    except KeyError:
        return None
    if len(done) == 1:
        return done[0]
    at_equals = all("=" in line for line in done)
    rows = [line.replace("=", "&=", 1) if at_equals else "&" + line for line in done]
    return r"\begin{aligned}" + "\\\\\n".join(rows) + r"\end{aligned}"


def _line(text: str) -> str:
    out, i = [], 0
    while i < len(text):
        piece, i = _atom(text, i)
        while i < len(text) and text[i] in _MARKS:
            piece, i = f"{_MARKS[text[i]]}{{{piece.strip()}}}", i + 1
        out.append(piece)
    return "".join(out).strip()


def _atom(text: str, i: int) -> tuple[str, int]:
    """One symbol, word, script or root at a place, and the place after it."""
    c = text[i]
    for table, script in ((_SUB, "_"), (_SUPER, "^")):
        if c in table:
            j = i
            while j < len(text) and text[j] in table:
                j += 1
            return f"{script}{{{''.join(table[x] for x in text[i:j])}}}", j
    if name := re.match(
        r"[A-Za-z]{2,}(?:_[A-Za-z]{2,})+(?![\w=])", text[i:]
    ):  # of the code, not a symbol with a subscript
        return rf"\mathrm{{{name[0]}}}".replace("_", r"\_"), i + name.end()
    if word := re.match(r"[A-Za-z]{2,}", text[i:]):
        end = i + word.end()
        if end < len(text) and text[end] in _MARKS:  # the mark belongs to the last letter only
            return text[i], i + 1
        name = word[0]
        return (rf"\{name} " if name in _FUNCTIONS else rf"\mathrm{{{name}}}"), end
    if c == "_":
        return _script(text, i + 1)
    if c == "^":
        script, j = _script(text, i + 1)
        return "^" + script[1:], j
    if c == "√":
        inside, j = _group(text, i + 1)
        return rf"\sqrt{{{_line(inside)}}}", j
    if c == " ":
        j = i
        while j < len(text) and text[j] == " ":
            j += 1
        near = re.search(r"[A-Za-z]{2,}[,:;]?$", text[:i]), re.match(r"[A-Za-z]{2,}", text[j:])
        beside_word = any(word and word[0].strip(",:;") not in _FUNCTIONS for word in near)
        return (r"\quad " if j - i > 1 else r"\ " if beside_word or text[i - 1] in ",;:" else " "), j
    if c == "Σ" and text[i + 1 : i + 2] not in (*" _{([", *_SUB):
        return r"\Sigma ", i + 1  # a covariance
    if c in _SYMBOLS:
        return _SYMBOLS[c], i + 1
    if c.isascii():
        return c, i + 1
    raise KeyError(c)


def _script(text: str, i: int) -> tuple[str, int]:
    """A subscript written with `_`: a word, a number or what stands in braces."""
    if text[i : i + 1] == "{":
        inside, j = _braced(text, i, "{}")
        return f"_{{{_line(inside)}}}", j
    if text[i : i + 1] == "(":
        inside, j = _braced(text, i, "()")
        return f"_{{{_line(inside)}}}", j
    if text[i : i + 1] == "|" and (end := text.find("|", i + 1)) > 0:
        return f"_{{{_line(text[i : end + 1])}}}", end + 1
    found = re.match(r"[−-]?[A-Za-z0-9α-ωΑ-Ω]+(?:[+−-][0-9])?", text[i:])
    if not found and text[i : i + 1] in _SYMBOLS:
        return f"_{{{_SYMBOLS[text[i]]}}}", i + 1
    if not found:
        return r"\_", i
    return f"_{{{_line(found[0])}}}", i + found.end()


def _group(text: str, i: int) -> tuple[str, int]:
    """What a root stands before: brackets without them, or one symbol with its scripts."""
    if text[i : i + 1] == "(":
        return _braced(text, i, "()")
    name = re.match(r"[A-Za-z]{2}\w*", text[i:])
    j = i + (name.end() if name else 1)
    while j < len(text) and (text[j] in _MARKS or text[j] in _SUB or text[j] in _SUPER or text[j].isalnum()):
        j += 1
    return text[i:j], j


def _braced(text: str, i: int, pair: str) -> tuple[str, int]:
    depth = 0
    for j in range(i, len(text)):
        depth += (text[j] == pair[0]) - (text[j] == pair[1])
        if depth == 0:
            return text[i + 1 : j], j + 1
    raise KeyError(text)


_SECTION = re.compile(r"(Args|Parameters|Returns|Raises|Attributes|Example|References|State|Type parameters):$")
_MATHS = re.compile("[=<>" + "".join(c for c in (*_SYMBOLS, *_SUB, *_SUPER) if not c.isascii()) + "]")
_OTHER = re.compile(r">>>|::|[\"`]|^\s*[-*|] ")  # examples, lists, tables, words


def typeset(lines: list[str]) -> list[str]:
    """Puts the indented formulas of a docstring into `math` directives, up to its first section."""
    out, i = [], 0
    while i < len(lines):
        if _SECTION.match(lines[i]):
            return out + lines[i:]
        j = i
        while j < len(lines) and lines[j].startswith("    "):
            j += 1
        block = "\n".join(lines[i:j])
        alone = (i == 0 or not lines[i - 1].strip()) and j > i
        if alone and _MATHS.search(block) and not _OTHER.search(block) and (found := tex(block)):
            out += [".. math::", "", *("   " + line for line in found.splitlines()), ""]
            i = j
        elif alone and not _OTHER.match(block):
            out += ["::", "", *lines[i:j], ""]
            i = j
        else:
            out.append(lines[i])
            i += 1
    return out
