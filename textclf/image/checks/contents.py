"""Whether everything over the base is known: where each file comes from, and that it is whole."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping

import yaml

from textclf.artifact import CARD, DESCRIPTION, DRIFT, GOLDEN, GRAPH, REQUIRED_FILES, TOKENIZER
from textclf.errors import SafetyCheckError
from textclf.image.checks.check import Flaw, check
from textclf.image.checks.installed import (
    find_distributions,
    read_pins,
    recorded_files,
    source_of,
)
from textclf.image.checks.layers import Entry
from textclf.image.checks.safety import name_some
from textclf.image.checks.subject import Image, Subject

MODEL_YAML = "model.yaml"
LOCK = "src/requirements/serving.txt"
_FILES = f"{GRAPH}|{TOKENIZER}|{DESCRIPTION}|{GOLDEN}|{DRIFT}|{CARD}|{MODEL_YAML}"
_MODEL = rf"models/[^/]+/[^/]+/({_FILES})"
# What `bentoml build` makes of bentofile.yaml, below BENTO_PATH.
_BENTO = re.compile(
    r"bento\.yaml|README\.md|apis/(openapi\.yaml|schema\.json)|env/docker/entrypoint\.sh|"
    r"src/(bentofile\.yaml|service\.py|requirements/serving\.txt|textclf/([a-z_0-9]+/)*\w+\.py|"
    r"textclf/http/ui/\w+\.(css|html|js|svg)|"
    rf"textclf/golden_texts\.json)|models/[^/]+/latest|{_MODEL}"
)
# What a virtual environment has besides distributions, and how a user gets a name.
_SYSTEM = re.compile(
    r".+/(pyvenv\.cfg|bin/(activate(\.\w+)?|Activate\.ps1|python(3(\.\d+)?)?)|lib64)|"
    r"etc/(passwd|group)"
)
_PROGRAMS = {
    "apt", "apt-get", "as", "c++", "cargo", "cc", "clang", "cmake", "conda", "cpp", "curl",
    "docker", "g++", "gcc", "git", "go", "ld", "make", "ninja", "node", "npm", "pip", "pip3",
    "pytest", "rustc", "ssh", "uv", "wget",
}  # fmt: skip
_DISTRIBUTIONS = re.compile(
    r"azure(ml)?-.*|azureml|msal|onnx|pip|pytest|setuptools|torch|transformers|uv"
)
_FOLDERS = re.compile(r"(^|/)(\.cache|\.git|\.uv|\.mypy_cache|\.pytest_cache)(/|$)|/src/tests(/|$)")


@check(SafetyCheckError)
def distributions(subject: Subject) -> str:
    """Exactly the distributions that the lock in the image pins are installed."""
    image = subject.image
    installed = find_distributions(image.contents.added)
    if not installed:
        raise Flaw("nothing that was added to the base is an installed distribution")
    lock = image.contents.added.get(f"{_bento_path(image)}/{LOCK}")
    if lock is None:
        raise Flaw(f"the Bento holds no {LOCK}")
    pins = read_pins(
        lock.content.decode("utf-8"),
        python=installed[0].python,
        architecture=image.described["Architecture"],
    )
    found = sorted((distribution.name, distribution.version) for distribution in installed)
    extra = [f"{name} {version}" for name, version in found if pins.get(name) != version]
    lacking = [
        f"{name} {version}" for name, version in pins.items() if (name, version) not in found
    ]
    if extra or lacking or len(found) != len(pins):
        raise Flaw(
            f"not pinned as they are: {', '.join(extra) or 'none'}; pinned, but not there: "
            f"{', '.join(lacking) or 'none'}; installed: {len(found)}"
        )
    return f"{len(found)} distributions"


@check(SafetyCheckError)
def known_files(subject: Subject) -> str:
    """Every file over the base is of a pinned distribution, of the Bento or of its model."""
    image = subject.image
    added = image.contents.added
    recorded = recorded_files(find_distributions(added))
    unknown = [
        path
        for path, entry in added.items()
        if entry.kind != "folder" and not _is_known(path, added, recorded, _bento_path(image))
    ]
    if unknown:
        raise Flaw(f"unpinned extra files: {name_some(unknown)}")
    return f"{len(added)} files and folders"


def _is_known(
    path: str, added: Mapping[str, Entry], recorded: Mapping[str, str], bento: str
) -> bool:
    source = source_of(path)
    if source != path and source not in added:  # compiled code runs without its source
        return path in recorded
    below = posixpath.relpath(source, bento) if source.startswith(f"{bento}/") else ""
    return (
        source in recorded
        or path in recorded
        or bool(_BENTO.fullmatch(below))
        or bool(_SYSTEM.fullmatch(path))
    )


@check(SafetyCheckError)
def whole_distributions(subject: Subject) -> str:
    """Every installed file is the one that its wheel's RECORD names, by sha256."""
    added = subject.image.contents.added
    recorded = recorded_files(find_distributions(added))
    judged = [path for path, sha256 in recorded.items() if sha256 and path in added]
    changed = [path for path in judged if added[path].sha256 != recorded[path]]
    if changed:
        raise Flaw(f"changed after they were installed: {name_some(changed)}")
    return f"{len(judged)} files"


@check(SafetyCheckError)
def model_files(subject: Subject) -> str:
    """The image holds one model: exactly the files that its classifier.json and model.yaml name."""
    image = subject.image
    models = {
        path: entry
        for path, entry in image.contents.added.items()
        if path.startswith(f"{_bento_path(image)}/models/") and entry.kind == "file"
    }
    folders = {posixpath.dirname(path) for path in models if path.endswith(f"/{DESCRIPTION}")}
    if len(folders) != 1:
        raise Flaw(f"the Bento holds {len(folders)} models with a {DESCRIPTION}, not one")
    (folder,) = folders
    hashes = _hashes(models, folder)
    for name, sha256 in hashes.items():
        entry = models.get(f"{folder}/{name}")
        if entry is None or entry.sha256 != sha256:
            raise Flaw(
                f"/{folder}/{name} has sha256 {entry.sha256 if entry else '(missing)'}, not the "
                f"{sha256} that was recorded for it"
            )
    expected = {f"{folder}/{name}" for name in (*hashes, MODEL_YAML)}
    extra = [p for p in models if p not in expected and posixpath.basename(p) != "latest"]
    if extra:
        raise Flaw(f"neither {DESCRIPTION} nor {MODEL_YAML} names {name_some(extra)}")
    return f"{len(hashes)} files of /{folder}"


def _hashes(models: Mapping[str, Entry], folder: str) -> dict[str, str]:
    """Return the recorded sha256 of each file of a model."""
    try:
        described = json.loads(models[f"{folder}/{DESCRIPTION}"].content)
        stored = yaml.safe_load(models[f"{folder}/{MODEL_YAML}"].content)
        ours, theirs = described["files"], stored["metadata"]["files"]
        named = [*REQUIRED_FILES, *({DRIFT} & {*ours})]
        return {n: ours[n] for n in named} | {n: theirs[n] for n in (DESCRIPTION, CARD)}
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as exc:
        raise Flaw(f"/{folder} does not record the sha256 of each file: {exc!r}") from exc


@check(SafetyCheckError)
def no_tools(subject: Subject) -> None:
    """No compiler, git, installer, cache, test or importer of models was added to the base."""
    added = subject.image.contents.added
    tools = [
        path
        for path in added
        if posixpath.basename(path) in _PROGRAMS
        and posixpath.basename(posixpath.dirname(path)) in {"bin", "sbin"}
    ]
    folders = [path for path in added if _FOLDERS.search(path)]
    if tools or folders:
        raise Flaw(f"over the base there are {name_some(tools + folders)}")
    heavy = [d.name for d in find_distributions(added) if _DISTRIBUTIONS.fullmatch(d.name)]
    if heavy:
        raise Flaw(f"not for serving: {', '.join(heavy)}")


def _bento_path(image: Image) -> str:
    for variable in image.config.get("Env") or []:
        name, _, value = variable.partition("=")
        if name == "BENTO_PATH" and value.strip("/"):
            return str(value.strip("/"))
    raise Flaw("no variable BENTO_PATH says where the Bento is")
