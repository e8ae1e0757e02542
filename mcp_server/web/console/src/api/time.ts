/** Durations and times of the contract, and how people read them. */
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";

export function milliseconds(duration: Duration | undefined): number | undefined {
  return duration && Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

export function dateOf(time: Timestamp | undefined): Date | undefined {
  return time && new Date(Number(time.seconds) * 1000 + time.nanos / 1e6);
}

const UNITS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["year", 365 * 86400e3],
  ["month", 30 * 86400e3],
  ["week", 7 * 86400e3],
  ["day", 86400e3],
  ["hour", 3600e3],
  ["minute", 60e3],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** "5 minutes ago", "in 3 days". */
export function fromNow(date: Date, now = Date.now()): string {
  const distance = date.getTime() - now;
  for (const [unit, size] of UNITS) {
    if (Math.abs(distance) >= size) return relative.format(Math.round(distance / size), unit);
  }
  return distance > 0 ? "in less than a minute" : "just now";
}

/** "85 ms", "1.24 s", "3 min 5 s". */
export function span(time: number | undefined): string {
  if (time === undefined) return "–";
  if (time < 1000) return `${Math.round(time)} ms`;
  if (time < 60e3) return `${(time / 1000).toFixed(time < 10e3 ? 2 : 1)} s`;
  return `${Math.floor(time / 60e3)} min ${Math.round((time % 60e3) / 1000)} s`;
}

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function written(date: Date | undefined): string {
  return date ? moment.format(date) : "–";
}
