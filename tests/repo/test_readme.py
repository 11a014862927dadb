"""The README and the pages after it, followed to the letter in a fresh clone."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from scripts import _rollout_arguments, render_errors, render_settings
from tests.azure.standin import AzureStandIn, client_environment
from tests.http.serving import PROJECT, Served, free_port
from tests.repo.conftest import visitor_environment
from tests.repo.pages import EXAMPLES, FENCED, Command, read_commands
from tests.tiny_models import write_roberta
from textclf.azureml.environment import V1, V2, lay_environment
from textclf.errors import InvalidRequestError, RequestError
from textclf.http.problems import MAX_FAULTS, parse_request
from textclf.schema import MAX_TEXT_CHARACTERS, MAX_TEXTS, ClassifyRequest
from textclf.settings import Settings

README = (PROJECT / "README.md").read_text("utf-8")
PAGES = [
    README,
    *(
        page.read_text("utf-8")
        for page in sorted((PROJECT / "docs").glob("*.md"))
        if page.name not in EXAMPLES
    ),
]


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


SETTINGS = (PROJECT / "docs" / "settings.md").read_text("utf-8")


def test_the_settings_tables_are_the_settings() -> None:
    """Both are as the settings are; run scripts/render_settings.py after a change."""
    every = tuple(Settings.model_fields)

    assert render_settings.with_settings(README, render_settings.MOST_USED) == README
    assert render_settings.with_settings(SETTINGS, every) == SETTINGS
    assert all(f"| `TEXTCLF_{name.upper()}` |" in SETTINGS for name in every)
    assert "TEXTCLF_MODEL" in README


def test_the_settings_tables_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands between the markers is replaced, and nothing else is."""
    copies = {"README": README, "PAGE": SETTINGS}
    for name, text in copies.items():
        (tmp_path / name).write_text(text.replace("TEXTCLF_MODEL", "outdated"), "utf-8")
        monkeypatch.setattr(render_settings, name, tmp_path / name)

    assert render_settings.main() == 0
    assert {name: (tmp_path / name).read_text("utf-8") for name in copies} == copies


ERRORS = (PROJECT / "docs" / "errors.md").read_text("utf-8")


def test_the_error_table_has_every_refusal() -> None:
    """Each way in which a request can get no prediction has one row, in the order of statuses."""
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| [^|]+ \| [^|]+ \|$", ERRORS, re.MULTILINE)
    errors = [RequestError, *RequestError.__subclasses__()]

    assert rows == sorted((str(error.http_status), error.reason) for error in errors)


def test_the_exit_codes_are_the_errors() -> None:
    """The table has every error of a command; run scripts/render_errors.py after a change."""
    assert render_errors.with_exit_codes(ERRORS) == ERRORS
    assert "| 10 | `SettingsError` | One or more settings" in ERRORS


def test_the_codes_of_faults_are_listed() -> None:
    """The page has each code that a fault of a body can have, and no other."""
    bodies: list[object] = [
        [], {}, {"texts": "fine"}, {"texts": []}, {"texts": ["fine"] * (MAX_TEXTS + 1)},
        {"texts": ["  "]}, {"texts": [1]}, {"texts": ["x" * (MAX_TEXT_CHARACTERS + 1)]},
        {"texts": ["fine"], "more": 1}, {str(number): 1 for number in range(MAX_FAULTS + 1)},
    ]  # fmt: skip
    codes = set()
    for body in bodies:
        with pytest.raises(InvalidRequestError) as refusal:
            parse_request(ClassifyRequest, json.dumps(body).encode())
        codes |= {fault["code"] for fault in refusal.value.faults}
    table = ERRORS.split("## Codes of a 422")[1].split("## Exit")[0]
    rows = [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| `")]

    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == codes


def test_the_layout_is_there() -> None:
    """Each path that the layout names exists."""
    (layout,) = re.findall(r"## Layout\n\n```\n(.*?)```", README, re.DOTALL)
    paths = [line.split()[0] for line in layout.splitlines()]

    assert [path for path in paths if not (PROJECT / path).exists()] == []


PROSE = sorted(
    path
    for pattern in ("*.md", "benchmarks/*.md", "deploy/**/*.md", "docs/*.md")
    for path in PROJECT.glob(pattern)
)


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Each file that a page links to is there, and has the heading that the link names."""
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text("utf-8")), target


def anchors(text: str) -> set[str]:
    """Return what a link can name of a page, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(FENCED, "", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_has_its_runbook() -> None:
    """Whoever is woken finds what to do; no section is left of an alert that is gone."""
    rules = (PROJECT / "deploy/prometheus/rules.yml").read_text("utf-8")
    operate = (PROJECT / "docs/operate.md").read_text("utf-8")
    alerts = set(re.findall(r"^\s*- alert: (\w+)$", rules, re.MULTILINE))

    assert alerts == set(re.findall(r"^### (Textclf\w+)$", operate, re.MULTILINE))
    assert all(f"docs/operate.md#{alert.lower()}" in rules for alert in alerts)


def test_the_readme_fits() -> None:
    """It is read in one go: 150 lines at the most."""
    assert len(README.splitlines()) <= 150
