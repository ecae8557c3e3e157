// The open conversation: a turn after the other, and the newest in sight unless somebody reads further up.

import { AnswerView } from "./answer.js";
import { shownAnswer } from "./conversation.js";
import { confirmed, copy, find, make, tool } from "./dom.js";

const NEAR = 90; // pixels from the end that still count as its end

export class Talk {
  #views = new Map(); // of each answer that is shown

  // `act` carries out what is asked of a turn: retry, forget, choose, settings, edit(place), turnTo(turn, place).
  constructor(act) {
    this.act = act;
    this.scroller = find("#talk");
    this.turns = find("#turns");
    this.down = find("#down");
    this.following = true;
    this.scroller.addEventListener("scroll", () => this.#noticed(), { passive: true });
    this.down.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.following && this.#toEnd()).observe(this.turns);
  }

  show(conversation) {
    this.conversation = conversation;
    this.#views.clear();
    this.turns.replaceChildren(...conversation.turns.map((turn, place) => this.#turn(turn, place)));
    this.follow();
  }

  // The answer has changed; one that is not shown is left alone.
  changed(answer) {
    this.#views.get(answer)?.changed();
  }

  finished(answer) {
    this.#views.get(answer)?.update();
  }

  follow() {
    this.following = true;
    this.#toEnd();
    this.down.hidden = true;
  }

  #turn(turn, place) {
    const isLast = place === this.conversation.turns.length - 1;
    const answer = shownAnswer(turn);
    const item = make("li", { class: "turn" }, this.#said(turn, place));
    if (answer === null) return item;
    const view = new AnswerView({ of: turn, isLast }, answer, {
      ...this.act,
      turnTo: (to) => this.act.turnTo(turn, to),
    });
    this.#views.set(answer, view);
    item.append(view.element);
    return item;
  }

  #said(turn, place) {
    const copying = tool(
      "copy",
      "Copy message",
      async () => (await copy(turn.text)) && confirmed(copying, "Message copied"),
    );
    const tools = make(
      "footer",
      { class: "tools" },
      copying,
      tool("edit", "Edit message", () => this.act.edit(place)),
    );
    return make(
      "article",
      { class: "said", "aria-label": "You" },
      make("div", { class: "bubble", dir: "auto" }, turn.text),
      tools,
    );
  }

  #noticed() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.following = scrollHeight - scrollTop - clientHeight < NEAR;
    this.down.hidden = this.following;
  }

  #toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}
