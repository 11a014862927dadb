"""The app of the book: Flask on its development server.

Against the book's, tokenizers stands in for transformers (whose fast tokenizer it is), and one
thread inside the session for one a core, as each request has a thread already.
"""

import os

from flask import Flask, jsonify, request

from benchmarks.peers.model import Model

app = Flask(__name__)
model = Model(threads=1)


@app.route("/")
def home():
    return "<h2>RoBERTa sentiment analysis</h2>"


@app.route("/predict", methods=["POST"])
def predict():
    (positive,) = model.positive([request.json[0]])
    return jsonify({"positive": positive})


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]))
