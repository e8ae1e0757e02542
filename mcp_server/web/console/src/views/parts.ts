/** The parts of messages. */
import { h } from "../ui/dom";
import { copyButton } from "../ui/copy";
import { MarkdownView } from "../ui/markdown";
import { prettyJson, visible } from "../ui/text";
import type { Blob as BlobPart, Part, ToolResult } from "../gen/contextprotocol/v1/message_pb";

/** Kinds of images that cannot carry scripts. */
const IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"]);

export function partView({ part }: Part, markdown: boolean): Node | undefined {
  switch (part.case) {
    case "text":
      return markdown ? new MarkdownView(part.value).element : plain(part.value);
    case "reasoning":
      return fold("Reasoning", plain(part.value), "reasoning");
    case "refusal":
      return h("div", { class: "refusal" }, h("strong", {}, "Declined"), plain(part.value));
    case "toolCall":
      return fold(`Called ${visible(part.value.name)}`, codeView(prettyJson(part.value.argumentsJson), "Copy arguments"), "tool");
    case "toolResult":
      return resultView(part.value);
    case "blob":
      return blobView(part.value);
    default:
      return undefined; // what the provider needs to have back, or a kind that this page does not know
  }
}

export function plain(text: string): HTMLElement {
  return h("div", { class: "plain" }, visible(text));
}

/** JSON and other text that is not for reading aloud, as it is. */
export function codeView(text: string, label: string): HTMLElement {
  return h("div", { class: "code bare" }, h("pre", { tabindex: 0 }, visible(text)), copyButton(() => text, label));
}

export function fold(title: string, content: Node, kind: string, open = false): HTMLDetailsElement {
  return h("details", { class: `fold ${kind}`, open }, h("summary", {}, title), content);
}

function resultView(result: ToolResult): HTMLElement {
  const title = result.isError ? "Tool failed" : "Tool result";
  const content = h("div", { class: "stack" });
  for (const { part } of result.parts) {
    if (part.case === "text") content.append(codeView(prettyJson(part.value), "Copy result"));
    else if (part.case === "blob") content.append(blobView(part.value));
  }
  return fold(title, content, result.isError ? "tool failed" : "tool");
}

function blobView({ mimeType, source }: BlobPart): HTMLElement {
  if (source.case === "uri") {
    const safe = /^https:\/\//i.test(source.value);
    const text = `${mimeType}: ${source.value.slice(0, 200)}`;
    return safe
      ? h("a", { href: source.value, target: "_blank", rel: "noopener noreferrer nofollow" }, visible(text))
      : plain(text);
  }
  const bytes = source.case === "data" ? source.value : new Uint8Array();
  const type = mimeType.toLowerCase();
  if (!IMAGES.has(type)) return plain(`${mimeType}, ${bytes.length.toLocaleString()} bytes`);
  const url = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>], { type }));
  const image = h("img", { src: url, alt: "An image of this message" });
  for (const end of ["load", "error"]) image.addEventListener(end, () => URL.revokeObjectURL(url));
  return image;
}
