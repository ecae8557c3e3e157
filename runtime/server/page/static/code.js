// Colours for code: what all languages share, no grammar of any. Comments, texts, numbers and the common words.

import { make } from "./dom.js";

const WORDS = new Set(
  (
    "abstract and as assert async await begin break case catch class const continue def default del delete do done elif else end enum " +
    "except export extends false False final finally fn for from func function if impl implements import in instanceof interface is " +
    "lambda let local loop match mod module mut new nil None nonlocal not null or package pass private protected pub public raise " +
    "return select self SELECT FROM WHERE AND OR NOT INSERT INTO VALUES CREATE TABLE JOIN ON GROUP ORDER BY static struct super switch then this throw " +
    "trait true True try type typeof undefined use using var void where while with yield"
  ).split(" "),
);
const HASHED =
  /^(?:py|python|sh|bash|zsh|shell|console|ruby|rb|perl|r|yaml|yml|toml|ini|make|makefile|dockerfile|elixir|julia)$/i;
const PLAIN = /^(?:|text|txt|plain|plaintext|output|md|markdown|diff)$/i;
const TOKENS =
  /(\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|<!--[\s\S]*?(?:-->|$)|#[^\n]*|--[^\n]*)|("(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|`(?:[^`\\]|\\.)*`?)|(\b\d[\w.]*)|([A-Za-z_]\w*)/g;
const LONGEST = 20_000; // characters: beyond, colours cost more than they give

// The code as text and coloured spans.
export function coloured(code, language) {
  if (PLAIN.test(language) || code.length > LONGEST) return [code];
  const found = [];
  let plain = 0;
  for (const token of code.matchAll(TOKENS)) {
    const kind = kindOf(token, language);
    if (kind === null) continue;
    found.push(code.slice(plain, token.index), make("span", { class: kind }, token[0]));
    plain = token.index + token[0].length;
  }
  return [...found, code.slice(plain)];
}

function kindOf([, comment, text, figure, word], language) {
  if (comment) return isComment(comment, language) ? "c-comment" : null;
  if (text) return "c-text";
  if (figure) return "c-number";
  return WORDS.has(word) ? "c-word" : null;
}

function isComment(comment, language) {
  if (comment.startsWith("#")) return HASHED.test(language);
  if (comment.startsWith("--")) return /^(?:sql|lua|haskell|hs|ada)$/i.test(language);
  return !HASHED.test(language);
}
