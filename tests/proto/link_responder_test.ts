import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type ErrorKind, isTunicError, type TunicError } from "../../src/base/errors.ts";
import { concat, equal } from "../../src/bytes/bytes.ts";
import { decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { toHex, utf8 } from "../../src/bytes/text.ts";
import { sha256 } from "../../src/crypto/digest.ts";
import { generateEd25519 } from "../../src/crypto/ed25519.ts";
import { LinkHandshake, type LinkHandshakeOptions, type LinkInfo } from "../../src/proto/link_handshake.ts";
import { type InboundLink, LinkResponder, type LinkResponderOptions } from "../../src/proto/link_responder.ts";
import { MAX_HANDSHAKE_BYTES } from "../../src/proto/link_sequence.ts";
import { generateRelayIdentity } from "../../src/testnet/relay_identity.ts";
import {
  CellCommand,
  cellCommandName,
  cellLength,
  fixedCell,
  isVariableLength,
  variableCell,
} from "../../src/wire/cell.ts";
import { CertifiedKeyType, type EdCertContent, EdCertType, encodeEdCert } from "../../src/wire/ed_cert.ts";
import { AUTH_CHALLENGE, AUTHENTICATE, AuthType, CERTS, CertType, NETINFO } from "../../src/wire/link_cells.ts";
import { SeededRandom } from "../support/seeded_random.ts";
import { certsCell, DAY_MS, HOUR_MS, netinfoCell, NOW, versionsCell } from "./fake_responder.ts";

const random = new SeededRandom(3);
const make = (nickname: string) => generateRelayIdentity({ nickname, now: NOW, random });
const [relay, initiator, stranger] = await Promise.all([make("relay"), make("initiator"), make("stranger")]);

/** What TLS would give both ends of session `name`. */
const session = (name: string) => (length: number, label: string, context: Uint8Array): Uint8Array => {
  assert.equal(length, 32);
  return sha256(utf8(`${name} ${label} ${toHex(context)}`));
};
const exportKeyingMaterial = session("one");

function responderWith(options: Partial<LinkResponderOptions> = {}): LinkResponder {
  return new LinkResponder({
    identity: relay.link,
    now: () => NOW,
    random: (count) => random.random(count),
    peerAddress: { host: "198.51.100.7", port: 54321 },
    ownAddresses: ["192.0.2.1"],
    exportKeyingMaterial,
    ...options,
  });
}

function handshakeWith(options: Partial<LinkHandshakeOptions> = {}): LinkHandshake {
  return new LinkHandshake({
    peerCertificate: relay.tls.certificate,
    expected: { rsaId: relay.rsaId, ed25519Id: relay.ed25519Id },
    now: () => NOW,
    peerAddress: { host: "192.0.2.1", port: 9001 },
    ...options,
  });
}

const authentication = {
  identity: initiator.link,
  exportKeyingMaterial,
  random: (count: number) => random.random(count),
  ownAddresses: ["198.51.100.7", "2001:db8::7"],
};

/** Cells as an initiator puts them, one after the other. */
function cellsOf(bytes: Uint8Array): Uint8Array[] {
  const cells: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = cellLength(bytes, at, bytes.length);
    cells.push(bytes.subarray(at, at + length));
    at += length;
  }
  return cells;
}

/** A link on which the initiator has answered: its responder, still waiting, and the initiator's CERTS, AUTHENTICATE and NETINFO. */
function answered(
  inTheMiddle: Partial<LinkResponderOptions> = {},
  by: Partial<typeof authentication> = {},
): { responder: LinkResponder; cells: [Uint8Array, Uint8Array, Uint8Array] } {
  const handshake = handshakeWith({ authentication: { ...authentication, ...by } });
  const responder = responderWith(inTheMiddle);
  const flight = responder.step(handshake.start()).send!;
  return { responder, cells: cellsOf(handshake.step(flight).send!) as [Uint8Array, Uint8Array, Uint8Array] };
}

function assertRefused(
  kind: ErrorKind,
  responder: LinkResponder,
  parts: readonly Uint8Array[],
  check: (error: TunicError) => boolean = () => true,
): void {
  assert.throws(() => {
    for (const part of parts) assert.equal(responder.step(part).done, undefined);
  }, (error) => {
    assert.ok(isTunicError(error), String(error));
    assert.equal(error.kind, kind, error.message);
    return check(error);
  });
  assert.throws(() => responder.step(new Uint8Array(0)), (error) => isTunicError(error, "internal"));
}

const clientNetinfo = netinfoCell(0, "192.0.2.1");

describe("a responder and a client", () => {
  test("open the link, whatever way their bytes are cut", () => {
    for (let size = 1; size < 2000; size = size < 20 ? size + 1 : size * 3) {
      const [handshake, responder] = [handshakeWith(), responderWith()];
      let toResponder: Uint8Array = handshake.start();
      let toInitiator: Uint8Array = new Uint8Array(0);
      let [outside, inside]: [LinkInfo | undefined, InboundLink | undefined] = [undefined, undefined];
      while (!outside || !inside) {
        assert.ok(toResponder.length + toInitiator.length > 0, "both wait");
        if (toResponder.length > 0) {
          const { send, done } = responder.step(toResponder.subarray(0, size));
          toResponder = toResponder.subarray(size);
          inside = done ?? inside;
          toInitiator = concat(toInitiator, send ?? new Uint8Array(0));
        }
        if (toInitiator.length > 0) {
          const { send, done } = handshake.step(toInitiator.subarray(0, size));
          toInitiator = toInitiator.subarray(size);
          outside = done ?? outside;
          toResponder = concat(toResponder, send ?? new Uint8Array(0));
        }
      }
      assert.deepEqual([outside.linkVersion, inside.linkVersion], [5, 5]);
      assert.deepEqual(outside.rsaId, relay.rsaId);
      assert.deepEqual(outside.ed25519Id, relay.ed25519Id);
      assert.equal(outside.authenticated, false);
      assert.equal(outside.ownAddress, "198.51.100.7");
      assert.equal(outside.clockSkewMs, 0);
      assert.equal(inside.peer, undefined);
      assert.equal(inside.ownAddress, "192.0.2.1");
      assert.equal(inside.clockSkewMs, undefined);
    }
  });

  test("the responder says nothing before VERSIONS, then everything at once", () => {
    const responder = responderWith();
    const versions = versionsCell(3, 4, 5);
    for (const byte of versions.subarray(0, -1)) assert.deepEqual(responder.step(Uint8Array.of(byte)), {});
    const flight = responder.step(versions.subarray(-1)).send!;
    assert.equal(toHex(flight.subarray(0, 9)), "000007000400040005");
    const cells = cellsOf(flight.subarray(9));
    const { CERTS: certs, AUTH_CHALLENGE: challenge, NETINFO: netinfo } = CellCommand;
    assert.deepEqual(cells.map((cell) => cell[4]), [certs, challenge, netinfo]);
    assert.deepEqual(decodeWith(CERTS, cells[0]!.subarray(7)), relay.link.responderCerts);
    assert.deepEqual(decodeWith(AUTH_CHALLENGE, cells[1]!.subarray(7)).methods, [AuthType.ED25519_SHA256_RFC5705]);
    assert.deepEqual(decodeWith(NETINFO, cells[2]!.subarray(5)), {
      timestamp: NOW / 1000,
      otherAddress: "198.51.100.7",
      myAddresses: ["192.0.2.1"],
    });
  });

  test("every challenge is another one", () => {
    const challenges = [1, 2, 3].map(() => {
      const cells = cellsOf(responderWith().step(versionsCell(5)).send!.subarray(9));
      return toHex(decodeWith(AUTH_CHALLENGE, cells[1]!.subarray(7)).challenge);
    });
    assert.equal(new Set(challenges).size, 3);
  });

  test("the highest version in common is chosen, and without one it fails", () => {
    for (const [theirs, chosen] of [[[3, 4, 5], 5], [[4], 4], [[4, 6, 7], 4]] as const) {
      const responder = responderWith();
      responder.step(versionsCell(...theirs));
      assert.equal(responder.step(clientNetinfo).done!.linkVersion, chosen);
    }
    for (const theirs of [[], [1, 2, 3], [6]]) {
      const isVersion = (error: TunicError) => error.code === "no-common-link-version";
      assertRefused("protocol", responderWith(), [versionsCell(...theirs)], isVersion);
    }
  });

  test("what comes after NETINFO is handed back, untouched", () => {
    const after = concat(fixedCell(0x80000001, CellCommand.CREATE_FAST, Uint8Array.of(1)), Uint8Array.of(1, 2, 3));
    const responder = responderWith();
    const { done } = responder.step(concat(versionsCell(5), clientNetinfo, after));
    assert.deepEqual(done!.rest, after);
    assert.throws(() => responder.step(after), (error) => isTunicError(error, "internal"));
  });

  test("padding, AUTHORIZE and a second VERSIONS may come between any cells", () => {
    const early = concat(
      variableCell(0, CellCommand.VPADDING, new Uint8Array(300), 2),
      variableCell(0, CellCommand.AUTHORIZE, new Uint8Array(3), 2),
    );
    const late = concat(
      variableCell(0, CellCommand.VPADDING, new Uint8Array(0)),
      variableCell(0, CellCommand.AUTHORIZE, new Uint8Array(300)),
      variableCell(0, CellCommand.VERSIONS, Uint8Array.of(0, 4, 0)),
    );
    const all = concat(early, versionsCell(4, 5), late, clientNetinfo);
    assert.equal(responderWith().step(all).done!.linkVersion, 5);
  });

  test("the clock's skew is that of who tells the time", () => {
    const skew = (timestamp: number, delayMs: number): number | undefined => {
      let now = NOW;
      const responder = responderWith({ now: () => now });
      responder.step(versionsCell(5));
      now += delayMs;
      return responder.step(netinfoCell(timestamp)).done!.clockSkewMs;
    };
    assert.equal(skew(NOW / 1000 - 60, 0), 60_000);
    assert.equal(skew(0, 0), undefined);
    assert.equal(skew(NOW / 1000, 180_000), undefined);
  });
});

describe("a responder and a relay that authenticates", () => {
  test("know each other at the end", () => {
    const handshake = handshakeWith({ authentication });
    const responder = responderWith();
    const outside = handshake.step(responder.step(handshake.start()).send!);
    assert.equal(outside.done!.authenticated, true);
    const { done } = responder.step(outside.send!);
    assert.deepEqual(done!.peer, { rsaId: initiator.rsaId, ed25519Id: initiator.ed25519Id });
    // A relay tells its time.
    assert.equal(done!.clockSkewMs, 0);
  });

  test("nothing goes out before the responder has proven itself, and challenged", () => {
    const handshake = handshakeWith({ authentication });
    const flight = responderWith().step(handshake.start()).send!;
    const [certs, challenge] = cellsOf(flight.subarray(9)) as [Uint8Array, Uint8Array];
    assert.equal(handshake.step(concat(flight.subarray(0, 9), certs)).send, undefined);
    const cells = cellsOf(handshake.step(challenge).send!);
    const names = cells.map((cell) => cellCommandName(cell[4]!));
    assert.deepEqual(names, ["CERTS", "AUTHENTICATE", "NETINFO"]);
    assert.deepEqual(decodeWith(NETINFO, cells[2]!.subarray(5)), {
      timestamp: NOW / 1000,
      otherAddress: "192.0.2.1",
      myAddresses: authentication.ownAddresses,
    });
    const wrong = handshakeWith({ authentication, expected: { rsaId: stranger.rsaId } });
    assert.throws(() => wrong.step(flight), (error) => isTunicError(error, "identity"));
  });

  test("the initiator does not where the responder cannot, and both go on", () => {
    const handshake = handshakeWith({ authentication });
    const responder = responderWith({ exportKeyingMaterial: undefined });
    const { send, done } = handshake.step(responder.step(handshake.start()).send!);
    assert.equal(done!.authenticated, false);
    assert.deepEqual(cellsOf(send!).map((cell) => cell[4]), [CellCommand.NETINFO]);
    assert.equal(responder.step(send!).done!.peer, undefined);
  });

  test("certificates without a signature prove nothing", () => {
    for (const options of [{}, { exportKeyingMaterial: undefined }]) {
      const responder = responderWith(options);
      responder.step(versionsCell(5));
      const { done } = responder.step(concat(certsCell(initiator.link.initiatorCerts), clientNetinfo));
      assert.equal(done!.peer, undefined);
    }
  });

  test("padding between the initiator's cells is part of what it signs", () => {
    const { responder, cells: [certs, authenticate, netinfo] } = answered();
    const padding = variableCell(0, CellCommand.VPADDING, new Uint8Array(5));
    const isOtherLink = (error: TunicError) => error.message.includes("another link");
    assertRefused("crypto", responder, [certs, padding, authenticate, netinfo], isOtherLink);
    const { responder: second, cells } = answered();
    assert.ok(second.step(concat(cells[0], cells[1], padding, cells[2])).done!.peer);
  });

  test("further fields in front of the signature are let pass", () => {
    const { responder, cells: [certs, authenticate, netinfo] } = answered();
    const { authentication: body } = decodeWith(AUTHENTICATE, authenticate.subarray(7));
    const signed = concat(body.subarray(0, -64), utf8("a later version's field"));
    const value = { type: 3, authentication: concat(signed, initiator.link.authKey.sign(signed)) };
    const longer = variableCell(0, CellCommand.AUTHENTICATE, concat(encodeWith(AUTHENTICATE, value), Uint8Array.of(9)));
    assert.deepEqual(responder.step(concat(certs, longer, netinfo)).done!.peer!.rsaId, initiator.rsaId);
  });
});

describe("a responder refuses", () => {
  const allowed = [
    [CellCommand.VERSIONS, CellCommand.VPADDING, CellCommand.AUTHORIZE],
    [CellCommand.CERTS, CellCommand.NETINFO, CellCommand.VPADDING, CellCommand.AUTHORIZE, CellCommand.VERSIONS],
    [CellCommand.AUTHENTICATE, CellCommand.NETINFO, CellCommand.VPADDING, CellCommand.AUTHORIZE, CellCommand.VERSIONS],
    [CellCommand.NETINFO, CellCommand.VPADDING, CellCommand.AUTHORIZE, CellCommand.VERSIONS],
  ] as readonly (readonly number[])[];
  const states = ["VERSIONS", "CERTS or NETINFO", "AUTHENTICATE or NETINFO", "NETINFO"];

  /** A responder that waits for what `states[state]` says. */
  function waiting(state: number): LinkResponder {
    if (state === 0) return responderWith();
    const { responder, cells } = answered();
    for (const cell of cells.slice(0, state - 1)) responder.step(cell);
    return responder;
  }

  for (const [state, awaited] of states.entries()) {
    test(`every other cell while waiting for ${awaited}, as soon as its command is there`, () => {
      const circIdLen = state === 0 ? 2 : 4;
      let refused = 0;
      for (let command = 0; command < 256; command++) {
        const header = new Uint8Array(circIdLen + 1);
        header[circIdLen] = command;
        const responder = waiting(state);
        if (allowed[state]!.includes(command)) {
          assert.deepEqual(responder.step(header), {});
          continue;
        }
        refused++;
        assertRefused("protocol", responder, [header], (error) => {
          assert.equal(error.code, "unexpected-cell");
          assert.ok(error.message.includes(`a ${cellCommandName(command)} cell`), error.message);
          assert.ok(error.message.includes(`waiting for ${awaited}`), error.message);
          return true;
        });
      }
      assert.equal(refused, 256 - allowed[state]!.length);
    });

    test(`a cell with a circuit's ID while waiting for ${awaited}`, () => {
      for (let at = 0; at < (state === 0 ? 2 : 4); at++) {
        const spoilt = (state === 0 ? versionsCell(5) : clientNetinfo).slice();
        spoilt[at] = 0x80;
        assertRefused("protocol", waiting(state), [spoilt], (error) => error.code === "bad-circid");
      }
    });
  }

  test("cells that are too long, before their payload has come, and endless padding", () => {
    const header = (command: number, length: number, circIdLen = 4): Uint8Array =>
      variableCell(0, command, new Uint8Array(length), circIdLen).subarray(0, circIdLen + 3);
    const isTooLong = (error: TunicError) => error.code === "cell-too-long";
    assertRefused("protocol", waiting(0), [header(CellCommand.VERSIONS, 258, 2)], isTooLong);
    assertRefused("protocol", waiting(1), [header(CellCommand.CERTS, 16 * 1024 + 1)], isTooLong);
    assertRefused("protocol", waiting(2), [header(CellCommand.AUTHENTICATE, 1025)], isTooLong);
    for (const command of [CellCommand.VPADDING, CellCommand.AUTHORIZE]) {
      for (let state = 1; state < 4; state++) {
        const padding = variableCell(0, command, new Uint8Array(60_000));
        const isEndless = (error: TunicError) => error.code === "handshake-too-long";
        const parts = new Array(Math.ceil(MAX_HANDSHAKE_BYTES / padding.length)).fill(padding);
        assertRefused("protocol", waiting(state), parts, isEndless);
      }
    }
  });

  test("cells that are ill-formed", () => {
    const versions = variableCell(0, CellCommand.VERSIONS, Uint8Array.of(0, 4, 0), 2);
    assertRefused("malformed", waiting(0), [versions]);
    assertRefused("malformed", waiting(1), [variableCell(0, CellCommand.CERTS, new Uint8Array(0))]);
    assertRefused("malformed", waiting(1), [fixedCell(0, CellCommand.NETINFO, new Uint8Array(509).fill(0xff))]);
    for (const payload of [[], [0, 3, 0], [0, 3, 0, 1], [0, 3, 0, 0]]) {
      const cell = variableCell(0, CellCommand.AUTHENTICATE, Uint8Array.from(payload));
      assertRefused("malformed", waiting(2), [cell]);
    }
  });

  test("certificates that do not belong together, or are a responder's", () => {
    const refuse = (kind: ErrorKind, replaced: Readonly<Record<number, Uint8Array | undefined>>) => {
      const certs = new Map(initiator.link.initiatorCerts);
      for (const [type, body] of Object.entries(replaced)) {
        if (body) certs.set(Number(type), body);
        else certs.delete(Number(type));
      }
      assertRefused(kind, waiting(1), [certsCell(certs)]);
    };
    const theirs = stranger.link.initiatorCerts;
    for (const type of initiator.link.initiatorCerts.keys()) {
      refuse("protocol", { [type]: undefined });
      refuse("malformed", { [type]: new Uint8Array(0) });
      refuse("crypto", { [type]: theirs.get(type)! });
    }
    assertRefused("protocol", waiting(1), [certsCell(initiator.link.responderCerts)]);
    const content: EdCertContent = {
      type: EdCertType.LINK_AUTH,
      keyType: CertifiedKeyType.ED25519,
      certifiedKey: initiator.link.authKey.publicKey,
      expiresMs: NOW + DAY_MS,
      includeSigningKey: false,
    };
    const auth = (changed: Partial<EdCertContent>, signer = initiator.signingKey) => ({
      [CertType.ED25519_AUTH]: encodeEdCert({ ...content, ...changed }, signer),
    });
    refuse("clock", auth({ expiresMs: NOW - HOUR_MS }));
    refuse("protocol", auth({ type: EdCertType.TLS_LINK }));
    refuse("protocol", auth({ keyType: CertifiedKeyType.SHA256_OF_X509 }));
    refuse("crypto", auth({}, initiator.ed25519Key));
  });

  test("a signature of another link", () => {
    const isBad = (error: TunicError) => error.code === "bad-authentication" && error.message.includes("another link");
    const bytes = answered().cells;
    // Replayed: the challenge was another one.
    assertRefused("crypto", waiting(1), bytes.slice(0, 2), isBad);
    // Passed on by somebody between two TLS sessions.
    const other = answered({ exportKeyingMaterial: session("two") });
    assertRefused("crypto", other.responder, other.cells.slice(0, 2), isBad);
    // Passed on to a relay that has the same challenge but is somebody else.
    const fixed = { random: (count: number) => new Uint8Array(count).fill(1) };
    const { cells } = answered(fixed);
    const elsewhere = responderWith({ ...fixed, identity: stranger.link });
    elsewhere.step(versionsCell(4, 5));
    assertRefused("crypto", elsewhere, cells.slice(0, 2), isBad);
    // The same words and another VERSIONS cell.
    const otherVersions = responderWith(fixed);
    otherVersions.step(versionsCell(3, 4, 5));
    assertRefused("crypto", otherVersions, cells.slice(0, 2), isBad);
    const same = responderWith(fixed);
    same.step(versionsCell(4, 5));
    assert.ok(same.step(concat(...cells)).done!.peer, "what must be refused differs in nothing else");
  });

  test("the signature of another key, or any changed byte", () => {
    const isSignature = (error: TunicError) => error.message.includes("signature");
    const wrongKey = answered({}, { identity: { ...initiator.link, authKey: generateEd25519(random) } });
    assertRefused("crypto", wrongKey.responder, wrongKey.cells.slice(0, 2), isSignature);
    const certs = certsCell(stranger.link.initiatorCerts);
    const swapped = answered();
    assertRefused("crypto", swapped.responder, [certs, swapped.cells[1]]);
    const fixed = { random: (count: number) => new Uint8Array(count).fill(1) };
    const { cells } = answered(fixed);
    for (let at = 7 + 4; at < cells[1].length; at++) {
      const responder = responderWith(fixed);
      responder.step(versionsCell(4, 5));
      const spoilt = cells[1].slice();
      spoilt[at]! ^= 1;
      assertRefused("crypto", responder, [cells[0], spoilt]);
    }
  });

  test("authentication of a type that it did not offer", () => {
    const retyped = (cell: Uint8Array, type: number) => {
      const { authentication: body } = decodeWith(AUTHENTICATE, cell.subarray(7));
      return variableCell(0, CellCommand.AUTHENTICATE, encodeWith(AUTHENTICATE, { type, authentication: body }));
    };
    const isNotOffered = (error: TunicError) => error.code === "authentication-not-offered";
    for (const type of [0, 1, 2, 4, 0x103]) {
      const { responder, cells } = answered();
      assertRefused("protocol", responder, [cells[0], retyped(cells[1], type)], isNotOffered);
    }
    const { cells } = answered();
    const responder = responderWith({ exportKeyingMaterial: undefined });
    responder.step(versionsCell(5));
    assertRefused("protocol", responder, cells.slice(0, 2), isNotOffered);
  });
});

describe("a responder fed with anything", () => {
  test("never takes it for a relay, and throws nothing but TunicErrors", () => {
    const { AUTHENTICATE: authenticate, AUTHORIZE, CERTS: certs, NETINFO: netinfo, VPADDING } = CellCommand;
    const cell = fc.tuple(
      fc.constantFrom(netinfo, VPADDING, certs, certs, authenticate, AUTHORIZE),
      fc.oneof(
        fc.uint8Array({ maxLength: 500, size: "max" }),
        fc.constant(encodeWith(CERTS, initiator.link.initiatorCerts)),
      ),
    ).map(([command, payload]) =>
      isVariableLength(command) ? variableCell(0, command, payload) : fixedCell(0, command, payload.subarray(0, 509))
    );
    fc.assert(fc.property(fc.array(cell), fc.integer({ min: 1, max: 700 }), (cells, size) => {
      const bytes = concat(versionsCell(4, 5), ...cells);
      const responder = responderWith();
      try {
        for (let at = 0; at < bytes.length; at += size) {
          const { done } = responder.step(bytes.subarray(at, at + size));
          if (!done) continue;
          assert.equal(done.peer, undefined);
          return;
        }
      } catch (error) {
        assert.ok(isTunicError(error, "malformed", "protocol", "crypto", "clock"), String(error));
      }
    }));
  });

  test("an initiator's changed words open the link to the real one or to none", () => {
    const fixed = { random: (count: number) => new Uint8Array(count).fill(1) };
    const words = concat(versionsCell(4, 5), ...answered(fixed).cells);
    const change = fc.tuple(fc.nat(words.length - 1), fc.integer({ min: 1, max: 255 }));
    fc.assert(fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
      const bytes = words.slice();
      for (const [at, mask] of changes) bytes[at]! ^= mask;
      try {
        const peer = responderWith(fixed).step(bytes).done?.peer;
        if (peer) assert.ok(equal(peer.rsaId, initiator.rsaId) && equal(peer.ed25519Id, initiator.ed25519Id));
      } catch (error) {
        assert.ok(isTunicError(error, "malformed", "protocol", "crypto", "clock"), String(error));
      }
    }));
  });
});
