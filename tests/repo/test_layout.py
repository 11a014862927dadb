"""Who may import whom, read the environment, and catch the root error."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
import yaml
from pathspec import PathSpec

from tests.http.serving import PROJECT

# A module imports only from lines above its own; modules of one package import each other.
ORDER = (
    ("", "errors", "schema", "description", "cost", "cpus", "telemetry", "termination"),
    ("settings", "batching", "tables", "labels", "golden", "graph_signature"),
    ("model_card",),
    ("artifact",),
    ("tokenization", "inference", "store", "tokenizer_conversion"),
    ("azureml", "version_tags", "engine", "tuning"),
    ("classifier", "sources", "evaluation"),
    ("verification",),
    ("optimization",),
    ("registration",),
    ("drafting",),
    ("http", "importing", "image"),
    ("rollout",),
)
ALONE = ("errors", "schema", "description")
NOT_SERVING = {"azure", "azureml", "onnx", "torch", "transformers"}
# These libraries are told so in no other way.
MAY_SET = {
    ("textclf/__init__.py", "ORT_DISABLE_TELEMETRY"),
    ("textclf/__init__.py", "TOKENIZERS_PARALLELISM"),
    ("textclf/telemetry.py", "BENTOML_DO_NOT_TRACK"),
    ("textclf/tokenizer_conversion.py", "TRANSFORMERS_NO_ADVISORY_WARNINGS"),
}

MODULES = {
    path.relative_to(PROJECT).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in [
        PROJECT / "service.py",
        *sorted((PROJECT / "textclf").rglob("*.py")),
        *sorted((PROJECT / "scripts").rglob("*.py")),
    ]
}
OURS = [name for name in MODULES if name.startswith("textclf/")]


def imports(tree: ast.AST) -> Iterator[str]:
    """Return the dotted name of everything that is imported, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield str(ast.literal_eval(node.args[0]))


def part(name: str) -> str:
    """Return the module or package right below textclf that a path or a dotted name is in."""
    steps = name.split("/" if name.endswith(".py") else ".")
    below = steps[1].removesuffix(".py") if len(steps) > 1 else ""
    return below if is_part(below) and below != "__init__" else ""


def is_part(name: str) -> bool:
    """Say whether textclf has such a module or package."""
    folder = PROJECT / "textclf"
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def imported_parts(name: str) -> set[str]:
    """Return the parts of textclf that a file imports from."""
    return {part(i) for i in imports(MODULES[name]) if i == "textclf" or i.startswith("textclf.")}


def rank(name: str) -> int:
    """Return the line of ``ORDER`` that a part stands in."""
    ranks = [rank for rank, names in enumerate(ORDER) if name in names]
    assert ranks, f"textclf/{name} is not in ORDER; add it to the first line that its imports allow"
    return ranks[0]


@pytest.mark.parametrize("name", OURS)
def test_imports_point_upwards(name: str) -> None:
    """A module imports only what stands above it in the order."""
    own, own_rank = part(name), rank(part(name))
    wrong = {p for p in imported_parts(name) if p not in {own, ""} and rank(p) >= own_rank}

    assert wrong == set()


@pytest.mark.parametrize("name", ALONE)
def test_the_ground_floor_imports_nothing_of_ours(name: str) -> None:
    """What everything may import imports nothing of textclf."""
    assert imported_parts(f"textclf/{name}.py") == set()


def reached_by_the_service() -> set[str]:
    """Return every file that service.py imports, and those of their packages."""
    reached: set[str] = set()
    waiting = {"service.py"}
    while waiting:
        reached |= waiting
        parts = set().union(*map(imported_parts, waiting))
        waiting = {name for name in OURS if part(name) in parts} - reached
    return reached


def test_a_bento_has_what_the_service_imports_and_nothing_else() -> None:
    """bentofile.yaml leaves out every module that only imports models or makes images."""
    described = yaml.safe_load((PROJECT / "bentofile.yaml").read_text("utf-8"))
    left_out = PathSpec.from_lines("gitignore", described["exclude"])
    names = {path.relative_to(PROJECT).as_posix() for path in PROJECT.glob("textclf/**/*.py")}

    assert set(described["include"]) == {
        "service.py",
        "textclf/**/*.py",
        "requirements/serving.txt",
    }
    assert {name for name in names if not left_out.match_file(name)} == (
        reached_by_the_service() - {"service.py"}
    )


def test_the_service_never_imports_what_only_imports_models() -> None:
    """Nothing that service.py reaches needs a package of the importer or of training."""
    reached = reached_by_the_service()
    foreign = {i.partition(".")[0] for name in reached for i in imports(MODULES[name])}

    assert foreign & NOT_SERVING == set()
    assert {part(name) for name in reached} >= {"http", "classifier", "inference"}
    assert not {part(name) for name in reached} & {"importing", "sources"}


@pytest.mark.parametrize("name", [name for name in MODULES if name != "textclf/settings.py"])
def test_only_settings_reads_the_environment(name: str) -> None:
    """Every other file leaves os.environ alone, but for what a library has to see there."""
    tree = MODULES[name]
    permitted = {
        id(call.func.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "setdefault"
        and isinstance(call.args[0], ast.Constant)
        and (name, call.args[0].value) in MAY_SET
    }
    uses = [
        f"{name}:{node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv"}
        and id(node) not in permitted
    ]

    assert uses == []
    assert not {"os.environ", "os.getenv"} & set(imports(tree))


@pytest.mark.parametrize("name", OURS)
def test_only_the_edges_catch_the_root(name: str) -> None:
    """TextClassifierError is caught where a client or a person gets to read it."""
    caught = [
        handler.lineno
        for handler in ast.walk(MODULES[name])
        if isinstance(handler, ast.ExceptHandler) and handler.type is not None
        for caught in ast.walk(handler.type)
        if isinstance(caught, ast.Name) and caught.id == "TextClassifierError"
    ]

    assert caught == [] or name.startswith("textclf/http/")
