/** The directory: a verified view of the network, kept fresh. */
export { DirectoryClient } from "./directory_client.ts";
export type { DirectoryAnswer, DirectoryRequest, DirectoryServer, DirectoryTransport } from "./directory_client.ts";
export * from "./directory_manager.ts";
export type { BootstrapPhase, DirectoryProgress } from "./progress.ts";
