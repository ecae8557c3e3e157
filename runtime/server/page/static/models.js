// The list of models: choose one that is here, or name one to get. One field finds both; arrows and Enter suffice.

import { bar, dismissable, find, icon, make } from "./dom.js";
import { told } from "./server.js";
import { bytes, visible } from "./text.js";

const FITS = { now: "fits in memory", alone: "fits when others go", never: "too large for this machine" };
const STATES = {
  ready: "loaded",
  loading: "being loaded",
  stalled: "stands still",
  leaving: "on its way out",
  failed: "keeps failing",
};

export class Models {
  #options = [];
  #active = -1;
  known = { memory: 0, free: 0, models: [], others: [] };

  // `choose` and `pull` take a name; `trouble` takes what went wrong.
  constructor({ choose, pull, trouble }) {
    Object.assign(this, { choose, pull, trouble });
    this.dialog = find("#models");
    this.field = find("#model-name");
    this.list = find("#model-list");
    this.memory = bar("Memory for models");
    find("#memory").prepend(this.memory.element);
    dismissable(this.dialog);
    this.field.addEventListener("input", () => this.#show());
    this.field.addEventListener("keydown", (event) => this.#key(event));
    find("#close-models").addEventListener("click", () => this.dialog.close());
  }

  // What there is now. What was known stays when the server does not answer.
  async refresh() {
    try {
      this.known = await told("/models");
    } catch (error) {
      this.trouble(error);
    }
    if (this.dialog.open) this.#show();
    return this.known;
  }

  one(name) {
    return this.known.models.find((model) => model.name === name) ?? null;
  }

  open(current) {
    this.current = current;
    this.field.value = "";
    this.#show();
    this.dialog.showModal();
    this.field.focus();
    this.refresh();
  }

  #show() {
    const wanted = this.field.value.trim().toLowerCase();
    const fitting = (models) => models.filter(({ name }) => name.toLowerCase().includes(wanted));
    const [here, others] = [fitting(this.known.models), fitting(this.known.others)];
    const exact = [...here, ...others].some(({ name }) => name.toLowerCase() === wanted);
    const typed = wanted && !exact ? [{ name: this.field.value.trim(), typed: true }] : [];
    this.#options = [];
    this.list.replaceChildren(
      ...this.#group("On this machine", here, true),
      ...this.#group("To get", [...typed, ...others], false),
    );
    const chosen = this.#options.findIndex(({ model }) => model.name === this.current);
    this.#activate(wanted ? 0 : Math.max(chosen, 0), { scroll: false });
    const { memory, free } = this.known;
    const text = `${bytes(memory - free)} of ${bytes(memory)} set aside for models`;
    this.memory.show(memory - free, memory, text);
    find("#memory-text").textContent = text;
  }

  #group(title, models, here) {
    if (!models.length) return [];
    const id = here ? "models-here" : "models-others";
    return [
      make(
        "div",
        { role: "group", "aria-labelledby": id },
        make("h3", { id, role: "presentation" }, title),
        ...models.map((model) => this.#option(model, here)),
      ),
    ];
  }

  #option(model, here) {
    const place = this.#options.length;
    const chosen = here && model.name === this.current;
    const name = make("span", { class: "name" }, make("bdi", {}, visible(model.name)), chosen ? icon("done") : "");
    const element = make(
      "div",
      { role: "option", id: `model-${place}`, class: "model", "aria-selected": chosen },
      name,
      ...(model.typed ? [make("span", { class: "about" }, "Get a model of this name")] : this.#about(model)),
    );
    element.addEventListener("click", () => this.#take(place));
    element.addEventListener("pointermove", () => this.#activate(place, { scroll: false }));
    this.#options.push({ model, here, element });
    return element;
  }

  #about({ parameters, quantisation, size, needs, fits, state }) {
    const share = bar("Share of memory");
    const needed = `needs ${bytes(needs)} of memory`;
    share.show(needs, this.known.memory, needed);
    share.element.setAttribute("aria-hidden", "true");
    const verdict = make(
      "span",
      { class: "fit", "data-fits": state === "ready" ? "loaded" : fits, title: needed },
      (state && STATES[state]) || FITS[fits],
    );
    return [
      make("span", { class: "size" }, bytes(size)),
      make("span", { class: "about" }, [parameters, quantisation].filter(Boolean).map(visible).join(" · ")),
      verdict,
      share.element,
    ];
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      const count = this.#options.length;
      if (count) this.#activate((this.#active + step + count) % count);
    } else if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      if (this.#options[this.#active]) this.#take(this.#active);
    }
  }

  #activate(place, { scroll = true } = {}) {
    this.#options[this.#active]?.element.removeAttribute("data-active");
    this.#active = Math.min(place, this.#options.length - 1);
    const option = this.#options[this.#active];
    this.field.setAttribute("aria-activedescendant", option?.element.id ?? "");
    if (!option) return;
    option.element.setAttribute("data-active", "");
    if (scroll) option.element.scrollIntoView({ block: "nearest" });
  }

  #take(place) {
    const { model, here } = this.#options[place];
    this.dialog.close();
    if (here) this.choose(model.name);
    else this.pull(model.name);
  }
}
