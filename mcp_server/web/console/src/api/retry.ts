/** Calls that outlive a lost connection, a restart of the server, and a missing key. */
import { type Failure, failureOf } from "./failure";
import { askForKey } from "./key";
import { connection } from "./connection";

/** How long to wait before the next try: longer after each failure, never longer than 10 seconds. */
export class Backoff {
  #next = 250;

  reset(): void {
    this.#next = 250;
  }

  /** The next pause, in milliseconds. */
  after(failure: Failure): number {
    const pause = failure.retryAfter + this.#next * (0.5 + Math.random());
    this.#next = Math.min(this.#next * 2, 10_000);
    return pause;
  }
}

/** Waits, but no longer than until the network is back or the signal is aborted. */
export async function pause(time: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, navigator.onLine ? time : Math.max(time, 30_000));
    addEventListener("online", done);
    signal?.addEventListener("abort", done);
    function done(): void {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal?.removeEventListener("abort", done);
      resolve();
    }
  });
}

/** Thrown by {@link call}: a failure that another try does not repair. */
export class CallFailed extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

/**
 * Makes a call that can be repeated without harm, and repeats it where that helps.
 *
 * @param tries how often a lost connection is tried again.
 */
export async function call<T>(perform: () => Promise<T>, tries = 4): Promise<T> {
  const backoff = new Backoff();
  for (let failed = 0; ; ) {
    try {
      const result = await perform();
      connection.works();
      return result;
    } catch (error) {
      const failure = failureOf(error);
      if (failure.remedy === "key") {
        await askForKey(failure.message);
        continue;
      }
      failed += 1;
      if (failure.remedy === "none" || failed > tries) throw new CallFailed(failure);
      const time = backoff.after(failure);
      if (failed > 1) connection.fails(failure, time);
      await pause(time);
    }
  }
}
