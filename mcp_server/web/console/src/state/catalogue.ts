/** The models of the server. */
import { models } from "../api/clients";
import { call } from "../api/retry";
import type { Model } from "../gen/contextprotocol/v1/model_pb";
import { Signal } from "./signal";

export class Catalogue extends Signal<readonly Model[]> {
  constructor() {
    super([]);
  }

  async refresh(): Promise<void> {
    const found: Model[] = [];
    let pageToken = "";
    do {
      const request = { pageSize: 1000, pageToken };
      const page = await call(() => models.listModels(request));
      found.push(...page.models);
      pageToken = page.nextPageToken;
    } while (pageToken);
    this.set(found);
  }
}

/** The aliases that say more than the model's own name. */
export function aliasesOf(model: Model): string[] {
  return model.aliases.filter((alias) => !modelId(model).endsWith(`/${alias}`));
}

/** How requests name a model. */
export function modelId(model: Model): string {
  return model.name.replace(/^models\//, "");
}
