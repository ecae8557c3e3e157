// Light or dark, before anything is painted. It is no module: modules run too late for that.
"use strict";

(() => {
  let wanted = null;
  try {
    wanted = JSON.parse(localStorage.getItem("unillm.theme"));
  } catch {
    // A browser that keeps nothing follows the system.
  }
  if (wanted === "light" || wanted === "dark") document.documentElement.dataset.theme = wanted;
})();
