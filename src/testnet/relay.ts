/** A relay of the test network: listens on loopback, makes circuits go on, serves the directory, lets streams out. */
import { logger } from "../base/log.ts";
import { toTunicError, TunicError } from "../base/errors.ts";
import { ChannelManager } from "../mgr/channels.ts";
import { acceptCircuit } from "../proto/accept_circuit.ts";
import { acceptLink } from "../proto/accept_link.ts";
import { Channel, type ChannelOptions } from "../proto/channel.ts";
import type { InboundLink } from "../proto/link_responder.ts";
import type { RelayServices } from "../proto/relay_circuit.ts";
import type { ExitService } from "../proto/relay_streams.ts";
import type { ChannelTarget } from "../proto/target.ts";
import type { Address, Listener, Runtime, TlsSocket } from "../runtime/ports.ts";
import { isLoopback } from "./loopback_exit.ts";
import type { PathObserver } from "./path_observer.ts";
import type { RelayIdentity } from "./relay_identity.ts";

const log = logger("testnet");

export interface TestRelayOptions {
  readonly runtime: Runtime;
  readonly identity: RelayIdentity;
  /** Where to listen; port 0 for any. Throws `policy` if it is not of this machine alone. */
  readonly address: Address;
  readonly exit: ExitService;
  readonly circuitWindow: number;
  readonly onOtherMessage?: RelayServices["onOtherMessage"];
  /** Sees every circuit. Default: nobody does. */
  readonly observer?: PathObserver;
}

const HANDSHAKE_TIMEOUT_MS = 30_000;
const CHANNEL_IDLE_MS = 180_000;

export class TestRelay {
  readonly identity: RelayIdentity;
  readonly #options: TestRelayOptions;
  readonly #services: RelayServices;
  readonly #channels: ChannelManager;
  /** Channels that others opened. */
  readonly #inbound = new Set<Channel<InboundLink>>();
  readonly #shutdown = new AbortController();
  #listener: Listener | undefined;

  private constructor(options: TestRelayOptions) {
    this.#options = options;
    const { runtime, identity, exit, address, onOtherMessage } = options;
    this.identity = identity;
    this.#channels = new ChannelManager({
      runtime,
      connectTimeoutMs: HANDSHAKE_TIMEOUT_MS,
      idleTimeoutMs: CHANNEL_IDLE_MS,
      relay: {
        as: { identity: identity.link, ownAddresses: [address.host] },
        accept: (link) => this.#acceptOn(link.rsaId),
      },
    });
    this.#services = {
      runtime,
      rsaId: identity.rsaId,
      exit,
      connect: (target) => this.#connect(target),
      onOtherMessage,
    };
  }

  /** Throws `listen`. */
  static async start(options: TestRelayOptions): Promise<TestRelay> {
    const { address, identity, runtime } = options;
    if (!isLoopback(address.host)) {
      throw new TunicError(`Cannot start a relay: found address ${address.host}, expected one of this machine alone`, {
        kind: "policy",
        code: "not-loopback",
      });
    }
    const relay = new TestRelay(options);
    relay.#listener = await runtime.network.listenTls(address, identity.tls, (socket) => void relay.#accept(socket));
    return relay;
  }

  /** With the real port where port 0 was asked for. */
  get address(): Address {
    return this.#listener!.address;
  }

  /** Stops listening and breaks every channel, as a crash would. */
  async stop(): Promise<void> {
    const reason = new TunicError("Cannot go on with a channel: the relay was stopped", {
      kind: "closed",
      code: "relay-stopped",
    });
    this.#shutdown.abort(reason);
    const closed = this.#listener!.close();
    for (const channel of [...this.#inbound]) channel.close(reason);
    this.#channels.close();
    await closed;
  }

  /** Clients name relays and their addresses: whoever asks for one beyond this machine asks for another network. */
  async #connect(target: ChannelTarget): Promise<Channel> {
    const addresses = target.addresses.filter(({ host }) => isLoopback(host));
    if (addresses.length > 0) return await this.#channels.get({ ...target, addresses }, this.#shutdown.signal);
    throw new TunicError("Cannot extend a circuit: found no address of this machine alone, expected one", {
      kind: "policy",
      code: "not-loopback",
      context: { addresses: target.addresses.map(({ host }) => host).join(", ") },
    });
  }

  async #accept(socket: TlsSocket): Promise<void> {
    const { runtime, identity, address } = this.#options;
    try {
      const link = await acceptLink(runtime, socket, {
        identity: identity.link,
        ownAddresses: [address.host],
        timeoutMs: HANDSHAKE_TIMEOUT_MS,
        signal: this.#shutdown.signal,
      });
      const channel = new Channel<InboundLink>({
        runtime,
        socket,
        link,
        isInitiator: false,
        idleTimeoutMs: CHANNEL_IDLE_MS,
        accept: this.#acceptOn(link.peer?.rsaId),
      });
      if (channel.closed) return;
      this.#inbound.add(channel);
      channel.events.on("closed", () => this.#inbound.delete(channel));
    } catch (cause) {
      const error = toTunicError(cause, "Cannot accept a link", { kind: "internal", code: "relay-defect" });
      log.debug("Refused a link: {reason}", { reason: error.message });
    }
  }

  #acceptOn(peerId: Uint8Array | undefined): NonNullable<ChannelOptions<InboundLink>["accept"]> {
    const options = {
      services: this.#services,
      onionKeys: () => [this.identity.ntorKey],
      peerId,
      circuitWindow: this.#options.circuitWindow,
    };
    const { observer } = this.#options;
    if (observer) return (...request) => observer.accept(this.identity.nickname, options, ...request);
    return (...request) => acceptCircuit(options, ...request);
  }
}
