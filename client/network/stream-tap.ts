/** Sees what comes from the target on a stream: DNS over TCP. Copies what it keeps. */
export type StreamTap = (data: Uint8Array) => void;
