// The page, put together: which conversation is open, what is answered just now, and who hears of what.

import { announce } from "./announcing.js";
import { fill } from "./answering.js";
import { offerColours } from "./colours.js";
import { Composer } from "./composer.js";
import { answerOf, begun, shownAnswer, titleOf, tokensUsed, turnOf } from "./conversation.js";
import { bar, find } from "./dom.js";
import { Fetching } from "./fetching.js";
import { askKey } from "./key.js";
import { Library } from "./library.js";
import { Models } from "./models.js";
import { onKeyNeeded } from "./server.js";
import { changes, Settings, usualSettings } from "./settings.js";
import { Sidebar, toast } from "./sidebar.js";
import { choice } from "./store.js";
import { Talk } from "./talk.js";
import { count, visible } from "./text.js";
import { Watch } from "./watching.js";
import { offer } from "./welcome.js";

const SAVED_EVERY = 1000; // milliseconds, while an answer comes

class Page {
  #live = new Map(); // id of a conversation -> what stops its answer

  constructor() {
    const choose = () => this.models.open(this.open.model);
    const settings = () => this.settings.open(this.open, this.models.one(this.open.model));
    this.library = new Library({
      isBusy: (id) => this.#live.has(id),
      changed: (id) => this.changedElsewhere(id),
    });
    this.watch = new Watch(() => this.look());
    this.sidebar = new Sidebar({
      open: (id) => this.show(this.library.get(id)),
      begin: () => this.begin(),
      rename: (id, title) => this.rename(id, title),
      save: (id) => this.library.save(id),
      saveAll: () => this.library.saveAll(),
      take: (file) => this.take(file),
      remove: (id) => this.remove(id),
    });
    this.talk = new Talk({
      retry: () => this.answer(this.open),
      forget: () => this.forget(),
      edit: (place) => this.edit(place),
      turnTo: (turn, place) => this.turnTo(turn, place),
      choose,
      settings,
    });
    this.composer = new Composer({ send: (text) => this.send(text), stop: () => this.stop() });
    this.fetching = new Fetching((name) => this.arrived(name));
    this.models = new Models({
      choose: (name) => this.choose(name),
      pull: (name) => this.fetching.pull(name),
      trouble: (error) => this.watch.troubled(error),
    });
    this.settings = new Settings((conversation, changed) => this.set(conversation, changed));
    this.meter = bar("Context in use");
    find("#context").prepend(this.meter.element);
    find("#model").addEventListener("click", choose);
    find("#open-settings").addEventListener("click", settings);
    addEventListener("pagehide", () => this.#live.has(this.open.id) && this.library.keepAtOnce(this.open));
    document.addEventListener("keydown", (event) => this.#escaped(event));
  }

  async start() {
    offerColours();
    onKeyNeeded(askKey);
    await this.library.load();
    const last = this.library.get(location.hash.slice(1));
    if (last) this.show(last);
    else this.begin();
    await this.look();
  }

  // What there is now on the server.
  async look() {
    await this.models.refresh();
    this.open.model ||= this.#usualModel();
    this.refresh();
  }

  begin() {
    history.replaceState(null, "", location.pathname);
    this.#opened(begun(this.#usualModel(), usualSettings()));
  }

  show(conversation) {
    history.replaceState(null, "", `#${conversation.id}`);
    this.#opened(conversation);
  }

  send(text) {
    if (!this.open.model) {
      this.models.open("");
      return;
    }
    this.composer.text = "";
    this.open.turns.push(turnOf(text));
    this.answer(this.open);
  }

  // A new answer to the last turn; those that it had stay beside it.
  async answer(conversation) {
    const { id, model } = conversation;
    if (this.#live.has(id)) return;
    const turn = conversation.turns.at(-1);
    const answer = answerOf(model);
    answer.isLoading = this.models.one(model)?.state !== "ready";
    turn.shown = turn.answers.push(answer) - 1;
    const aborting = new AbortController();
    this.#live.set(id, aborting);
    this.library.touch(conversation);
    this.show(conversation);
    announce("Answering");
    const saving = setInterval(() => this.library.keep(conversation), SAVED_EVERY);
    await fill(answer, conversation, aborting.signal, () => this.talk.changed(answer));
    clearInterval(saving);
    this.#live.delete(id);
    this.library.keep(conversation);
    this.talk.finished(answer);
    this.refresh();
    if (answer.problem?.kind === "unreachable") this.watch.away();
    else await this.look();
  }

  stop() {
    this.#live.get(this.open.id)?.abort();
  }

  // The oldest messages may go from now on.
  forget() {
    this.open.forgets = true;
    this.answer(this.open);
  }

  // Back to where a message was written. What came after it can be had again.
  edit(place) {
    this.stop();
    const { open } = this;
    const draft = this.composer.text;
    const gone = open.turns.splice(place);
    const put = (text) => {
      this.composer.text = text;
      this.library.touch(open);
      this.#opened(open);
      this.composer.focus();
    };
    put(gone[0].text);
    toast(gone.length > 1 ? "Later messages were taken away." : "The message is back in the field.", "Undo", () => {
      open.turns.splice(place, open.turns.length, ...gone);
      put(draft);
    });
  }

  turnTo(turn, place) {
    turn.shown = place;
    this.library.touch(this.open);
    this.talk.show(this.open);
    this.refresh();
  }

  choose(name) {
    this.open.model = name;
    choice.set("model", name);
    if (this.open.turns.length) this.library.touch(this.open);
    this.refresh();
    this.composer.focus();
    announce(`${visible(name)} is chosen`);
  }

  async arrived(name) {
    toast(`${visible(name)} is here.`);
    const { models } = await this.models.refresh();
    const found = models.find((model) => model.name === name || model.name === `${name}:latest`);
    if (found && !this.open.turns.some(shownAnswer)) this.choose(found.name);
    else this.refresh();
  }

  set(conversation, settings) {
    conversation.settings = settings;
    if (conversation.turns.length) this.library.touch(conversation);
    this.refresh();
  }

  rename(id, title) {
    const conversation = this.library.get(id);
    if (title !== null) conversation.title = title;
    this.library.keep(conversation);
    this.refresh();
  }

  // Conversations from a file; the newest of them is opened.
  async take(file) {
    try {
      const newest = await this.library.take(file);
      if (newest) this.show(newest);
    } catch (error) {
      const why = error instanceof SyntaxError ? "it is not JSON" : visible(error.message);
      toast(`${visible(file.name)} holds no conversations: ${why}. A file of "Export all" does.`);
    }
  }

  remove(id) {
    const conversation = this.library.get(id);
    this.#live.get(id)?.abort();
    this.library.remove(id);
    if (this.open.id === id) this.begin();
    else this.refresh();
    find("#begin").focus();
    toast(`“${titleOf(conversation)}” was deleted.`, "Undo", () => {
      this.library.restore(conversation);
      this.show(conversation);
    });
  }

  changedElsewhere(id) {
    const conversation = this.library.get(id);
    if (this.open.id === id && conversation) this.show(conversation);
    else this.refresh();
  }

  refresh() {
    const { open } = this;
    const isEmpty = !open.turns.length;
    document.title = isEmpty ? "unillm" : `${titleOf(open)} · unillm`;
    find("#title").textContent = titleOf(open);
    find("#model-label").textContent = visible(open.model || "Choose a model");
    find("#open-settings").toggleAttribute("data-changed", changes(open) > 0);
    this.composer.answering(this.#live.has(open.id));
    this.sidebar.show(this.library.newestFirst, open.id, (id) => this.#live.has(id));
    const model = this.models.one(open.model);
    this.#context(model);
    const pull = (name) => this.fetching.pull(name);
    offer(
      find("#welcome"),
      isEmpty ? { model, known: this.models.known, pull, write: (text) => this.#write(text) } : null,
    );
  }

  #opened(conversation) {
    this.open = conversation;
    this.talk.show(conversation);
    this.refresh();
    if (matchMedia("(pointer: fine)").matches) this.composer.focus();
  }

  // The model that was chosen last if it is still here, else one that is loaded, else one that fits.
  #usualModel() {
    const { models } = this.models.known;
    const last = models.find(({ name }) => name === choice.get("model"));
    const good = last ?? models.find(({ state }) => state === "ready") ?? models.find(({ fits }) => fits !== "never");
    return (good ?? models[0])?.name ?? "";
  }

  #context(model) {
    const used = tokensUsed(this.open);
    const most = model?.context ?? 0;
    find("#context").hidden = !(used && most);
    const text = `${count(used)} of ${count(most)} tokens`;
    this.meter.show(used, most, text);
    find("#context-text").textContent = text;
  }

  #write(text) {
    this.composer.text = text;
    this.composer.focus();
  }

  #escaped(event) {
    if (event.key === "Escape" && !event.defaultPrevented && !find("dialog[open]")) this.stop();
  }
}

new Page().start();
