/** What was used, by day and model. */
import { usage } from "../api/clients";
import { failureOf } from "../api/failure";
import { call, CallFailed } from "../api/retry";
import type { UsageRow } from "../gen/contextprotocol/v1/usage_pb";
import { fill, h } from "../ui/dom";
import { count, money, visible } from "../ui/text";
import { header } from "./chat";
import { type Series, UsageChart } from "./chart";
import type { Shell } from "./shell";

type Measure = "tokens" | "cost" | "turns";
const MEASURES: Readonly<Record<Measure, (row: UsageRow) => number>> = {
  tokens: (row) => Number((row.usage?.inputTokens ?? 0n) + (row.usage?.outputTokens ?? 0n)),
  cost: (row) => Number(row.costNanos) / 1e9,
  turns: (row) => Number(row.turns),
};
const DAY = 86400;

export class UsageView {
  readonly element = h("div", { class: "page" });
  readonly #content = h("div", { class: "content-page" });
  readonly #days = select("Period", [["7", "7 days"], ["30", "30 days"], ["90", "90 days"]], "30");
  readonly #measure = select("Measure", [["tokens", "Tokens"], ["cost", "Cost"], ["turns", "Turns"]], "tokens");
  #chart: UsageChart | undefined;
  #rows: UsageRow[] = [];
  #asked = 0;

  constructor(shell: Shell) {
    document.title = "Usage · contextprotocol";
    this.#days.addEventListener("change", () => void this.#load());
    this.#measure.addEventListener("change", () => this.#draw());
    this.element.append(header(shell, h("h1", {}, "Usage")), h("div", { class: "row filters" }, this.#days, this.#measure), this.#content);
    void this.#load();
  }

  close(): void {
    this.#asked += 1;
    this.#chart?.close();
  }

  focus(): void {}

  #start(): number {
    const today = Math.floor(Date.now() / 1000 / DAY) * DAY;
    return today - (Number(this.#days.value) - 1) * DAY;
  }

  async #load(): Promise<void> {
    this.#asked += 1;
    const asked = this.#asked;
    const found: UsageRow[] = [];
    try {
      let pageToken = "";
      do {
        const request = { startTime: { seconds: BigInt(this.#start()) }, groupBy: ["day", "provider", "model"], pageSize: 1000, pageToken };
        const page = await call(() => usage.queryUsage(request));
        found.push(...page.rows);
        pageToken = page.nextPageToken;
      } while (pageToken);
    } catch (error) {
      if (asked === this.#asked) this.#explain(error);
      return;
    }
    if (asked !== this.#asked) return;
    this.#rows = found;
    this.#draw();
  }

  #explain(error: unknown): void {
    const failure = error instanceof CallFailed ? error.failure : failureOf(error);
    const [title, text] = {
      NOT_ALLOWED: ["Not with this key", "Reading usage needs a key with the scope “usage”."],
      NOT_IMPLEMENTED: ["No record of usage", "The store of this server keeps none. A server with the SQLite store does."],
    }[failure.reason] ?? ["The usage cannot be read", failure.message];
    this.#say(title ?? "", text ?? "");
  }

  #say(title: string, text: string): void {
    this.#chart?.close();
    this.#chart = undefined;
    fill(this.#content, h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, visible(text))));
  }

  #draw(): void {
    if (!this.#rows.length) {
      this.#say("Nothing used yet", "As soon as a model has answered, this page shows the tokens and the cost of each day.");
      return;
    }
    const measure = this.#measure.value as Measure;
    const days = Array.from({ length: Number(this.#days.value) }, (_, index) => this.#start() + index * DAY);
    const names = [...new Set(this.#rows.map(nameOf))].sort();
    const series: Series[] = names.map((name) => {
      const values = days.map(() => 0);
      for (const row of this.#rows) {
        const day = days.indexOf(Date.parse(row.group["day"] ?? "") / 1000);
        if (nameOf(row) === name && day >= 0) values[day] = (values[day] ?? 0) + MEASURES[measure](row);
      }
      return { name, values };
    });
    const place = h("div", { class: "chart", role: "img", "aria-label": `${measure} of each day; the table below has the sums` });
    fill(this.#content, place, totals(this.#rows, names));
    this.#chart?.close();
    this.#chart = new UsageChart(place, days, series);
  }
}

function nameOf(row: UsageRow): string {
  return `${row.group["provider"] ?? ""}/${row.group["model"] ?? ""}`;
}

function totals(rows: readonly UsageRow[], names: readonly string[]): HTMLElement {
  const line = (name: string, own: readonly UsageRow[], place: number): HTMLElement => {
    const sum = (read: (row: UsageRow) => bigint): bigint => own.reduce((total, row) => total + read(row), 0n);
    const costs = new Map<string, bigint>();
    for (const row of own) costs.set(row.currency, (costs.get(row.currency) ?? 0n) + row.costNanos);
    const cost = [...costs].map(([currency, nanos]) => money(nanos, currency)).filter(Boolean).join(" + ");
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, place >= 0 && h("span", { class: `swatch s${place % 8}` }), visible(name)),
      h("td", {}, count(sum((row) => row.turns))),
      h("td", {}, count(sum((row) => row.usage?.inputTokens ?? 0n))),
      h("td", {}, count(sum((row) => row.usage?.outputTokens ?? 0n))),
      h("td", {}, cost || "–"),
    );
  };
  const head = ["Model", "Turns", "Input tokens", "Output tokens", "Cost"].map((name) => h("th", { scope: "col" }, name));
  return h(
    "div",
    { class: "table", tabindex: 0, role: "group", "aria-label": "Sums of the period" },
    h(
      "table",
      { class: "sums" },
      h("thead", {}, h("tr", {}, ...head)),
      h("tbody", {}, ...names.map((name, place) => line(name, rows.filter((row) => nameOf(row) === name), place))),
      names.length > 1 && h("tfoot", {}, line("All", rows, -1)),
    ),
  );
}

function select(label: string, options: readonly (readonly [string, string])[], value: string): HTMLSelectElement {
  return h("select", { "aria-label": label }, ...options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
}
