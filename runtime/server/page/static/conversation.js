// One conversation as data: what it is made of, what of it a model reads, and how it leaves the page.
//
// A turn is what the user wrote and every answer to it, of which one is shown. An answer's `state` is live, done,
// stopped or failed; a failed one has its `problem`. `forgets`: where it grows too long, its oldest messages may go.

import { shortened, visible } from "./text.js";

export const UNNAMED = "New conversation";

export function begun(model, settings) {
  const now = Date.now();
  return {
    id: crypto.randomUUID?.() ?? `${now}-${Math.random()}`,
    title: "",
    made: now,
    changed: now,
    model,
    settings: { ...settings },
    forgets: false,
    turns: [],
  };
}

export const turnOf = (text) => ({ text, answers: [], shown: -1 });

export const answerOf = (model) => ({ model, text: "", thinking: "", state: "live", problem: null, stats: null });

export const shownAnswer = (turn) => turn.answers[turn.shown] ?? null;

export const titleOf = (conversation) =>
  visible(conversation.title || shortened(conversation.turns[0]?.text ?? "", 60) || UNNAMED);

// What the model is asked at the end of the last turn. A question that got no answer stays a part of the next one:
// templates want both sides to speak in turn.
export function messages(conversation) {
  const said = conversation.settings.system ? [{ role: "system", content: conversation.settings.system }] : [];
  const unanswered = [];
  for (const [place, turn] of conversation.turns.entries()) {
    unanswered.push(turn.text);
    const answer = place < conversation.turns.length - 1 ? shownAnswer(turn) : null;
    if (!answer?.text) continue;
    said.push(
      { role: "user", content: unanswered.splice(0).join("\n\n") },
      { role: "assistant", content: answer.text },
    );
  }
  return [...said, { role: "user", content: unanswered.join("\n\n") }];
}

// How many tokens the model has read and written, as the last answer that counted them says.
export function tokensUsed(conversation) {
  const stats = conversation.turns.map(shownAnswer).findLast((answer) => answer?.stats)?.stats;
  return stats ? stats.prompt + stats.tokens : 0;
}

// A conversation that was stored while an answer came: the page was closed, the rest never arrived.
export function settled(conversation) {
  for (const answer of conversation.turns.flatMap((turn) => turn.answers)) {
    if (answer.state === "live") Object.assign(answer, { state: "failed", problem: { kind: "closed" } });
  }
  return conversation;
}

export function asMarkdown(conversation) {
  const parts = [`# ${titleOf(conversation)}`];
  if (conversation.settings.system) parts.push(`> ${conversation.settings.system.replaceAll("\n", "\n> ")}`);
  for (const turn of conversation.turns) {
    parts.push("**You**", turn.text);
    const answer = shownAnswer(turn);
    if (answer?.text) parts.push(`**${visible(answer.model)}**`, answer.text);
  }
  return `${parts.join("\n\n")}\n`;
}
