// Light, dark, or as the system has it: a button that goes round.

import { announce } from "./announcing.js";
import { find } from "./dom.js";
import { choice } from "./store.js";

const THEMES = [null, "light", "dark"];

export function offerColours() {
  const button = find("#theme");
  const name = find("#theme-name");
  const show = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    name.textContent = `Colours: ${theme ?? "as the system"}`;
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(choice.get("theme")) + 1) % THEMES.length];
    choice.set("theme", next);
    show(next);
    announce(name.textContent);
  });
  show(choice.get("theme"));
}
