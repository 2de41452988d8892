/** The test network under observation: where its streams went, whom it connected to, what it left behind. */
import { startTestnet, type Testnet, type TestnetOptions, type TestnetRelay } from "../../mod.ts";
import type { DuplexHandlers } from "../../src/base/duplex.ts";
import { generateRsa } from "../../src/crypto/rsa_private.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Address, Listener, Runtime, Socket, Timers } from "../../src/runtime/ports.ts";
import { EXIT_TO_ALL, type ExitPolicy, NO_EXIT } from "../../src/testnet/directory/exit_policy.ts";
import { makeServerDescriptor } from "../../src/testnet/directory/server_descriptor.ts";
import type { ObservedHop, ObservedStream } from "../../src/testnet/path_observer.ts";
import { toHexUpper } from "../../src/bytes/text.ts";

/** The real machine, and what was done with it. */
export class ObservedMachine {
  readonly runtime: Runtime;
  readonly listened: Address[] = [];
  readonly contacted: Address[] = [];
  /** Timers that neither ran nor were cancelled. */
  timers = 0;
  /** Listeners that are not closed. */
  listeners = 0;
  /** Connections to others that are not closed. */
  connections = 0;
  /** Bytes that went to those who connected, TLS not counted. */
  answeredBytes = 0;

  constructor() {
    const { network } = nodeRuntime;
    const timers: Timers = {
      soon: (callback) => nodeRuntime.timers.soon(callback),
      after: (delayMs, callback) => this.#after(delayMs, callback),
    };
    this.runtime = {
      ...nodeRuntime,
      random: (count) => nodeRuntime.random(count),
      timers,
      network: {
        connectTcp: async (address, options) => {
          this.contacted.push(address);
          const socket = await network.connectTcp(address, options);
          return this.#watch(socket);
        },
        connectTls: async (address, options) => {
          this.contacted.push(address);
          const socket = await network.connectTls(address, options);
          return this.#watch(socket);
        },
        listenTcp: async (address, accept) => this.#watchListener(address, await network.listenTcp(address, accept)),
        listenTls: async (address, identity, accept) => {
          const listener = await network.listenTls(address, identity, (socket) => {
            const write = socket.write.bind(socket);
            socket.write = (bytes) => (this.answeredBytes += bytes.length, write(bytes));
            accept(socket);
          });
          return this.#watchListener(address, listener);
        },
      },
    };
  }

  #watchListener(wanted: Address, { address, close }: Listener): Listener {
    this.listened.push(wanted);
    this.listeners++;
    return {
      address,
      close: async () => {
        await close();
        this.listeners--;
      },
    };
  }

  /** Counts the connection until its handlers are told that it is closed. */
  #watch<T extends Socket>(socket: T): T {
    this.connections++;
    const prototype = Object.getPrototypeOf(socket);
    Object.defineProperty(socket, "handlers", {
      get: () => Reflect.get(prototype, "handlers", socket),
      set: (handlers: DuplexHandlers) => {
        const { data, drain, end, close } = handlers;
        const observed: DuplexHandlers = {
          data: data.bind(handlers),
          drain: drain.bind(handlers),
          end: end.bind(handlers),
          close: (error) => {
            this.connections--;
            close.call(handlers, error);
          },
        };
        Reflect.set(prototype, "handlers", observed, socket);
      },
    });
    return socket;
  }

  #after(delayMs: number, callback: () => void): { cancel(): void } {
    let pending = true;
    this.timers++;
    const settle = (): void => {
      if (pending) this.timers--;
      pending = false;
    };
    const timer = nodeRuntime.timers.after(delayMs, () => {
      settle();
      callback();
    });
    return {
      cancel: () => {
        settle();
        timer.cancel();
      },
    };
  }
}

export interface ObservedNetwork extends AsyncDisposable {
  readonly net: Testnet;
  readonly machine: ObservedMachine;
  /** In the order in which exits connected them; those of one circuit have one and the same `path`. */
  readonly streams: ObservedStream[];
}

export async function startObservedNetwork(options: TestnetOptions = {}): Promise<ObservedNetwork> {
  const streams: ObservedStream[] = [];
  const machine = new ObservedMachine();
  const net = await startTestnet({
    runtime: machine.runtime,
    onExitStream: (stream) => streams.push(stream),
    ...options,
  });
  return { net, machine, streams, [Symbol.asyncDispose]: () => net.close() };
}

export function nicknames(path: readonly ObservedHop[]): string[] {
  return path.map(({ nickname }) => nickname);
}

export interface RelayChanges {
  readonly exitPolicy?: ExitPolicy;
  readonly family?: readonly TestnetRelay[];
  readonly withoutFlags?: readonly string[];
}

const RELAY_FLAGS = ["Fast", "HSDir", "Running", "Stable", "V2Dir", "Valid"];

/** Has the directory list a relay otherwise than the network did; seen from its next consensus on. */
export async function listOtherwise(net: Testnet, relay: TestnetRelay, changes: RelayChanges): Promise<void> {
  const { exitPolicy = relay.role === "exit" ? EXIT_TO_ALL : NO_EXIT, family, withoutFlags = [] } = changes;
  const special = { authority: "Authority", relay: "Guard", exit: "Exit" }[relay.role];
  net.directory.list({
    descriptor: makeServerDescriptor({
      keys: relay.identity,
      tapKey: await generateRsa(1024),
      address: { host: "127.0.0.1", port: relay.orPort },
      dirPort: 0,
      version: "0.4.8.12",
      protocols: "Cons=1-2 Desc=1-2 DirCache=2 FlowCtrl=1 Link=4-5 LinkAuth=3 Microdesc=1-2 Relay=1-2",
      published: Date.now(),
      bandwidth: 10_000_000,
      exitPolicy,
      family: family?.map(({ identity }) => `$${toHexUpper(identity.rsaId)}`),
    }),
    flags: [special, ...RELAY_FLAGS].filter((flag) => !withoutFlags.includes(flag)).sort(),
    bandwidth: 10_000,
  });
}
