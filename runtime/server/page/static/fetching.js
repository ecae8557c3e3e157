// Models on their way here, a strip each: how much has come, how fast, and how long it will take.

import { announce } from "./announcing.js";
import { find, make, tool } from "./dom.js";
import { worded } from "./problems.js";
import { lines, Problem, request } from "./server.js";
import { bytes, seconds, visible } from "./text.js";

const STEADY = 3; // seconds that a rate is measured over

export class Fetching {
  #strips = new Map();

  // `here` is called with the name of a model that has come whole.
  constructor(here) {
    this.here = here;
    this.place = find("#fetching");
  }

  async pull(name) {
    if (this.#strips.get(name)?.isGoing) return;
    this.#strips.get(name)?.element.remove();
    const strip = new Strip(name, { again: () => this.pull(name), gone: () => this.#strips.delete(name) });
    this.#strips.set(name, strip);
    this.place.append(strip.element);
    if (await strip.run()) {
      this.#strips.delete(name);
      this.here(name);
    }
  }
}

class Strip {
  #files = new Map(); // of each its bytes: how many have come, and how many it has
  #marks = []; // [time, bytes], the last seconds of them
  isGoing = true;

  constructor(name, { again, gone }) {
    Object.assign(this, { name, again, gone, aborting: new AbortController() });
    this.progress = make("progress", { "aria-label": `Fetching ${visible(name)}` });
    this.said = make("span", { class: "about" }, "asking where it is");
    this.button = tool("close", `Stop fetching ${visible(name)}`, () => this.#close());
    this.element = make(
      "div",
      { class: "strip" },
      make("span", { class: "name" }, "Fetching ", make("strong", {}, visible(name))),
      this.said,
      this.progress,
      this.button,
    );
  }

  // Whether it has come whole.
  async run() {
    announce(`Fetching ${visible(this.name)}`);
    try {
      const response = await request("/api/pull", { body: { model: this.name }, signal: this.aborting.signal });
      let last = "";
      for await (const line of lines(response)) {
        if (line.error) throw new Problem("pull", line.error);
        last = line.status;
        this.#take(line);
      }
      if (last !== "success") throw new Problem("lost");
      this.element.remove();
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    } finally {
      this.isGoing = false;
    }
  }

  #take({ status, completed, total }) {
    if (total === undefined) {
      this.said.textContent = visible(status);
      return;
    }
    this.#files.set(status, { completed, total });
    const sum = (field) => [...this.#files.values()].reduce((before, one) => before + one[field], 0);
    const [come, all] = [sum("completed"), sum("total")];
    this.progress.max = all || 1;
    this.progress.value = come;
    this.said.textContent = `${bytes(come)} of ${bytes(all)}${this.#pace(come, all)}`;
  }

  #pace(come, all) {
    const now = performance.now() / 1000;
    this.#marks.push([now, come]);
    while (this.#marks[0][0] < now - STEADY) this.#marks.shift();
    const [since, before] = this.#marks[0];
    const rate = now - since > 0.5 ? (come - before) / (now - since) : 0;
    return rate > 0 ? ` · ${bytes(Math.round(rate))}/s · ${seconds((all - come) / rate)} left` : "";
  }

  #failed(error) {
    if (error.name === "AbortError") {
      announce(`Stopped fetching ${visible(this.name)}`);
      return;
    }
    const pulled = error.kind === "pull";
    const { what, next } = worded(
      error instanceof Problem ? error : { kind: "internal", detail: String(error) },
      this.name,
    );
    const text = pulled ? `${visible(this.name)} could not be fetched: ${visible(error.detail)}.` : `${what} ${next}`;
    const again = make("button", { type: "button", class: "plain", on: { click: () => this.again() } }, "Try again");
    this.element.dataset.failed = "";
    this.element.setAttribute("role", "alert");
    this.button.setAttribute("aria-label", "Close");
    this.element.replaceChildren(make("span", { class: "name" }, text), again, this.button);
  }

  #close() {
    if (this.isGoing) this.aborting.abort();
    this.element.remove();
    this.gone();
  }
}
