// What the API server says when it refuses (meta/v1 Status), as an error of ours that keeps the status and the reason for
// those who act on them. Pure.

import { AppError, type AppErrorCode, type AppErrorOptions } from '#proto/errors.ts';

export class StatusError extends AppError {
  readonly httpStatus: number;
  /** `NotFound`, `AlreadyExists`, `Conflict`, `Forbidden`, `Expired` …; empty where the server gave none. */
  readonly reason: string;
  /** The server's own words. */
  readonly serverMessage: string;
  /** What the server asks us to wait before the next attempt; 0 for nothing. */
  readonly retryAfterMs: number;
  /** Of a list whose continuation has expired (410): where it goes on, though not of the same moment; empty for nowhere. */
  readonly continuation: string;
  /** Of a 404: not the object is unknown, but the kind of object. */
  readonly isOfUnknownApi: boolean;

  constructor(code: AppErrorCode, message: string, facts: StatusFacts, options: AppErrorOptions = {}) {
    super(code, message, options);
    this.httpStatus = facts.httpStatus;
    this.reason = facts.reason;
    this.serverMessage = facts.serverMessage;
    this.retryAfterMs = facts.retryAfterMs;
    this.continuation = facts.continuation;
    this.isOfUnknownApi = facts.isOfUnknownApi;
  }
}

export interface StatusFacts {
  readonly httpStatus: number;
  readonly reason: string;
  readonly serverMessage: string;
  readonly retryAfterMs: number;
  readonly continuation: string;
  readonly isOfUnknownApi: boolean;
}

/** As Go's servers and nginx answer. */
const PLAIN_TO_TLS = /plain HTTP request was sent to HTTPS|HTTP request to an HTTPS server/;

/** Longest part of the server's words that a line of ours takes. */
const MAX_MESSAGE = 600;

/** `act` says what was tried, as in "get pods/shop in namespace x". */
export function toStatusError(
  httpStatus: number,
  body: string,
  act: string,
  retryAfter: string | undefined,
): StatusError {
  const { reason, message, continuation, hasName } = readStatus(body);
  const serverMessage = (message || body.trim()).slice(0, MAX_MESSAGE);
  const seconds = Number(retryAfter);
  const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0;
  const facts = {
    httpStatus,
    reason,
    serverMessage,
    retryAfterMs,
    continuation,
    isOfUnknownApi: httpStatus === 404 && !hasName,
  };
  const [code, meant] = meaningOf(httpStatus);
  const advice = PLAIN_TO_TLS.test(serverMessage) ? 'let the server of the context begin with https://.' : meant;
  const said = serverMessage === '' ? '' : `: ${serverMessage}`;
  const text = `the cluster refused to ${act} (${httpStatus}${reason === '' ? '' : ` ${reason}`})${said}`;
  return new StatusError(code, text, facts, advice === null ? {} : { data: { advice } });
}

export function isStatus(error: unknown, httpStatus: number): error is StatusError {
  return error instanceof StatusError && error.httpStatus === httpStatus;
}

function readStatus(body: string): { reason: string; message: string; continuation: string; hasName: boolean } {
  try {
    const { reason, message, details, metadata } = Object(JSON.parse(body)) as Readonly<Record<string, unknown>>;
    const text = (value: unknown) => (typeof value === 'string' ? value : '');
    return {
      reason: text(reason),
      message: text(message),
      continuation: text(Object(metadata).continue),
      hasName: Boolean(Object(details).name),
    };
  } catch {
    return { reason: '', message: '', continuation: '', hasName: false };
  }
}

const LOGIN = 'log in again, as for kubectl: `kubectl get pods` must work with the same context.';
const RIGHTS = '`mirrord doctor` lists the rights that are missing; docs/kubernetes.md has the Role that grants them.';
const LATER = 'the API server is busy or restarting; try again.';

function meaningOf(httpStatus: number): [AppErrorCode, string | null] {
  switch (httpStatus) {
    case 400:
    case 422:
      return ['CONFIG_INVALID', 'the message names the field: correct the settings that it comes from.'];
    case 401:
      return ['UNAUTHENTICATED', LOGIN];
    case 403:
      return ['NOT_PERMITTED', RIGHTS];
    case 404:
      return ['TARGET_NOT_FOUND', null];
    case 408:
    case 504:
      return ['DEADLINE_EXCEEDED', LATER];
    case 409:
    case 410:
    case 429:
      return ['SERVICE_UNAVAILABLE', LATER];
    default:
      return httpStatus >= 500 ? ['SERVICE_UNAVAILABLE', LATER] : ['UNSUPPORTED', null];
  }
}
