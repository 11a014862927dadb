// Elements and words. A string that is put into an element is always its text, never HTML.

/** Return the element of the page with an id. */
export function by(id) {
  return document.getElementById(id);
}

/** Return a new element with these children and attributes. */
export function element(name, children, attributes = {}) {
  const made = document.createElement(name);
  made.append(...children); // a string becomes a text node
  for (const [attribute, value] of Object.entries(attributes)) {
    made.setAttribute(attribute, value);
  }
  return made;
}

/** Tell those who hear the page rather than see it. */
export function say(message) {
  const status = by("status");
  // Words that are there already are not told again, unless something about them is new.
  status.textContent = message && status.textContent === message ? `${message}\u00a0` : message;
}

/** Return a number with its noun. */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
