/** Opens a channel to a relay: TLS, then the link handshake, with one limit of time for both (tor-spec 2 and 4). */
import { Deferred } from "../base/deferred.ts";
import { abortError, isTunicError, throwIfAborted, toTunicError, TunicError } from "../base/errors.ts";
import type { Address, Runtime, TlsSocket } from "../runtime/ports.ts";
import { Channel } from "./channel.ts";
import { LinkHandshake, type LinkInfo } from "./link_handshake.ts";
import type { ChannelTarget } from "./target.ts";

export interface OpenChannelOptions {
  /** For each address: connecting, TLS and the link handshake together. */
  readonly timeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly signal?: AbortSignal;
  /** Called as the attempt goes on. */
  readonly onProgress?: (step: "connected" | "handshake-done") => void;
}

/**
 * Tries the target's addresses in order. Throws `identity` if the relay is not the one expected, `protocol`,
 * `crypto` or `malformed` if it breaks the handshake's rules, `connection` or `timeout` if it does not answer.
 */
export async function openChannel(
  runtime: Runtime,
  target: ChannelTarget,
  options: OpenChannelOptions,
): Promise<Channel> {
  let failure: unknown;
  for (const address of target.addresses) {
    throwIfAborted(options.signal, "open a channel");
    try {
      return await openAt(runtime, address, target, options);
    } catch (error) {
      failure = error;
      if (!isTunicError(error, "connection", "timeout")) break;
    }
  }
  throw toTunicError(failure ?? "the relay has no address", "Cannot open a channel", {
    kind: "connection",
    code: "no-address",
    retry: "elsewhere",
  });
}

async function openAt(
  runtime: Runtime,
  address: Address,
  target: ChannelTarget,
  options: OpenChannelOptions,
): Promise<Channel> {
  const { timeoutMs, signal, onProgress } = options;
  const started = runtime.clock.monotonic();
  const socket = await runtime.network.connectTls(address, { timeoutMs, signal });
  onProgress?.("connected");
  const handshake = new LinkHandshake({
    peerCertificate: socket.peerCertificate,
    expected: { rsaId: target.rsaId, ed25519Id: target.ed25519Id },
    now: () => runtime.clock.now(),
    peerAddress: address,
  });
  const leftMs = Math.max(0, timeoutMs - (runtime.clock.monotonic() - started));
  const link = await shakeHands(runtime, socket, handshake, leftMs, signal);
  onProgress?.("handshake-done");
  return new Channel({ runtime, socket, link, idleTimeoutMs: options.idleTimeoutMs });
}

/** Carries bytes between the socket and the handshake until it is done; the socket is destroyed on failure. */
async function shakeHands(
  runtime: Runtime,
  socket: TlsSocket,
  handshake: LinkHandshake,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<LinkInfo> {
  const done = new Deferred<LinkInfo>();
  const fail = (error: unknown): void => {
    done.reject(
      toTunicError(error, "Cannot finish the link handshake", { kind: "internal", code: "handshake-defect" }),
    );
    socket.destroy();
  };
  const timer = runtime.timers.after(timeoutMs, () =>
    fail(
      new TunicError(`Cannot finish the link handshake: the relay did not within ${Math.round(timeoutMs)} ms`, {
        kind: "timeout",
        code: "handshake-timeout",
        retry: "elsewhere",
      }),
    ));
  const onAbort = (): void => fail(abortError(signal!, "open a channel"));
  signal?.addEventListener("abort", onAbort);
  socket.handlers = {
    data(bytes) {
      try {
        const { send, done: link } = handshake.step(bytes);
        if (send) socket.write(send);
        if (!link) return;
        // Nothing may arrive before the channel has taken the socket over.
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
        error ?? new TunicError("Cannot finish the link handshake: the relay closed the connection", {
          kind: "connection",
          code: "closed-in-handshake",
          retry: "elsewhere",
        }),
      ),
  };
  // An abort while connecting may have come too late for the socket.
  if (signal?.aborted) onAbort();
  try {
    socket.write(handshake.start());
    return await done.promise;
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
}
