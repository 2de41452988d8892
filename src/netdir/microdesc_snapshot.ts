/**
 * The store of microdescriptors as bytes, for the cache on disk: a twentieth of the documents' size.
 *
 * Layout: magic and version, policies, families, the columns, and SHA-256 of all that. The checksum finds damage, not
 * malice: whoever can write to the data directory has won already. Numbers are big-endian.
 */
import { Reader, utf8, Writer } from "../bytes/mod.ts";
import { equal } from "../bytes/bytes.ts";
import { sha256, SHA256_LENGTH } from "../crypto/digest.ts";
import { MICRODESC_DIGEST_BYTES } from "../wire/netdoc/relay_table.ts";
import { Families } from "./families.ts";
import { emptyColumns, KEY_BYTES, MicrodescStore, Policies } from "./microdesc_store.ts";

const WHAT = "the cached microdescriptors";
const MAGIC = utf8("tunic microdescs");
const VERSION = 1;
/** Digest, two keys, two policies, two families, a time. */
const ROW_BYTES = MICRODESC_DIGEST_BYTES + 2 * KEY_BYTES + 2 * 2 + 2 * 4 + 4;

export function encodeStore(store: MicrodescStore): Uint8Array {
  const count = store.size;
  const { ntorKeys, ed25519Ids, policies, policies6, families, familyIds, lastListed } = store.columns;
  const writer = new Writer(count * ROW_BYTES + 65536);
  writer.bytes(MAGIC).u16(VERSION);
  writer.u32(store.policies.size - 1);
  for (let policy = 1; policy < store.policies.size; policy++) {
    writer.lengthPrefixed(4, (inner) => void inner.bytes(store.policies.text(policy)));
  }
  store.families.encode(writer);
  writer.u32(count);
  for (let slot = 0; slot < count; slot++) writer.bytes(store.digest(slot));
  writer.bytes(ntorKeys.subarray(0, count * KEY_BYTES)).bytes(ed25519Ids.subarray(0, count * KEY_BYTES));
  for (let slot = 0; slot < count; slot++) {
    writer.u16(policies[slot]!).u16(policies6[slot]!);
    writer.u32(families[slot]!).u32(familyIds[slot]!).u32(lastListed[slot]!);
  }
  const body = writer.finish();
  const whole = new Uint8Array(body.length + SHA256_LENGTH);
  whole.set(body);
  whole.set(sha256(body), body.length);
  return whole;
}

/** Reads what {@link encodeStore} wrote. Throws `malformed` for anything else, another version included. */
export function decodeStore(bytes: Uint8Array): MicrodescStore {
  const reader = Reader.whole(bytes.subarray(0, Math.max(0, bytes.length - SHA256_LENGTH)), WHAT);
  if (!equal(reader.view(MAGIC.length), MAGIC)) reader.fail("another kind of file");
  const version = reader.u16();
  if (version !== VERSION) reader.fail(`version ${version}, expected ${VERSION}`);
  const checksum = sha256(bytes.subarray(0, bytes.length - SHA256_LENGTH));
  if (!equal(checksum, bytes.subarray(bytes.length - SHA256_LENGTH))) reader.fail("a wrong checksum");
  const policies = new Policies();
  const policyCount = reader.u32();
  for (let policy = 1; policy <= policyCount; policy++) {
    if (policies.intern(reader.view(reader.u32())) !== policy) reader.fail("a policy twice");
  }
  const families = Families.decode(reader);
  const count = reader.u32();
  if (count * ROW_BYTES !== reader.remaining) {
    reader.fail(`${count} rows do not fill the ${reader.remaining} bytes left`);
  }
  const store = new MicrodescStore(count, families, policies);
  const columns = emptyColumns(count);
  const digests = reader.view(count * MICRODESC_DIGEST_BYTES);
  columns.ntorKeys.set(reader.view(count * KEY_BYTES));
  columns.ed25519Ids.set(reader.view(count * KEY_BYTES));
  for (let slot = 0; slot < count; slot++) {
    columns.policies[slot] = reader.u16();
    columns.policies6[slot] = reader.u16();
    columns.families[slot] = reader.u32();
    columns.familyIds[slot] = reader.u32();
    columns.lastListed[slot] = reader.u32();
    if (columns.policies[slot]! >= policies.size || columns.policies6[slot]! >= policies.size) {
      reader.fail("an unknown policy");
    }
    if (!families.isMemberList(columns.families[slot]!) || !families.isIdList(columns.familyIds[slot]!)) {
      reader.fail("an unknown family");
    }
  }
  reader.end();
  if (!store.restore(digests, columns)) reader.fail("a digest twice");
  return store;
}
