/** The models of the server, and whether they can be used. */
import { type Model, Model_State } from "../gen/contextprotocol/v1/model_pb";
import { aliasesOf, modelId } from "../state/catalogue";
import { fill, h } from "../ui/dom";
import { icon } from "../ui/icons";
import { count, visible } from "../ui/text";
import { messageOf } from "../ui/toast";
import { header } from "./chat";
import type { Shell } from "./shell";

const STATES: Readonly<Record<number, readonly [string, string]>> = {
  [Model_State.READY]: ["ready", "good"],
  [Model_State.LOADING]: ["loading", "busy"],
  [Model_State.UNAVAILABLE]: ["unavailable", "bad"],
};
const REFRESH = 10_000;

export class ModelsView {
  readonly element = h("div", { class: "page" });
  readonly #content = h("div", { class: "content-page" });
  readonly #unfollow: () => void;
  readonly #timer = setInterval(() => document.hidden || void this.#refresh(), REFRESH);
  #drawn = "";

  constructor(readonly shell: Shell) {
    document.title = "Models · contextprotocol";
    this.element.append(header(shell, h("h1", {}, "Models")), this.#content);
    this.#unfollow = shell.catalogue.follow(() => this.#draw());
    this.#draw();
    void this.#refresh();
  }

  close(): void {
    this.#unfollow();
    clearInterval(this.#timer);
  }

  focus(): void {}

  async #refresh(): Promise<void> {
    try {
      await this.shell.catalogue.refresh();
      if (!this.shell.catalogue.value.length) this.#say("No models", "The server offers no model that you may use. Add a provider to its settings.");
    } catch (error) {
      this.#say("The models cannot be read", messageOf(error));
    }
  }

  #say(title: string, text: string): void {
    this.#drawn = "";
    fill(this.#content, h("div", { class: "empty" }, h("h2", {}, title), h("p", {}, visible(text))));
  }

  #draw(): void {
    const models = this.shell.catalogue.value;
    if (!models.length) return;
    const drawn = models.map((model) => [model.name, model.state, model.stateReason, model.aliases, model.isDefault].join("|")).join("\n");
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const providers = [...new Set(models.map(({ provider }) => provider))];
    fill(
      this.#content,
      ...providers.map((provider) =>
        h(
          "section",
          {},
          h("h2", {}, visible(provider)),
          h("div", { class: "cards" }, ...models.filter((model) => model.provider === provider).map((model) => this.#card(model))),
        ),
      ),
    );
  }

  #card(model: Model): HTMLElement {
    const [state, kind] = STATES[model.state] ?? ["", ""];
    const { capabilities } = model;
    const can = Object.entries({
      chat: capabilities?.chat,
      completion: capabilities?.completion,
      embedding: capabilities?.embedding,
      tools: capabilities?.tools,
      images: capabilities?.images,
      "JSON schema": capabilities?.jsonSchema,
      prefill: capabilities?.prefill,
    }).flatMap(([name, able]) => (able ? [name] : []));
    const id = modelId(model);
    const start = (): void => this.shell.openNew({ defaultModel: aliasesOf(model)[0] ?? id });
    return h(
      "article",
      { class: "card model" },
      h("header", {}, h("h3", {}, visible(id.slice(model.provider.length + 1) || id)), h("span", { class: `chip ${kind}` }, state), model.isDefault && h("span", { class: "chip" }, "default")),
      model.stateReason && h("p", { class: "problem" }, visible(model.stateReason)),
      h("p", { class: "meta" }, h("span", {}, model.contextWindow ? `${count(model.contextWindow)} tokens of context` : "context window unknown"), model.embeddingDimensions > 0 && h("span", {}, `${count(model.embeddingDimensions)} dimensions`)),
      h("div", { class: "labels" }, ...can.map((name) => h("span", { class: "chip" }, name)), ...aliasesOf(model).map((alias) => h("span", { class: "chip alias", title: "Alias" }, visible(alias)))),
      capabilities?.chat && h("div", { class: "row" }, h("button", { type: "button", class: "small", onclick: start }, icon("plus"), "Chat with it")),
    );
  }
}
