import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { encodeWith } from "../../src/bytes/codec.ts";
import { toHex, utf8 } from "../../src/bytes/text.ts";
import { type Ed25519PrivateKey, generateEd25519 } from "../../src/crypto/ed25519.ts";
import { fastHandshake, ntorHandshake } from "../../src/proto/circuit_handshake.ts";
import { OnionPoints, type OnionPointsOptions } from "../../src/testnet/onion_points.ts";
import { CellCommand, PAYLOAD_LEN } from "../../src/wire/cell.ts";
import { EXTEND2 } from "../../src/wire/circuit_messages.ts";
import { CREATE_FAST, DestroyReason, HandshakeType } from "../../src/wire/create_cells.ts";
import {
  ESTABLISH_RENDEZVOUS,
  EstablishIntroExtension,
  type HsExtension,
  INTRO_DOS_PARAMETERS,
  INTRODUCE1,
  IntroduceStatus,
  makeEstablishIntro,
  RENDEZVOUS1,
} from "../../src/wire/hs_messages.ts";
import { linkSpecifiersOf } from "../../src/wire/link_specifier.ts";
import { RelayCommand } from "../../src/wire/relay_cell.ts";
import { type RawClient, RelayChain } from "../support/relay_chain.ts";
import { patterned } from "../support/scripted_relay.ts";
import { SeededRandom } from "../support/seeded_random.ts";

const key = generateEd25519(new SeededRandom(5));
const otherKey = generateEd25519(new SeededRandom(6));
const cookie = patterned(20, 1);
const full = new TunicError("Cannot send: too much waits", { kind: "limit", code: "full" });

/** A chain whose second relay is what services and clients meet at. */
class Meeting {
  readonly chain = new RelayChain();
  readonly points: OnionPoints;

  constructor(options: Partial<OnionPointsOptions> = {}) {
    this.points = new OnionPoints({ clock: this.chain.runtime.clock, ...options });
    Object.assign(this.chain.relays[1]!.services, { onOtherMessage: this.points.onMessage });
  }

  /** Somebody with a circuit that ends at the second relay. */
  circuit(): Promise<RawClient> {
    return this.chain.raw(2);
  }

  /** Sends a message to the second relay, and lets it have its effect. */
  async say(client: RawClient, command: number, body: Uint8Array): Promise<void> {
    client.say(1, command, 0, body);
    await this.chain.settle();
  }

  /** A service's introduction circuit. */
  async service(signer: Ed25519PrivateKey = key, extensions: HsExtension[] = []): Promise<RawClient> {
    const client = await this.circuit();
    await this.say(client, RelayCommand.ESTABLISH_INTRO, makeEstablishIntro(extensions, signer, client.kh[1]!));
    return client;
  }

  /** A client that sends this INTRODUCE1. */
  async introduce(body = introduction()): Promise<RawClient> {
    const client = await this.circuit();
    await this.say(client, RelayCommand.INTRODUCE1, body);
    return client;
  }

  /** A client that waits with this cookie. */
  async wait(body = cookie): Promise<RawClient> {
    const client = await this.circuit();
    await this.say(client, RelayCommand.ESTABLISH_RENDEZVOUS, encodeWith(ESTABLISH_RENDEZVOUS, body));
    return client;
  }

  /** A service that comes with this cookie. */
  async meet(body = cookie, handshakeInfo = utf8("handshake")): Promise<RawClient> {
    const service = await this.circuit();
    await this.say(service, RelayCommand.RENDEZVOUS1, encodeWith(RENDEZVOUS1, { cookie: body, handshakeInfo }));
    return service;
  }
}

function introduction(authKey = key.publicKey): Uint8Array {
  return encodeWith(INTRODUCE1, { authKey, extensions: [], encrypted: utf8("for the service") });
}

/** Status of the INTRODUCE_ACK that came, as hex with the number of extensions. */
function acknowledged(client: RawClient): string | undefined {
  const ack = client.last(RelayCommand.INTRODUCE_ACK);
  return ack && toHex(ack.data);
}

const SUCCESS = "000000";
const UNKNOWN_ID = "000100";
const BAD_FORMAT = "000200";
const CANNOT_RELAY = "000300";

describe("an introduction point", () => {
  test("tells the service that it is one", async () => {
    const meeting = new Meeting();
    const service = await meeting.service();
    assert.equal(service.destroyed, undefined);
    assert.equal(toHex(service.last(RelayCommand.INTRO_ESTABLISHED)!.data), "00");
    assert.deepEqual(meeting.points.counts, { introductionPoints: 1, rendezvousPoints: 0 });
  });

  test("passes an introduction on as it is, to the service that is meant, and says so", async () => {
    const meeting = new Meeting();
    const [service, other] = [await meeting.service(), await meeting.service(otherKey)];
    const client = await meeting.introduce();
    assert.deepEqual(service.last(RelayCommand.INTRODUCE2)!.data, introduction());
    assert.equal(acknowledged(client), SUCCESS);
    await meeting.introduce(introduction(otherKey.publicKey));
    assert.deepEqual([service, other].map((it) => it.count(RelayCommand.INTRODUCE2)), [1, 1]);
    assert.deepEqual(other.last(RelayCommand.INTRODUCE2)!.data, introduction(otherKey.publicKey));
  });

  test("is one for a circuit made with CREATE_FAST too", async () => {
    const chain = new RelayChain();
    const points = new OnionPoints({ clock: chain.runtime.clock });
    Object.assign(chain.relays[0]!.services, { onOtherMessage: points.onMessage });
    const { client: handshake } = fastHandshake(chain.runtime);
    chain.client.sendCell(0x8000_0055, CellCommand.CREATE_FAST, encodeWith(CREATE_FAST, handshake.onionSkin));
    await chain.settle();
    const created = chain.client.peer!.sent.find(({ command }) => command === CellCommand.CREATED_FAST)!;
    const circuit = chain.relays[0]!.circuits[0]!;
    assert.deepEqual(circuit.kh, created.payloads.slice(20, 40));
    points.onMessage(
      circuit,
      RelayCommand.ESTABLISH_INTRO,
      makeEstablishIntro([], key, created.payloads.slice(20, 40)),
    );
    assert.equal(points.counts.introductionPoints, 1);
  });

  for (
    const [name, body] of [
      ["made for another circuit", (kh) => makeEstablishIntro([], key, kh.map((byte) => byte ^ 1))],
      ["made with the KH of another hop", (_, kh) => makeEstablishIntro([], key, kh)],
      [
        "signed with another key",
        (kh) => makeEstablishIntro([], { publicKey: key.publicKey, sign: (it) => otherKey.sign(it) }, kh),
      ],
      ["that is cut short", (kh) => makeEstablishIntro([], key, kh).subarray(0, 130)],
      ["that is empty", () => new Uint8Array(0)],
      ["of version 2", (kh) => concat(Uint8Array.of(0), makeEstablishIntro([], key, kh).subarray(1))],
    ] as [string, (kh: Uint8Array, firstKh: Uint8Array) => Uint8Array][]
  ) {
    test(`is none after an ESTABLISH_INTRO ${name}`, async () => {
      const meeting = new Meeting();
      const service = await meeting.circuit();
      await meeting.say(service, RelayCommand.ESTABLISH_INTRO, body(service.kh[1]!, service.kh[0]!));
      assert.equal(service.destroyed, DestroyReason.DESTROYED);
      assert.deepEqual(meeting.chain.link(1, 0).destroys, [DestroyReason.PROTOCOL]);
      assert.equal(meeting.points.counts.introductionPoints, 0);
      assert.equal(acknowledged(await meeting.introduce()), UNKNOWN_ID);
    });
  }

  test("does not take a message again on another circuit", async () => {
    const meeting = new Meeting();
    const [first, second] = [await meeting.circuit(), await meeting.circuit()];
    const message = makeEstablishIntro([], key, first.kh[1]!);
    await meeting.say(first, RelayCommand.ESTABLISH_INTRO, message);
    await meeting.say(second, RelayCommand.ESTABLISH_INTRO, message);
    assert.equal(first.destroyed, undefined);
    assert.equal(second.destroyed, DestroyReason.DESTROYED);
    assert.equal(acknowledged(await meeting.introduce()), SUCCESS);
  });

  test("follows its service to a newer circuit, and stays there when the older one has ended", async () => {
    const meeting = new Meeting();
    const older = await meeting.service();
    const newer = await meeting.service();
    assert.equal(older.destroyed, DestroyReason.DESTROYED);
    assert.deepEqual(meeting.chain.link(1, 0).destroys, [DestroyReason.FINISHED]);
    assert.equal(meeting.points.counts.introductionPoints, 1);
    assert.equal(acknowledged(await meeting.introduce()), SUCCESS);
    assert.equal(newer.count(RelayCommand.INTRODUCE2), 1);
    assert.equal(older.count(RelayCommand.INTRODUCE2), 0);
  });

  test("is none any more once its service's circuit has ended", async () => {
    const meeting = new Meeting();
    const service = await meeting.service();
    service.cell(CellCommand.DESTROY, Uint8Array.of(0));
    await meeting.chain.settle();
    assert.equal(meeting.points.counts.introductionPoints, 0);
    assert.equal(acknowledged(await meeting.introduce()), UNKNOWN_ID);
  });

  test("knows no other service, and leaves the client its circuit to go on with", async () => {
    const meeting = new Meeting();
    const service = await meeting.service();
    const client = await meeting.introduce(introduction(otherKey.publicKey));
    assert.equal(acknowledged(client), UNKNOWN_ID);
    assert.equal(client.destroyed, undefined);
    assert.equal(service.count(RelayCommand.INTRODUCE2), 0);
  });

  for (
    const [name, body] of [
      ["is empty", new Uint8Array(0)],
      ["is cut short", introduction().subarray(0, 50)],
      ["has nothing for the service", introduction().subarray(0, 56)],
      ["has a key of another type", introduction().map((byte, i) => i === 20 ? 1 : byte)],
      ["has a key of another length", introduction().map((byte, i) => i === 22 ? 31 : byte)],
      ["has a key of version 2", introduction().map((byte, i) => i === 0 ? 1 : byte)],
    ] as [string, Uint8Array][]
  ) {
    test(`answers an INTRODUCE1 that ${name} with a status, and passes nothing on`, async () => {
      const meeting = new Meeting();
      const service = await meeting.service();
      const client = await meeting.introduce(body);
      assert.equal(acknowledged(client), BAD_FORMAT);
      assert.equal(client.destroyed, undefined);
      assert.equal(service.count(RelayCommand.INTRODUCE2), 0);
    });
  }

  test("says when the service could not be told", async () => {
    const meeting = new Meeting();
    await meeting.service();
    const [circuit] = meeting.chain.relays[1]!.circuits;
    const send = circuit!.send.bind(circuit);
    circuit!.send = (...message) => {
      send(...message);
      circuit!.onOverfull(full);
    };
    assert.equal(acknowledged(await meeting.introduce()), CANNOT_RELAY);
    assert.equal(IntroduceStatus.CANNOT_RELAY, 3);
  });

  test("takes one INTRODUCE1 a circuit, even if the first could not be passed on", async () => {
    for (const first of [key, otherKey]) {
      const meeting = new Meeting();
      const service = await meeting.service();
      const client = await meeting.introduce(introduction(first.publicKey));
      const before = service.count(RelayCommand.INTRODUCE2);
      await meeting.say(client, RelayCommand.INTRODUCE1, introduction());
      assert.equal(client.destroyed, DestroyReason.DESTROYED);
      assert.equal(service.count(RelayCommand.INTRODUCE2), before);
      assert.equal(client.count(RelayCommand.INTRODUCE_ACK), 1);
      assert.equal(service.destroyed, undefined);
    }
  });

  test("takes as many circuits as it was told to, newer ones of the same services not counted", async () => {
    const meeting = new Meeting({ maxIntroductionPoints: 1 });
    const first = await meeting.service();
    const refused = await meeting.service(otherKey);
    assert.equal(refused.destroyed, DestroyReason.DESTROYED);
    assert.deepEqual(meeting.chain.link(1, 0).destroys, [DestroyReason.RESOURCELIMIT]);
    assert.equal(first.destroyed, undefined);
    const newer = await meeting.service();
    assert.equal(newer.destroyed, undefined);
    newer.cell(CellCommand.DESTROY, Uint8Array.of(0));
    await meeting.chain.settle();
    assert.equal((await meeting.service(otherKey)).destroyed, undefined);
  });

  const limits = (ratePerSecond: number, burst: number): HsExtension[] => [
    { type: 99, field: utf8("unknown") },
    {
      type: EstablishIntroExtension.DOS_PARAMETERS,
      field: encodeWith(INTRO_DOS_PARAMETERS, { ratePerSecond, burst }),
    },
  ];

  const dos = (type: number, value: number) => Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0, value);

  test("holds clients to the rate and the burst that the service asked for", async () => {
    const meeting = new Meeting();
    const service = await meeting.service(key, limits(2, 3));
    const statuses = async (count: number) => {
      const all = [];
      for (let i = 0; i < count; i++) all.push(acknowledged(await meeting.introduce()));
      return all;
    };
    assert.deepEqual(await statuses(5), [SUCCESS, SUCCESS, SUCCESS, UNKNOWN_ID, UNKNOWN_ID]);
    await meeting.chain.runtime.time.advance(1_000);
    assert.deepEqual(await statuses(3), [SUCCESS, SUCCESS, UNKNOWN_ID]);
    await meeting.chain.runtime.time.advance(60_000);
    assert.deepEqual(await statuses(4), [SUCCESS, SUCCESS, SUCCESS, UNKNOWN_ID]);
    assert.equal(service.count(RelayCommand.INTRODUCE2), 8);
  });

  for (
    const [name, extensions] of [
      ["zero", limits(0, 3)],
      ["a burst below the rate", [{ type: 1, field: concat(Uint8Array.of(2), dos(1, 3), dos(2, 2)) }]],
      ["cut short", [{ type: 1, field: dos(2, 1) }]],
    ] as [string, HsExtension[]][]
  ) {
    test(`has no limit where the one asked for is ${name}`, async () => {
      const meeting = new Meeting();
      const service = await meeting.service(key, extensions);
      for (let i = 0; i < 5; i++) await meeting.introduce();
      assert.equal(service.count(RelayCommand.INTRODUCE2), 5);
    });
  }
});

/** Checks that payloads come out as they went in, but for a key stream. */
async function assertCarried(carry: (payloads: Uint8Array) => Promise<Uint8Array>, payloads: Uint8Array) {
  const keyStream = await carry(new Uint8Array(payloads.length));
  const got = await carry(payloads);
  assert.deepEqual(got.map((byte, i) => byte ^ keyStream[i]!), payloads);
  assert.notDeepEqual(got, payloads);
}

describe("a rendezvous point", () => {
  test("joins the circuits of a client and a service", async () => {
    const meeting = new Meeting();
    const client = await meeting.wait();
    assert.equal(client.last(RelayCommand.RENDEZVOUS_ESTABLISHED)!.data.length, 0);
    assert.deepEqual(meeting.points.counts, { introductionPoints: 0, rendezvousPoints: 1 });
    const service = await meeting.meet(cookie, patterned(64, 3));
    assert.deepEqual(client.last(RelayCommand.RENDEZVOUS2)!.data, patterned(64, 3));
    assert.equal(client.destroyed, undefined);
    assert.equal(service.destroyed, undefined);
  });

  for (const from of ["client", "service"] as const) {
    test(`carries cells of the ${from} to the other side, unchanged but for the layers`, async () => {
      // Random numbers are the same every time, and so are the layers.
      const carried = async (payloads: Uint8Array) => {
        const meeting = new Meeting();
        const client = await meeting.wait();
        const service = await meeting.meet();
        const [source, target] = from === "client" ? [client, service] : [service, client];
        const got: Uint8Array[] = [];
        target.onRelayPayloads = (batch) => void got.push(batch.slice());
        source.send(payloads);
        await meeting.chain.settle();
        assert.equal(source.destroyed, undefined);
        return concat(...got);
      };
      await assertCarried(carried, patterned(3 * PAYLOAD_LEN, 5));
    });
  }

  test("carries what comes in one batch behind the message that joins", async () => {
    await assertCarried(async (payloads) => {
      const meeting = new Meeting();
      const client = await meeting.wait();
      const service = await meeting.circuit();
      const got: Uint8Array[] = [];
      const { onRelayPayloads } = client;
      client.onRelayPayloads = (batch) => {
        // RENDEZVOUS2 may come in the same batch.
        onRelayPayloads.call(client, batch.slice(0, PAYLOAD_LEN));
        got.push(batch.slice(PAYLOAD_LEN));
      };
      const join = encodeWith(RENDEZVOUS1, { cookie, handshakeInfo: utf8("x") });
      service.send(service.seal(1, RelayCommand.RENDEZVOUS1, 0, join), payloads);
      await meeting.chain.settle();
      assert.equal(client.count(RelayCommand.RENDEZVOUS2), 1);
      return concat(...got);
    }, patterned(2 * PAYLOAD_LEN, 5));
  });

  for (const first of ["client", "service"] as const) {
    test(`ends both circuits when the ${first}'s ends`, async () => {
      const meeting = new Meeting();
      const client = await meeting.wait();
      const service = await meeting.meet();
      const [from, to] = first === "client" ? [client, service] : [service, client];
      from.cell(CellCommand.DESTROY, Uint8Array.of(DestroyReason.REQUESTED));
      await meeting.chain.settle();
      assert.equal(to.destroyed, DestroyReason.DESTROYED);
      assert.deepEqual(meeting.points.counts, { introductionPoints: 0, rendezvousPoints: 0 });
      meeting.chain.client.release(from);
      assert.deepEqual(meeting.chain.leftovers, { circuits: 0, timers: 0, duplexes: 0 });
    });
  }

  test("ends a service's circuit whose client's cannot take the answer", async () => {
    const meeting = new Meeting();
    await meeting.wait();
    const [near] = meeting.chain.relays[1]!.circuits;
    near!.send = () => near!.onOverfull(full);
    const service = await meeting.meet();
    assert.equal(service.destroyed, DestroyReason.DESTROYED);
    assert.equal(meeting.points.counts.rendezvousPoints, 0);
  });

  test("forgets a client that gave up", async () => {
    const meeting = new Meeting();
    const client = await meeting.wait();
    client.cell(CellCommand.DESTROY, Uint8Array.of(0));
    await meeting.chain.settle();
    assert.equal(meeting.points.counts.rendezvousPoints, 0);
    assert.equal((await meeting.meet()).destroyed, DestroyReason.DESTROYED);
  });

  test("knows no other cookie", async () => {
    const meeting = new Meeting();
    const client = await meeting.wait();
    const service = await meeting.meet(patterned(20, 9));
    assert.equal(service.destroyed, DestroyReason.DESTROYED);
    assert.deepEqual(meeting.chain.link(1, 0).destroys, [DestroyReason.PROTOCOL]);
    assert.equal(client.count(RelayCommand.RENDEZVOUS2), 0);
    assert.equal((await meeting.meet()).destroyed, undefined);
  });

  test("takes a cookie once: not from a second client, and not from a second service", async () => {
    const meeting = new Meeting();
    const client = await meeting.wait();
    assert.equal((await meeting.wait()).destroyed, DestroyReason.DESTROYED);
    const service = await meeting.meet();
    assert.equal((await meeting.meet()).destroyed, DestroyReason.DESTROYED);
    assert.equal((await meeting.wait()).destroyed, DestroyReason.DESTROYED);
    assert.equal(client.destroyed, undefined);
    assert.equal(service.destroyed, undefined);
    assert.equal(client.count(RelayCommand.RENDEZVOUS2), 1);
  });

  test("refuses a cookie that is too short, on either side, and ignores what follows one", async () => {
    const meeting = new Meeting();
    assert.equal((await meeting.wait(cookie.subarray(1))).destroyed, DestroyReason.DESTROYED);
    assert.equal(meeting.points.counts.rendezvousPoints, 0);
    assert.equal((await meeting.meet(cookie.subarray(1), new Uint8Array(0))).destroyed, DestroyReason.DESTROYED);
    assert.equal((await meeting.wait(concat(cookie, utf8("later")))).destroyed, undefined);
    assert.equal((await meeting.meet()).destroyed, undefined);
  });

  test("takes as many circuits as it was told to", async () => {
    const meeting = new Meeting({ maxRendezvousPoints: 1 });
    const client = await meeting.wait();
    assert.equal((await meeting.wait(patterned(20, 2))).destroyed, DestroyReason.DESTROYED);
    assert.deepEqual(meeting.chain.link(1, 0).destroys, [DestroyReason.RESOURCELIMIT]);
    client.cell(CellCommand.DESTROY, Uint8Array.of(0));
    await meeting.chain.settle();
    assert.equal((await meeting.wait(patterned(20, 2))).destroyed, undefined);
  });

  test("does not join a client's circuit that has gone on since", async () => {
    const meeting = new Meeting();
    const client = await meeting.wait();
    const { relay } = meeting.chain.relays[2]!;
    await client.extend(1, relay, ntorHandshake(meeting.chain.runtime, relay.target));
    assert.equal((await meeting.meet()).destroyed, DestroyReason.DESTROYED);
    assert.equal(client.count(RelayCommand.RENDEZVOUS2), 0);
  });

  test("lets joined circuits not be extended", async () => {
    const meeting = new Meeting();
    const client = await meeting.wait();
    const service = await meeting.meet();
    const { target } = meeting.chain.relays[2]!.relay;
    const extend = encodeWith(EXTEND2, {
      linkSpecifiers: linkSpecifiersOf(target),
      handshakeType: HandshakeType.NTOR,
      handshake: ntorHandshake(meeting.chain.runtime, target).client.onionSkin,
    });
    client.say(1, RelayCommand.EXTEND2, 0, extend, CellCommand.RELAY_EARLY);
    await meeting.chain.settle();
    assert.equal(client.destroyed, DestroyReason.DESTROYED);
    assert.equal(service.destroyed, DestroyReason.DESTROYED);
  });
});

describe("a circuit", () => {
  const messages: [number, (kh: Uint8Array) => Uint8Array][] = [
    [RelayCommand.ESTABLISH_INTRO, (kh) => makeEstablishIntro([], otherKey, kh)],
    [RelayCommand.ESTABLISH_RENDEZVOUS, () => patterned(20, 7)],
    [RelayCommand.INTRODUCE1, () => introduction()],
    [RelayCommand.RENDEZVOUS1, () => concat(cookie, utf8("handshake"))],
  ];

  test("serves one purpose", async () => {
    for (const [first, firstBody] of messages) {
      for (const [second, secondBody] of messages) {
        const meeting = new Meeting();
        const service = await meeting.service();
        const waiting = await meeting.wait();
        const circuit = await meeting.circuit();
        await meeting.say(circuit, first, firstBody(circuit.kh[1]!));
        assert.equal(circuit.destroyed, undefined, `${first}`);
        const told = service.count(RelayCommand.INTRODUCE2);
        await meeting.say(circuit, second, secondBody(circuit.kh[1]!));
        assert.equal(circuit.destroyed, DestroyReason.DESTROYED, `${first}, then ${second}`);
        assert.equal(service.count(RelayCommand.INTRODUCE2), told);
        assert.equal(waiting.destroyed !== undefined, first === RelayCommand.RENDEZVOUS1);
      }
    }
  });

  test("that goes on is none of these", async () => {
    for (const [command, body] of messages) {
      const meeting = new Meeting();
      await meeting.service();
      await meeting.wait();
      const circuit = await meeting.chain.raw(3);
      await meeting.say(circuit, command, body(circuit.kh[1]!));
      assert.equal(circuit.destroyed, DestroyReason.DESTROYED, `${command}`);
      assert.deepEqual(meeting.points.counts, { introductionPoints: 1, rendezvousPoints: 1 });
    }
  });

  test("may carry what only clients and services are told, and unknown messages, without effect", async () => {
    const meeting = new Meeting();
    const circuit = await meeting.circuit();
    const { INTRODUCE2, RENDEZVOUS2, INTRO_ESTABLISHED, RENDEZVOUS_ESTABLISHED, INTRODUCE_ACK } = RelayCommand;
    for (const command of [INTRODUCE2, RENDEZVOUS2, INTRO_ESTABLISHED, RENDEZVOUS_ESTABLISHED, INTRODUCE_ACK, 99]) {
      await meeting.say(circuit, command, introduction());
    }
    assert.equal(circuit.destroyed, undefined);
    assert.equal(circuit.told.filter(({ hop }) => hop === 1).length, 0);
  });
});
