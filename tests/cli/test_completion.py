"""`renga completion SHELL`: what the shell then completes."""

import shutil
import subprocess

import pytest

from renga.cli import main

ASK = """
source "$1"
function="$(complete -p renga | sed 's/.*-F \\([^ ]*\\) .*/\\1/')"
while read -r -a words; do
  COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1)) COMPREPLY=()
  if [[ "${words[-1]}" == "-" ]]; then COMP_WORDS[-1]=""; fi  # nothing is typed yet
  "$function"
  echo "${COMPREPLY[@]}"
done
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_systems_fields_and_choices(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "renga.bash"
    script.write_text(capsys.readouterr().out)
    asked = ["renga tr", "renga train g", "renga train gan --gen-s", "renga train actor_critic --algorithm -"]
    asked += ["renga sweep dqn --tri", "renga eval runs/"]
    found = subprocess.run(
        ["bash", "-c", ASK, "bash", str(script)],
        input="\n".join(asked) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    found = [set(line.split()) for line in found.stdout.splitlines()]
    assert found[0] == {"train"}
    assert found[1] == {"gan", "graph"}
    assert found[2] == {"--gen-sizes", "--gen-stats", "--gen-steps"}
    assert found[3] >= {"a2c", "ppo", "vtrace"}
    assert found[4] == {"--trials"}
    assert found[5] == set()  # and so bash completes names of files
    assert "complete -o default -F" in script.read_text()


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef renga"), ("fish", "#")])
def test_other_shells_have_their_own_script(shell, begins, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert script.startswith(begins)
    assert all(word in script for word in ("actor_critic", "gen-sizes", "at-once"))


@pytest.mark.parametrize("args", [[], ["tcsh"], ["bash", "zsh"]])
def test_a_shell_that_is_not_known_is_said(args, capsys):
    assert main(["completion", *args]) == 2
    assert "usage: renga completion bash|zsh|fish" in capsys.readouterr().err
