/** The list of sessions. */
import { sessions } from "../api/clients";
import { call } from "../api/retry";
import type { Session } from "../gen/contextprotocol/v1/session_pb";
import { TITLE } from "./actions";
import { Signal } from "./signal";

const PAGE = 100;

export interface SessionPage {
  readonly sessions: readonly Session[];
  readonly more: string;
  readonly loaded: boolean;
}

export class SessionList extends Signal<SessionPage> {
  constructor() {
    super({ sessions: [], more: "", loaded: false });
  }

  /** Reads the newest sessions. */
  async refresh(): Promise<void> {
    const { sessions: newest, nextPageToken } = await read("");
    this.set({ sessions: newest, more: nextPageToken, loaded: true });
  }

  async loadMore(): Promise<void> {
    if (!this.value.more) return;
    const { sessions: older, nextPageToken } = await read(this.value.more);
    this.set({ sessions: [...this.value.sessions, ...older], more: nextPageToken, loaded: true });
  }

  /** Takes a session as it is now, without asking the server. */
  put(session: Session): void {
    const others = this.value.sessions;
    const known = others.some(({ name }) => name === session.name);
    const changed = known ? others.map((one) => (one.name === session.name ? session : one)) : [session, ...others];
    this.set({ ...this.value, sessions: changed });
  }

  remove(name: string): void {
    this.set({ ...this.value, sessions: this.value.sessions.filter((session) => session.name !== name) });
  }
}

async function read(pageToken: string): Promise<{ sessions: Session[]; nextPageToken: string }> {
  return call(() => sessions.listSessions({ pageSize: PAGE, newestFirst: true, pageToken }));
}

export function idOf(name: string): string {
  return name.replace(/^sessions\//, "");
}

export function titleOf(session: Session): string {
  return session.labels[TITLE] || idOf(session.name);
}

/** Whether the id or a label of the session contains each of the words; `key=value` finds a label. */
export function matches(session: Session, search: string): boolean {
  const labels = Object.entries(session.labels).map(([key, value]) => `${key}=${value}`);
  const text = [idOf(session.name), ...labels].join("\n").toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
