// The answer: a row for each text, with its label, its score and a bar as long as that.

import { by, count, element, say } from "./dom.js";

/** Show one prediction for each line, in order. */
export function showAnswer(predictions, lines, milliseconds, model) {
  by("rows").replaceChildren(...predictions.map((given, index) => row(given, lines[index], model)));
  by("answer").hidden = false;
  const took = `${count(predictions.length, "text")} in ${Math.ceil(milliseconds).toLocaleString("en")} ms`;
  by("took").textContent = took;
  by("answer-title").scrollIntoView({ block: "nearest" });
  say(`${took}: ${tally(predictions)}.`);
}

/** Colour the rows by what the model calls positive, once that is known. */
export function colourAnswer(model) {
  for (const made of by("rows").children) {
    made.dataset.kind = kind(made.querySelector(".label").textContent, model);
  }
}

function kind(label, model) {
  return label === model?.positive_label ? "positive" : "other";
}

function row({ label, score, truncated }, { number, text }, model) {
  const words = element("p", [text], { dir: "auto" });
  const cells = {
    line: [String(number)],
    text: truncated ? [words, truncation(model)] : [words],
    label: [label],
    score: [scoreBar(score)],
  };
  const made = element("tr", Object.entries(cells).map(([name, content]) =>
    element("td", content, { class: name, role: "cell" })), { role: "row" });
  made.dataset.kind = kind(label, model);
  return made;
}

function truncation(model) {
  const read = model ? `its first ${count(model.max_tokens, "token")}` : "its beginning";
  return element("p", [`Truncated: the model read ${read} only`], { class: "truncated" });
}

function scoreBar(score) {
  const filled = element("i", []);
  filled.style.width = `${score * 100}%`;
  return element("div", [
    element("span", [filled], { class: "bar", "aria-hidden": "true" }),
    element("span", [score.toFixed(4)], { class: "number" }),
  ]);
}

function tally(predictions) {
  const found = new Map();
  for (const { label } of predictions) {
    found.set(label, (found.get(label) ?? 0) + 1);
  }
  const truncated = predictions.filter((given) => given.truncated).length;
  const parts = [...found].map(([label, number]) => `${number} ${label}`);
  return [...parts, ...(truncated ? [`${truncated} truncated`] : [])].join(", ");
}
