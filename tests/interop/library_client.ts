/** The library's client on a private network of C tor. */
import type { TorClient, TorClientOptions } from "../../mod.ts";
import { fromHex } from "../../src/bytes/text.ts";
import type { DirectoryAuthority } from "../../src/netdir/authorities.ts";
import { launchTestClient } from "../support/client_tests.ts";
import type { CTorNetwork } from "./ctor_network.ts";

export function authoritiesOf(network: Pick<CTorNetwork, "nodes">): DirectoryAuthority[] {
  return network.nodes.filter(({ role }) => role === "authority").map((node) => ({
    nickname: node.nickname,
    address: { host: "127.0.0.1", port: node.orPort },
    dirPort: node.dirPort,
    rsaId: fromHex(node.fingerprint),
    v3ident: fromHex(node.v3ident!),
  }));
}

export function launchClient(network: Pick<CTorNetwork, "nodes">, options?: TorClientOptions): Promise<TorClient> {
  return launchTestClient(authoritiesOf(network), options);
}
