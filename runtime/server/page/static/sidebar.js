// The list of conversations: open, rename, export, import and remove them; on a narrow screen it slides over the page.

import { find, icon, make, tool } from "./dom.js";
import { titleOf } from "./conversation.js";
import { dayOf } from "./text.js";

const NARROW = matchMedia("(max-width: 52rem)");

export class Sidebar {
  // `act`: open(id), begin(), rename(id, title), save(id), saveAll(), take(file), remove(id).
  constructor(act) {
    this.act = act;
    this.aside = find("#side");
    this.main = find("main");
    this.list = find("#conversations");
    find("#begin").addEventListener("click", () => this.#after(act.begin));
    find("#save-all").addEventListener("click", act.saveAll);
    find("#take").addEventListener("click", () => find("#take-file").click());
    find("#take-file").addEventListener("change", ({ target }) => {
      if (target.files[0]) act.take(target.files[0]);
      target.value = ""; // the same file may be chosen again
    });
    find("#open-side").addEventListener("click", () => this.toggle(true));
    find("#close-side").addEventListener("click", () => this.toggle(false));
    find("#shade").addEventListener("click", () => this.toggle(false));
    this.aside.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !NARROW.matches) return;
      event.preventDefault(); // it means the list here, not the answer
      this.toggle(false);
    });
    NARROW.addEventListener("change", () => this.toggle(false, { focus: false }));
    this.toggle(false, { focus: false });
  }

  toggle(open, { focus = true } = {}) {
    const over = NARROW.matches;
    this.aside.toggleAttribute("data-open", open);
    this.aside.inert = over && !open;
    this.main.inert = over && open;
    find("#shade").hidden = !(over && open);
    find("#open-side").setAttribute("aria-expanded", open);
    if (over && focus) find(open ? "#close-side" : "#open-side").focus();
  }

  // `conversations`, the newest first; `isLive` says which of them are being answered.
  show(conversations, openId, isLive) {
    find("#save-all").hidden = !conversations.length;
    if (this.list.querySelector("form")) return; // somebody is writing a name
    const focused = document.activeElement?.closest("[data-id]")?.dataset.id;
    const place = [...(document.activeElement?.parentElement?.children ?? [])].indexOf(document.activeElement);
    const days = Map.groupBy(conversations, ({ changed }) => dayOf(changed));
    this.list.replaceChildren(...[...days].map(([day, several]) => this.#day(day, several, openId, isLive)));
    if (focused) find(`[data-id="${CSS.escape(focused)}"]`, this.list)?.children[place]?.focus();
  }

  #day(day, conversations, openId, isLive) {
    const items = conversations.map((one) => this.#item(one, one.id === openId, isLive(one.id)));
    return make("section", {}, make("h2", {}, day), make("ul", {}, ...items));
  }

  #item(conversation, isOpen, live) {
    const { id } = conversation;
    const title = titleOf(conversation);
    const button = make(
      "button",
      {
        type: "button",
        class: "title",
        "aria-current": isOpen ? "page" : null,
        title,
        on: { click: () => this.#after(() => this.act.open(id)) },
      },
      make("bdi", {}, title),
    );
    if (live) button.append(make("span", { class: "pulse", role: "img", "aria-label": "answering" }));
    const item = make("li", { class: "conversation", "data-id": id }, button);
    item.append(
      tool("edit", `Rename ${title}`, () => this.#rename(item, conversation)),
      tool("save", `Export ${title}`, () => this.act.save(id)),
      tool("remove", `Delete ${title}`, () => this.act.remove(id)),
    );
    return item;
  }

  #rename(item, conversation) {
    const input = make("input", { type: "text", "aria-label": "Name of the conversation", maxlength: 120 });
    input.value = titleOf(conversation);
    const form = make("form", { class: "rename" }, input);
    let ended = false; // taking the field away takes the focus from it, which ends it too
    const end = (title) => {
      if (ended) return;
      ended = true;
      form.remove();
      this.act.rename(conversation.id, title);
      find(`[data-id="${CSS.escape(conversation.id)}"] .title`, this.list)?.focus();
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      end(input.value.trim());
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      end(null);
    });
    input.addEventListener("blur", () => end(input.value.trim()));
    item.replaceChildren(form);
    input.select();
    input.focus();
  }

  #after(work) {
    work();
    if (NARROW.matches) this.toggle(false, { focus: false });
  }
}

// A note at the foot of the page for some seconds, with at most one thing to do about it.
export function toast(text, label = null, onClick = null) {
  const note = make("div", { class: "toast" }, make("span", {}, text));
  const end = () => note.remove();
  if (label) {
    note.append(make("button", { type: "button", class: "plain", on: { click: () => (end(), onClick()) } }, label));
  }
  note.append(
    make("button", { type: "button", class: "tool", "aria-label": "Close", on: { click: end } }, icon("close")),
  );
  find("#toasts").replaceChildren(note);
  setTimeout(end, 10_000);
}
