/** Carries the bytes of a link handshake, of either side, between it and its socket. */
import { Deferred } from "../base/deferred.ts";
import { abortError, toTunicError, TunicError } from "../base/errors.ts";
import type { Runtime, TlsSocket } from "../runtime/ports.ts";
import type { LinkProgress, OpenLink } from "./link_party.ts";

export interface HandshakeStepper<L extends OpenLink> {
  /** What to send first; a responder waits instead. */
  start?(): Uint8Array;
  step(bytes: Uint8Array): LinkProgress<L>;
}

/**
 * Resolves with the open link, its socket paused: nothing may arrive before a channel has taken the socket over. On
 * failure the socket is destroyed: what the handshake throws, `timeout`, `connection` or the signal's reason.
 */
export async function shakeHands<L extends OpenLink>(
  runtime: Runtime,
  socket: TlsSocket,
  handshake: HandshakeStepper<L>,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<L> {
  const { timeoutMs, signal } = options;
  const done = new Deferred<L>();
  const fail = (error: unknown): void => {
    done.reject(
      toTunicError(error, "Cannot finish the link handshake", { kind: "internal", code: "handshake-defect" }),
    );
    socket.destroy();
  };
  const timer = runtime.timers.after(timeoutMs, () =>
    fail(
      new TunicError(`Cannot finish the link handshake: the peer did not within ${Math.round(timeoutMs)} ms`, {
        kind: "timeout",
        code: "handshake-timeout",
        retry: "elsewhere",
      }),
    ));
  const onAbort = (): void => fail(abortError(signal!, "set up a link"));
  signal?.addEventListener("abort", onAbort);
  socket.handlers = {
    data(bytes) {
      try {
        const { send, done: link } = handshake.step(bytes);
        if (send) socket.write(send);
        if (!link) return;
        socket.pause();
        done.resolve(link);
      } catch (error) {
        fail(error);
      }
    },
    drain() {},
    end: () => socket.destroy(),
    close: (error) =>
      fail(
        error ?? new TunicError("Cannot finish the link handshake: the peer closed the connection", {
          kind: "connection",
          code: "closed-in-handshake",
          retry: "elsewhere",
        }),
      ),
  };
  // An abort while connecting may have come too late for the socket.
  if (signal?.aborted) onAbort();
  try {
    const first = handshake.start?.();
    if (first) socket.write(first);
    return await done.promise;
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
}
