/** Whether the server can be reached, for the banner. */
import { Signal } from "../state/signal";
import type { Failure } from "./failure";

export type Connection =
  | { readonly state: "works" }
  | { readonly state: "offline" }
  | { readonly state: "fails"; readonly failure: Failure; readonly nextTry: number };

class ConnectionState extends Signal<Connection> {
  constructor() {
    super(navigator.onLine ? { state: "works" } : { state: "offline" });
    addEventListener("offline", () => this.set({ state: "offline" }));
    addEventListener("online", () => this.works());
  }

  works(): void {
    if (this.value.state !== "works") this.set({ state: "works" });
  }

  /** A call failed, and is tried again after a pause in milliseconds. */
  fails(failure: Failure, pause: number): void {
    this.set(navigator.onLine ? { state: "fails", failure, nextTry: Date.now() + pause } : { state: "offline" });
  }
}

export const connection = new ConnectionState();
