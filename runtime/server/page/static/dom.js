// Elements made by calls. Text only ever becomes text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

export const find = (selector, within = document) => within.querySelector(selector);

// An element with these attributes and children. `on` holds listeners; false and null leave an attribute out, true is
// an attribute without a value, but for those of ARIA, which have none such.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// One of the symbols of index.html.
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

// A button that shows only an icon; `label` is what it is called.
export function tool(name, label, onClick, attributes = {}) {
  return make(
    "button",
    { type: "button", class: "tool", "aria-label": label, title: label, ...attributes, on: { click: onClick } },
    icon(name),
  );
}

// A bar that tells how much of something is taken, to eyes and to screen readers.
export function bar(label) {
  const fill = make("span", { class: "fill" });
  const element = make("span", { class: "bar", role: "meter", "aria-label": label, "aria-valuemin": 0 }, fill);
  return {
    element,
    show(value, most, text) {
      element.setAttribute("aria-valuemax", most);
      element.setAttribute("aria-valuenow", Math.min(value, most));
      element.setAttribute("aria-valuetext", text);
      element.dataset.level = value > most ? "over" : value > 0.8 * most ? "high" : "usual";
      fill.style.setProperty("inline-size", `${most ? Math.min(100, (100 * value) / most) : 0}%`);
    },
  };
}

// A dialog that a click beside it closes, as Escape does. It gives the focus back to what had it.
export function dismissable(dialog) {
  dialog.addEventListener("click", (event) => {
    const box = dialog.getBoundingClientRect();
    const beside =
      event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
    if (event.target === dialog && beside) dialog.close();
  });
}

// Briefly says that a click had its effect, in the place of the button's icon.
export function confirmed(button, label) {
  const before = { icon: button.firstChild, label: button.getAttribute("aria-label") };
  if (button.dataset.confirmed) return;
  button.dataset.confirmed = "yes";
  button.replaceChildren(icon("done"));
  button.setAttribute("aria-label", label);
  setTimeout(() => {
    button.replaceChildren(before.icon);
    button.setAttribute("aria-label", before.label);
    delete button.dataset.confirmed;
  }, 1600);
}

// `navigator.clipboard` is there on secure pages only; a page that another machine serves over HTTP is none.
export async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // No leave to do so: the old way needs none.
    }
  }
  const area = make("textarea", { class: "unseen", "aria-hidden": "true", tabindex: -1 });
  const focused = document.activeElement;
  area.value = text;
  (focused?.closest("dialog") ?? document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}
