/** The turn that runs: its question, its answer as it comes, and how fast it comes. */
import type { AnswerPart } from "../state/answer";
import type { Live } from "../state/live";
import { AttemptSwitched_Mode } from "../gen/contextprotocol/v1/turn_pb";
import { reasonName } from "../api/failure";
import { span } from "../api/time";
import { fill, h } from "../ui/dom";
import { icon } from "../ui/icons";
import { MarkdownView } from "../ui/markdown";
import { visible } from "../ui/text";
import { messageOf } from "../ui/toast";
import { CallFailed } from "../api/retry";
import { codeView, fold, partView, plain } from "./parts";

export interface LiveActions {
  /** Sends the same input again. */
  again(): void;
  /** Puts the text into the field, and forgets the turn. */
  takeBack(): void;
  dismiss(): void;
}

export class LiveView {
  readonly element = h("div", { class: "live" });
  readonly #parts = h("div", { class: "content" });
  readonly #status = h("span", { class: "meta" });
  readonly #notes = h("div", { class: "notes" });
  readonly #outcome = h("div");
  readonly #answer = h(
    "article",
    { class: "message answer", "aria-label": "Answer", "aria-busy": "true" },
    this.#notes,
    this.#parts,
    h("footer", {}, this.#status),
    this.#outcome,
  );
  #views: PartView[] = [];
  #frame = 0;
  #pauseUntil = 0;
  readonly #clock = setInterval(() => this.#tell(), 250);

  constructor(
    readonly live: Live,
    readonly actions: LiveActions,
  ) {
    const { request } = live;
    for (const message of request?.messages ?? []) {
      const content = h("div", { class: "content" });
      for (const part of message.parts) content.append(partView(part, false) ?? "");
      this.element.append(h("article", { class: "message user", "aria-label": "You" }, content));
    }
    if (!request) {
      this.element.append(h("p", { class: "elsewhere" }, "Asked in another window or by another program"));
    }
    this.element.append(this.#answer);
    this.update();
  }

  close(): void {
    clearInterval(this.#clock);
    cancelAnimationFrame(this.#frame);
    this.element.remove();
  }

  /** Draws what is new with the next frame; when drawing takes long, less often. */
  tokens(): void {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const begun = performance.now();
      if (begun < this.#pauseUntil) {
        this.tokens();
        return;
      }
      this.#draw();
      this.#pauseUntil = performance.now() + 2 * (performance.now() - begun);
    });
  }

  update(): void {
    const { live } = this;
    this.#answer.setAttribute("aria-busy", String(live.running));
    this.element.classList.toggle("ended", !live.running);
    this.#draw();
    this.#tell();
    fill(this.#notes, ...live.answer.switches.map((one) => {
      const kept = one.mode === AttemptSwitched_Mode.CONTINUED;
      const why = reasonName(one.reason).toLowerCase().replaceAll("_", " ");
      return h("p", { class: "note" }, `${kept ? "Continued" : "Started again"} with ${visible(one.toModel)}: ${why}`);
    }));
    this.#end();
  }

  #draw(): void {
    const { parts } = this.live.answer;
    const kept = this.#views.length <= parts.length && this.#views.every((view, index) => view.kind === parts[index]?.kind);
    if (!kept) {
      this.#views = [];
      this.#parts.replaceChildren();
    }
    parts.forEach((part, index) => {
      let view = this.#views[index];
      if (!view) {
        view = new PartView(part);
        this.#views[index] = view;
        this.#parts.append(view.element);
      }
      view.update(part, index === parts.length - 1 && this.live.running);
    });
  }

  #tell(): void {
    const { live } = this;
    const { answer, meter } = live;
    const facts: string[] = [];
    if (answer.model) facts.push(visible(answer.model));
    if (live.state === "stopping") facts.push("stopping…");
    else if (live.running) {
      if (answer.position) facts.push(`waiting behind ${answer.position === 1 ? "another turn" : `${answer.position} turns`}`);
      else if (!answer.parts.length) facts.push(answer.started ? `reading the prompt… ${seconds(meter.begun)}` : "sending…");
      const first = meter.timeToFirstToken;
      if (first !== undefined && live.request) facts.push(`first token ${span(first)}`);
      const rate = meter.rate;
      if (rate !== undefined) facts.push(`≈ ${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tokens/s`);
      const dropped = answer.window?.droppedMessages ?? 0;
      if (dropped) facts.push(`${dropped} older messages left out`);
    }
    fill(this.#status, ...facts.map((fact) => h("span", {}, fact)));
  }

  #end(): void {
    const { live, actions } = this;
    if (live.running) {
      this.#outcome.replaceChildren();
      return;
    }
    const stopped = live.state === "stopped";
    const text = stopped
      ? "Stopped. This exchange is not part of the session."
      : live.failure
        ? messageOf(new CallFailed(live.failure))
        : "The answer failed.";
    const { request } = live;
    fill(
      this.#outcome,
      h(
        "div",
        { class: stopped ? "outcome" : "outcome failed", role: stopped ? "status" : "alert" },
        h("p", {}, !stopped && h("strong", {}, "No answer. "), visible(text)),
        h(
          "div",
          { class: "row" },
          request && h("button", { type: "button", class: "small", onclick: () => actions.again() }, icon("retry"), "Try again"),
          request && h("button", { type: "button", class: "small", onclick: () => actions.takeBack() }, icon("edit"), "Edit"),
          h("button", { type: "button", class: "small quiet", onclick: () => actions.dismiss() }, "Dismiss"),
        ),
      ),
    );
  }
}

function seconds(begun: number): string {
  const time = performance.now() - begun;
  return time < 1000 ? "" : `${Math.round(time / 1000)} s`;
}

/** A part of the answer, which grows. */
class PartView {
  readonly element: HTMLElement;
  readonly kind: AnswerPart["kind"];
  readonly #show: (text: string, last: boolean) => void;
  #shown = "";
  #last = false;

  constructor(part: AnswerPart) {
    this.kind = part.kind;
    if (part.kind === "text") {
      const view = new MarkdownView();
      this.element = view.element;
      this.#show = (text) => view.update(text);
    } else if (part.kind === "tool") {
      const holder = h("div");
      this.element = fold(`Calls ${visible(part.tool)}`, holder, "tool", true);
      this.#show = (text) => holder.replaceChildren(codeView(text, "Copy arguments"));
    } else if (part.kind === "blob" || part.kind === "state") {
      this.element = h("div");
      this.#show = () => undefined;
    } else {
      const holder = plain("");
      const reasoning = part.kind === "reasoning";
      const details = fold(reasoning ? "Reasoning" : "Declined", holder, part.kind, true);
      this.element = details;
      this.#show = (text, last) => {
        holder.textContent = visible(text);
        if (reasoning && this.#last && !last) details.open = false; // the answer itself has begun
      };
    }
  }

  update({ text }: AnswerPart, last: boolean): void {
    if (text === this.#shown && last === this.#last) return;
    this.#show(text, last);
    this.#shown = text;
    this.#last = last;
  }
}
