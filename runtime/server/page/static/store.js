// Conversations kept in this browser, and only there. Where a browser keeps nothing they last as long as the page.

import { settled } from "./conversation.js";

const NAME = "unillm";
const TABLE = "conversations";

// The store, opened. `onChange` is called with the id of what another tab has changed.
export async function openStore(onChange) {
  const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(NAME) : null;
  channel?.addEventListener("message", (event) => onChange(event.data));
  const database = await opened().catch(() => null);
  return database ? new Kept(database, channel) : new Forgotten();
}

class Kept {
  lasts = true;

  constructor(database, channel) {
    this.database = database;
    this.channel = channel;
  }

  async all() {
    return (await this.#done("readonly", (table) => table.getAll())).map(settled);
  }

  async one(id) {
    return this.#done("readonly", (table) => table.get(id));
  }

  async put(conversation) {
    await this.#done("readwrite", (table) => table.put(conversation));
    this.channel?.postMessage(conversation.id);
  }

  async remove(id) {
    await this.#done("readwrite", (table) => table.delete(id));
    this.channel?.postMessage(id);
  }

  #done(mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction(TABLE, mode);
      const request = work(transaction.objectStore(TABLE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

class Forgotten {
  lasts = false;
  all = async () => [];
  one = async () => undefined;
  put = async () => {};
  remove = async () => {};
}

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

// What a person has chosen for all conversations, a name each. A browser that refuses to keep it keeps the usual.
export const choice = {
  get(name, usual = null) {
    try {
      return JSON.parse(localStorage.getItem(`unillm.${name}`)) ?? usual;
    } catch {
      return usual;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`unillm.${name}`, JSON.stringify(value));
    } catch {
      // It holds until the page is closed.
    }
  },
};
