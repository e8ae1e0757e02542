/** Text of models and other callers, shown so that it can do no harm. */

/** Controls, terminal escapes among them, and marks that change the order of what is read. Tabs and line ends stay. */
// eslint-disable-next-line no-control-regex
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** The text with each of them written as an escape, such as `\\x1b`. */
export function visible(text: string): string {
  return text.replace(/\r\n?/g, "\n").replace(INVISIBLE, sign);
}

function sign(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
}

/** JSON with line breaks; any other text as it is. */
export function prettyJson(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

const number = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

export function count(value: number | bigint): string {
  return number.format(value);
}

export function roughly(value: number): string {
  return value !== 0 && Math.abs(value) < 1 ? String(Number(value.toPrecision(2))) : compact.format(value);
}

export function plural(value: number | bigint, one: string, many = `${one}s`): string {
  return `${count(value)} ${Number(value) === 1 ? one : many}`;
}

/** The cost of so many billionths; empty if there is no price. */
export function money(nanos: bigint, currency: string): string {
  if (!currency) return "";
  const value = Number(nanos) / 1e9;
  try {
    const digits = value !== 0 && Math.abs(value) < 0.1 ? 5 : 2;
    return new Intl.NumberFormat(undefined, { style: "currency", currency, maximumFractionDigits: digits }).format(value);
  } catch {
    return `${value} ${currency}`;
  }
}
