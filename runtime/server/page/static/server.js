// What the page asks of the server, and what can go wrong on the way. It knows nothing of what is shown.

const KEY = "unillm.key";

// `kind` is the server's name for it, or one of ours: unreachable, lost, broken, key, pull. `detail` are the server's own
// words, `after` the seconds it asks us to wait.
export class Problem extends Error {
  constructor(kind, detail = "", { after = null, hint = "" } = {}) {
    super(detail || kind);
    Object.assign(this, { kind, detail, after, hint });
  }
}

let asking = null; // the one question for the key that is open, however many requests wait for it
let askForKey = async () => null;

// `ask` gives a key, or null when nobody has one; it is told whether the one before was wrong.
export function onKeyNeeded(ask) {
  askForKey = ask;
}

// The answer to a request that went well. Raises `Problem`; a request that was aborted raises what fetch does.
export async function request(path, { body, signal } = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const response = await sent(path, body, signal, key);
    if (response.ok) return response;
    if (response.status !== 401) throw await refused(response);
    if (sessionStorage.getItem(KEY) === key) await newKey(key !== null);
  }
}

export const told = async (path, options) => (await request(path, options)).json();

// Each line of a stream of JSON, as it comes. Raises `Problem` when the connection goes before its end.
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (held + value).split("\n");
      held = parts.pop();
      for (const part of parts) if (part.trim()) yield JSON.parse(part);
    }
  } catch (error) {
    if (error instanceof TypeError) throw new Problem("lost");
    throw error;
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function sent(path, body, signal, key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      body: body === undefined ? undefined : JSON.stringify(body),
      headers,
      signal,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (error instanceof TypeError) throw new Problem("unreachable");
    throw error;
  }
}

async function newKey(wrong) {
  asking ??= askForKey(wrong).finally(() => (asking = null));
  const key = await asking;
  if (key === null) throw new Problem("key");
  sessionStorage.setItem(KEY, key);
}

// Ollama's dialect says an error as text, ours as an object with a hint; its kind stands in a header in all of them.
async function refused(response) {
  const body = await response.json().catch(() => ({}));
  const error = body.error ?? "";
  const detail = typeof error === "string" ? error : (error.message ?? "");
  const after = Number(response.headers.get("Retry-After")) || null;
  return new Problem(response.headers.get("X-Error-Kind") ?? "internal", detail, { after, hint: error.hint ?? "" });
}
