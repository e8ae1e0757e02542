/** Markdown of models as elements. Nothing in it runs, loads, or leaves its place. */
import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";

import { copyButton } from "./copy";
import { h } from "./dom";
import { visible } from "./text";

const ALLOWED = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "class", "href", "start", "title"],
  ADD_URI_SAFE_ATTR: ["align", "start"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

DOMPurify.addHook("uponSanitizeAttribute", (element, attribute) => {
  if (attribute.attrName !== "class") return;
  attribute.keepAttr = element.nodeName === "CODE" && /^language-[\w+#.-]{1,30}$/.test(attribute.attrValue);
});
DOMPurify.addHook("afterSanitizeAttributes", (element) => {
  if (element.nodeName !== "A") return;
  if (!element.hasAttribute("href")) return;
  element.setAttribute("rel", "noopener noreferrer nofollow");
  element.setAttribute("target", "_blank");
});

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: (token) => {
      const text = escape(token.text); // HTML is shown as it is written
      return "block" in token && token.block ? `<p>${text.trim().replaceAll("\n", "<br>")}</p>` : text;
    },
    image: ({ href, text }) => `<a href="${escape(href)}">Image: ${escape(text || href)}</a>`, // never loaded
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
  },
});

function escape(text: string): string {
  const signs: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (sign) => signs[sign] ?? sign);
}

/** The top-level pieces of a text, in order; together they are the whole text. */
function pieces(text: string): Token[] {
  return marked.lexer(text);
}

function elements(tokens: Token[]): DocumentFragment {
  const fragment = DOMPurify.sanitize(marked.parser(tokens), ALLOWED);
  for (const block of fragment.querySelectorAll("pre")) dress(block);
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div", { class: "table", tabindex: 0, role: "group", "aria-label": "Table" });
    table.replaceWith(frame);
    frame.append(table);
  }
  return fragment;
}

/** Gives a block of code its language and a button to copy it. */
function dress(block: HTMLPreElement): void {
  const code = block.textContent ?? "";
  const language = /^language-(.+)$/.exec(block.querySelector("code")?.className ?? "")?.[1] ?? "";
  const frame = h("figure", { class: "code" });
  block.replaceWith(frame);
  block.tabIndex = 0;
  frame.append(h("figcaption", {}, h("span", {}, language || "text"), copyButton(() => code, "Copy code")), block);
}

/** A text that grows: only its end is rendered again. */
export class MarkdownView {
  readonly element = h("div", { class: "markdown" });
  readonly #settled = h("div");
  readonly #tail = h("div");
  #text = "";
  #offset = 0;

  constructor(text = "") {
    this.#settled.className = this.#tail.className = "contents";
    this.element.append(this.#settled, this.#tail);
    if (text) this.finish(text);
  }

  /** Shows the beginning of a text, which the next one continues. */
  update(text: string): void {
    const clean = visible(text);
    if (!clean.startsWith(this.#text.slice(0, this.#offset))) this.#restart();
    this.#text = clean;
    const tokens = pieces(clean.slice(this.#offset)) as Tokens.Generic[];
    // The last two pieces may still change: a line may continue a list, or turn a paragraph into a heading.
    const settled = tokens.splice(0, Math.max(tokens.length - 2, 0));
    if (settled.length) {
      this.#offset += settled.reduce((sum, { raw }) => sum + raw.length, 0);
      this.#settled.append(elements(settled));
    }
    this.#tail.replaceChildren(elements(tokens));
  }

  /** Shows a whole text. */
  finish(text: string): void {
    this.#restart();
    this.#text = visible(text);
    this.#settled.append(elements(pieces(this.#text)));
  }

  #restart(): void {
    this.#offset = 0;
    this.#settled.replaceChildren();
    this.#tail.replaceChildren();
  }
}
