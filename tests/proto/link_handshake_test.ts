import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type ErrorKind, isTunicError, type TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { decodeWith } from "../../src/bytes/codec.ts";
import { fromHex, toHex } from "../../src/bytes/text.ts";
import { LinkHandshake, type LinkHandshakeOptions, type LinkInfo } from "../../src/proto/link_handshake.ts";
import type { LinkProgress } from "../../src/proto/link_party.ts";
import { MAX_HANDSHAKE_BYTES } from "../../src/proto/link_sequence.ts";
import { CellCommand, cellCommandName, fixedCell, isVariableLength, variableCell } from "../../src/wire/cell.ts";
import { EdCertType } from "../../src/wire/ed_cert.ts";
import { CertType, NETINFO } from "../../src/wire/link_cells.ts";
import capture from "../vectors/cell_link_capture.json" with { type: "json" };
import {
  authChallengeCell,
  certsCell,
  DAY_MS,
  FakeResponder,
  HOUR_MS,
  netinfoCell,
  NOW,
  RsaIdentity,
  versionsCell,
} from "./fake_responder.ts";

const flight = fromHex(capture.flight);
const captured: LinkHandshakeOptions = {
  peerCertificate: fromHex(capture.tlsCertificate),
  expected: { rsaId: fromHex(capture.rsaId), ed25519Id: fromHex(capture.ed25519Id) },
  now: () => Date.parse(capture.now),
  peerAddress: capture.peerAddress,
};
const relay = new FakeResponder();
const other = new FakeResponder();

function handshakeWith(options: Partial<LinkHandshakeOptions> = {}): LinkHandshake {
  const handshake = new LinkHandshake({
    peerCertificate: relay.tlsCertificate,
    expected: relay.expected,
    now: () => NOW,
    peerAddress: { host: "192.0.2.1", port: 9001 },
    ...options,
  });
  handshake.start();
  return handshake;
}

/** Feeds `parts` one after the other; what was sent, put together, and how it ended. */
function run(handshake: LinkHandshake, parts: readonly Uint8Array[]): LinkProgress<LinkInfo> & { send: Uint8Array } {
  const sent: Uint8Array[] = [];
  let done: LinkInfo | undefined;
  for (const part of parts) {
    assert.equal(done, undefined, "nothing is fed to a finished handshake");
    const progress = handshake.step(part);
    if (progress.send) sent.push(progress.send);
    done = progress.done;
  }
  return { send: concat(...sent), ...(done ? { done } : {}) };
}

function assertRefused(
  kind: ErrorKind,
  parts: readonly Uint8Array[],
  check: (error: TunicError) => boolean = () => true,
  options: Partial<LinkHandshakeOptions> = {},
): void {
  const handshake = handshakeWith(options);
  assert.throws(() => run(handshake, parts), (error) => {
    assert.ok(isTunicError(error), String(error));
    assert.equal(error.kind, kind, error.message);
    return check(error);
  });
  assert.throws(() => handshake.step(new Uint8Array(0)), (error) => isTunicError(error, "internal"));
}

/** A good answer whose CERTS cell has some certificates replaced. */
function withCerts(replaced: Readonly<Record<number, Uint8Array | undefined>>): Uint8Array[] {
  return relay.cells(relay.certs(replaced));
}

describe("a link handshake with a C tor relay", () => {
  test("VERSIONS 4 and 5 go out first", () => {
    assert.equal(toHex(new LinkHandshake(captured).start()), "000007000400040005");
  });

  test("at every split it ends with the relay's identities and our NETINFO", () => {
    for (let split = 0; split <= flight.length; split++) {
      const handshake = new LinkHandshake(captured);
      handshake.start();
      const parts = split === flight.length ? [flight] : [flight.subarray(0, split), flight.subarray(split)];
      const { send, done } = run(handshake, parts);
      assert.ok(done, `split at ${split}`);
      assert.equal(toHex(done.rsaId), capture.rsaId);
      assert.equal(toHex(done.ed25519Id), capture.ed25519Id);
      assert.equal(done.linkVersion, 5);
      assert.equal(done.ownAddress, "127.0.0.1");
      assert.ok(Math.abs(done.clockSkewMs!) < 2000);
      assert.equal(done.rest.length, 0);
      // As a client of C tor: no time, the relay's address, no address of its own.
      assert.equal(toHex(send), `0000000008${"00000000" + "04047f000001" + "00"}`.padEnd(2 * 514, "0"));
    }
  });

  test("byte by byte it ends only with the last one", () => {
    const handshake = new LinkHandshake(captured);
    handshake.start();
    for (const byte of flight.subarray(0, -1)) assert.equal(handshake.step(Uint8Array.of(byte)).done, undefined);
    assert.ok(handshake.step(flight.subarray(-1)).done);
  });

  test("an Ed25519 identity that is not known yet is learned", () => {
    const handshake = handshakeWith({ ...captured, expected: { rsaId: captured.expected.rsaId } });
    assert.equal(toHex(handshake.step(flight).done!.ed25519Id), capture.ed25519Id);
  });

  test("any changed byte of a certificate that counts is noticed", () => {
    const certsAt = 11;
    const ranges: [number, number][] = [];
    for (let at = certsAt + 8, left = flight[certsAt + 7]!; left > 0; left--) {
      const length = (flight[at + 1]! << 8) | flight[at + 2]!;
      // Type 1 and 3 belong to the RSA-only proof, which is not looked at.
      if (flight[at] !== CertType.RSA_LINK && flight[at] !== CertType.RSA_AUTH) ranges.push([at + 3, at + 3 + length]);
      at += 3 + length;
    }
    assert.equal(ranges.length, 4);
    for (const [from, to] of ranges) {
      for (let at = from; at < to; at++) {
        const changed = flight.slice();
        changed[at]! ^= 0x10;
        const handshake = handshakeWith(captured);
        assert.throws(
          () => handshake.step(changed),
          (error) => isTunicError(error, "malformed", "crypto", "protocol", "clock", "identity"),
          `byte ${at}`,
        );
      }
    }
  });
});

describe("a link handshake", () => {
  test("with an answer made here it ends well", () => {
    const { done } = run(handshakeWith(), relay.cells());
    assert.deepEqual(done!.rsaId, relay.expected.rsaId);
    assert.deepEqual(done!.ed25519Id, relay.expected.ed25519Id);
    assert.equal(done!.ownAddress, "198.51.100.7");
    assert.equal(done!.clockSkewMs, 0);
  });

  test("our NETINFO goes out once the certificates are good, and once only", () => {
    const handshake = handshakeWith({ peerAddress: { host: "2001:db8::1", port: 9001 } });
    const sent = relay.cells().map((cell) => handshake.step(cell).send);
    assert.deepEqual(sent.map((bytes) => bytes?.length), [undefined, 514, undefined, undefined]);
    const netinfo = decodeWith(NETINFO, sent[1]!.subarray(5));
    assert.deepEqual(netinfo, { timestamp: 0, otherAddress: "2001:db8::1", myAddresses: [] });
  });

  test("the highest version in common is chosen", () => {
    for (const [theirs, chosen] of [[[3, 4, 5], 5], [[5, 4], 5], [[3, 4], 4], [[4, 6, 7], 4], [[4, 4], 4]] as const) {
      const { done } = run(handshakeWith(), [versionsCell(...theirs), ...relay.cells().slice(1)]);
      assert.equal(done!.linkVersion, chosen);
    }
  });

  test("without a version in common it fails", () => {
    for (const theirs of [[], [1, 2, 3], [6]]) {
      assertRefused("protocol", [versionsCell(...theirs)], (error) => error.code === "no-common-link-version");
    }
    assertRefused("malformed", [variableCell(0, CellCommand.VERSIONS, Uint8Array.of(0, 4, 0), 2)]);
  });

  test("what comes after NETINFO is handed back, untouched", () => {
    const after = concat(
      certsCell(relay.certs()),
      fixedCell(9, CellCommand.RELAY, Uint8Array.of(1)),
      Uint8Array.of(1, 2),
    );
    const all = concat(...relay.cells(), after);
    for (let split = all.length - after.length - 3; split < all.length; split += 7) {
      const handshake = handshakeWith();
      const first = handshake.step(all.subarray(0, split));
      const { done } = first.done ? first : handshake.step(all.subarray(split));
      assert.deepEqual(done!.rest, all.slice(all.length - after.length, first.done ? split : all.length));
      assert.throws(() => handshake.step(after), (error) => isTunicError(error, "internal"));
    }
  });

  test("a long tail in the same piece is no part of the handshake", () => {
    const tail = new Uint8Array(3 * MAX_HANDSHAKE_BYTES).fill(7);
    assert.deepEqual(handshakeWith().step(concat(...relay.cells(), tail)).done!.rest, tail);
  });

  test("padding and a second VERSIONS may come between any cells", () => {
    const early = variableCell(0, CellCommand.VPADDING, new Uint8Array(300), 2);
    const late = concat(
      variableCell(0, CellCommand.VPADDING, new Uint8Array(0)),
      variableCell(0, CellCommand.VERSIONS, Uint8Array.of(0, 4, 0)),
      variableCell(0, CellCommand.VPADDING, new Uint8Array(2000)),
    );
    const [versions, ...rest] = relay.cells();
    const all = concat(early, early, versions!, ...rest.flatMap((cell) => [late, cell]));
    assert.equal(handshakeWith().step(all).done!.linkVersion, 5);
  });

  test("the clock's skew is positive where ours is ahead, and unknown where the relay or the delay says nothing", () => {
    const skew = (timestamp: number, delayMs: number): number | undefined => {
      let now = NOW;
      const handshake = handshakeWith({ now: () => now });
      const [last, ...first] = [netinfoCell(timestamp), ...relay.cells().slice(0, 3)];
      run(handshake, first);
      now += delayMs;
      return handshake.step(last!).done!.clockSkewMs;
    };
    assert.equal(skew(NOW / 1000 - 7200, 0), 7200_000);
    assert.equal(skew(NOW / 1000 + 60, 0), -60_000);
    assert.equal(skew(NOW / 1000, 1500), 1500);
    assert.equal(skew(0, 0), undefined);
    assert.equal(skew(NOW / 1000, 180_000), undefined);
    assert.equal(skew(NOW / 1000, -180_000), undefined);
  });
});

describe("a link handshake refuses", () => {
  const allowed = [
    [CellCommand.VERSIONS, CellCommand.VPADDING],
    [CellCommand.CERTS, CellCommand.VPADDING, CellCommand.VERSIONS],
    [CellCommand.AUTH_CHALLENGE, CellCommand.VPADDING, CellCommand.VERSIONS],
    [CellCommand.NETINFO, CellCommand.VPADDING, CellCommand.VERSIONS],
  ];
  for (const [state, awaited] of ["VERSIONS", "CERTS", "AUTH_CHALLENGE", "NETINFO"].entries()) {
    test(`every other cell while waiting for ${awaited}, as soon as its command is there`, () => {
      const before = relay.cells().slice(0, state);
      const circIdLen = state === 0 ? 2 : 4;
      let refused = 0;
      for (let command = 0; command < 256; command++) {
        const header = new Uint8Array(circIdLen + 1);
        header[circIdLen] = command;
        if ((allowed[state] as number[]).includes(command)) {
          assert.deepEqual(run(handshakeWith(), [...before, header]).done, undefined);
          continue;
        }
        refused++;
        assertRefused("protocol", [...before, header], (error) => {
          assert.equal(error.code, "unexpected-cell");
          assert.ok(error.message.includes(`a ${cellCommandName(command)} cell`), error.message);
          assert.ok(error.message.includes(`waiting for ${awaited}`), error.message);
          return true;
        });
      }
      assert.equal(refused, 256 - allowed[state]!.length);
    });

    test(`a cell with a circuit's ID while waiting for ${awaited}`, () => {
      const cells = relay.cells();
      for (let at = 0; at < (state === 0 ? 2 : 4); at++) {
        const spoilt = cells[state]!.slice();
        spoilt[at] = 0x80;
        const isCircId = (error: TunicError) => error.code === "bad-circid";
        assertRefused("protocol", [...cells.slice(0, state), spoilt], isCircId);
      }
    });
  }

  test("cells in any other order", () => {
    const [versions, certs, challenge, netinfo] = relay.cells() as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    for (
      const order of [
        [certs],
        [versions, challenge],
        [versions, netinfo],
        [versions, certs, certs],
        [versions, certs, netinfo],
        [versions, certs, challenge, certs],
        [versions, certs, challenge, challenge],
      ]
    ) assertRefused("protocol", order, (error) => error.code === "unexpected-cell");
  });

  test("cells that are too long, before their payload has come", () => {
    const [versions, certs] = relay.cells() as [Uint8Array, Uint8Array];
    const header = (command: number, length: number, circIdLen = 4): Uint8Array =>
      variableCell(0, command, new Uint8Array(length), circIdLen).subarray(0, circIdLen + 3);
    const isTooLong = (error: TunicError) => error.code === "cell-too-long";
    assertRefused("protocol", [header(CellCommand.VERSIONS, 258, 2)], isTooLong);
    assertRefused("protocol", [versions, header(CellCommand.CERTS, 16 * 1024 + 1)], isTooLong);
    assertRefused("protocol", [versions, header(CellCommand.VERSIONS, 258)], isTooLong);
    assertRefused("protocol", [versions, certs, header(CellCommand.AUTH_CHALLENGE, 1025)], isTooLong);
  });

  test("endless padding", () => {
    for (const size of [0, 1000, 65_535]) {
      const padding = variableCell(0, CellCommand.VPADDING, new Uint8Array(size));
      const handshake = handshakeWith();
      handshake.step(versionsCell(5));
      let taken = 0;
      assert.throws(() => {
        for (; taken <= MAX_HANDSHAKE_BYTES; taken += padding.length) handshake.step(padding);
      }, (error) => isTunicError(error, "protocol") && error.code === "handshake-too-long");
      assert.ok(taken + padding.length > MAX_HANDSHAKE_BYTES - 16);
    }
  });

  test("cells that are ill-formed", () => {
    const [versions, certs] = relay.cells() as [Uint8Array, Uint8Array];
    assertRefused("malformed", [versions, variableCell(0, CellCommand.CERTS, new Uint8Array(0))]);
    assertRefused("malformed", [versions, certs, variableCell(0, CellCommand.AUTH_CHALLENGE, new Uint8Array(33))]);
    const addresses = new Uint8Array(509).fill(0xff);
    assertRefused("malformed", [versions, certs, authChallengeCell(), fixedCell(0, CellCommand.NETINFO, addresses)]);
  });

  for (const type of [CertType.RSA_ID, CertType.ED25519_SIGNING, CertType.ED25519_LINK, CertType.RSA_ED25519_CROSS]) {
    test(`certificates without one of type ${type}, or with two`, () => {
      const isMissing = (error: TunicError) => error.code === "missing-certificate";
      assertRefused("protocol", withCerts({ [type]: undefined }), isMissing);
      const payload = certsCell(relay.certs()).slice(7);
      const body = relay.certs().get(type)!;
      payload[0]!++;
      const second = Uint8Array.of(type, body.length >>> 8, body.length);
      const twice = variableCell(0, CellCommand.CERTS, concat(payload, second, body));
      assertRefused("malformed", [versionsCell(5), twice]);
    });
  }

  test("a relay of another identity", () => {
    const isIdentity = (name: string) => (error: TunicError) => {
      assert.ok(error.message.includes(`its ${name} identity`), error.message);
      // Who was met and who was sought is not for logs.
      assert.ok(!JSON.stringify(error.context).includes(toHex(relay.expected.rsaId).toUpperCase()));
      return error.code === "wrong-identity";
    };
    const { rsaId, ed25519Id } = relay.expected;
    const wrongRsa = { rsaId: new Uint8Array(20).fill(1), ed25519Id };
    assertRefused("identity", relay.cells(), isIdentity("RSA"), { expected: wrongRsa });
    assertRefused("identity", relay.cells(), isIdentity("RSA"), { expected: { rsaId: wrongRsa.rsaId } });
    const wrongEd25519 = { rsaId, ed25519Id: other.expected.ed25519Id };
    assertRefused("identity", relay.cells(), isIdentity("Ed25519"), { expected: wrongEd25519 });
  });

  test("a link certificate of another TLS certificate", () => {
    const isTls = (error: TunicError) => error.code === "wrong-tls-certificate";
    assertRefused("crypto", relay.cells(), isTls, { peerCertificate: other.tlsCertificate });
    assertRefused("crypto", relay.cells(), isTls, { peerCertificate: relay.tlsCertificate.subarray(1) });
  });

  test("certificates that are not of one chain", () => {
    const { ED25519_SIGNING, ED25519_LINK, RSA_ED25519_CROSS, RSA_ID } = CertType;
    // Each certificate is good by itself, but of another relay.
    assertRefused("crypto", withCerts({ [ED25519_SIGNING]: other.signingCert() }));
    assertRefused("crypto", withCerts({ [ED25519_LINK]: relay.linkCert({ signer: other.signingKey }) }));
    assertRefused("crypto", withCerts({ [ED25519_LINK]: relay.linkCert({ signer: relay.identityKey }) }));
    assertRefused("crypto", withCerts({ [RSA_ED25519_CROSS]: other.crossCert() }));
    const stranger = new RsaIdentity();
    assertRefused("crypto", withCerts({ [RSA_ED25519_CROSS]: relay.crossCert({ rsa: stranger }) }));
    assertRefused("crypto", withCerts({ [RSA_ID]: stranger.certificate(NOW - DAY_MS, NOW + DAY_MS) }));
    const issuedByStranger = relay.rsa.certificate(NOW - DAY_MS, NOW + DAY_MS, stranger);
    assertRefused("crypto", withCerts({ [RSA_ID]: issuedByStranger }));
  });

  test("certificates of the wrong type or form", () => {
    const { ED25519_SIGNING, ED25519_LINK, RSA_ID } = CertType;
    assertRefused("protocol", withCerts({ [ED25519_LINK]: relay.linkCert({ type: EdCertType.LINK_AUTH }) }));
    assertRefused("protocol", withCerts({ [ED25519_LINK]: relay.signingCert() }));
    assertRefused("protocol", withCerts({ [ED25519_SIGNING]: relay.signingCert({ includeSigningKey: false }) }));
    assertRefused("protocol", withCerts({ [ED25519_SIGNING]: relay.signingCert({ keyType: 3 }) }));
    assertRefused("malformed", withCerts({ [RSA_ID]: relay.crossCert() }));
    assertRefused("malformed", withCerts({ [ED25519_LINK]: new Uint8Array(0) }));
  });

  test("an RSA identity key of another size than 1024 bits", () => {
    const large = new FakeResponder(new RsaIdentity(1536));
    const cells = large.cells();
    const options = { peerCertificate: large.tlsCertificate, expected: large.expected };
    assertRefused("protocol", cells, (error) => error.message.includes("1536 bits"), options);
  });

  test("certificates that have expired", () => {
    const { ED25519_SIGNING, ED25519_LINK, RSA_ED25519_CROSS } = CertType;
    const isExpired = (error: TunicError) => error.code === "certificate-expired";
    const expiresMs = NOW - HOUR_MS;
    assertRefused("clock", withCerts({ [ED25519_SIGNING]: relay.signingCert({ expiresMs }) }), isExpired);
    assertRefused("clock", withCerts({ [ED25519_LINK]: relay.linkCert({ expiresMs }) }), isExpired);
    assertRefused("clock", withCerts({ [RSA_ED25519_CROSS]: relay.crossCert({ expiresMs }) }), isExpired);
    const last = { [ED25519_LINK]: relay.linkCert({ expiresMs: NOW }) };
    assert.ok(run(handshakeWith(), withCerts(last)).done);
    assertRefused("clock", withCerts(last), isExpired, { now: () => NOW + 1 });
  });

  test("an RSA identity certificate further out of its time than C tor takes", () => {
    const isExpired = (error: TunicError) => error.code === "certificate-expired";
    const id = (from: number, to: number) => withCerts({ [CertType.RSA_ID]: relay.rsa.certificate(from, to) });
    assert.ok(run(handshakeWith(), id(NOW - 9 * DAY_MS, NOW - 2 * DAY_MS)).done);
    assertRefused("clock", id(NOW - 9 * DAY_MS, NOW - 2 * DAY_MS - 1000), isExpired);
    assert.ok(run(handshakeWith(), id(NOW + 30 * DAY_MS, NOW + 40 * DAY_MS)).done);
    assertRefused("clock", id(NOW + 30 * DAY_MS + 1000, NOW + 40 * DAY_MS), isExpired);
  });

  test("a forged CERTS cell without answering it", () => {
    const handshake = handshakeWith();
    handshake.step(versionsCell(5));
    let sent: Uint8Array | undefined;
    assert.throws(() => {
      sent = handshake.step(certsCell(relay.certs({ [CertType.ED25519_LINK]: other.linkCert() }))).send;
    });
    assert.equal(sent, undefined);
  });
});

describe("a link handshake fed with anything", () => {
  const cut = (bytes: Uint8Array, splits: readonly number[]): Uint8Array[] => {
    const points = [0, ...splits.map((split) => split % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
    return points.slice(1).map((end, i) => bytes.subarray(points[i], end));
  };

  /** Ends well or with a TunicError; the latter is the answer. */
  function outcome(parts: readonly Uint8Array[]): LinkInfo | TunicError | undefined {
    const handshake = handshakeWith(captured);
    try {
      for (const part of parts) {
        const { done } = handshake.step(part);
        if (done) return done;
      }
    } catch (error) {
      assert.ok(isTunicError(error), String(error));
      assert.notEqual(error.kind, "internal", error.message);
      return error;
    }
    return undefined;
  }

  test("random bytes never open a link", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 2000, size: "max" }), fc.array(fc.nat()), (bytes, splits) => {
      const result = outcome(cut(bytes, splits));
      assert.ok(result === undefined || isTunicError(result));
    }));
  });

  test("random cells after VERSIONS never open a link", () => {
    const cell = fc.tuple(
      fc.constantFrom(7, 8, 128, 129, 129, 130),
      fc.uint8Array({ maxLength: 500, size: "max" }),
    ).map(([command, payload]) =>
      isVariableLength(command) ? variableCell(0, command, payload) : fixedCell(0, command, payload)
    );
    fc.assert(fc.property(fc.array(cell), fc.array(fc.nat()), (cells, splits) => {
      const result = outcome(cut(concat(versionsCell(4, 5), ...cells), splits));
      assert.ok(result === undefined || isTunicError(result));
    }));
  });

  test("a spoilt real answer opens the link to the real relay or to none", () => {
    const change = fc.tuple(fc.nat(flight.length - 1), fc.integer({ min: 1, max: 255 }));
    fc.assert(fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), fc.array(fc.nat()), (changes, splits) => {
      const bytes = flight.slice();
      for (const [at, mask] of changes) bytes[at]! ^= mask;
      const result = outcome(cut(bytes, splits));
      if (result === undefined || isTunicError(result)) return;
      assert.equal(toHex(result.rsaId), capture.rsaId);
      assert.equal(toHex(result.ed25519Id), capture.ed25519Id);
    }));
  });
});
