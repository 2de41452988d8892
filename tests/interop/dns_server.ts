/** A name server with one name and one address, for the exits of the private network: they have no other. */
import { Buffer } from "node:buffer";
import { createSocket } from "node:dgram";

const A = 1;
const PTR = 12;
const NO_SUCH_NAME = 3;

/** What it knows, by name and type. */
const RECORDS: Readonly<Record<string, Readonly<Record<number, Buffer>>>> = {
  "web.tunic.test": { [A]: Buffer.from([127, 0, 0, 1]) },
  "1.2.0.192.in-addr.arpa": { [PTR]: encodeName("web.tunic.test") },
};

export interface DnsServer extends AsyncDisposable {
  readonly queries: readonly string[];
}

/** Listens on 127.0.0.1, UDP. */
export async function startDnsServer(port: number): Promise<DnsServer> {
  const socket = createSocket("udp4");
  const queries: string[] = [];
  socket.on("message", (query, from) => {
    const answer = answerTo(query, queries);
    if (answer) socket.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, "127.0.0.1", resolve);
  });
  return {
    queries,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

/** RFC 1035, section 4: one question, at most one answer. */
function answerTo(query: Buffer, queries: string[]): Buffer | undefined {
  if (query.length < 17) return undefined;
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at]!; length > 0; length = query[at]!) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
    if (at >= query.length) return undefined;
  }
  const question = query.subarray(12, at + 5);
  const type = query.readUInt16BE(at + 1);
  // libevent writes names in mixed case, and wants them back as they were.
  const name = labels.join(".").toLowerCase();
  queries.push(name);
  const record = RECORDS[name];
  const data = record?.[type];
  const header = Buffer.alloc(12);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  header.writeUInt16BE(0x8580 | (record ? 0 : NO_SUCH_NAME), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(data ? 1 : 0, 6);
  if (!data) return Buffer.concat([header, question]);
  const meta = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length]);
  return Buffer.concat([header, question, meta, data]);
}

function encodeName(name: string): Buffer {
  const labels = name.split(".").map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([...labels, Buffer.from([0])]);
}
