"""infinity, on a folder as a model hub would hold it, which is made of links to the model's files.

Its engine opens the session itself, with a thread a core: there is no setting for it.
"""

import json
import os
import shutil
import sys
from pathlib import Path


def lay_folder(folder: Path) -> None:
    """Write what transformers and optimum read beside the graph and the tokenizer."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "model.onnx").symlink_to(os.environ["MODEL_FILE"])
    (folder / "tokenizer.json").symlink_to(os.environ["TOKENIZER_FILE"])
    positive = int(os.environ["POSITIVE_INDEX"])
    config = {
        "model_type": "bert",  # any will do: the graph is what runs
        "architectures": ["BertForSequenceClassification"],
        "id2label": {positive: "positive", 1 - positive: "negative"},
        "pad_token_id": int(os.environ["PAD_TOKEN_ID"]),
    }
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": int(os.environ["MAX_TOKENS"]),
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


if __name__ == "__main__":
    folder = Path(os.environ["HUB_FOLDER"])
    lay_folder(folder)
    # From within, as infinity 0.0.78 hands a path on where optimum 2 looks for a name.
    os.chdir(folder)
    command = str(Path(sys.executable).with_name("infinity_emb"))
    options = ["--model-id", ".", "--served-model-name", "classifier"]
    # Its warm-up is of 512 words, which it does not cut to what the graph takes.
    engine = ["--engine", "optimum", "--device", "cpu", "--no-model-warmup"]
    address = ["--host", "127.0.0.1", "--port", os.environ["PORT"]]
    os.execv(command, [command, "v2", *options, *engine, *address])
