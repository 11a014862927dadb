"""A key is made that the service accepts, and is nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import make_api_key
from textclf.errors import SettingsError
from textclf.http.keys import KeyRing, parse_keys
from textclf.http.rates import Rate


def test_a_key_and_its_line_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The line lets the key in, under its name."""
    assert make_api_key.main(["web"]) == 0
    key, line = capsys.readouterr().out.splitlines()
    ring = KeyRing(parse_keys(line.encode(), Path("keys")))

    assert len(key) > 43
    assert key not in line
    assert ring.check(f"Bearer {key}").name == "web"


def test_a_line_is_appended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout has the key alone; the file keeps its lines, its mode and the link to it."""
    path, link = tmp_path / "keys", tmp_path / "link"
    link.symlink_to(path)
    options = [[], ["--rate", "0.5"], ["--rate", "20", "--burst", "100"]]
    made = []
    for number, more in enumerate(options):
        assert make_api_key.main([f"key-{number}", "--append", str(link), *more]) == 0
        made += capsys.readouterr().out.splitlines()
        path.chmod(0o600)
        path.write_text(path.read_text().rstrip("\n"))
    keys = parse_keys(path.read_bytes(), path)
    ring = KeyRing(keys)

    assert [ring.check(f"Bearer {key}").name for key in made] == ["key-0", "key-1", "key-2"]
    assert [key.rate for key in keys] == [
        None,
        Rate(texts_per_second=0.5, burst_texts=1),
        Rate(texts_per_second=20, burst_texts=100),
    ]
    assert not any(key in path.read_text() for key in made)
    assert path.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [path, link]


def test_a_file_that_is_none_of_keys_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No key is printed that would not be let in."""
    path = tmp_path / "notes.txt"
    path.write_text("not a key\n")

    assert make_api_key.main(["web", "--append", str(path)]) == SettingsError.exit_code
    assert capsys.readouterr().out == ""
    assert path.read_text() == "not a key\n"
    assert make_api_key.main(["web", "--append", str(tmp_path / "no" / "keys")]) == 10


@pytest.mark.parametrize(
    "arguments",
    [["a b"], ["a:b"], [""], ["x" * 65], ["web", "--burst", "5"], ["web", "--rate", "0"],
     ["web", "--rate", "1", "--burst", "0"], ["web", "--rate", "inf"], ["web", "--rate", "1e10"],
     ["web", "--rate", "1e-10"], ["web", "--rate", "1", "--burst", "9999999999"]],
)  # fmt: skip
def test_a_bad_command_line_is_refused(arguments: list[str]) -> None:
    """Before a key is made."""
    with pytest.raises(SystemExit) as refusal:
        make_api_key.main(arguments)

    assert refusal.value.code == 2
