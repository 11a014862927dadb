// What the page asks of the service, and how it reads the answers.

// The service's own idea of a text with nothing in it: textclf/schema.py.
const BLANK = /^[\p{White_Space}\x00-\x1f\x7f-\x9f]*$/u;
const UNREACHABLE = {
  status: 0,
  title: "The service cannot be reached",
  detail: "No answer came. Check the connection, then try again.",
};
const TITLES = {
  401: "This service asks for a key",
  413: "These texts are too much for one request",
  422: "The service refused these texts",
  429: "Too many texts at once",
  500: "The service made a mistake",
  503: "The service is not ready",
  504: "The answer took too long",
};
const PASSING = new Set([0, 429, 500, 502, 503, 504]);

/** Why there is no answer, in words for people. */
export class Problem extends Error {
  constructor({ status, title, detail, errors = [], request_id: requestId = "" }, retryAfter = null) {
    super(detail);
    this.status = status;
    this.title = TITLES[status] ?? title;
    this.faults = errors;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may go well later. */
  get passes() {
    return PASSING.has(this.status);
  }
}

/** Return the lines of a text that are not blank, with their numbers, and how many between are. */
export function readLines(value) {
  const all = value.split("\n").map((text, index) => ({ number: index + 1, text }));
  const lines = all.filter(({ text }) => !BLANK.test(text));
  const last = lines.at(-1)?.number ?? 0;
  return { lines, blank: last - lines.length };
}

/** Return the body of a request to classify texts. */
export function bodyOf(lines) {
  return JSON.stringify({ texts: lines.map(({ text }) => text) });
}

/** Return the answer to a request; throw a Problem, or an AbortError if a signal came first. */
export async function classify(body, key, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask("classify", { method: "POST", body, headers, signal }, key);
}

/** Return what the service tells of its model; throw a Problem. */
export async function describeModel(key) {
  return ask("ui/model", { headers: {} }, key);
}

async function ask(path, options, key) {
  if (key) {
    options.headers.Authorization = `Bearer ${inBytes(key)}`;
  }
  let response;
  let content;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
    content = await response.text();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem(UNREACHABLE);
  }
  const read = parse(content);
  if (response.ok && read) {
    return read;
  }
  throw new Problem(read?.detail ? read : unexpected(response), seconds(response));
}

function parse(content) {
  try {
    return JSON.parse(content);
  } catch {
    return null; // a proxy's page
  }
}

function unexpected(response) {
  const detail = `Something before the service answered ${response.status}. Try again, or tell whoever runs it.`;
  return { status: response.status, title: "An answer that is not the service’s", detail };
}

function seconds(response) {
  const given = response.headers.get("Retry-After");
  return /^\d{1,6}$/.test(given ?? "") ? Number(given) : null;
}

// A header holds bytes, and curl sends those of UTF-8.
function inBytes(key) {
  return String.fromCharCode(...new TextEncoder().encode(key));
}
