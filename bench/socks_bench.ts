/** The SOCKS handshake, and bytes through a SOCKS port over loopback. Run: `deno bench -A bench/socks_bench.ts`. */
import net from "node:net";
import { fromHex } from "../src/bytes/text.ts";
import { nodeRuntime } from "../src/runtime/node.ts";
import { listenSocks } from "../src/serve/socks_listener.ts";
import { SocksHandshake } from "../src/wire/socks.ts";

const request5 = fromHex("0501020102" + "6d65" + "03796f75" + "05010003" + "0b6578616d706c652e636f6d" + "0050");
const request4 = fromHex("0401005000000001" + "00" + "6578616d706c652e636f6d" + "00");

Deno.bench("SOCKS 5 handshake with user name and password", { group: "handshake" }, () => {
  new SocksHandshake().step(request5);
});

Deno.bench("SOCKS 4a handshake", { group: "handshake" }, () => {
  new SocksHandshake().step(request4);
});

const PIECE = new Uint8Array(65536);
const TOTAL = 16 * 1024 * 1024;

/** A server that sends 16 MiB to whoever says anything. */
async function source(): Promise<number> {
  const server = net.createServer((socket) => {
    let left = TOTAL;
    const fill = (): void => {
      while (left > 0) {
        left -= PIECE.length;
        if (!socket.write(PIECE)) return;
      }
      socket.end();
    };
    socket.on("drain", fill);
    socket.on("error", () => {});
    socket.once("data", fill);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  return (server.address() as net.AddressInfo).port;
}

function drain(port: number, greeting: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => void socket.write(greeting));
    socket.on("data", () => {});
    socket.on("close", () => resolve());
  });
}

const origin = await source();
const { network, timers, clock } = nodeRuntime;
const unused = () => Promise.resolve([]);
const listener = await listenSocks({
  network,
  timers,
  clock,
  random: nodeRuntime,
  address: { host: "127.0.0.1", port: 0 },
  backend: {
    openStream: () => network.connectTcp({ host: "127.0.0.1", port: origin }, { timeoutMs: 5000 }),
    resolve: unused,
    resolvePtr: unused,
  },
});

Deno.bench("16 MiB over loopback, directly", { group: "transfer", baseline: true }, async () => {
  await drain(origin, PIECE.subarray(0, 1));
});

Deno.bench("16 MiB through the SOCKS port", { group: "transfer" }, async () => {
  await drain(listener.address.port, new Uint8Array([...request4, 1]));
});
