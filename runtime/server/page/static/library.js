// All conversations of this browser: in memory for the page, and in the store for the next time it is opened.

import { asMarkdown, settled, titleOf } from "./conversation.js";
import { make } from "./dom.js";
import { conversationsIn } from "./importing.js";
import { choice, openStore } from "./store.js";
import { toast } from "./sidebar.js";
import { count } from "./text.js";

const UNSAVED = "unsaved"; // a conversation that was answered when the page was closed

export class Library {
  #all = new Map();
  #isBusy;
  #changed;

  // `isBusy` says whether a conversation is being answered here; `changed` hears what another tab has done to one.
  constructor({ isBusy, changed }) {
    this.#isBusy = isBusy;
    this.#changed = changed;
  }

  async load() {
    this.store = await openStore((id) => this.#elsewhere(id));
    for (const conversation of await this.store.all()) this.#all.set(conversation.id, conversation);
    const unsaved = choice.get(UNSAVED);
    if (unsaved) this.restore(settled(unsaved));
    choice.set(UNSAVED, null);
    if (!this.store.lasts) toast("This browser keeps nothing: conversations go when the page is closed.");
  }

  get newestFirst() {
    return [...this.#all.values()].sort((one, other) => other.changed - one.changed);
  }

  get(id) {
    return this.#all.get(id);
  }

  // It has changed now, and belongs to the library from now on.
  touch(conversation) {
    conversation.changed = Date.now();
    this.#all.set(conversation.id, conversation);
    this.keep(conversation);
  }

  // One that was removed is not brought back by an answer that still came.
  keep(conversation) {
    if (!this.#all.has(conversation.id)) return;
    this.store
      .put(structuredClone(conversation))
      .catch(() => toast("This browser has no room left: the conversation is not kept. Export it to be safe."));
  }

  // The page is going: the store would take too long.
  keepAtOnce(conversation) {
    if (this.#all.has(conversation.id)) choice.set(UNSAVED, conversation);
  }

  remove(id) {
    this.#all.delete(id);
    this.store.remove(id);
  }

  restore(conversation) {
    this.#all.set(conversation.id, conversation);
    this.keep(conversation);
  }

  save(id) {
    const conversation = this.#all.get(id);
    download(`${fileName(titleOf(conversation))}.md`, "text/markdown", asMarkdown(conversation));
  }

  saveAll() {
    download("unillm-conversations.json", "application/json", JSON.stringify(this.newestFirst, null, 1));
  }

  // What a file holds, but for what is here as new or newer. Says how it went; gives back the newest that came in.
  async take(file) {
    const { conversations, wrong } = await conversationsIn(file);
    const fresh = conversations.filter((one) => !(this.#all.get(one.id)?.changed >= one.changed || this.#isBusy(one.id)));
    for (const conversation of fresh) this.restore(conversation);
    const told = [`${count(fresh.length)} of ${count(conversations.length + wrong)} conversations came in`];
    if (fresh.length < conversations.length) told.push(`${count(conversations.length - fresh.length)} were here already`);
    if (wrong) told.push(`${count(wrong)} cannot be read`);
    toast(`${told.join("; ")}.`);
    return fresh.sort((one, other) => other.changed - one.changed)[0];
  }

  async #elsewhere(id) {
    if (this.#isBusy(id)) return;
    const conversation = await this.store.one(id);
    if (conversation) this.#all.set(id, conversation);
    else this.#all.delete(id);
    this.#changed(id);
  }
}

const fileName = (title) =>
  title
    .replace(/[^\p{L}\p{N} _-]+/gu, "")
    .trim()
    .slice(0, 60) || "conversation";

function download(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
