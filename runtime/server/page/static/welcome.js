// What an empty conversation shows: which model will answer, some ways to begin, or what to get where there is none.

import { make } from "./dom.js";
import { bytes, count, visible } from "./text.js";

const BEGINNINGS = [
  "Explain how a rainbow forms, as to a curious child",
  "Write a haiku about the first snow",
  "Give me five ideas for a rainy Sunday",
  "Write a Python function that finds the primes below n",
];
const OFFERED = 4;

// Shows it in `place`; nothing where `state` is null.
export function offer(place, state) {
  place.hidden = state === null;
  if (state === null) return;
  const { model, known } = state;
  place.replaceChildren(...(model || !known.memory ? ready(model, state) : nothingHere(known, state)));
}

function ready(model, { write }) {
  const beginnings = BEGINNINGS.map((text) =>
    make("button", { type: "button", class: "beginning", on: { click: () => write(text) } }, text),
  );
  return [
    make("h2", {}, "What is on your mind?"),
    make("p", {}, model ? facts(model) : " "),
    make("div", { class: "beginnings" }, ...beginnings),
  ];
}

function facts({ name, size, context }) {
  const told = [visible(name), bytes(size)];
  if (context) told.push(`reads ${count(context)} tokens at once`);
  return told.join(" · ");
}

function nothingHere({ others }, { pull }) {
  const fitting = others.filter(({ fits }) => fits === "now").slice(0, OFFERED);
  const buttons = fitting.map(({ name, size, parameters }) =>
    make(
      "button",
      { type: "button", class: "beginning", on: { click: () => pull(name) } },
      make("strong", {}, `Get ${visible(name)}`),
      make("span", {}, `${visible(parameters)} · ${bytes(size)} to fetch`),
    ),
  );
  return [
    make("h2", {}, "There is no model here yet"),
    make("p", {}, "Get one to begin: it is fetched once, checked, and kept on this machine."),
    make("div", { class: "beginnings" }, ...buttons),
  ];
}
