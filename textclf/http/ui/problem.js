// Why there is no answer, and what to do next.

import { by, count, element, say } from "./dom.js";

let counting = 0;

/** Show a problem in words; `refused` says that a key was sent and not accepted. */
export function showProblem(problem, lines, model, refused) {
  const asksForKey = problem.status === 401;
  by("problem-title").textContent = problem.title;
  by("problem-detail").textContent = detail(problem, refused);
  by("faults").replaceChildren(...problem.faults.map((fault) => faultItem(fault, lines, model)));
  by("faults").hidden = !problem.faults.length;
  by("key-form").hidden = !asksForKey;
  by("again").hidden = !problem.passes;
  by("problem-id").hidden = !problem.requestId;
  by("request-id").textContent = problem.requestId;
  by("problem").hidden = false;
  by("answer").hidden = true;
  by("problem-title").scrollIntoView({ block: "nearest" });
  by("texts").setAttribute("aria-invalid", String(problem.status === 422));
  say(problem.retryAfter ? `Try again in ${problem.retryAfter} s.` : "");
  countDown(problem.retryAfter ?? 0);
  if (asksForKey) {
    by("key").focus();
  }
}

/** Take the problem back; the focus does not get lost with it. */
export function hideProblem() {
  clearInterval(counting);
  if (by("problem").contains(document.activeElement)) {
    by("run").focus();
  }
  by("problem").hidden = true;
  by("texts").removeAttribute("aria-invalid");
}

function detail(problem, refused) {
  if (problem.status === 401) {
    return refused
      ? "That key was not accepted. Type it again."
      : "Type the one you were given. It stays in this tab’s memory and is gone when you reload.";
  }
  if (problem.faults.length) {
    return "None was classified. Change this, then try again:";
  }
  return problem.message.replace(/; try again[^;]*$/, ""); // a count of the seconds stands below
}

function faultItem(fault, lines, model) {
  const index = /^\/texts\/(\d+)$/.exec(fault.pointer)?.[1];
  const line = lines[Number(index ?? -1)];
  if (!line) {
    return element("li", [tooMany(fault, lines, model) ?? fault.detail]);
  }
  const go = element("button", [`Line ${line.number}`], { type: "button", class: "link" });
  go.addEventListener("click", () => select(line.number));
  return element("li", [go, `: ${tooLong(fault, line, model) ?? fault.detail}`]);
}

// The service's own words serve for whatever else may be wrong.
function tooMany({ code, pointer }, lines, model) {
  const most = model?.max_texts;
  return code === "too_long" && pointer === "/texts" && most
    ? `${count(lines.length, "text")}; ${most} at the most`
    : null;
}

function tooLong({ code }, { text }, model) {
  const most = model?.max_text_characters;
  return code === "string_too_long" && most
    ? `${count([...text.trim()].length, "character")}; ${most.toLocaleString("en")} at the most`
    : null;
}

function select(number) {
  const texts = by("texts");
  const lines = texts.value.split("\n");
  const start = lines.slice(0, number - 1).reduce((sum, line) => sum + line.length + 1, 0);
  texts.focus();
  texts.setSelectionRange(start, start + (lines[number - 1] ?? "").length);
}

function countDown(seconds) {
  const until = performance.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    by("wait").textContent = left > 0 ? `in ${left} s` : "";
    if (left <= 0) {
      clearInterval(counting);
    }
  };
  clearInterval(counting);
  counting = setInterval(tick, 250);
  tick();
}
