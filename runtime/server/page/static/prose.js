// Elements of what `markdown` reads. Text becomes text nodes, whatever it looks like; nothing is fetched.

import { confirmed, copy, icon, make } from "./dom.js";
import { coloured } from "./code.js";
import { blocks, inline } from "./markdown.js";
import { visible } from "./text.js";

// Shows `text` in `place`, which showed a shorter beginning of it before: what is the same stays as it is.
export function show(place, text) {
  const now = ranked(blocks(text));
  const before = place.shownBlocks ?? [];
  let same = 0;
  while (same < Math.min(now.length, before.length) && areAlike(now[same], before[same])) same += 1;
  while (place.childNodes.length > same) place.lastChild.remove();
  place.append(...now.slice(same).map(element));
  place.shownBlocks = now;
}

const areAlike = (one, other) => one.source === other.source && one.open === other.open && one.rank === other.rank;

// Headings of an answer stand below that of the page, its own highest first, whatever it calls that.
function ranked(now) {
  const headings = now.filter((block) => block.kind === "heading");
  const highest = Math.min(...headings.map((block) => block.level));
  for (const block of headings) block.rank = Math.min(block.level - highest, 4);
  return now;
}

const BLOCKS = {
  paragraph: ({ text }) => make("p", { dir: "auto" }, ...within(text)),
  heading: ({ rank = 4, text }) => make(`h${rank + 2}`, { dir: "auto" }, ...within(text)),
  rule: () => make("hr"),
  quote: ({ blocks: inside }) => make("blockquote", {}, ...inside.map(element)),
  code: codeBlock,
  list: ({ ordered, start, items, loose }) =>
    make(
      ordered ? "ol" : "ul",
      { start: ordered && start !== 1 ? start : null },
      ...items.map((item) => listItem(item, loose)),
    ),
  table: tableOf,
};

const element = (block) => BLOCKS[block.kind](block);

function listItem({ blocks: inside, checked }, loose) {
  const children = inside.flatMap((block) =>
    block.kind === "paragraph" && !loose ? within(block.text) : [element(block)],
  );
  if (checked === null) return make("li", { dir: "auto" }, ...children);
  return make(
    "li",
    { dir: "auto", class: "task" },
    make("input", { type: "checkbox", disabled: true, checked, "aria-label": checked ? "done" : "to do" }),
    ...children,
  );
}

function tableOf({ head, align, rows }) {
  const cell = (tag, text, place) =>
    make(tag, { class: `to-${align[place]}`, scope: tag === "th" ? "col" : null, dir: "auto" }, ...within(text));
  const row = (tag, texts) => make("tr", {}, ...texts.map((text, place) => cell(tag, text, place)));
  const table = make(
    "table",
    {},
    make("thead", {}, row("th", head)),
    make("tbody", {}, ...rows.map((texts) => row("td", texts))),
  );
  return make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Table" }, table);
}

function codeBlock({ language, text }) {
  const name = visible(language);
  const button = make(
    "button",
    { type: "button", class: "tool", "aria-label": "Copy code", title: "Copy code" },
    icon("copy"),
  );
  button.addEventListener("click", async () => (await copy(text)) && confirmed(button, "Code copied"));
  const head = make("div", { class: "code-head" }, make("span", {}, name || "code"), button);
  const code = make("code", { dir: "ltr" }, ...coloured(visible(text), name));
  return make(
    "div",
    { class: "code" },
    head,
    make("pre", { tabindex: 0, role: "region", "aria-label": name ? `Code in ${name}` : "Code" }, code),
  );
}

const INLINE = {
  text: ({ text }) => document.createTextNode(text),
  code: ({ text }) => make("code", { dir: "ltr" }, visible(text)),
  break: () => make("br"),
  strong: ({ inside }) => make("strong", {}, ...inside.map(piece)),
  em: ({ inside }) => make("em", {}, ...inside.map(piece)),
  del: ({ inside }) => make("del", {}, ...inside.map(piece)),
  link,
};

const piece = (node) => INLINE[node.kind](node);

const within = (text) => inline(text).map(piece);

// A link to the web, with the host where its text does not show it; to anywhere else it is only its text. A picture is
// a link to itself: fetching it would tell its host of this conversation.
function link({ url, image, inside }) {
  const target = onTheWeb(url);
  const children = inside.map(piece);
  if (image) children.unshift(icon("image"), inside.length ? "" : "picture");
  if (target === null) return make("span", {}, ...children);
  const anchor = make(
    "a",
    { href: target.href, target: "_blank", rel: "noopener noreferrer nofollow", title: visible(target.href) },
    ...children,
  );
  if (!anchor.textContent.includes(target.host)) anchor.append(make("span", { class: "host" }, ` (${target.host})`));
  return anchor;
}

function onTheWeb(url) {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  return parsed && (parsed.protocol === "https:" || parsed.protocol === "http:") && !parsed.username ? parsed : null;
}
