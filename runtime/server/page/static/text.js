// Numbers and names as people read them.

// Marks that turn the direction of text round, and control characters: they can make a text look like another.
const HIDDEN = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\u2028\u2029]/gu; // joiners make letters and emoji: they stay

const number = new Intl.NumberFormat();
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

// `text` with what cannot be seen in it made visible.
export const visible = (text) => String(text).replace(HIDDEN, "\ufffd");

export const count = (value) => number.format(value);

export function bytes(value) {
  for (const [unit, size] of [
    ["TB", 1e12],
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ]) {
    if (value >= size) return `${value >= 100 * size ? Math.round(value / size) : (value / size).toFixed(1)} ${unit}`;
  }
  return `${value} bytes`;
}

export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  return value < 90 ? `${Math.round(value)} s` : `${Math.round(value / 60)} min`;
}

// "Today", "Yesterday", "12 Nov".
export function dayOf(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  return time >= midnight - 864e5 ? "Yesterday" : day.format(time);
}

export function shortened(text, most) {
  const line = text.trim().replace(/\s+/g, " ");
  if (line.length <= most) return line;
  const cut = line.slice(0, most);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(" "), most / 2))}…`;
}
