/** Bars for each day, one colour for each model, on top of each other. */
import uPlot from "uplot";

import { h } from "../ui/dom";
import { roughly, visible } from "../ui/text";
import { theme } from "../ui/theme";

export interface Series {
  readonly name: string;
  readonly values: readonly number[];
}

const HEIGHT = 280;

export class UsageChart {
  #plot: uPlot | undefined;
  readonly #observer: ResizeObserver;
  readonly #unfollow: () => void;

  constructor(
    readonly place: HTMLElement,
    readonly days: readonly number[],
    readonly series: readonly Series[],
  ) {
    this.#observer = new ResizeObserver(() => this.#plot?.setSize(this.#size()));
    this.#observer.observe(place);
    this.#unfollow = theme.follow(() => this.#draw());
    this.#draw();
  }

  close(): void {
    this.#observer.disconnect();
    this.#unfollow();
    this.#plot?.destroy();
  }

  #size(): { width: number; height: number } {
    return { width: Math.max(this.place.clientWidth, 240), height: HEIGHT };
  }

  #draw(): void {
    this.#plot?.destroy();
    const { days, series } = this;
    const sums = days.map(() => 0);
    // The last series is drawn first, and is the tallest: each bar is the sum of its own value and those before it.
    const stacked = series.map(({ values }) => values.map((value, day) => (sums[day] = (sums[day] ?? 0) + value)));
    const [text, grid] = [colour(this.place, "--text-soft"), colour(this.place, "--line")];
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const bars = uPlot.paths.bars?.({ size: [0.7, 48], radius: 0.12 });
    const drawn = series.map(({ name }, index) => ({
      label: visible(name),
      fill: colour(this.place, `--series-${index % 8}`),
      width: 0,
      points: { show: false },
      ...(bars ? { paths: bars } : {}),
      value: (_: uPlot, __: number, ___: number, day: number | null) => (day === null ? "" : roughly(series[index]?.values[day] ?? 0)),
    }));
    this.#plot = new uPlot(
      {
        ...this.#size(),
        tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "Etc/UTC"),
        scales: { x: { range: (_, min, max) => [min - 43200, max + 43200] }, y: { range: (_, __, max) => [0, max * 1.08 || 1] } },
        axes: [
          { ...axis, values: (_, ticks) => ticks.map((tick) => dayName(tick)), incrs: [1, 2, 7, 14, 30].map((count) => count * 86400) },
          { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => roughly(tick)) },
        ],
        series: [{ label: "Day", value: (_, time) => (time ? dayName(time) : "") }, ...drawn.reverse()],
        cursor: { drag: { x: false, y: false }, points: { show: false } },
        legend: { live: true },
      },
      [[...days], ...stacked.reverse()],
      this.place,
    );
  }
}

const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", timeZone: "UTC" });

function dayName(time: number): string {
  return day.format(new Date(time * 1000));
}

/** A colour of the style sheet as the canvas wants it. */
function colour(place: Element, name: string): string {
  const probe = h("span");
  probe.style.color = `var(${name})`;
  place.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
