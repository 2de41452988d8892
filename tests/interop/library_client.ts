/** The library's client on a private network of C tor. */
import { TorClient, type TorClientOptions } from "../../mod.ts";
import { fromHex } from "../../src/bytes/text.ts";
import type { DirectoryAuthority } from "../../src/netdir/authorities.ts";
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

export async function launchClient(
  network: Pick<CTorNetwork, "nodes">,
  options: TorClientOptions = {},
): Promise<TorClient> {
  return await TorClient.launch({
    directoryAuthorities: authoritiesOf(network),
    testingTorNetwork: true,
    pathsNeededToBuildCircuits: 0.67,
    ...options,
  });
}
