/** Asks for an API key, and checks it before it is used. */
import { keys } from "../api/clients";
import { failureOf } from "../api/failure";
import { storedKey, storeKey } from "../api/key";
import { openDialog } from "./dialog";
import { freshId, h } from "./dom";

/**
 * Asks until a key is accepted. Resolves to false if the person keeps the present one instead.
 *
 * @param why the reason why the present key does not do.
 * @param options.optional whether the page works without another key: the dialog can then be cancelled.
 */
export function keyDialog(why: string, options: { optional?: boolean } = {}): Promise<boolean> {
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
    const cancel = h("button", { type: "button", class: "quiet", onclick: () => modal.close() }, "Cancel");
    const form = h(
      "form",
      { class: "stack" },
      h("p", {}, options.optional ? "The page starts again with this key." : "This server answers only callers with an API key."),
      h("label", { for: id }, "API key"),
      field,
      h("p", { id: `${id}-note`, class: "note" }, "It is kept in this tab until you close it, and sent to this server alone."),
      problem,
      h("footer", {}, options.optional && cancel, submit),
    );
    const modal = openDialog(options.optional ? "Use another key" : "A key is needed", [form], { must: !options.optional });
    modal.element.addEventListener("close", () => resolve(false));
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
      try {
        await keys.whoAmI({}, { headers: { authorization: `Bearer ${key}` } });
        if (!modal.element.open) return;
        storeKey(key);
        resolve(true);
        modal.close();
      } catch (error) {
        const failure = failureOf(error);
        problem.textContent = failure.remedy === "key" ? `The server refuses this key. ${failure.message}` : failure.message;
        submit.disabled = false;
        field.select();
      }
    }
  });
}
