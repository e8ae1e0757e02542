/** What the keyboard does. */
import { openDialog } from "../ui/dialog";
import { h } from "../ui/dom";

const KEYS: readonly (readonly [string, string])[] = [
  ["Enter", "Send"],
  ["Shift + Enter", "New line"],
  ["Esc", "Stop the answer, or close what is open"],
  ["↑ in the empty field", "Edit the last message"],
  ["Ctrl + K", "Search sessions"],
  ["Alt + N", "New chat"],
  ["Ctrl + .", "Session details"],
  ["Ctrl + /", "This list"],
];

export function openShortcuts(): void {
  const rows = KEYS.map(([keys, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, keys)), h("td", {}, what)));
  openDialog("Keyboard", [h("table", { class: "keys" }, h("tbody", {}, ...rows))]);
}
