// Markdown as models write it, read into plain data. It knows no document: `prose` makes elements of what it gives.
//
// Every step is linear in the text, and nesting is bounded: a text may be made to be hard to read. Each block carries
// its `source`, so that of a text that grows only what has changed need be shown anew.

const DEEPEST = 12;
const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( +|$)(.*)$/;
const TASK = /^\[([ xX])\] +/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

const ANY_FENCE = /^[\s>]*(?:(?:[-*+]|\d{1,9}[.)])\s+)?(`{3,}(?=[^`]*$)|~{3,})/;

export const blocks = (text) => blocksOf(untabbed(text.replaceAll("\r\n", "\n").split("\n")), 0);

// Tabs count as four spaces where they tell what belongs to what; code keeps its own.
function untabbed(lines) {
  let open = "";
  return lines.map((line) => {
    const mark = ANY_FENCE.exec(line)?.[1] ?? "";
    if (open && !mark.startsWith(open)) return line;
    if (mark) open = open ? "" : mark;
    return line.replaceAll("\t", "    ");
  });
}

function blocksOf(lines, depth) {
  const found = [];
  let at = 0;
  while ((at = afterBlanks(lines, at)) < lines.length) {
    const block = blockAt(lines, at, depth);
    block.apart = found.length > 0 && !lines[at - 1].trim();
    block.source = lines.slice(at, at + block.taken).join("\n");
    at += block.taken;
    found.push(block);
  }
  return found;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  const heading = HEADING.exec(line);
  if (FENCE.test(line)) return codeAt(lines, at);
  if (heading) return { kind: "heading", level: heading[1].length, text: heading[2] ?? "", taken: 1 };
  if (RULE.test(line)) return { kind: "rule", taken: 1 };
  if (depth < DEEPEST && QUOTE.test(line)) return quoteAt(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return listAt(lines, at, depth);
  if (isTable(lines, at)) return tableAt(lines, at);
  return paragraphAt(lines, at, depth);
}

// `open`: its end has not come yet.
function codeAt(lines, at) {
  const [, indent, fence, language] = FENCE.exec(lines[at]);
  const closes = (line) => /^ {0,3}(`{3,}|~{3,})[ \t]*$/.test(line) && line.trim().startsWith(fence);
  const inside = [];
  let end = at + 1;
  while (end < lines.length && !closes(lines[end])) {
    inside.push(lines[end].replace(new RegExp(`^ {0,${indent.length}}`), ""));
    end += 1;
  }
  const open = end === lines.length;
  return {
    kind: "code",
    language: language.trim().split(/\s/)[0],
    text: inside.join("\n"),
    open,
    taken: end - at + (open ? 0 : 1),
  };
}

function quoteAt(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inside = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return { kind: "quote", blocks: blocksOf(inside, depth + 1), taken: end - at };
}

function listAt(lines, at, depth) {
  const [, , mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const items = [];
  let [end, loose] = [at, false];
  while (end < lines.length) {
    const item = itemAt(lines, end, mark.at(-1), depth);
    if (item === null) break;
    items.push(item);
    end += item.taken;
    loose ||= item.loose;
    const next = afterBlanks(lines, end);
    if (next === end || !isItem(lines[next], mark.at(-1))) continue;
    [end, loose] = [next, true];
  }
  return { kind: "list", ordered, start: ordered ? Number.parseInt(mark, 10) : null, loose, items, taken: end - at };
}

const isItem = (line, mark) => line !== undefined && !RULE.test(line) && ITEM.exec(line)?.[2].at(-1) === mark;

function itemAt(lines, at, mark, depth) {
  if (!isItem(lines[at], mark)) return null;
  const [, indent, bullet, gap, first] = ITEM.exec(lines[at]);
  const width = indent.length + bullet.length + (gap.length > 4 ? 1 : gap.length || 1);
  const task = TASK.exec(first);
  const inside = [task ? first.slice(task[0].length) : first];
  let end = at + 1;
  while (end < lines.length) {
    const next = afterBlanks(lines, end);
    const inset = next < lines.length && lines[next].startsWith(" ".repeat(Math.min(width, indent.length + 2)));
    const goesOn = next === end && !startsBlock(lines[end]);
    if (!inset && !goesOn) break;
    for (; end <= next; end += 1) inside.push(lines[end].replace(new RegExp(`^ {0,${width}}`), ""));
  }
  const held = blocksOf(inside, depth + 1);
  const loose = held.some((block) => block.apart);
  return { blocks: held, checked: task ? task[1] !== " " : null, loose, taken: end - at };
}

function afterBlanks(lines, at) {
  while (at < lines.length && !lines[at].trim()) at += 1;
  return at;
}

const startsBlock = (line) =>
  FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);

const isTable = (lines, at) =>
  lines[at].includes("|") &&
  at + 1 < lines.length &&
  DELIMITERS.test(lines[at + 1]) &&
  cells(lines[at]).length === cells(lines[at + 1]).length;

function tableAt(lines, at) {
  const head = cells(lines[at]);
  const align = cells(lines[at + 1]).map((cell) =>
    cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left",
  );
  let end = at + 2;
  const rows = [];
  for (; end < lines.length && lines[end].trim() && !startsBlock(lines[end]); end += 1) {
    const row = cells(lines[end]);
    rows.push(head.map((_, place) => row[place] ?? ""));
  }
  return { kind: "table", head, align, rows, taken: end - at };
}

function cells(line) {
  const row = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return row.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function paragraphAt(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !(depth < DEEPEST && interrupts(lines, end))) end += 1;
  return {
    kind: "paragraph",
    text: lines
      .slice(at, end)
      .map((line) => line.trimStart())
      .join("\n")
      .trimEnd(),
    taken: end - at,
  };
}

// A number that is not 1 in the middle of a paragraph is a part of it: "in\n1984. He".
function interrupts(lines, at) {
  const item = ITEM.exec(lines[at]);
  if (item) return item[4] !== "" && (!/\d/.test(item[2]) || Number.parseInt(item[2], 10) === 1);
  return startsBlock(lines[at]) || isTable(lines, at);
}

// What stands within a line: {kind: text | code | link | strong | em | del | break, ...}.
export const inline = (text) => new Inline(text).read(0, text.length, 0);

const MARKS = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };
const WEB = /https?:\/\/[^\s<>"'`]+/y;
const ANGLED = /<(https?:\/\/[^\s<>]+)>/y;
const TARGET = /\(\s*(?:<([^<>\n]*)>|([^\s()]*(?:\([^\s()]*\)[^\s()]*)*))(?:\s+(?:"[^"\n]*"|'[^'\n]*'))?\s*\)/y;
const ENTITY = /&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|(\w{2,8}));/y;
const ENTITIES = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  ndash: "–",
  mdash: "—",
  hellip: "…",
};
const LONGEST_LABEL = 300;

class Inline {
  constructor(text) {
    this.text = text;
    this.unclosed = new Set(); // marks of which none closes any more: they are not looked for again
  }

  read(at, end, depth) {
    const found = [];
    let plain = at;
    const flush = (until) => until > plain && found.push({ kind: "text", text: this.text.slice(plain, until) });
    while (at < end) {
      const step = depth < DEEPEST && this.#special(at, end, depth);
      if (!step) {
        at += 1;
        continue;
      }
      flush(at);
      found.push(step.node);
      at = plain = step.end;
    }
    flush(end);
    return found;
  }

  #special(at, end, depth) {
    switch (this.text[at]) {
      case "\\":
        return this.#escaped(at, end);
      case "\n":
        return { node: { kind: "break" }, end: at + 1 };
      case "`":
        return this.#code(at, end);
      case "!":
        return this.text[at + 1] === "[" ? this.#link(at + 1, end, depth, true) : null;
      case "[":
        return this.#link(at, end, depth, false);
      case "<":
        return this.#matched(ANGLED, at, end);
      case "&":
        return this.#entity(at, end);
      case "h":
        return /\w/.test(this.text[at - 1] ?? "") ? null : this.#address(at, end);
      case "*":
      case "_":
      case "~":
        return this.#marked(at, end, depth);
      default:
        return null;
    }
  }

  #escaped(at, end) {
    const next = this.text[at + 1] ?? "";
    if (at + 1 >= end || !/[!-/:-@[-`{-~\n]/.test(next)) return null;
    return { node: next === "\n" ? { kind: "break" } : { kind: "text", text: next }, end: at + 2 };
  }

  #entity(at, end) {
    ENTITY.lastIndex = at;
    const [whole, decimal, hexadecimal, name] = ENTITY.exec(this.text) ?? [""];
    const code = decimal ? Number(decimal) : Number.parseInt(hexadecimal, 16);
    const text = name ? ENTITIES[name] : code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : undefined;
    return text && at + whole.length <= end ? { node: { kind: "text", text }, end: at + whole.length } : null;
  }

  #code(at, end) {
    let size = 1;
    while (this.text[at + size] === "`") size += 1;
    const fence = "`".repeat(size);
    const plain = { node: { kind: "text", text: fence }, end: at + size };
    if (this.unclosed.has(fence)) return plain;
    let close = at + size;
    for (;;) {
      close = this.text.indexOf(fence, close);
      if (close < 0 || close + size > end) break;
      let run = close + size;
      while (this.text[run] === "`") run += 1;
      if (run - close === size) {
        const inside = this.text.slice(at + size, close).replaceAll("\n", " ");
        const trimmed = /^ .*[^ ].* $/.test(inside) ? inside.slice(1, -1) : inside;
        return { node: { kind: "code", text: trimmed }, end: run };
      }
      close = run;
    }
    if (end === this.text.length) this.unclosed.add(fence);
    return plain;
  }

  #link(at, end, depth, image) {
    const close = this.#closing(at, Math.min(end, at + LONGEST_LABEL));
    if (close < 0) return null;
    TARGET.lastIndex = close + 1;
    const target = TARGET.exec(this.text);
    if (target === null || TARGET.lastIndex > end) return null;
    const url = target[1] ?? target[2];
    const inside = this.read(at + 1, close, depth + 1).flatMap((node) => (node.kind === "link" ? node.inside : [node]));
    return { node: { kind: "link", url, image, inside }, end: TARGET.lastIndex };
  }

  #closing(at, end) {
    let depth = 0;
    for (let place = at; place < end; place += 1) {
      const letter = this.text[place];
      if (letter === "\\") place += 1;
      else if (letter === "[") depth += 1;
      else if (letter === "]" && --depth === 0) return place;
    }
    return -1;
  }

  #matched(pattern, at, end) {
    pattern.lastIndex = at;
    const found = pattern.exec(this.text);
    if (found === null || pattern.lastIndex > end) return null;
    return {
      node: { kind: "link", url: found[1], image: false, inside: [{ kind: "text", text: found[1] }] },
      end: pattern.lastIndex,
    };
  }

  #address(at, end) {
    WEB.lastIndex = at;
    const found = WEB.exec(this.text);
    if (found === null) return null;
    let url = found[0].slice(0, end - at).replace(/[.,;:!?*_~]+$/, "");
    if (url.endsWith(")") && !url.includes("(")) url = url.slice(0, -1);
    return { node: { kind: "link", url, image: false, inside: [{ kind: "text", text: url }] }, end: at + url.length };
  }

  #marked(at, end, depth) {
    const letter = this.text[at];
    const run = this.text.slice(at, at + 3) === letter.repeat(3) ? 3 : this.text[at + 1] === letter ? 2 : 1;
    const mark = letter.repeat(run === 3 ? 1 : run); // of three the first is the outer one
    const kind = MARKS[mark];
    const next = this.text[at + run] ?? " ";
    const opens = /\S/.test(next) && !(letter === "_" && /\w/.test(this.text[at - 1] ?? ""));
    const close = kind && opens && !this.unclosed.has(mark) ? this.#closingMark(mark, at + run, end) : -1;
    if (close >= 0) {
      return { node: { kind, inside: this.read(at + mark.length, close, depth + 1) }, end: close + mark.length };
    }
    if (kind && opens && end === this.text.length) this.unclosed.add(mark);
    return { node: { kind: "text", text: mark }, end: at + mark.length };
  }

  // Where a mark of this size ends that was opened before `from`. Of a longer run the last ones close the outer mark.
  #closingMark(mark, from, end) {
    const letter = mark[0];
    for (let place = this.text.indexOf(letter, from); place >= 0 && place < end;) {
      let size = 1;
      while (place + size < end && this.text[place + size] === letter) size += 1;
      const fits = mark.length === 2 ? size >= 2 : size === 1 || size >= 3;
      const before = this.text[place - 1];
      const closes =
        place > from && /[^\s\\]/.test(before) && !(letter === "_" && /\w/.test(this.text[place + size] ?? ""));
      if (fits && closes) return place + size - mark.length;
      place = this.text.indexOf(letter, place + size);
    }
    return -1;
  }
}
