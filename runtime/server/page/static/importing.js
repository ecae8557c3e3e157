// Conversations out of a file that "Export all" has written, here or in another browser. A file is anybody's: only what
// is known is taken from it, each part looked at, and one conversation that is none hurts no other.

import { OPTIONS } from "./answering.js";
import { settled } from "./conversation.js";

const LARGEST = 64 << 20; // bytes
const LATEST = 8.64e15; // milliseconds: no date is later
const COUNTS = ["tokens", "prompt", "cached", "seconds", "first", "load", "truncated"];
const STATES = ["done", "stopped", "failed", "live"];

// The conversations in `file`, and how many things in it are none. Raises where it is no such file at all.
export async function conversationsIn(file) {
  if (file.size > LARGEST) throw new RangeError("it is larger than 64 MB");
  const said = JSON.parse(await file.text());
  if (!Array.isArray(said)) throw new TypeError("it holds no list");
  const found = said.map(conversationOf);
  const sound = found.filter(Boolean);
  return { conversations: sound, wrong: found.length - sound.length };
}

function conversationOf(one) {
  if (!isTable(one) || !isText(one.id) || !one.id || !Array.isArray(one.turns)) return null;
  const turns = one.turns.map(turnOf);
  const changed = number(one.changed, LATEST);
  if (!turns.length || turns.includes(null) || changed === null) return null;
  return settled({
    id: one.id,
    title: text(one.title),
    made: number(one.made, LATEST) ?? changed,
    changed,
    model: text(one.model),
    settings: settingsOf(one.settings),
    forgets: one.forgets === true,
    turns,
  });
}

function turnOf(one) {
  if (!isTable(one) || !isText(one.text) || !Array.isArray(one.answers)) return null;
  const answers = one.answers.map(answerOf);
  if (answers.includes(null)) return null;
  const isThere = Number.isInteger(one.shown) && answers[one.shown];
  return { text: one.text, answers, shown: isThere ? one.shown : answers.length - 1 };
}

function answerOf(one) {
  if (!isTable(one) || !isText(one.text) || !STATES.includes(one.state)) return null;
  const answer = {
    model: text(one.model),
    text: one.text,
    thinking: text(one.thinking),
    state: one.state,
    problem: one.state === "failed" ? problemOf(one.problem) : null,
    stats: isTable(one.stats) ? statsOf(one.stats) : null,
  };
  const thought = number(one.thought);
  return thought ? { ...answer, thought } : answer;
}

const problemOf = (one) => ({ kind: text(one?.kind) || "lost", detail: text(one?.detail), hint: text(one?.hint) });

const statsOf = (one) => ({
  ...Object.fromEntries(COUNTS.map((name) => [name, number(one[name]) ?? 0])),
  reason: text(one.reason),
});

function settingsOf(one) {
  if (!isTable(one)) return {};
  const settings = {};
  if (text(one.system)) settings.system = one.system;
  if (typeof one.think === "boolean") settings.think = one.think;
  for (const name of Object.keys(OPTIONS)) if (Number.isFinite(one[name])) settings[name] = one[name];
  return settings;
}

const isTable = (one) => typeof one === "object" && one !== null && !Array.isArray(one);
const isText = (one) => typeof one === "string";
const text = (one) => (isText(one) ? one : "");
const number = (one, most = Number.MAX_SAFE_INTEGER) => (Number.isFinite(one) && one >= 0 && one <= most ? one : null);
