/** A session that does not exist yet: it is created with its first message. */
export interface Draft {
  systemInstruction: string;
  defaultModel: string;
}

export function emptyDraft(): Draft {
  return { systemInstruction: "", defaultModel: "" };
}
