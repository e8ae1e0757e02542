/** Line icons of 24 by 24. */

const PATHS = {
  plus: "M12 5v14M5 12h14",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM20 20l-4-4",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v11H9zM5 15V4h10",
  check: "M5 13l4 4L19 7",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M6 6h12v12H6z",
  retry: "M4 12a8 8 0 1 0 2.6-5.9M4 4v5h5",
  edit: "M4 20h4L19 9l-4-4L4 16v4ZM13 7l4 4",
  fork: "M7 4a2 2 0 1 0 0 4 2 2 0 0 0 0-4ZM7 16a2 2 0 1 0 0 4 2 2 0 0 0 0-4ZM17 5a2 2 0 1 0 0 4 2 2 0 0 0 0-4ZM7 8v8M17 9c0 4-10 3-10 7",
  menu: "M4 7h16M4 12h16M4 17h16",
  panel: "M4 5h16v14H4zM14 5v14",
  trash: "M5 7h14M10 7V5h4v2M7 7l1 13h8l1-13",
  key: "M10.5 12a3.5 3.5 0 1 1-7 0 3.5 3.5 0 0 1 7 0ZM10.5 12H21M17 12v3.5M20.5 12v2.5",
  chart: "M5 20V10M12 20V4M19 20v-7",
  cube: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19",
  moon: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10Z",
  auto: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM12 4v16",
  down: "M12 5v14M6 13l6 6 6-6",
  keyboard: "M3 7h18v10H3zM7 11h.01M11 11h.01M15 11h.01M8 14h8",
  wifi: "M3 9a14 14 0 0 1 18 0M6.5 13a8.5 8.5 0 0 1 11 0M12 18h.01M4 3l16 18",
} as const;

export type IconName = keyof typeof PATHS;

export function icon(name: IconName): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
