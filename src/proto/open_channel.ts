/** Opens a channel to a relay: TLS, then the link handshake, with one limit of time for both (tor-spec 2 and 4). */
import { isTunicError, throwIfAborted, toTunicError } from "../base/errors.ts";
import type { Address, Runtime } from "../runtime/ports.ts";
import { Channel, type ChannelOptions } from "./channel.ts";
import { LinkHandshake, type LinkInfo } from "./link_handshake.ts";
import type { LinkIdentity } from "./link_identity.ts";
import { shakeHands } from "./shake_hands.ts";
import type { ChannelTarget } from "./target.ts";

export interface OpenChannelOptions {
  /** For each address: connecting, TLS and the link handshake together. */
  readonly timeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly signal?: AbortSignal;
  /** Set for a relay, which then proves who it is where TLS exports keying material and the responder lets it. */
  readonly as?: { readonly identity: LinkIdentity; readonly ownAddresses: readonly string[] };
  /** Set for a relay: takes circuits that the other side asks for; see `ChannelOptions`. */
  readonly accept?: (link: LinkInfo) => ChannelOptions<LinkInfo>["accept"];
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
  const { exportKeyingMaterial } = socket;
  const random = (count: number): Uint8Array => runtime.random(count);
  const handshake = new LinkHandshake({
    peerCertificate: socket.peerCertificate,
    expected: { rsaId: target.rsaId, ed25519Id: target.ed25519Id },
    now: () => runtime.clock.now(),
    peerAddress: address,
    authentication: options.as && exportKeyingMaterial && { ...options.as, exportKeyingMaterial, random },
  });
  const leftMs = Math.max(0, timeoutMs - (runtime.clock.monotonic() - started));
  const link = await shakeHands(runtime, socket, handshake, { timeoutMs: leftMs, signal });
  onProgress?.("handshake-done");
  return new Channel({
    runtime,
    socket,
    link,
    isInitiator: true,
    idleTimeoutMs: options.idleTimeoutMs,
    accept: options.accept?.(link),
  });
}
