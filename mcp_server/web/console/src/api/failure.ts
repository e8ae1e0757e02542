/** What a failed call means for the page: what to say, and whether to try again. */
import { Code, ConnectError } from "@connectrpc/connect";

import { type ErrorReason, ErrorReason as Reasons } from "../gen/contextprotocol/v1/errors_pb";
import type { TurnError } from "../gen/contextprotocol/v1/turn_pb";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb";
import { milliseconds } from "./time";

/** "again": send the same request again. "key": the server wants a key. "none": neither helps. */
export type Remedy = "again" | "key" | "none";

export interface Failure {
  readonly message: string;
  /** The reason of the contract, such as SESSION_BUSY; empty if the failure is not the service's own. */
  readonly reason: string;
  readonly remedy: Remedy;
  /** The connection failed, not the call. */
  readonly lost: boolean;
  /** How long to wait at least, in milliseconds. */
  readonly retryAfter: number;
}

const AGAIN = new Set(["DRAINING", "OVERLOADED", "TURN_INTERRUPTED", "STORE_UNAVAILABLE"]);
const CONNECTION = new Set([Code.Unavailable, Code.Canceled, Code.Unknown, Code.Internal, Code.DeadlineExceeded]);

export function failureOf(thrown: unknown): Failure {
  const error = ConnectError.from(thrown);
  const info = error.findDetails(ErrorInfoSchema)[0];
  const reason = info?.reason ?? "";
  const lost = !reason && CONNECTION.has(error.code);
  const ended = error.metadata.get("grpc-retry-pushback-ms") === "-1" && reason !== "";
  const again = lost || (!ended && AGAIN.has(reason));
  const violations = error.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations);
  const fields = violations.map(({ field, description }) => `${field}: ${description}`).join("\n");
  return {
    message: lost ? "The connection to the server was lost." : fields || sentence(error.rawMessage),
    reason,
    remedy: error.code === Code.Unauthenticated ? "key" : again ? "again" : "none",
    lost,
    retryAfter: milliseconds(error.findDetails(RetryInfoSchema)[0]?.retryDelay) ?? 0,
  };
}

/** The failure of a turn as its record has it. */
export function failureOfTurn(error: TurnError | undefined): Failure {
  const reason = error ? reasonName(error.reason) : "";
  return { message: sentence(error?.message ?? ""), reason, remedy: "none", lost: false, retryAfter: 0 };
}

export function reasonName(reason: ErrorReason): string {
  return Reasons[reason] ?? "";
}

function sentence(text: string): string {
  if (!text) return "The call failed.";
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
