"""A fetched model to a draft: what is taken over, and what is not believed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.tiny_models import TinyModel
from textclf import store
from textclf.artifact import (
    CARD,
    GRAPH,
    read_artifact,
    read_golden,
    write_description,
    write_golden,
)
from textclf.errors import TagTakenError
from textclf.importing import ImportOptions, import_model
from textclf.sources import FetchedModel, LocalSource

NOTHING = ImportOptions()


@dataclass(frozen=True)
class Registry(LocalSource):
    """A source that says more of its model than a file can."""

    registered_by: str = "Eve"

    def fetch(self, target: Path) -> FetchedModel:
        """Return the local model as one of a registry."""
        return replace(
            super().fetch(target),
            source="registry",
            uri="registry://models/demo/7",
            name="demo",
            version="7",
            registered_by=self.registered_by,
            registered_at="2026-01-01T00:00:00+00:00",
            workspace="ws",
        )


@pytest.mark.usefixtures("bentoml_home")
def test_what_a_registry_says_cannot_act_on_a_terminal(roberta_model: TinyModel) -> None:
    """Control characters are replaced, and a name breaks neither a line nor a table."""
    source = Registry(roberta_model.graph, "Eve\x1b[2K\n\n# Approved | yes")

    report = import_model(source, NOTHING)

    card = (store.locate(report.tag) / CARD).read_text("utf-8")
    assert report.description.lineage.registered_by == "Eve?[2K??# Approved | yes"
    assert "| registered by | `Eve?[2K??# Approved \\| yes` |" in card


@pytest.mark.usefixtures("bentoml_home")
def test_a_registered_classifier_folder_keeps_what_it_is(classifier_folder: Path) -> None:
    """Its files stay; its lineage is that of the registry, and says where it was before."""
    given = read_artifact(classifier_folder).description

    report = import_model(Registry(classifier_folder), NOTHING)

    lineage = report.description.lineage
    assert report.tag == "sentiment:demo-7"
    assert report.description.files == given.files
    assert (lineage.uri, lineage.origin) == ("registry://models/demo/7", given.lineage.uri)
    assert (lineage.registered_by, lineage.workspace) == ("Eve", "ws")


@pytest.mark.usefixtures("bentoml_home")
def test_a_folder_with_another_graph_is_another_model(
    classifier_folder: Path, tmp_path: Path
) -> None:
    """A folder that was made by the same recipe and changed since is not taken for the first."""
    import_model(LocalSource(classifier_folder), NOTHING)
    folder = Path(shutil.copytree(classifier_folder, tmp_path / "changed"))
    graph = onnx.load_model(folder / GRAPH)
    (weights,) = (tensor for tensor in graph.graph.initializer if tensor.name == "weights")
    weights.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weights), "weights"))
    onnx.save_model(graph, folder / GRAPH)
    labels = {"negative": "positive", "positive": "negative"}
    golden = [
        example.model_copy(update={"label": labels[example.label]})
        for example in read_golden(folder / "golden.jsonl")
    ]
    write_golden(folder / "golden.jsonl", golden)
    write_description(folder, read_artifact(classifier_folder).description)

    with pytest.raises(TagTakenError, match=r"differs in files\)"):
        import_model(LocalSource(folder), NOTHING)
    assert np.any([example.label == "positive" for example in golden])
