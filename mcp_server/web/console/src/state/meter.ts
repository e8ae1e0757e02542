/** How fast an answer comes. */

/** About how many characters make a token; the server has the exact number at the end. */
const CHARACTERS = 4;
const WINDOW = 4000;

export class Meter {
  readonly begun = performance.now();
  firstToken: number | undefined;
  #pieces: { time: number; characters: number }[] = [];

  add(characters: number): void {
    if (!characters) return;
    const time = performance.now();
    this.firstToken ??= time;
    this.#pieces.push({ time, characters });
  }

  /** Milliseconds from sending to the first token, as this page saw it. */
  get timeToFirstToken(): number | undefined {
    return this.firstToken && this.firstToken - this.begun;
  }

  /** Estimated tokens per second of the last seconds. */
  get rate(): number | undefined {
    const now = performance.now();
    this.#pieces = this.#pieces.filter(({ time }) => now - time < WINDOW);
    if (!this.firstToken) return undefined;
    const time = Math.max(Math.min(WINDOW, now - this.firstToken), 250);
    const characters = this.#pieces.reduce((sum, piece) => sum + piece.characters, 0);
    return characters / CHARACTERS / (time / 1000);
  }
}
