/** Says what is wrong with the connection, and what happens next. */
import { type Connection, connection } from "../api/connection";
import { h } from "./dom";
import { icon } from "./icons";

/** A failure that is over sooner is not shown. */
const PATIENCE = 700;

export function banner(): HTMLElement {
  const text = h("span");
  const now = h("button", { type: "button", class: "small", onclick: () => dispatchEvent(new Event("online")) }, "Try now");
  const element = h("div", { class: "banner", role: "alert", hidden: true }, icon("wifi"), text, now);
  let shown: ReturnType<typeof setTimeout> | undefined;
  const update = (): void => {
    const words = say(connection.value);
    if (!words) {
      clearTimeout(shown);
      shown = undefined;
      element.hidden = true;
      return;
    }
    text.textContent = words;
    now.hidden = connection.value.state !== "fails";
    shown ??= setTimeout(() => (element.hidden = false), connection.value.state === "offline" ? 0 : PATIENCE);
  };
  connection.follow(update);
  update();
  return element;
}

function say(value: Connection): string {
  switch (value.state) {
    case "works":
      return "";
    case "offline":
      return "You are offline. Running answers continue on the server; this page goes on when the network is back.";
    case "fails":
      if (value.failure.reason === "DRAINING") return "The server is being restarted. This page goes on by itself.";
      if (value.failure.reason === "OVERLOADED") return "The server has too much to do. This page tries again by itself.";
      if (value.failure.lost) return "The server cannot be reached. Trying again…";
      return `${value.failure.message} Trying again…`;
  }
}
