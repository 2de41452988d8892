/**
 * What the primitives of the hot path and of circuit building cost: `deno bench -A bench/crypto_bench.ts`.
 */
import { AesCtr } from "../src/crypto/aes_ctr.ts";
import { CreateFastClient, createFastServer } from "../src/crypto/create_fast.ts";
import { hmacSha256, RunningDigest, sha1, sha256 } from "../src/crypto/digest.ts";
import { Ed25519PrivateKey, verifyEd25519 } from "../src/crypto/ed25519.ts";
import { hkdfSha256, RELAY_KEYS_LENGTH } from "../src/crypto/kdf.ts";
import { NtorClient, ntorServer } from "../src/crypto/ntor.ts";
import { parseRsaPublicKeyPem, verifyRsaDigest } from "../src/crypto/rsa.ts";
import { generateX25519 } from "../src/crypto/x25519.ts";
import { RsaCertificate } from "../src/crypto/x509.ts";
import { fromHex } from "../src/bytes/text.ts";
import rsa from "../tests/vectors/crypto_rsa.json" with { type: "json" };
import x509 from "../tests/vectors/crypto_x509.json" with { type: "json" };

const random = { random: (count: number) => crypto.getRandomValues(new Uint8Array(count)) };

/** A relay cell's payload, and what a TLS record of 16 KiB holds of them. */
const PAYLOAD = new Uint8Array(509).fill(7);
const BATCH = new Uint8Array(31 * 509).fill(7);

const aes = new AesCtr(random.random(16));
Deno.bench("AesCtr.apply, 509 B", { group: "aes" }, () => void aes.apply(PAYLOAD));
Deno.bench("AesCtr.apply, 31 × 509 B", { group: "aes" }, () => void aes.apply(BATCH));

const running = new RunningDigest("sha1");
Deno.bench("RunningDigest.update, 509 B", { group: "digest" }, () => running.update(PAYLOAD));
Deno.bench("RunningDigest.update, 31 × 509 B", { group: "digest" }, () => running.update(BATCH));
Deno.bench("RunningDigest.peek", { group: "digest" }, () => void running.peek());
Deno.bench("RunningDigest.fork", { group: "digest" }, () => void running.fork());
Deno.bench("sha1, 509 B", { group: "digest" }, () => void sha1(PAYLOAD));
Deno.bench("sha256, 509 B", { group: "digest" }, () => void sha256(PAYLOAD));

const rsaId = random.random(20);
const onionKey = generateX25519(random);
const relay = { rsaId, ntorKey: onionKey.publicKey };
const secret = random.random(200);
const { onionSkin } = NtorClient.start(random, relay);
// Always the same ephemeral key, so that one reply fits every run.
const ephemeral = random.random(32);
const repeated = { random: () => ephemeral.slice() };
const repeatedSkin = NtorClient.start(repeated, relay).onionSkin;
const { reply } = ntorServer(random, rsaId, [onionKey], repeatedSkin, RELAY_KEYS_LENGTH);
Deno.bench("ntor, the client's half", { group: "ntor" }, () => {
  NtorClient.start(repeated, relay).finish(reply, RELAY_KEYS_LENGTH);
});
Deno.bench("ntor, the relay's half", { group: "ntor" }, () => {
  ntorServer(random, rsaId, [onionKey], onionSkin, RELAY_KEYS_LENGTH);
});
Deno.bench("CREATE_FAST, both halves", { group: "ntor" }, () => {
  const client = CreateFastClient.start(random);
  client.finish(createFastServer(random, client.onionSkin, RELAY_KEYS_LENGTH).reply, RELAY_KEYS_LENGTH);
});
const peer = generateX25519(random).publicKey;
Deno.bench("X25519, a fresh key", { group: "ntor" }, () => void generateX25519(random));
Deno.bench("X25519, a shared secret", { group: "ntor" }, () => void onionKey.sharedSecret(peer));
Deno.bench("HMAC-SHA256, 200 B", { group: "ntor" }, () => void hmacSha256(rsaId, secret));
Deno.bench("HKDF-SHA256, 200 B to 72 B", { group: "ntor" }, () => void hkdfSha256(secret, rsaId, rsaId, 72));

const signer = new Ed25519PrivateKey(random.random(32));
const signature = signer.sign(secret);
Deno.bench("Ed25519 verify", { group: "signatures" }, () => void verifyEd25519(signature, secret, signer.publicKey));
Deno.bench("Ed25519 sign", { group: "signatures" }, () => void signer.sign(secret));
const authority = parseRsaPublicKeyPem(rsa.authority.signingKey);
const [crosscert, identity] = [fromHex(rsa.authority.crosscert), fromHex(rsa.authority.identity)];
Deno.bench("RSA-2048 verify", { group: "signatures" }, () => void verifyRsaDigest(authority, crosscert, identity));
const certificate = fromHex(x509.identity.certificate);
Deno.bench("X.509 identity certificate, read and verified", { group: "signatures" }, () => {
  new RsaCertificate(certificate).isSelfSigned();
});
