/**
 * Long requests. Browsers open six connections to a host over HTTP/1.1, for all their tabs together; what is beyond waits.
 * The tabs share four places for long requests, so that short ones always get through. A tab without a place asks now
 * and then instead. The tab that a person uses takes the place of another one.
 */

const PLACES = 4;

export interface Slot {
  /** Aborted when another tab has taken the place. */
  readonly lost: AbortSignal;
  release(): void;
}

/** A place, if there is one. */
export async function takeSlot(steal: boolean): Promise<Slot | undefined> {
  if (!("locks" in navigator)) return focused(); // a page without TLS
  for (let place = 0; place < PLACES; place += 1) {
    const slot = await lock(place, { ifAvailable: true });
    if (slot) return slot;
  }
  return steal ? lock(Math.floor(Math.random() * PLACES), { steal: true }) : undefined;
}

function lock(place: number, options: LockOptions): Promise<Slot | undefined> {
  return new Promise((resolve) => {
    const lost = new AbortController();
    navigator.locks
      .request(`contextprotocol.slot.${place}`, options, (granted) => {
        if (!granted) {
          resolve(undefined);
          return undefined;
        }
        return new Promise<void>((release) => resolve({ lost: lost.signal, release }));
      })
      .catch(() => lost.abort()); // stolen
  });
}

/** Without locks, only the tab that has the focus. */
function focused(): Slot | undefined {
  if (!document.hasFocus()) return undefined;
  const lost = new AbortController();
  const leave = (): void => lost.abort();
  addEventListener("blur", leave, { once: true });
  return { lost: lost.signal, release: () => removeEventListener("blur", leave) };
}
