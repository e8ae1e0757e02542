/** Asks for an API key, and checks it before it is used. */
import { keys } from "../api/clients";
import { failureOf } from "../api/failure";
import { storedKey, storeKey } from "../api/key";
import { openDialog } from "./dialog";
import { freshId, h } from "./dom";

/** Resolves when a key was accepted. */
export function keyDialog(why: string): Promise<void> {
  return new Promise((resolve) => {
    const id = freshId();
    const field = h("input", {
      id,
      type: "password",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "ctx_…",
      required: true,
      "aria-describedby": `${id}-note ${id}-problem`,
    });
    const problem = h("p", { id: `${id}-problem`, class: "problem", role: "alert" }, storedKey() ? why : "");
    const submit = h("button", { type: "submit", class: "primary" }, "Continue");
    const form = h(
      "form",
      { class: "stack" },
      h("p", {}, "This server answers only callers with an API key."),
      h("label", { for: id }, "API key"),
      field,
      h("p", { id: `${id}-note`, class: "note" }, "It is kept in this tab until you close it, and sent to this server alone."),
      problem,
      h("footer", {}, submit),
    );
    const modal = openDialog("A key is needed", [form], { must: true });
    field.focus();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void check();
    });

    async function check(): Promise<void> {
      submit.disabled = true;
      problem.textContent = "";
      const key = field.value.trim();
      if (!/^[\x21-\x7e]+$/.test(key)) {
        problem.textContent = "A key consists of letters, digits and signs without spaces.";
        submit.disabled = false;
        return;
      }
      storeKey(key);
      try {
        await keys.whoAmI({});
        modal.close();
        resolve();
      } catch (error) {
        const failure = failureOf(error);
        problem.textContent = failure.remedy === "key" ? `The server refuses this key. ${failure.message}` : failure.message;
        storeKey("");
        submit.disabled = false;
        field.select();
      }
    }
  });
}
