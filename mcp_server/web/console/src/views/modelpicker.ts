/** Chooses the model of a session. */
import { type Model, Model_State } from "../gen/contextprotocol/v1/model_pb";
import { aliasesOf, type Catalogue, modelId } from "../state/catalogue";
import { fill, h } from "../ui/dom";
import { visible } from "../ui/text";

export class ModelPicker {
  readonly element = h("select", { class: "model-picker", "aria-label": "Model", title: "Model of this session" });
  #value = "";
  #drawn = "";
  readonly #unfollow: () => void;

  constructor(
    readonly catalogue: Catalogue,
    chosen: (model: string) => void,
  ) {
    this.#unfollow = catalogue.follow(() => this.#draw());
    this.element.addEventListener("change", () => {
      this.#value = this.element.value;
      chosen(this.#value);
    });
    this.#draw();
  }

  close(): void {
    this.#unfollow();
  }

  set value(value: string) {
    this.#value = value;
    this.#draw();
  }

  #draw(): void {
    const models = this.catalogue.value.filter((model) => model.capabilities?.chat);
    const names = models.flatMap((model) => [modelId(model), ...model.aliases]);
    const standard = models.find((model) => model.isDefault);
    const options: [string, string, boolean][] = [
      ["", standard ? `Default · ${modelId(standard)}` : "Default model", false],
      ...models.flatMap((model): [string, string, boolean][] => [
        ...aliasesOf(model).map((alias): [string, string, boolean] => [alias, `${alias} · ${modelId(model)}`, away(model)]),
        [modelId(model), modelId(model), away(model)],
      ]),
    ];
    if (this.#value && !names.includes(this.#value)) options.push([this.#value, `${this.#value} (not offered)`, false]);
    const drawn = JSON.stringify(options);
    if (drawn !== this.#drawn) {
      this.#drawn = drawn;
      fill(
        this.element,
        ...options.map(([value, text, gone]) => h("option", { value }, visible(gone ? `${text} (unavailable)` : text))),
      );
    }
    this.element.value = this.#value;
  }
}

function away(model: Model): boolean {
  return model.state === Model_State.UNAVAILABLE;
}
