// Where messages are written. A draft outlives the page; Enter sends, unless there is no keyboard to say otherwise.

import { find } from "./dom.js";

const DRAFT = "unillm.draft";

export class Composer {
  constructor({ send, stop }) {
    this.area = find("#message");
    this.sending = find("#send");
    this.stopping = find("#stop");
    this.area.value = sessionStorage.getItem(DRAFT) ?? "";
    const sent = () => this.text.trim() && !this.isAnswering && send(this.text.trim());
    find("#composer").addEventListener("submit", (event) => {
      event.preventDefault();
      sent();
    });
    this.stopping.addEventListener("click", stop);
    this.area.addEventListener("input", () => this.#changed());
    this.area.addEventListener("keydown", (event) => {
      const plain =
        event.key === "Enter" && !event.shiftKey && !event.isComposing && !matchMedia("(pointer: coarse)").matches;
      if (!plain && !(event.key === "Enter" && (event.ctrlKey || event.metaKey))) return;
      event.preventDefault();
      sent();
    });
    this.#changed();
  }

  get text() {
    return this.area.value;
  }

  set text(text) {
    this.area.value = text;
    this.#changed();
  }

  // While an answer comes the next message may be written, but not sent.
  answering(isAnswering) {
    this.isAnswering = isAnswering;
    const hadFocus = [this.sending, this.stopping].includes(document.activeElement);
    this.sending.hidden = isAnswering;
    this.stopping.hidden = !isAnswering;
    if (hadFocus) (isAnswering ? this.stopping : this.area).focus();
    this.#changed();
  }

  focus() {
    this.area.focus({ preventScroll: true });
  }

  #changed() {
    sessionStorage.setItem(DRAFT, this.text);
    this.sending.disabled = !this.text.trim();
    this.area.style.setProperty("block-size", "auto");
    this.area.style.setProperty("block-size", `${this.area.scrollHeight}px`);
  }
}
