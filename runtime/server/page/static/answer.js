// One answer on the page: who says it, what was thought, the text as it comes, what went wrong, and how fast it was.

import { Reader } from "./announcing.js";
import { confirmed, copy, make, tool } from "./dom.js";
import { worded } from "./problems.js";
import { show } from "./prose.js";
import { count, seconds, visible } from "./text.js";

const NOTED = 0.5; // seconds of loading that are worth a word
const STEPS = {
  too_long: ["Leave out the oldest", "forget"],
  not_found: ["Choose a model", "choose"],
  key: ["Type in the key", "retry"],
  invalid: ["Settings", "settings"],
  no_memory: ["Choose a model", "choose"],
};

// `act` carries out what buttons ask for: retry, forget, choose, settings, turnTo(place).
export class AnswerView {
  constructor(turn, answer, act) {
    Object.assign(this, { turn, answer, act });
    this.text = make("div", { class: "text" });
    this.thoughts = make("div", { class: "thoughts-text" });
    this.summary = make("summary", {});
    this.thinking = make("details", { class: "thoughts", hidden: true }, this.summary, this.thoughts);
    this.status = make("p", { class: "waiting", hidden: true });
    this.problem = make("div", { class: "problem", role: "alert", hidden: true });
    this.foot = make("footer", { class: "tools" });
    this.element = make(
      "article",
      { class: "answer", "aria-label": `Answer of ${visible(answer.model)}` },
      make("p", { class: "who" }, visible(answer.model)),
      this.thinking,
      this.text,
      this.status,
      this.problem,
      this.foot,
    );
    this.update();
    this.reader = answer.state === "live" ? new Reader(this.text) : null;
  }

  // At most once a frame: pieces may come faster than anybody sees.
  changed() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.update();
    });
  }

  update() {
    const { answer } = this;
    const live = answer.state === "live";
    this.element.toggleAttribute("data-live", live);
    this.element.setAttribute("aria-busy", live);
    this.#thoughts(live);
    show(this.text, answer.text);
    if (live) this.reader?.grown();
    else this.reader?.finish();
    this.status.hidden = !live || Boolean(answer.text);
    this.status.textContent = waiting(answer);
    this.#problem();
    this.foot.replaceChildren(...(live ? [speed(answer)] : this.#tools()));
  }

  #thoughts(live) {
    const { thinking, text, thought } = this.answer;
    this.thinking.hidden = !thinking;
    if (!thinking) return;
    const going = live && !text;
    this.summary.textContent = going ? "Thinking…" : thought ? `Thought for ${seconds(thought)}` : "Thoughts";
    this.thinking.toggleAttribute("data-live", going);
    show(this.thoughts, thinking);
  }

  #problem() {
    const { problem, model, state } = this.answer;
    this.problem.hidden = state !== "failed";
    if (state !== "failed" || this.problem.childElementCount) return;
    const { what, next } = worded(problem, model);
    const [label, step] = STEPS[problem.kind] ?? ["Try again", "retry"];
    const button = make("button", { type: "button", class: "plain", on: { click: () => this.act[step]() } }, label);
    this.problem.append(make("p", { class: "what" }, what), make("p", {}, next), this.turn.isLast ? button : "");
  }

  #tools() {
    const { answer, turn } = this;
    const copying = tool(
      "copy",
      "Copy answer",
      async () => (await copy(answer.text)) && confirmed(copying, "Answer copied"),
    );
    const parts = answer.text ? [copying] : [];
    if (turn.isLast) parts.push(tool("retry", "Answer again", () => this.act.retry()));
    if (turn.of.answers.length > 1) parts.push(...this.#alternatives());
    return [...parts, make("span", { class: "stats" }, ...facts(answer))];
  }

  #alternatives() {
    const { answers, shown } = this.turn.of;
    const turnTo = (place) => () => this.act.turnTo(place);
    return [
      tool("back", "Answer before", turnTo(shown - 1), { disabled: shown === 0 }),
      make(
        "span",
        { class: "place", "aria-label": `Answer ${shown + 1} of ${answers.length}` },
        `${shown + 1}/${answers.length}`,
      ),
      tool("forth", "Answer after", turnTo(shown + 1), { disabled: shown === answers.length - 1 }),
    ];
  }
}

function waiting({ waiting: before, thinking, isLoading }) {
  if (thinking) return "";
  if (before) return `${count(before)} in line before you`;
  return isLoading ? "Loading the model into memory" : "Reading";
}

const speed = ({ rate }) =>
  make("span", { class: "stats", "aria-hidden": "true" }, rate ? `about ${count(Math.round(rate))} tokens/s` : "");

function facts({ stats, state }) {
  const told = [];
  if (state === "stopped") told.push("stopped");
  if (!stats) return spaced(told);
  if (stats.seconds && stats.tokens > 1) told.push(`${rounded((stats.tokens - 1) / stats.seconds)} tokens/s`);
  told.push(`${count(stats.tokens)} ${stats.tokens === 1 ? "token" : "tokens"}`);
  const loading = stats.load > NOTED ? `, ${seconds(stats.load)} of it to load the model` : "";
  told.push(`first after ${seconds(stats.first)}${loading}`);
  if (stats.reason === "length") told.push("ended at the longest length");
  if (stats.truncated) told.push(`${count(stats.truncated)} old tokens left out`);
  return spaced(told);
}

const rounded = (rate) => (rate < 10 ? rate.toFixed(1) : count(Math.round(rate)));

const spaced = (told) => told.map((text) => make("span", {}, text));
