// What a screen reader says by itself. An answer is read in whole blocks as they are finished, never letter by letter.

import { find, make } from "./dom.js";

const KEPT = 8; // announcements: older ones have been read

export function announce(text) {
  const place = find("#announcer");
  place.append(make("p", {}, text));
  while (place.childElementCount > KEPT) place.firstChild.remove();
}

// Reads an answer aloud as it grows in `place`, from the block that it is at; `finish` reads what is left.
export class Reader {
  #read;

  constructor(place) {
    this.place = place;
    this.#read = Math.max(place.childElementCount - 1, 0);
  }

  grown() {
    while (this.#read < this.place.childElementCount - 1) this.#next();
  }

  finish() {
    while (this.#read < this.place.childElementCount) this.#next();
  }

  #next() {
    const block = this.place.children[this.#read];
    announce(block.matches(".code") ? "Code." : block.textContent);
    this.#read += 1;
  }
}
