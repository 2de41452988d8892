/**
 * tunic: onion routing in TypeScript, for Deno, Bun and Node.
 *
 * ```ts
 * import { TorClient } from "./mod.ts";
 *
 * await using tor = await TorClient.launch({ dataDirectory: "./tor-data" });
 * const response = await tor.fetch("https://check.torproject.org/api/ip");
 * console.log(await response.json());
 * ```
 *
 * @module
 */
export { type ClientSnapshot, type ConnectOptions, TorClient, type TorClientEvents } from "./src/client/client.ts";
export type { BootstrapStatus } from "./src/client/bootstrap.ts";
export type { RequestOptions, ResolvedAnswer, StreamBackend, StreamRequest } from "./src/client/backend.ts";
export { TorConnection } from "./src/client/byte_stream.ts";
export type { FetchInit } from "./src/client/fetch.ts";
export type { TorClientOptions } from "./src/client/options.ts";
export type { DirectoryAuthority, FallbackDirectory } from "./src/netdir/authorities.ts";
export { type ErrorContext, type ErrorKind, isTunicError, type Retry, TunicError } from "./src/base/errors.ts";
export { listenSocks, type SocksListener, type SocksListenerOptions } from "./src/serve/socks_listener.ts";
export type { Faults, LinkFaults, RelayFaults } from "./src/testnet/faults/mod.ts";
export type { ObservedHop, ObservedStream } from "./src/testnet/path_observer.ts";
export { startTestnet, type Testnet, type TestnetOptions, type TestnetRelay } from "./src/testnet/testnet.ts";
