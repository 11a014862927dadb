"""FastAPI on uvicorn: endpoints that are no coroutines run side by side in its thread pool."""

from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, Field

from benchmarks.peers.model import Model

app = FastAPI()
model = Model(threads=1)  # two were slower: requests run side by side already


class Texts(BaseModel):
    texts: Annotated[list[str], Field(min_length=1, max_length=64)]


class Answers(BaseModel):
    positive: list[bool]


@app.post("/predict")
def predict(request: Texts) -> Answers:
    return Answers(positive=model.positive(request.texts))
