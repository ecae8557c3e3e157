// One answer, from the question to its last piece. It changes the answer and says when; it shows nothing.

import { messages } from "./conversation.js";
import { lines, Problem, request } from "./server.js";

// Settings of a conversation, and the options of the request that they become.
export const OPTIONS = {
  temperature: "temperature",
  topP: "top_p",
  topK: "top_k",
  minP: "min_p",
  repeatPenalty: "repeat_penalty",
  longest: "num_predict",
  seed: "seed",
  context: "num_ctx",
};

// Fills `answer` with what the model says; `changed` is called for each piece. It never raises: what goes wrong is in
// the answer, with all that came before.
export async function fill(answer, conversation, signal, changed) {
  const began = performance.now();
  const live = { pieces: 0, began: null };
  try {
    const response = await request("/api/chat", { body: bodyOf(conversation), signal });
    answer.waiting = Number(response.headers.get("X-Queue-Position")) || 0;
    for await (const line of lines(response)) {
      if (line.error) throw new Problem("broken", line.error);
      take(answer, line, live, began);
      changed();
    }
    if (answer.state === "live") throw new Problem("lost");
  } catch (error) {
    if (error.name === "AbortError") {
      answer.state = "stopped";
    } else {
      answer.state = "failed";
      answer.problem =
        error instanceof Problem
          ? { kind: error.kind, detail: error.detail, after: error.after, hint: error.hint }
          : { kind: "internal", detail: String(error) };
    }
  }
  delete answer.waiting;
  changed();
}

function bodyOf({ model, settings, forgets, ...rest }) {
  const options = {};
  for (const [ours, theirs] of Object.entries(OPTIONS))
    if (settings[ours] !== undefined) options[theirs] = settings[ours];
  const body = { model, messages: messages({ settings, ...rest }), options, truncate: forgets };
  return settings.think === undefined ? body : { ...body, think: settings.think };
}

function take(answer, line, live, began) {
  const now = performance.now();
  const { content = "", thinking = "" } = line.message ?? {};
  if (content || thinking) {
    live.began ??= now;
    live.pieces += 1;
  }
  if (thinking) answer.thinking += thinking;
  if (content && answer.thinking && !answer.text) answer.thought = (now - live.began) / 1000;
  answer.text += content;
  answer.rate = live.pieces > 4 ? ((live.pieces - 1) / (now - live.began)) * 1000 : null;
  if (!line.done) return;
  delete answer.rate;
  answer.state = "done";
  answer.stats = {
    tokens: line.eval_count ?? 0,
    prompt: line.prompt_eval_count ?? 0,
    cached: line.prompt_eval_cached ?? 0,
    seconds: (line.eval_duration ?? 0) / 1e9,
    first: ((live.began ?? now) - began) / 1000,
    load: (line.load_duration ?? 0) / 1e9,
    reason: line.done_reason,
    truncated: line.truncated ?? 0,
  };
}
