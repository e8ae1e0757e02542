/** The API key: kept for this tab alone, until it is closed. */

const PLACE = "contextprotocol.key";

export function storedKey(): string {
  return sessionStorage.getItem(PLACE) ?? "";
}

export function storeKey(key: string): void {
  if (key) sessionStorage.setItem(PLACE, key);
  else sessionStorage.removeItem(PLACE);
}

/** Asks the person for a key. Resolves when one is stored. */
export type AskForKey = (why: string) => Promise<unknown>;

let dialog: AskForKey | undefined;
let asking: Promise<unknown> | undefined;

export function setKeyDialog(ask: AskForKey): void {
  dialog = ask;
}

/** Asks once, however many calls were refused at the same time. */
export async function askForKey(why: string): Promise<void> {
  if (!dialog) throw new Error("the page has no dialog for keys yet");
  asking ??= dialog(why).finally(() => {
    asking = undefined;
  });
  await asking;
}
