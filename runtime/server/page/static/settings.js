// What a conversation is asked with: its system prompt and how answers are sampled. An empty field is the model's own
// way; what that is, the field shows.

import { OPTIONS } from "./answering.js";
import { dismissable, find } from "./dom.js";
import { told } from "./server.js";
import { choice } from "./store.js";
import { count, visible } from "./text.js";

const USUAL = {
  temperature: "0.8",
  topP: "0.9",
  topK: "40",
  minP: "0",
  repeatPenalty: "1",
  longest: "no limit",
  seed: "random",
};

export const usualSettings = () => choice.get("settings", {});

export class Settings {
  constructor(changed) {
    this.dialog = find("#settings");
    this.form = find("#settings-form");
    this.changed = changed;
    dismissable(this.dialog);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.dialog.close();
    });
    this.dialog.addEventListener("close", () => this.#take());
    find("#reset").addEventListener("click", () => this.#fill({}));
  }

  open(conversation, model) {
    this.conversation = conversation;
    this.model = model;
    this.#fill(conversation.settings);
    this.form.elements.always.checked = false;
    this.dialog.showModal();
    this.#askModel(conversation.model);
  }

  #fill(settings) {
    const { elements } = this.form;
    elements.system.value = settings.system ?? "";
    elements.think.value = settings.think === undefined ? "" : String(settings.think);
    for (const name of Object.keys(OPTIONS)) elements[name].value = settings[name] ?? "";
  }

  #take() {
    const { elements } = this.form;
    const settings = {};
    if (elements.system.value.trim()) settings.system = elements.system.value.trim();
    if (elements.think.value && !elements.think.closest("label").hidden)
      settings.think = elements.think.value === "true";
    for (const name of Object.keys(OPTIONS)) {
      const field = elements[name];
      if (field.value !== "" && field.validity.valid) settings[name] = field.valueAsNumber;
    }
    if (elements.always.checked) choice.set("settings", settings);
    this.changed(this.conversation, settings);
  }

  // What the model does where a field is empty. Without an answer the fields say what is usual.
  async #askModel(name) {
    const { elements } = this.form;
    const shown = name ? await told("/api/show", { body: { model: name } }).catch(() => ({})) : {};
    if (this.conversation.model !== name) return;
    const own = new Map((shown.parameters ?? "").split("\n").map((line) => line.trim().split(/\s+/, 2)));
    for (const [field, theirs] of Object.entries(OPTIONS))
      elements[field].placeholder = own.get(theirs) ?? USUAL[field] ?? "";
    elements.context.placeholder = this.model?.context ? count(this.model.context) : "as long as it can";
    elements.context.max = this.model?.context && !this.model.state ? this.model.context : "";
    elements.system.placeholder = shown.system ? visible(shown.system) : "You are a helpful assistant.";
    elements.think.closest("label").hidden = !(shown.capabilities ?? []).includes("thinking");
  }
}

// How many of a conversation's settings are its own.
export const changes = ({ settings }) => Object.keys(settings).length;
