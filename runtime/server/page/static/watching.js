// Says that the server does not answer, until it does again.

import { announce } from "./announcing.js";
import { find, make } from "./dom.js";
import { worded } from "./problems.js";

const EVERY = 3000; // milliseconds between two looks

export class Watch {
  #isAway = false;

  // `back` is called when the server answers again.
  constructor(back) {
    this.back = back;
    this.place = find("#notice");
  }

  // Something went wrong that no answer on the page tells of.
  troubled(error) {
    if (error.kind === "unreachable") this.away();
    else this.#say(worded(error));
  }

  async away() {
    if (this.#isAway) return;
    this.#isAway = true;
    this.#say(worded({ kind: "unreachable" }));
    while (this.#isAway) {
      await new Promise((resolve) => setTimeout(resolve, EVERY));
      this.#isAway = await fetch("/health", { cache: "no-store" }).then(
        () => false,
        () => true,
      );
    }
    this.#say(null);
    announce("The server is back");
    this.back();
  }

  #say(problem) {
    this.place.hidden = problem === null;
    this.place.replaceChildren(...(problem ? [make("strong", {}, problem.what), ` ${problem.next}`] : []));
  }
}
