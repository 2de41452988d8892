/** How a SOCKS port reaches the client: from before there is one, and with the port's own isolation. */
import type { StreamBackend, StreamRequest } from "../client/backend.ts";
import type { Network, Socket } from "../runtime/ports.ts";
import type { AddressPattern, PolicyRule } from "../wire/torrc_values.ts";
import { parseIp } from "../bytes/ip.ts";
import type { SocksPortConfig } from "./socks_ports.ts";

/** A backend whose requests wait for `ready`. */
export function backendWhenReady(ready: Promise<StreamBackend>): StreamBackend {
  return {
    openStream: async (request) => (await ready).openStream(request),
    resolve: async (name, options) => (await ready).resolve(name, options),
    resolvePtr: async (address, options) => (await ready).resolvePtr(address, options),
  };
}

/** Adds IsolateDestAddr and IsolateDestPort, where asked for, to a listener's isolation. */
export function isolateDestinations(backend: StreamBackend, port: SocksPortConfig): StreamBackend {
  const { isolateDestinationAddress, isolateDestinationPort } = port;
  if (!isolateDestinationAddress && !isolateDestinationPort) return backend;
  const key = ({ isolation, host, port }: StreamRequest): string => {
    const address = isolateDestinationAddress ? host.toLowerCase() : "";
    return JSON.stringify([isolation, address, isolateDestinationPort ? port : 0]);
  };
  return {
    openStream: (request) => backend.openStream({ ...request, isolation: key(request) }),
    resolve: (host, options) => backend.resolve(host, { ...options, isolation: key({ ...options, host, port: 0 }) }),
    resolvePtr: (host, options) =>
      backend.resolvePtr(host, { ...options, isolation: key({ ...options, host, port: 0 }) }),
  };
}

/** A network whose listeners close connections that a policy does not admit. */
export function withPolicy(network: Network, policy: readonly PolicyRule[]): Network {
  if (policy.length === 0) return network;
  const admitted = <S extends Socket>(accept: (socket: S) => void) => (socket: S): void => {
    if (socket.remote && !admits(policy, socket.remote.host)) socket.destroy();
    else accept(socket);
  };
  return {
    connectTcp: (address, options) => network.connectTcp(address, options),
    connectTls: (address, options) => network.connectTls(address, options),
    listenTcp: (address, accept) => network.listenTcp(address, admitted(accept)),
    listenTls: (address, identity, accept) => network.listenTls(address, identity, admitted(accept)),
  };
}

/** Whether the first rule that speaks of an address accepts it; true where none does, as in C tor. */
export function admits(policy: readonly PolicyRule[], host: string): boolean {
  const address = parseIp(host);
  if (!address) return false;
  return policy.find(({ pattern }) => covers(pattern, address))?.accept ?? true;
}

function covers({ family, network, prefixBits }: AddressPattern, address: Uint8Array): boolean {
  if (family === "any") return true;
  if (family === "private") return PRIVATE.some(([net, bits]) => inNetwork(address, net, bits));
  if (network) return inNetwork(address, network, prefixBits);
  return (family === "ipv4") === (address.length === 4);
}

/** Networks that tor(1) calls private. */
const PRIVATE: readonly (readonly [Uint8Array, number])[] = [
  ...["0.0.0.0/8", "169.254.0.0/16", "127.0.0.0/8", "192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12"],
  ...["::/8", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::/127"],
].map((text) => {
  const [network, bits] = text.split("/");
  return [parseIp(network!)!, Number(bits)];
});

function inNetwork(address: Uint8Array, network: Uint8Array, bits: number): boolean {
  if (address.length !== network.length) return false;
  for (let i = 0; i < address.length; i++) {
    const left = Math.min(8, bits - 8 * i);
    if (left <= 0) return true;
    const mask = (0xff << (8 - left)) & 0xff;
    if ((address[i]! & mask) !== (network[i]! & mask)) return false;
  }
  return true;
}
