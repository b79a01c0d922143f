// How long a relay waits, for what.

/** How long the first head may take before the connection is taken for no HTTP, in ms. */
export const FIRST_HEAD_MS = 10_000;
/** How long a client may take to close after its last answer, in ms. */
export const LINGER_MS = 10_000;
/** How long a session's local process may take for its answer before it hears that the client has ended behind its request, in ms. */
export const ANSWER_MS = 1_000;
/** How long a client may be silent when the target refused our connection, in ms: what it has to say is on its way. */
export const REFUSED_MS = 200;
/** How long a target may stop within a frame of HTTP/2 while something of ours waits behind it, in ms. */
export const CUT_FRAME_MS = 30_000;

/** How long streams of HTTP/2 may go on after the client's own end, in ms: where the target has some of them longer. */
export const clientEndMs = (streamsOfTarget: number): number => (streamsOfTarget > 0 ? 60_000 : 10_000);
