/** Light, dark, or as the system has it. */
import { h } from "./dom";
import { type IconName, icon } from "./icons";
import { Signal } from "../state/signal";

const PLACE = "contextprotocol.theme";
const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const ICONS: Readonly<Record<Theme, IconName>> = { auto: "auto", light: "sun", dark: "moon" };

/** Follows every change of the colours. */
export const theme = new Signal<Theme>(stored());

function stored(): Theme {
  const value = localStorage.getItem(PLACE);
  return THEMES.find((one) => one === value) ?? "auto";
}

function apply(value: Theme): void {
  document.documentElement.dataset["theme"] = value;
}

apply(theme.value);
theme.follow(apply);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme.set(theme.value));

export function themeButton(): HTMLButtonElement {
  const button = h("button", { type: "button", class: "quiet icon-button" });
  const show = (value: Theme): void => {
    button.replaceChildren(icon(ICONS[value]));
    button.title = `Colours: ${value}`;
    button.setAttribute("aria-label", `Colours: ${value}`);
  };
  show(theme.value);
  theme.follow(show);
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] ?? "auto";
    localStorage.setItem(PLACE, next);
    theme.set(next);
  });
  return button;
}
