/** Elements, made in one expression. */

export type Child = Node | string | number | false | null | undefined | readonly Child[];

type Value = string | number | boolean | undefined | ((event: never) => void);

/** An `on…` is a listener, `true` an attribute without a value, `false` and `undefined` none; the rest are attributes. */
export type Props = Readonly<Record<string, Value>>;

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props?: Props,
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

export function append(parent: Node, children: readonly Child[]): void {
  for (const child of children) {
    if (child === false || child === null || child === undefined) continue;
    if (Array.isArray(child)) append(parent, child as readonly Child[]);
    else parent.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

export function fill(parent: Element, ...children: readonly Child[]): void {
  parent.replaceChildren();
  append(parent, children);
}

let ids = 0;

/** An id for labels and descriptions. */
export function freshId(): string {
  ids += 1;
  return `c${ids}`;
}

/** A text for screen readers alone. */
export function hidden(text: string): HTMLElement {
  return h("span", { class: "hidden" }, text);
}
