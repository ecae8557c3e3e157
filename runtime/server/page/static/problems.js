// What goes wrong, in plain sentences, each with the next step.

import { visible } from "./text.js";

const address = location.host;

const SENTENCES = {
  unreachable: () => [
    `The server at ${address} does not answer.`,
    "Start it with unillm serve, then try again. Nothing you wrote is lost.",
  ],
  lost: () => ["The connection broke in the middle of the answer.", "What came is kept. Try again for a whole one."],
  closed: () => ["The page was closed in the middle of this answer.", "What came is kept. Try again for a whole one."],
  key: () => ["This server needs a key.", "Whoever runs it has one. Try again to type it in."],
  forbidden: ({ detail }) => [
    `The server refused this page: ${detail}.`,
    `Open it under the machine's address, or start the server with --cors ${location.origin}.`,
  ],
  not_found: ({ model }) => [`${model} is not here.`, "Choose another model, or get this one from the list of models."],
  too_long: () => [
    "This conversation is longer than the model can read at once.",
    "Leave its oldest messages out, or begin a new conversation.",
  ],
  busy: ({ after }) => [
    "Others are waiting for this model, and the line is full.",
    `Try again${after ? ` in about ${after} seconds` : " in a moment"}.`,
  ],
  no_memory: ({ detail }) => [
    "There is no room for this model in memory.",
    `${sentence(detail)} Choose a smaller one, or stop one that is loaded.`,
  ],
  unavailable: ({ detail, after }) => [
    sentence(detail) || "The model cannot answer just now.",
    `Try again${after ? ` in about ${after} seconds` : ""}.`,
  ],
  broken: ({ detail }) => [
    "The answer broke off.",
    `${sentence(detail)} Try again; the model is loaded anew where it has to be.`,
  ],
  invalid: ({ detail }) => [
    "The server did not accept this.",
    `${sentence(detail)} Look at the settings of this conversation.`,
  ],
  internal: ({ detail }) => [
    "Something went wrong in the server.",
    `${sentence(detail)} Its log says more. Try again.`,
  ],
};

// What to say of a problem with `model`: what happened, and what to do.
export function worded(problem, model = "") {
  const [what, next] = (SENTENCES[problem.kind] ?? SENTENCES.internal)({
    ...problem,
    detail: visible(problem.detail ?? ""),
    model: visible(model),
  });
  return { what, next: problem.hint ? `${next} ${sentence(visible(problem.hint))}` : next };
}

function sentence(text) {
  const trimmed = text.trim().replace(/\.$/, "");
  return trimmed ? `${trimmed[0].toUpperCase()}${trimmed.slice(1)}.` : "";
}
