"""What the image may do, whom it runs as, and what it says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from textclf.artifact import GRAPH
from textclf.errors import SafetyCheckError
from textclf.image.checks.check import Flaw, Unjudged, check
from textclf.image.checks.credentials import find_in_configuration
from textclf.image.checks.installed import find_distributions, recorded_files
from textclf.image.checks.layers import Entry
from textclf.image.checks.pulling import BASE_DIGEST, BASE_NAME
from textclf.image.checks.subject import Image, Subject
from textclf.image.docker import read_history

_OCI = "org.opencontainers.image"
# Source: https://github.com/opencontainers/image-spec/blob/main/annotations.md
_LABELS = {
    f"{_OCI}.title": re.compile(r"\S.*"),
    f"{_OCI}.source": re.compile(r"[a-z][a-z+.-]*://\S+|[\w.-]+@[\w.-]+:\S+"),
    f"{_OCI}.revision": re.compile(r"[0-9a-f]{40}"),
    f"{_OCI}.version": re.compile(r"\d+\.\d+\.\d+[\w.+-]*"),
    f"{_OCI}.created": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    f"{_OCI}.licenses": re.compile(r"\S.*"),
    BASE_NAME: re.compile(r"\S+"),
    BASE_DIGEST: re.compile(r"sha256:[0-9a-f]{64}"),
    "textclf.model.tag": re.compile(r"\S+:\S+"),
    "textclf.model.sha256": re.compile(r"[0-9a-f]{64}"),
}
_USER = re.compile(r"[1-9]\d*(:[1-9]\d*)?")
_SETUID, _STICKY = 0o6000, 0o1000


@check(SafetyCheckError)
def labels(subject: Subject) -> str:
    """The labels say where the image comes from, in the form that OCI wants."""
    found = subject.image.labels
    missing = [name for name in _LABELS if name not in found]
    if missing:
        raise Flaw(f"the image has no label {', '.join(missing)}")
    for name, form in _LABELS.items():
        if not form.fullmatch(found[name]):
            raise Flaw(f"label {name} is {found[name]!r}, which is not of the form {form.pattern}")
    datetime.fromisoformat(found[f"{_OCI}.created"])
    return f"{found[f'{_OCI}.version']} of {found[f'{_OCI}.revision'][:12]}"


@check(SafetyCheckError)
def model_labels(subject: Subject) -> str:
    """The labels name the expected model, and the graph that is in the image."""
    image, expected = subject.image, subject.expected
    tag, sha256 = (image.labels.get(f"textclf.model.{name}") for name in ("tag", "sha256"))
    if tag != expected.tag:
        raise Flaw(f"label textclf.model.tag is {tag!r}; the expected model is {expected.tag!r}")
    wanted = expected.description.files[GRAPH]
    if sha256 != wanted:
        raise Flaw(f"label textclf.model.sha256 is {sha256!r}; that of {expected.tag} is {wanted}")
    added = image.contents.added
    graphs = [entry for path, entry in added.items() if path.endswith(f"/{GRAPH}")]
    for graph in graphs:
        if graph.sha256 != sha256:
            raise Flaw(f"/{graph.path} has sha256 {graph.sha256}; the label says {sha256}")
    if not graphs:
        raise Flaw(f"the image holds no {GRAPH}")
    return expected.tag


@check(SafetyCheckError)
def base_image(subject: Subject) -> str:
    """The image lies on the base that its labels name."""
    image = subject.image
    theirs, ours = image.base()["RootFS"]["Layers"], image.described["RootFS"]["Layers"]
    if ours[: len(theirs)] != theirs:
        raise Flaw(f"its first {len(theirs)} layers are not those of the base, {_base_name(image)}")
    return f"{len(theirs)} of {len(ours)} layers are those of {_base_name(image)}"


@check(SafetyCheckError)
def user(subject: Subject) -> str:
    """The image names a user by number, not root, and its first process runs as that user."""
    image = subject.image
    named = str(image.config.get("User") or "")
    if not _USER.fullmatch(named):
        raise Flaw(f"the image's user is {named or 'root'!r}, not a number other than 0")
    if image.shared.has_ended():
        raise Unjudged(f"its process has ended: {image.start.reason}")
    uids = set(_status(image)["Uid"].split())
    if uids != {named.partition(":")[0]}:
        raise Flaw(f"the first process runs as {', '.join(sorted(uids))}, not as {named}")
    return named


@check(SafetyCheckError)
def no_capabilities(subject: Subject) -> None:
    """It runs with a read-only root, without capabilities, and can gain no privilege."""
    status = _status(subject.ready_image)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16):
            raise Flaw(f"{name} of the first process is {status[name]}, not 0")
    if status["NoNewPrivs"] != "1":
        raise Flaw("the first process may gain privileges")
    files = subject.image.contents.added
    raising = [path for path, entry in files.items() if _is_file(entry) and entry.mode & _SETUID]
    if raising:
        raise Flaw(f"over the base {name_some(raising)} run with the rights of another user")


@check(SafetyCheckError)
def nothing_writable(subject: Subject) -> str:
    """The image's user may write no file that was added to the base, read-only root or not."""
    image = subject.image
    uid, _, gid = str(image.config.get("User") or "root").partition(":")
    files = image.contents.added
    writable = [path for path, entry in files.items() if _may_write(entry, uid, gid or uid)]
    if writable:
        raise Flaw(f"user {uid} can write {name_some(writable)}")
    return f"{len(files)} files and folders"


def _may_write(entry: Entry, uid: str, gid: str) -> bool:
    if entry.kind == "link" or entry.mode & _STICKY:
        return False
    if uid in {"0", "root", str(entry.uid)}:  # an owner can give himself the right
        return True
    return bool(entry.mode & 0o002) or (str(entry.gid) == gid and bool(entry.mode & 0o020))


@check(SafetyCheckError)
def size(subject: Subject) -> str:
    """The image adds no more to its base than the budget allows."""
    image, budget_mb = subject.image, subject.limits.size_budget_mb
    added_mb = (_unpacked(image.described["Id"]) - _unpacked(image.base()["Id"])) / 1e6
    if added_mb > budget_mb:
        raise Flaw(f"it adds {added_mb:.1f} MB to {_base_name(image)}, over {budget_mb:g} MB")
    return f"{added_mb:.1f} of {budget_mb:g} MB"


@check(SafetyCheckError)
def no_credentials_in_configuration(subject: Subject) -> None:
    """Neither variables nor labels nor the history hold what looks like a credential."""
    image = subject.image
    history = read_history(image.described["Id"])
    places: Mapping[str, str] = {
        **{f"variable {v.partition('=')[0]}": v for v in image.config.get("Env") or []},
        **{f"label {name}": f"{name}={value}" for name, value in image.labels.items()},
        **{f"step {n} of the history": step for n, (step, _) in enumerate(history, 1)},
    }
    found = list(find_in_configuration(places))
    if found:
        raise Flaw("; ".join(found))


@check(SafetyCheckError)
def no_credentials_in_layers(subject: Subject) -> str:
    """No layer over the base holds what looks like a credential, deleted files included."""
    contents = subject.image.contents
    recorded = recorded_files(find_distributions(contents.added))
    ours = contents.layers[contents.base_layers :]
    found = [
        f"layer {number} over the base: /{path} holds {kind}"
        for number, layer in enumerate(ours, 1)
        for path, kind in layer.credentials
        # what stands in a public wheel, such as the key of its tests, is no secret
        if recorded.get(path) != layer.entries[path].sha256
    ]
    if found:
        raise Flaw("; ".join(found))
    return f"{sum(len(layer.entries) for layer in ours)} files and folders of {len(ours)} layers"


def _base_name(image: Image) -> str:
    return image.labels.get(BASE_NAME, "what --base names")


def _status(image: Image) -> dict[str, str]:
    """Return /proc/1/status of the shared container."""
    lines = image.shared.execute("cat", "/proc/1/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _is_file(entry: Entry) -> bool:
    return entry.kind == "file"


def name_some(paths: list[str]) -> str:
    """Name the first few of many paths."""
    shown = ", ".join(f"/{path}" for path in sorted(paths)[:5])
    return f"{shown} and {len(paths) - 5} more" if len(paths) > 5 else shown


def _unpacked(image_id: str) -> int:
    return sum(size for _, size in read_history(image_id))
