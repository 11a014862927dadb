// Wires the page: what is typed goes to the service, and what it answers is shown.

import { colourAnswer, showAnswer } from "./answer.js";
import { curlCommand } from "./curl.js";
import { by, count, element, say } from "./dom.js";
import { loadModel } from "./model.js";
import { hideProblem, showProblem } from "./problem.js";
import { Problem, bodyOf, classify, readLines } from "./service.js";

const texts = by("texts");
// The key is here and nowhere else: no storage, no cookie, no address.
const state = { key: "", model: null, running: null };

async function run() {
  const { lines } = readLines(texts.value);
  if (!lines.length) {
    askForText();
    return;
  }
  const own = start();
  const began = performance.now();
  try {
    const { model, predictions } = await classify(bodyOf(lines), state.key, own.signal);
    if (finish(own)) {
      hideProblem();
      showAnswer(predictions, lines, performance.now() - began, state.model);
      if (model !== state.model?.tag) {
        askForModel(); // another version serves by now, or the key opens its card too
      }
    }
  } catch (error) {
    if (finish(own)) {
      fail(error instanceof Problem ? error : new Problem(aboutThePage(error)), lines);
    }
  }
}

/** Say it to those who see the page too, until something is typed. */
function askForText() {
  const words = "Type a text first.";
  by("count").replaceChildren(element("strong", [words], { class: "fault" }));
  say(words);
  texts.focus();
}

/** Cancel the request that runs, if one does, and return what can cancel the next. */
function start() {
  state.running?.abort();
  state.running = new AbortController();
  showBusy(true);
  return state.running;
}

/** Say whether a request is still the one whose answer is wanted, and end it. */
function finish(own) {
  if (state.running !== own) {
    return false;
  }
  state.running = null;
  showBusy(false);
  return true;
}

function showBusy(busy) {
  by("work").toggleAttribute("data-busy", busy);
  by("work").setAttribute("aria-busy", String(busy));
  by("run-name").textContent = busy ? "Classifying…" : "Classify";
}

function fail(problem, lines) {
  const refused = problem.status === 401 && state.key !== "";
  if (problem.status === 401) {
    useKey("");
  } else if (state.key && !state.model) {
    askForModel(); // the key was accepted
  }
  showProblem(problem, lines, state.model, refused);
}

function aboutThePage(error) {
  return { status: -1, title: "The page made a mistake", detail: String(error) };
}

function useKey(key) {
  state.key = key;
  by("key-in-use").hidden = !key;
  showCommand();
}

function askForModel() {
  loadModel(() => state.key, (model) => {
    state.model = model;
    colourAnswer(model);
  });
}

function showCommand() {
  const { lines, blank } = readLines(texts.value);
  const skipped = blank ? `, ${count(blank, "blank line")} skipped` : "";
  by("count").textContent = lines.length ? count(lines.length, "text") + skipped : "";
  by("curl").hidden = !lines.length;
  by("curl-key").hidden = !state.key;
  const url = new URL("classify", document.baseURI).href;
  by("command").textContent = curlCommand(url, bodyOf(lines), state.key !== "");
}

async function copyCommand() {
  try {
    await navigator.clipboard.writeText(by("command").textContent);
    say("The command was copied.");
    by("copy").textContent = "Copied";
    setTimeout(() => (by("copy").textContent = "Copy"), 2000);
  } catch {
    // Only a page that came over HTTPS or from this machine may write to the clipboard.
    getSelection().selectAllChildren(by("command"));
    by("copy").textContent = "Selected";
    say("The command is selected: copy it with your keyboard.");
  }
}

by("request").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
by("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(by("key").value.trim());
  by("key").value = "";
  run();
});
by("forget").addEventListener("click", () => {
  useKey("");
  texts.focus();
});
by("retry").addEventListener("click", run);
by("copy").addEventListener("click", copyCommand);
texts.addEventListener("input", showCommand);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) {
    event.preventDefault();
    by(by("key-form").contains(event.target) ? "key-form" : "request").requestSubmit();
  }
});
if (navigator.platform.startsWith("Mac")) {
  document.querySelector("kbd").textContent = "⌘";
}
showCommand(); // a browser keeps what was typed when it loads a page again
askForModel();
