// A model card's Markdown as nodes: headings, paragraphs, lists, tables, code and emphasis.
// Whatever else it holds is shown as it was written. Nothing is ever parsed as HTML.

import { element } from "./dom.js";

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*/g;
const HEADING = /^#{1,6} +(.*)$/;
const ITEM = /^[-*] +(.*)$/;
const RULE = /^\|?( *:?-+:? *\|)+( *:?-+:? *)?$/;

/** Return the nodes of a card. */
export function renderCard(markdown) {
  const blocks = markdown.split(/\n{2,}/).map((block) => block.trim().split("\n"));
  return blocks.filter(([line]) => line).map(renderBlock);
}

function renderBlock(lines) {
  const heading = lines.length === 1 && HEADING.exec(lines[0]);
  if (heading) {
    return element("h3", inline(heading[1]));
  }
  if (lines.every((line) => ITEM.test(line))) {
    return element("ul", lines.map((line) => element("li", inline(ITEM.exec(line)[1]))));
  }
  if (lines.length > 1 && lines[0].startsWith("|") && RULE.test(lines[1])) {
    return renderTable(lines);
  }
  return element("p", inline(lines.join(" ")));
}

function renderTable([header, , ...rows]) {
  const head = element("thead", [renderRow(header, "th")]);
  const body = element("tbody", rows.map((row) => renderRow(row, "td")));
  // With the focus in it the arrow keys move it.
  const attributes = { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" };
  return element("div", [element("table", [head, body])], attributes);
}

function renderRow(line, name) {
  const cells = line.replace(/^\||\|$/g, "").split(/(?<!\\)\|/);
  const attributes = name === "th" ? { scope: "col" } : {};
  return element("tr", cells.map((cell) =>
    element(name, inline(cell.trim().replaceAll("\\|", "|")), attributes)));
}

function* inline(text) {
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    yield text.slice(end, match.index);
    yield match[1] ? element("code", [match[1]]) : element("strong", [match[2]]);
    end = match.index + match[0].length;
  }
  yield text.slice(end);
}
