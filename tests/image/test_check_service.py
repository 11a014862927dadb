"""scripts/check_image.py, on a running service and on what is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.check_image import main
from tests.http.serving import PROJECT, Served, free_port, serve
from textclf.artifact import Artifact, read_artifact, write_description, write_golden
from textclf.errors import AnswerCheckError, CheckFailedError, ContractCheckError
from textclf.image.checks.running import NO_IMAGE, run_one, select
from textclf.image.checks.subject import Image, Limits, Service, Subject

REFERENCE = PROJECT / "models" / "reference"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the reference model."""
    with serve(tmp_path_factory.mktemp("service")) as served:
        yield served


def check(folder: Path, *arguments: str, model: Path = REFERENCE) -> tuple[int, dict[str, str]]:
    """Return the exit code, and what came of each check that was not skipped."""
    code = main([*arguments, f"--model={model}", f"--report-folder={folder}"])
    report = json.loads((folder / "check.json").read_text("utf-8"))
    checks = [check for check in report["checks"] if check["outcome"] != "skipped"]
    assert not report["passed"]
    return code, {check["name"]: check["detail"] or check["outcome"] for check in checks}


def test_a_service_keeps_the_contract(service: Served, tmp_path: Path) -> None:
    """What is asked over HTTP passes; the rest is skipped, so that nothing may be published."""
    code, made = check(tmp_path, "--url", service.url)

    report = json.loads((tmp_path / "check.json").read_text("utf-8"))
    assert code == 0
    assert {"probes", "json-types", "invalid-422", "golden", "batch", "metrics"} <= set(made)
    assert report["image_id"] is None
    assert not report["complete"]
    assert {c["detail"] for c in report["checks"] if c["outcome"] == "skipped"} == {NO_IMAGE}


def test_a_service_of_another_model(service: Served, reference_copy: Artifact) -> None:
    """Answers other than those recorded, and a tag other than the expected one, are told apart."""
    folder = reference_copy.folder
    code, made = check(folder / "report", "--url", service.url, model=folder)

    assert code == ContractCheckError.exit_code
    assert "not" in made["id-and-model"]
    assert "recorded positive" in made["golden"]


@pytest.fixture(scope="module")
def without_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve the reference model with the page switched off."""
    with (
        serve(tmp_path_factory.mktemp("without-page"), UI="false") as served,
        Service(served.url) as service,
    ):
        yield service


def image_with(variable: str) -> Image:
    """Return an image of which nothing is known but a variable."""
    unknown: Any = None
    return Image(
        described={"Config": {"Env": ["PATH=/bin", variable]}},
        containers=unknown, shared=unknown, start=unknown, base=unknown, read_contents=unknown,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("built", "found"),
    [
        (NO_IMAGE, ""),
        (image_with("TEXTCLF_UI=false"), ""),
        (image_with("TEXTCLF_UI=true"), "GET /ui: status 404, not 200"),
    ],
    ids=["at an address", "switched off", "switched on"],
)
def test_the_page_is_missed(without_page: Service, built: Image | str, found: str) -> None:
    """Only of an image that does not switch it off is it known that /ui has to be there."""
    (probes,) = select(["probes"])
    subject = Subject(
        expected=read_artifact(REFERENCE), openapi={}, limits=Limits(),
        running=without_page, built=built,
    )  # fmt: skip

    result = run_one(probes, subject)

    assert (result.outcome, result.detail) == ("failed" if found else "passed", found)


def test_another_document(service: Served, tmp_path: Path) -> None:
    """The document that differs is told by its parts."""
    document = json.loads((PROJECT / "openapi.json").read_text("utf-8"))
    document["info"]["version"] = "9"
    (tmp_path / "openapi.json").write_text(json.dumps(document), "utf-8")
    code, made = check(
        tmp_path, "--url", service.url, "--only=openapi",
        f"--openapi={tmp_path / 'openapi.json'}",
    )  # fmt: skip

    assert code == ContractCheckError.exit_code
    assert made == {"openapi": "GET /docs.json differs from the document in info"}


def test_nothing_listens(tmp_path: Path) -> None:
    """A check that cannot be made is an error, and never has passed."""
    code, made = check(tmp_path, "--url", f"http://127.0.0.1:{free_port()}", "--only=golden")

    assert code == CheckFailedError.exit_code
    assert "Connection refused" in made["golden"]


def test_checks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """--list shows each check with its class and its sentence, and looks at nothing."""
    assert main(["--list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.split(maxsplit=2) == ["golden", AnswerCheckError.__name__, GOLDEN] for line in lines
    )


GOLDEN = "Every golden text gets the label that was recorded, and its score within 0.01."


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--url", "http://x", "--only", "probs"], 60, "there is no check probs; --list"),
        (
            ["--url", "http://x", "--model", str(REFERENCE), "--openapi", "x.json"],
            60,
            "x.json is no OpenAPI",
        ),
        (["--url", "http://x", "--model", "./nowhere"], 11, "nowhere"),
    ],
    ids=["unknown check", "no document", "no model"],
)
def test_what_cannot_be_checked(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says what is missing, with the exit code of its error."""
    assert main(arguments) == code

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.parametrize(
    "arguments", [["image", "--url", "http://x"], ["image", "--size-budget-mb", "0"]]
)
def test_a_wrong_command_line(arguments: list[str]) -> None:
    """An image and an address cannot both be meant, and limits are positive."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.fixture
def reference_copy(tmp_path: Path) -> Artifact:
    """Return the reference model under another name, with its labels exchanged in golden.jsonl."""
    reference = read_artifact(REFERENCE)
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).symlink_to(REFERENCE / name)
    other = {"positive": "negative", "negative": "positive"}
    golden = [e.model_copy(update={"label": other[e.label]}) for e in reference.golden]
    write_golden(tmp_path / "golden.jsonl", golden)
    lineage = reference.description.lineage.model_copy(update={"name": "other"})
    write_description(tmp_path, reference.description.model_copy(update={"lineage": lineage}))
    return read_artifact(tmp_path)
