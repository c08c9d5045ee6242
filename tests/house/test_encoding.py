"""Text is read and written as UTF-8 whatever the locale: its encoding is always said."""

import ast
from pathlib import Path

import renga

ROOT = Path(renga.__file__).parent


def is_unsaid(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the locale."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    said = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in ("read_text", "write_text"):
        return "encoding" not in said
    if name in ("run", "Popen", "check_output"):
        return "text" in said and "encoding" not in said
    modes = [x.value for x in (*call.args[:2], said.get("mode")) if isinstance(x, ast.Constant)]
    is_text = any(mode in ("r", "w", "a", "x") for mode in modes)
    is_default = isinstance(call.func, ast.Name) and len(call.args) == 1 and "mode" not in said
    return name == "open" and (is_text or is_default) and "encoding" not in said


def test_the_encoding_of_text_is_said():
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and is_unsaid(node)
    ]
    assert not calls
