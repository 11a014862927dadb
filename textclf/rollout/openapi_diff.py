"""What of one OpenAPI document a client of another one cannot rely on any more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_DEEPEST = 32  # a schema may hold itself

# What a request may be at most, and at least: less of the one, more of the other, refuses clients.
_MOST = ("maxItems", "maxLength", "maximum", "exclusiveMaximum", "maxProperties")
_LEAST = ("minItems", "minLength", "minimum", "exclusiveMinimum", "minProperties")

Schema = Mapping[str, Any]


def find_breaks(stable: Schema, candidate: Schema) -> list[str]:
    """Return in words what clients of ``stable`` rely on and ``candidate`` does not keep.

    What is new and need not be used is no break; nor is a request that more may be sent in, nor an
    answer that says more.
    """
    try:
        return list(_Comparison(stable, candidate).documents())
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        return [f"the OpenAPI documents cannot be compared: {type(exc).__name__}: {exc}"]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where in a request or an answer something stands."""

    where: str
    request: bool
    name: str = ""
    depth: int = 0

    def member(self, name: str) -> _Place:
        return replace(self, name=f"{self.name}.{name}".lstrip("."), depth=self.depth + 1)

    def item(self) -> _Place:
        return replace(self, name=f"{self.name}[]", depth=self.depth + 1)

    def say(self, words: str) -> str:
        return f"{self.where}: {self.name or 'the body'} {words}"


@dataclass(frozen=True)
class _Comparison:
    """Two documents, whose references lead into each."""

    stable: Schema
    candidate: Schema

    def documents(self) -> Iterator[str]:
        for path, was in self.stable.get("paths", {}).items():
            now = self.candidate.get("paths", {}).get(path)
            if now is None:
                yield f"{path} is gone"
                continue
            for method in _METHODS:
                if method in was:
                    where = f"{method.upper()} {path}"
                    if method not in now:
                        yield f"{where} is gone"
                    else:
                        yield from self.operation(where, was[method], now[method])

    def operation(self, where: str, was: Schema, now: Schema) -> Iterator[str]:
        if _open(self.stable, was) and not _open(self.candidate, now):
            yield f"{where} needs a key, and did not"
        yield from self.parameters(where, was, now)
        sent_was, sent_now = (
            _resolve(document, operation.get("requestBody", {}))
            for document, operation in ((self.stable, was), (self.candidate, now))
        )
        if sent_now.get("required") and not sent_was.get("required"):
            yield f"{where}: request needs a body, and did not"
        yield from self.contents(f"{where}: request", sent_was, sent_now, request=True)
        for status, answer in was.get("responses", {}).items():
            if not status.startswith("2"):
                continue  # a client has to expect other failures than those of yesterday
            if status not in now.get("responses", {}):
                yield f"{where}: answer {status} is gone"
                continue
            told = _resolve(self.candidate, now["responses"][status])
            before = _resolve(self.stable, answer)
            yield from self.contents(f"{where}: answer {status}", before, told, request=False)
            for name in before.get("headers", {}):
                if name not in told.get("headers", {}):
                    yield f"{where}: answer {status}: header {name} is gone"

    def parameters(self, where: str, was: Schema, now: Schema) -> Iterator[str]:
        known = {_named(_resolve(self.stable, p)): p for p in was.get("parameters", [])}
        for parameter in now.get("parameters", []):
            found = _resolve(self.candidate, parameter)
            before = _resolve(self.stable, known.get(_named(found), {}))
            if found.get("required") and not before.get("required"):
                yield f"{where}: {_named(found)} is required, and was not"

    def contents(self, where: str, was: Schema, now: Schema, *, request: bool) -> Iterator[str]:
        for kind, body in was.get("content", {}).items():
            found = now.get("content", {}).get(kind)
            if found is None:
                yield f"{where}: {kind} is gone"
            else:
                place = _Place(where=where, request=request)
                yield from self.schemas(place, body.get("schema", {}), found.get("schema", {}))

    def schemas(self, place: _Place, was: Any, now: Any) -> Iterator[str]:
        was, now = _resolve(self.stable, was), _resolve(self.candidate, now)
        if place.depth > _DEEPEST or was == now == {}:
            return
        told, found = _types(was), _types(now)
        narrow, wide = (told, found) if place.request else (found, told)
        # No type at all is any type. A client may send less, and get less, than is allowed.
        if wide and not (narrow and narrow <= wide):
            yield place.say(f"is {_say(found)}, was {_say(told)}")
            return
        if place.request:
            yield from map(place.say, _limits(was, now))
        yield from map(place.say, _values(was, now, request=place.request))
        yield from self.alternatives(place, was, now)
        yield from self.members(place, was, now)
        if "items" in was and "items" in now:
            yield from self.schemas(place.item(), was["items"], now["items"])

    def members(self, place: _Place, was: Schema, now: Schema) -> Iterator[str]:
        needed_before, needed_now = was.get("required", []), now.get("required", [])
        members = now.get("properties", {})
        for name in [name for name in needed_now if place.request and name not in needed_before]:
            yield place.member(name).say("is required, and was not")
        for name, schema in was.get("properties", {}).items():
            member = place.member(name)
            if name in members:
                if not place.request and name in needed_before and name not in needed_now:
                    yield member.say("may be missing, and was always there")
                yield from self.schemas(member, schema, members[name])
            elif not place.request or now.get("additionalProperties") is False:
                yield member.say("is gone")

    def alternatives(self, place: _Place, was: Schema, now: Schema) -> Iterator[str]:
        """Compare by their words what has no order in which one is narrower."""
        for key in ("anyOf", "oneOf", "allOf", "not", "prefixItems", "format", "pattern"):
            told = _expand(self.stable, was.get(key))
            found = _expand(self.candidate, now.get(key))
            if told != found:
                yield place.say(f"has another {key}: {_short(found)}, was {_short(told)}")


def _resolve(document: Schema, schema: Any) -> dict[str, Any]:
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping):
            return {}
        if "$ref" not in schema:
            break
        found: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        schema = found
    return dict(schema)


def _expand(document: Schema, value: Any, depth: int = 0) -> Any:
    """Return a value with its references replaced and its words for people left out."""
    if depth > _DEEPEST:
        return None
    if isinstance(value, list):
        return [_expand(document, item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {
            key: _expand(document, item, depth + 1)
            for key, item in _resolve(document, value).items()
            if key not in {"title", "description", "examples", "example"}
        }
    return value


def _types(schema: Schema) -> frozenset[str]:
    kind = schema.get("type", ())
    kinds = frozenset([kind] if isinstance(kind, str) else kind)
    if schema.get("nullable"):
        kinds |= {"null"}
    return kinds | {"integer"} if "number" in kinds else kinds


def _say(kinds: frozenset[str]) -> str:
    shown = kinds - {"integer"} if "number" in kinds else kinds
    return " or ".join(sorted(shown)) or "of any type"


def _open(document: Schema, operation: Schema) -> bool:
    """Say whether a request without a key is taken."""
    security = operation.get("security", document.get("security", []))
    return not security or {} in security


def _named(parameter: Schema) -> str:
    return f"{parameter.get('in')} parameter {parameter.get('name')}"


def _limits(was: Schema, now: Schema) -> Iterator[str]:
    for key in _MOST:
        if key in now and now[key] < was.get(key, float("inf")):
            yield f"has {key} {now[key]}, had {was.get(key, 'none')}"
    for key in _LEAST:
        if key in now and now[key] > was.get(key, float("-inf")):
            yield f"has {key} {now[key]}, had {was.get(key, 'none')}"


def _values(was: Schema, now: Schema, *, request: bool) -> Iterator[str]:
    """Compare closed lists of values: requests may lose none, answers may gain none."""
    told, found = (
        schema.get("enum", [schema["const"]] if "const" in schema else None)
        for schema in (was, now)
    )
    smaller, larger = (told, found) if request else (found, told)
    if larger is None:
        return
    extra = [value for value in smaller or [] if value not in larger]
    if smaller is None or extra:
        words = "no longer takes" if request else "may now be"
        yield f"{words} {_short(extra) if smaller else 'a value of no list'}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
