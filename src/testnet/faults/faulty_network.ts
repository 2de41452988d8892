/** The network as a relay with faults has it: every connection that it opens or accepts suffers them. */
import { IGNORE } from "../../base/duplex.ts";
import { TunicError } from "../../base/errors.ts";
import type {
  Address,
  ConnectOptions,
  Listener,
  Network,
  Runtime,
  Socket,
  TlsServerIdentity,
  TlsSocket,
} from "../../runtime/ports.ts";
import { ConnectionFaults } from "./connection_faults.ts";
import type { LinkFaults, RelayFaults } from "./fault_settings.ts";
import { FaultySocket, FaultyTlsSocket } from "./faulty_socket.ts";
import { connectTampered } from "./tampered_tls.ts";

export interface FaultyNetworkOptions {
  readonly runtime: Pick<Runtime, "clock" | "timers" | "network" | "random">;
  readonly faults: RelayFaults;
  /** Faults of the link to whoever listens at an address, and of who that is; both absent for strangers. */
  readonly towards: (address: Address) => { readonly link?: LinkFaults; readonly peer?: LinkFaults };
  /** Called with the address at which relays listen. */
  readonly onListening: (address: Address) => void;
}

export class FaultyNetwork implements Network {
  readonly #options: FaultyNetworkOptions;

  constructor(options: FaultyNetworkOptions) {
    this.#options = options;
  }

  async connectTcp(to: Address, options: ConnectOptions): Promise<Socket> {
    const { runtime, faults } = this.#options;
    this.#refuse(undefined);
    const socket = await runtime.network.connectTcp(to, options);
    return new FaultySocket(socket, { runtime, faults: new ConnectionFaults([faults], runtime) });
  }

  async connectTls(to: Address, options: ConnectOptions): Promise<TlsSocket> {
    const { runtime, faults, towards } = this.#options;
    const { link, peer } = towards(to);
    this.#refuse(link);
    const wire = [faults, link, peer].filter((source) => source !== undefined);
    const onWire = new ConnectionFaults(wire, runtime);
    const socket = wire.some(({ corruptTls }) => corruptTls > 0)
      ? await connectTampered(runtime.network, to, options, (piece) => onWire.corruptPiece(piece))
      : await runtime.network.connectTls(to, options);
    return this.#tlsSocket(socket, link ? [faults, link] : [faults]);
  }

  async listenTcp(at: Address, accept: (socket: Socket) => void): Promise<Listener> {
    const { runtime, faults } = this.#options;
    return await runtime.network.listenTcp(at, (socket) => {
      if (this.#hangsUp(socket)) return;
      accept(new FaultySocket(socket, { runtime, faults: new ConnectionFaults([faults], runtime) }));
    });
  }

  async listenTls(
    at: Address,
    identity: TlsServerIdentity,
    accept: (socket: TlsSocket) => void,
  ): Promise<Listener> {
    const { runtime, faults, onListening } = this.#options;
    const listener = await runtime.network.listenTls(at, identity, (socket) => {
      if (!this.#hangsUp(socket)) accept(this.#tlsSocket(socket, [faults]));
    });
    onListening(listener.address);
    return listener;
  }

  #tlsSocket(socket: TlsSocket, sources: readonly LinkFaults[]): TlsSocket {
    const { runtime } = this.#options;
    const faults = new ConnectionFaults(sources, runtime);
    // What is written first is VERSIONS, whose cells are cut otherwise; whoever writes, writes whole cells.
    let isFirst = true;
    const tamper = (bytes: Uint8Array): Uint8Array => {
      const cells = isFirst ? bytes : faults.corruptCells(bytes);
      isFirst = false;
      return cells;
    };
    return new FaultyTlsSocket(socket, { runtime, faults, tamper });
  }

  #hangsUp(socket: Socket): boolean {
    const { faults } = this.#options;
    if (!faults.refuse) return false;
    faults.countHit();
    socket.handlers = IGNORE;
    socket.destroy();
    return true;
  }

  /** Throws `connection` where nothing may be opened. */
  #refuse(link: LinkFaults | undefined): void {
    const { faults } = this.#options;
    const refusing = faults.refuseToConnect ? faults : link?.refuse ? link : undefined;
    if (!refusing) return;
    refusing.countHit();
    throw new TunicError("Cannot connect: ECONNREFUSED, by a fault of the test network", {
      kind: "connection",
      code: "refused",
      retry: "elsewhere",
    });
  }
}
