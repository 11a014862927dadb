"""The README and the pages after it, followed to the letter in a fresh clone."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from scripts import _rollout_arguments, render_settings
from tests.azure.standin import AzureStandIn, client_environment
from tests.http.serving import PROJECT, Served, free_port
from tests.repo.conftest import visitor_environment
from tests.tiny_models import write_roberta
from textclf.azureml.environment import V1, V2, lay_environment
from textclf.errors import RequestError

README = (PROJECT / "README.md").read_text("utf-8")
PAGES = [README, *(page.read_text("utf-8") for page in sorted((PROJECT / "docs").glob("*.md")))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON_OUTPUT = re.compile(r"\)  # (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A command of the README and the output it shows, in which … stands for anything."""

    text: str
    output: str = ""

    def shows(self, output: str) -> bool:
        """Say whether ``output`` is what the README shows."""
        pattern = ".*".join(map(re.escape, self.output.strip().split("…")))
        return not self.output or re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def read_commands(text: str) -> Iterator[Command]:
    """Return every command in order; a Python example is one too."""
    for language, block in FENCED.findall(text):
        if language == "python":
            output = "\n".join(PYTHON_OUTPUT.findall(block))
            yield Command(f"python -c {shlex.quote(block)}", output)
        elif language:
            assert language == "console", f"{language} blocks are not run; use console or python"
            lead, *commands = re.split(r"^\$ ", block, flags=re.MULTILINE)
            assert not lead, f"not a command: {lead}"
            yield from (Command(*command.split("\n", 1)) for command in commands)
        else:
            assert "$ " not in block, "a command in a plain block is not run; use console"


class Visitor:
    """Someone who follows the README: one terminal for the server, one for the rest."""

    def __init__(self, folder: Path, origin: Path, azure: AzureStandIn) -> None:
        self._origin = origin
        self._azure = azure
        self._azure_variables = client_environment(azure, folder / "home")
        self._folder = folder
        self._log = folder / "log"
        self._state = "set -euo pipefail"
        self._server: subprocess.Popen[bytes] | None = None
        self._environment = visitor_environment() | {
            "BENTOML_HOME": str(folder / "bentoml"),
            "SST2_DIR": str(folder / "sst2"),
            "TEXTCLF_DRAIN_SECONDS": "0",
        }
        self._use_a_free_port()

    def clone(self, command: Command) -> None:
        """Clone this checkout in place of the address; then put the download by hand there."""
        self.stay(Command(re.sub(r"https://\S+", shlex.quote(str(self._origin)), command.text)))
        tiny = write_roberta(self._folder / "roberta-base")
        self._azure.add_model("roberta-sequence", {"model.onnx": tiny.graph.read_bytes()})
        (self._folder / "azure.json").write_text(json.dumps(self._azure.credentials), "utf-8")
        tiny.graph.rename(self._folder / "roberta-sequence-classification-9.onnx")

    def stay(self, command: Command) -> None:
        """Run a command whose effect on the terminal later commands rely on."""
        self.run(command)
        folder = re.search(r"cd (\S+)$", command.text)
        if folder:
            self._folder /= folder[1]
        else:
            self._state += f"; {command.text}"

    def ask_azure(self, command: Command) -> None:
        """Run a command of which only Azure is played."""
        self.run(command, self._azure_variables)

    def run(self, command: Command, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        """Run a command to its end and compare what it prints."""
        with self._log.open("wb") as stderr:
            run = subprocess.run(
                self._shell(command), cwd=self._folder, env={**self._environment, **variables},
                check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                text=True,
            )  # fmt: skip

        assert run.returncode == 0, f"{command.text}\n{run.stdout}{self._log.read_text()}"
        assert command.shows(run.stdout), f"{command.text}\n{run.stdout}"

    def serve(self, command: Command) -> None:
        """Start a server in the other terminal, after stopping the one that runs there."""
        self.stop()
        self._use_a_free_port()
        log = self._log.with_name("server-log")
        with log.open("wb") as output:
            self._server = subprocess.Popen(
                self._shell(command, "exec "), cwd=self._folder, env=self._environment,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        served = Served(f"http://127.0.0.1:{self._port}", self._server, log)
        served.wait_for_status("/readyz", 200)

    def look_up(self, command: Command) -> None:
        """A command that needs hours and packages no lock has: its script knows its options."""
        path, *arguments = shlex.split(command.text)
        script = self._folder / path

        assert os.access(script, os.X_OK)
        assert all(f'"{a}"' in script.read_text() for a in arguments if a.startswith("--"))

    def leave_to_docker(self, command: Command) -> None:
        """A command for one's own registry or image: the checks and their tests run its like."""
        leave_to(command, "tests/image/*.py", "textclf/image/checks/*.py")

    def leave_to_rollouts(self, command: Command) -> None:
        """A command for two versions at hand: the tests of rollouts run its like."""
        if command.text.startswith("scripts/rollout.py"):
            _rollout_arguments.parse(shlex.split(command.text)[1:])
        else:
            leave_to(command, "tests/rollout/*.py")

    def leave_to_ci(self, command: Command) -> None:
        """A command that would run this test again has to be one that CI runs."""
        assert f"\nstep {command.text}\n" in (PROJECT / ".ci" / "run").read_text()
        assert f"run: {command.text}\n" in (PROJECT / ".github/workflows/ci.yml").read_text()

    def stop(self) -> None:
        """Stop the server, if one runs."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(timeout=30)
            self._server = None

    def _shell(self, command: Command, lead: str = "") -> list[str]:
        text = command.text.replace("127.0.0.1:3000", f"127.0.0.1:{self._port}")
        return ["bash", "-c", f"{self._state}; {lead}{text}"]

    def _use_a_free_port(self) -> None:
        self._port = free_port()
        self._environment |= {"PORT": str(self._port), "BENTOML_PORT": str(self._port)}


def leave_to(command: Command, *patterns: str) -> None:
    """See that what other files run has every option of a command."""
    files = [path for pattern in patterns for path in PROJECT.glob(pattern)]
    run = "".join(path.read_text() for path in files)
    options = {word for word in shlex.split(command.text) if word.startswith("--")}

    assert {option for option in options if f'"{option}"' not in run} == set()


RULES: dict[str, Callable[[Visitor, Command], None]] = {
    r"git clone https://\S+ && cd textclf": Visitor.clone,
    r"source \S+|export AZURE_CREDENTIALS=.*": Visitor.stay,
    r"make serve|bentoml serve": Visitor.serve,
    r"make (test|check|azure-demo|image|image-test)": Visitor.leave_to_ci,
    r"curl .* http://127\.0\.0\.1:3000/\S+": Visitor.run,
    r"(?s)python -c .*": Visitor.run,
    r"bentoml (build|models list)": Visitor.run,
    r"scripts/import_model\.py local .*|scripts/(evaluate|show)_model\.py.*": Visitor.run,
    r"scripts/(import|register)_model\.py azureml.*": Visitor.ask_azure,
    r"scripts/train_reference\.py .*": Visitor.look_up,
    r"scripts/check_image\.py --list": Visitor.run,
    r"scripts/(build|check|publish)_image\.py (?!--list).*": Visitor.look_up,
    r"scripts/rollout\.py .*|python -m textclf\.rollout\.\S+ .*": Visitor.leave_to_rollouts,
    r"docker login \S+|docker run .*|TEXTCLF_IMAGE=\S+ docker compose .*": Visitor.leave_to_docker,
}


def rule(command: Command) -> Callable[[Visitor, Command], None]:
    """Return what to do with a command."""
    rules = [rule for pattern, rule in RULES.items() if re.fullmatch(pattern, command.text)]
    assert len(rules) == 1, f"add a rule that runs: {command.text}"
    return rules[0]


@pytest.fixture
def visitor(origin: Path, tmp_path: Path) -> Iterator[Visitor]:
    """Return a visitor with an empty folder, and what the README asks to have at hand."""
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "test.tsv").write_text("sentence\tlabel\ngood film\t1\nbad film\t0\n")
    for sdk in (V1, V2):  # so that the clone finds their packages in uv's cache
        lay_environment(sdk)
    with AzureStandIn() as azure:
        visitor = Visitor(tmp_path, origin, azure)
        try:
            yield visitor
        finally:
            visitor.stop()


def test_the_commands_work_as_shown(visitor: Visitor) -> None:
    """Each command, run after the ones before it, succeeds and prints what is shown."""
    commands = [command for page in PAGES for command in read_commands(page)]
    for run, command in [(rule(command), command) for command in commands]:
        run(visitor, command)


@pytest.mark.parametrize("text", ["rm -rf /", "curl http://example.com", "make coffee"])
def test_a_command_without_a_rule_fails(text: str) -> None:
    """Nobody adds a command to the README that no test runs."""
    with pytest.raises(AssertionError, match="add a rule"):
        rule(Command(text))


def test_the_settings_table_is_the_settings() -> None:
    """The table holds every setting as it is; run scripts/render_settings.py after a change."""
    assert render_settings.with_settings(README) == README
    assert "TEXTCLF_MODEL" in README


def test_the_settings_table_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands between the markers is replaced, and nothing else is."""
    copy = tmp_path / "README.md"
    copy.write_text(README.replace("TEXTCLF_MODEL", "outdated"), "utf-8")
    monkeypatch.setattr(render_settings, "README", copy)

    assert render_settings.main() == 0
    assert copy.read_text("utf-8") == README


def test_the_error_table_has_every_status() -> None:
    """Each status a client can get has one row."""
    page = (PROJECT / "docs" / "errors.md").read_text("utf-8")
    rows = [int(status) for status in re.findall(r"^\| (\d{3}) \|", page, re.MULTILINE)]
    below = [error.http_status for error in RequestError.__subclasses__()]

    assert rows == sorted([RequestError.http_status, *below])


def test_the_layout_is_there() -> None:
    """Each path that the layout names exists."""
    (layout,) = re.findall(r"## Layout\n\n```\n(.*?)```", README, re.DOTALL)
    paths = [line.split()[0] for line in layout.splitlines()]

    assert [path for path in paths if not (PROJECT / path).exists()] == []


def test_the_readme_fits() -> None:
    """It is read in one go: 150 lines at the most."""
    assert len(README.splitlines()) <= 150
