import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_first_two_shell_blocks_are_one_line_each():
    blocks = re.findall(r"```(?:bash|sh|shell|console)\n(.*?)```", README, flags=re.S)
    assert [len(b.strip().splitlines()) for b in blocks[:2]] == [1, 1]


def test_python_blocks_run_and_print_what_they_say(capsys):
    names = {}
    for block, printed in re.findall(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", README, flags=re.S):
        exec(compile(block, "README.md", "exec"), names)
        out = capsys.readouterr().out
        assert out.split() == printed.split(), out
