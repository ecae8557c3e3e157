// Asks for the server's key, once for a tab: it stays in this tab's memory and goes with it.

import { find } from "./dom.js";

// The key, or null when nobody has one.
export function askKey(wrong) {
  const dialog = find("#key");
  const field = find("#key-field");
  find("#key-wrong").hidden = !wrong;
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    const submitted = (event) => {
      event.preventDefault();
      if (field.value) dialog.close("given");
    };
    find("#key-form").addEventListener("submit", submitted);
    dialog.addEventListener(
      "close",
      () => {
        find("#key-form").removeEventListener("submit", submitted);
        resolve(dialog.returnValue === "given" ? field.value : null);
        field.value = "";
      },
      { once: true },
    );
  });
}
