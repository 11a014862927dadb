// The model that serves: its figures and its card.

import { renderCard } from "./card.js";
import { by, count, element } from "./dom.js";
import { Problem, describeModel } from "./service.js";

const SECONDS_BETWEEN_TRIES = 5;
let again = 0;

/** Ask for the model until the service tells of it, then show it and hand it on. */
export async function loadModel(currentKey, known) {
  clearTimeout(again);
  try {
    const model = await describeModel(currentKey());
    show(model);
    known(model);
  } catch (error) {
    const problem = error instanceof Problem ? error : new Problem({ title: "The page made a mistake" });
    by("model-message").textContent = explain(problem);
    by("model-message").hidden = false;
    if (problem.passes) {
      const seconds = problem.retryAfter ?? SECONDS_BETWEEN_TRIES;
      again = setTimeout(() => loadModel(currentKey, known), seconds * 1000);
    }
  }
}

function explain(problem) {
  return problem.status === 401
    ? "Shown once you have given a key, which the first text asks for."
    : `${problem.title}.${problem.passes ? " It will be asked again." : ""}`;
}

function show(model) {
  by("model-message").hidden = true;
  by("figures").replaceChildren(...figures(model).map(([name, value, more]) => element("div", [
    element("dt", [name]),
    element("dd", more ? [value, element("small", [more])] : [value]),
  ])));
  by("figures").hidden = false;
  by("card-content").replaceChildren(...renderCard(model.card));
  by("card").hidden = false;
  by("most").textContent = `Up to ${count(model.max_texts, "text")} of ${count(model.max_text_characters, "character")}.`;
}

function figures(model) {
  const { batch_invariance: batches } = model;
  return [
    ["Tag", element("code", [model.tag])],
    ["Labels", model.labels.join(", "), `/predict is true for ${model.positive_label}`],
    ["Weights", model.weights],
    ...evaluations(model),
    ["Reads", `${count(model.max_tokens, "token")} of a text`, "A longer one is truncated, and marked"],
    [
      "In a batch",
      batches.invariant ? "The same answers as alone" : "Never: texts run one at a time",
      `Measured on ${count(batches.texts, "text")}`,
    ],
    ["Imported", model.imported_at.slice(0, 10), `Source: ${model.source}`],
  ];
}

// Of what is served; of another precision only where there is nothing else.
function evaluations({ evaluations: all, weights }) {
  const own = all.filter(({ precision }) => precision === weights);
  return (own.length ? own : all).map(({ accuracy, dataset, sentences, precision }) => [
    "Accuracy",
    accuracy.toFixed(4),
    `${dataset}, ${count(sentences, "text")}, ${precision}`,
  ]);
}
