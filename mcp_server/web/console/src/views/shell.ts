/** What views may ask of the page. */
import type { Message } from "../gen/contextprotocol/v1/message_pb";
import type { Catalogue } from "../state/catalogue";
import type { Draft } from "../state/draft";
import type { SessionList } from "../state/sessions";

export interface Shell {
  readonly list: SessionList;
  readonly catalogue: Catalogue;
  /** Opens a session; with messages, they are sent there, and a text goes into the field. */
  open(name: string, then?: { send?: readonly Message[]; text?: string }): void;
  openNew(draft?: Partial<Draft>): void;
  toggleDetails(): void;
  toggleSidebar(): void;
}
