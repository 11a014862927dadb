"""Bodies of the Open Inference Protocol, sound and broken."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from textclf.errors import InvalidRequestError, MalformedRequestError
from textclf.http.binary_tensors import read_bytes, write_bool, write_bytes, write_fp32
from textclf.http.inference_protocol_codec import read_inference, write_inference
from textclf.schema import ClassifyRequest, ClassifyResponse, Prediction

TEXTS = st.lists(st.text(max_size=50), min_size=1, max_size=64)
TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES"}


def in_json(texts: list[Any], **members: Any) -> bytes:
    """Return a request with its texts in JSON."""
    tensor = {**TENSOR, "shape": [len(texts)], "data": texts}
    return json.dumps({"inputs": [tensor], **members}).encode()


def in_bytes(texts: list[str], **members: Any) -> tuple[bytes, str]:
    """Return a request with its texts in bytes, and the length of its JSON."""
    content = write_bytes(text.encode() for text in texts)
    parameters = {"binary_data_size": len(content)}
    tensor = {**TENSOR, "shape": [len(texts)], "parameters": parameters}
    head = json.dumps({"inputs": [tensor], **members}).encode()
    return head + content, str(len(head))


@given(st.lists(st.binary(max_size=50), max_size=64))
def test_bytes_are_read_as_they_were_written(elements: list[bytes]) -> None:
    """Each element comes back, whatever is in it."""
    assert read_bytes(write_bytes(elements), len(elements)) == elements


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=64), st.data())
def test_bytes_of_another_length_are_refused(elements: list[bytes], data: st.DataObject) -> None:
    """A tensor that ends early, goes on, or has more or fewer elements is none."""
    content = write_bytes(elements)
    cut = data.draw(st.integers(0, len(content) - 1))
    count = data.draw(st.integers(0, 65).filter(lambda count: count != len(elements)))
    for wrong, elements_said in [
        (content[:cut], len(elements)),
        (content + b"\0", len(elements)),
        (content, count),
    ]:
        with pytest.raises(ValueError, match=r"element|goes on"):
            read_bytes(wrong, elements_said)


def test_numbers_are_written_low_byte_first() -> None:
    """As numpy reads them: FP32 in 4 bytes each, BOOL in one."""
    assert write_fp32([1.0, 0.5]) == struct.pack("<ff", 1.0, 0.5)
    assert write_bool([True, False]) == b"\1\0"


@given(TEXTS)
def test_texts_are_judged_as_those_of_classify(texts: list[str]) -> None:
    """JSON and bytes carry the same texts; what /classify refuses is refused, at its place."""
    binary, json_length = in_bytes(texts)
    ways: list[tuple[bytes, str | None]] = [(in_json(texts), None), (binary, json_length)]
    try:
        expected = ClassifyRequest(texts=texts)
    except ValidationError as exc:
        places = [f"/inputs/0/data/{error['loc'][1]}" for error in exc.errors()]
        for body, length in ways:
            with pytest.raises(InvalidRequestError) as refused:
                read_inference(body, length)
            assert [fault["pointer"] for fault in refused.value.faults] == places
    else:
        for body, length in ways:
            assert read_inference(body, length)[1] == expected


@given(st.data())
def test_a_broken_body_is_a_fault_of_the_client(data: st.DataObject) -> None:
    """A body that is cut, has bytes changed, or says another length is refused or read whole."""
    body, json_length = in_bytes(["an espresso", "a fine cup"], id="7")
    changed = bytearray(body)
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=3)):
        changed[place] = data.draw(st.integers(0, 255))
    broken = bytes(changed)[: data.draw(st.integers(0, len(body)))]
    length = data.draw(st.sampled_from([json_length, None, "0", "²", "9" * 5000, "-1", "", "1e2"]))
    try:
        request, texts = read_inference(broken, length)
    except (MalformedRequestError, InvalidRequestError):
        return
    assert len(broken) == len(body)
    assert len(texts.texts) == request.inputs[0].shape[0]


@given(st.data())
def test_a_truncated_body_is_always_refused(data: st.DataObject) -> None:
    """However little of it is missing."""
    texts = data.draw(st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=5))
    body, json_length = in_bytes(texts)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises((MalformedRequestError, InvalidRequestError)):
        read_inference(body[:cut], json_length)


OUTPUTS = [{"name": "score"}]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no inputs": ({"inputs": []}, "/inputs"),
    "two inputs": ({"inputs": [TENSOR, TENSOR]}, "/inputs"),
    "another name": ({"inputs": [{**TENSOR, "name": "SECRET"}]}, "/inputs/0/name"),
    "another type": ({"inputs": [{**TENSOR, "datatype": "FP32"}]}, "/inputs/0/datatype"),
    "no shape": ({"inputs": [{"name": "text", "datatype": "BYTES"}]}, "/inputs/0/shape"),
    "scalar": ({"inputs": [{**TENSOR, "shape": []}]}, "/inputs/0/shape"),
    "matrix": ({"inputs": [{**TENSOR, "shape": [1, 2]}]}, "/inputs/0/shape"),
    "cube": ({"inputs": [{**TENSOR, "shape": [1, 1, 1]}]}, "/inputs/0/shape"),
    "size 0": ({"inputs": [{**TENSOR, "shape": [0]}]}, "/inputs/0/shape/0"),
    "size 65": ({"inputs": [{**TENSOR, "shape": [65]}]}, "/inputs/0/shape/0"),
    "negative size": ({"inputs": [{**TENSOR, "shape": [-1]}]}, "/inputs/0/shape/0"),
    "size true": ({"inputs": [{**TENSOR, "shape": [True]}]}, "/inputs/0/shape/0"),
    "huge size": ({"inputs": [{**TENSOR, "shape": [1 << 70]}]}, "/inputs/0/shape/0"),
    "no data": ({"inputs": [TENSOR]}, "/inputs/0"),
    "data twice": (
        {"inputs": [{**TENSOR, "data": ["a"], "parameters": {"binary_data_size": 0}}]},
        "/inputs/0",
    ),
    "too few": ({"inputs": [{**TENSOR, "shape": [2], "data": ["a"]}]}, "/inputs/0/data"),
    "too many": ({"inputs": [{**TENSOR, "data": ["a", "b"]}]}, "/inputs/0/data"),
    "number": ({"inputs": [{**TENSOR, "data": [1]}]}, "/inputs/0/data/0"),
    "array in [n]": ({"inputs": [{**TENSOR, "data": [["a"]]}]}, "/inputs/0/data/0"),
    "two in a row": (
        {"inputs": [{**TENSOR, "shape": [2, 1], "data": [["a", "b"], ["c"]]}]},
        "/inputs/0/data/0",
    ),
    "blank": ({"inputs": [{**TENSOR, "data": [" \t"]}]}, "/inputs/0/data/0"),
    "missing bytes": (
        {"inputs": [{**TENSOR, "parameters": {"binary_data_size": 9}}]},
        "/inputs/0/parameters/binary_data_size",
    ),
    "unknown output": ({"outputs": [{"name": "SECRET"}]}, "/outputs/0/name"),
    "output twice": ({"outputs": OUTPUTS * 2}, "/outputs/1"),
    "classification": (
        {"outputs": [{"name": "label", "parameters": {"classification": 2}}]},
        "/outputs/0/parameters",
    ),
    "id of a number": ({"id": 7}, "/id"),
}


@pytest.mark.parametrize(("members", "pointer"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_refused_at_its_place(members: dict[str, Any], pointer: str) -> None:
    """The fault is named; nothing of what was sent is."""
    with pytest.raises(InvalidRequestError) as refused:
        read_inference(in_json(["good"], **members), None)

    assert pointer in [fault["pointer"] for fault in refused.value.faults]
    assert "SECRET" not in str(refused.value.faults)


@pytest.mark.parametrize(
    "data", [["a", "b"], [["a"], ["b"]]], ids=["one after the other", "in rows"]
)
def test_a_column_may_be_sent_flat_or_in_rows(data: list[Any]) -> None:
    """The protocol allows both for a shape of [n, 1]; what else a client adds is let by."""
    tensor = {**TENSOR, "shape": [2, 1], "data": data, "parameters": {"content_type": "str"}}
    body = json.dumps({"inputs": [tensor], "model_name": "x", "parameters": {"a": 1}}).encode()

    assert read_inference(body, None)[1].texts == ["a", "b"]


FOUND = ClassifyResponse(
    model="sentiment:tiny-1",
    predictions=[
        Prediction(label="été", score=0.75, truncated=False),
        Prediction(label="b", score=0.5, truncated=True),
    ],
)


@pytest.mark.parametrize(
    ("members", "outputs", "content"),
    [
        (
            {"id": "", "outputs": [{"name": "truncated"}, {"name": "label"}]},
            [("truncated", [False, True]), ("label", ["été", "b"])],
            b"",
        ),
        (
            {"parameters": {"binary_data_output": True}},
            [("label", 14), ("score", 8), ("truncated", 2)],
            b"\x05\0\0\0\xc3\xa9t\xc3\xa9\x01\0\0\0b\0\0\x40\x3f\0\0\0\x3f\0\1",
        ),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "score", "parameters": {"binary_data": False}}],
            },
            [("score", [0.75, 0.5])],
            b"",
        ),
        (
            {
                "outputs": [
                    {"name": "score"},
                    {"name": "truncated", "parameters": {"binary_data": True}},
                ]
            },
            [("score", [0.75, 0.5]), ("truncated", 2)],
            b"\0\1",
        ),
    ],
    ids=["JSON", "all in bytes", "overridden", "mixed"],
)
def test_outputs_are_given_as_they_are_asked_for(
    members: dict[str, Any], outputs: list[tuple[str, Any]], content: bytes
) -> None:
    """In the order asked for, each in JSON or in bytes, of the shape of the texts."""
    request, _ = read_inference(in_json(["x", "y"], **members), None)

    answer = write_inference(request, FOUND)

    length = int(answer.headers.get("Inference-Header-Content-Length", len(answer.body)))
    head = json.loads(answer.body[:length])
    assert answer.body[length:] == content
    assert head.get("id") == members.get("id")
    assert (head["model_name"], head["model_version"]) == ("sentiment", "tiny-1")
    assert outputs == [
        (o["name"], o["data"] if "data" in o else o["parameters"]["binary_data_size"])
        for o in head["outputs"]
    ]
    assert {tuple(o["shape"]) for o in head["outputs"]} == {(2,)}
