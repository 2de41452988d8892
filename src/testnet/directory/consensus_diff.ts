/**
 * Consensus diffs: an ed script from one consensus to a later one (dir-spec 4.5.1, appendix E).
 *
 * Both list relays by ascending identity, so entries are matched by walking through the two at once, and only the
 * few lines within an entry, and those of header and footer, are compared one with another.
 */
import { latin1, toHexUpper, utf8 } from "../../bytes/text.ts";
import { sha3_256 } from "../../crypto/digest.ts";
import type { SignedConsensus } from "./consensus.ts";

/** Lines `start` to `end` (exclusive, from 0) of the old text become `lines`. */
interface Change {
  readonly start: number;
  end: number;
  readonly lines: string[];
}

/** Both of one flavour. */
export function consensusDiff(from: SignedConsensus, to: SignedConsensus): Uint8Array {
  const before = linesOf(from.text);
  const after = linesOf(to.text);
  const signatures = before.findIndex((line) => line.startsWith("directory-signature "));
  const changes = new Changes();
  compareDocuments(before.slice(0, signatures), after, changes);
  const commands = changes.all.reverse().map(({ start, end, lines }) => {
    const block = `${lines.join("\n")}\n.\n`;
    if (start === end) return `${start}a\n${block}`;
    const range = end - start === 1 ? `${end}` : `${start + 1},${end}`;
    return lines.length === 0 ? `${range}d\n` : `${range}c\n${block}`;
  });
  return utf8(
    `network-status-diff-version 1\nhash ${toHexUpper(from.signedSha3)} ${toHexUpper(sha3_256(to.text))}\n` +
      `${signatures + 1},$d\n${commands.join("")}`,
  );
}

class Changes {
  readonly all: Change[] = [];

  add(start: number, end: number, lines: readonly string[]): void {
    if (start === end && lines.length === 0) return;
    const last = this.all.at(-1);
    if (last?.end === start) {
      last.end = end;
      last.lines.push(...lines);
    } else {
      this.all.push({ start, end, lines: [...lines] });
    }
  }
}

/** Without the empty one after the last line's end. */
function linesOf(text: Uint8Array): string[] {
  return latin1(text, 0, text.length - 1).split("\n");
}

/** Where header, each entry and the footer begin, and where the last ends. */
function sections(lines: readonly string[]): number[] {
  const starts = [0];
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    if (line.startsWith("r ") || line === "directory-footer") starts.push(i);
  }
  starts.push(lines.length);
  return starts;
}

function compareDocuments(before: readonly string[], after: readonly string[], changes: Changes): void {
  const [old, fresh] = [sections(before), sections(after)];
  const section = (lines: readonly string[], starts: readonly number[], n: number) =>
    lines.slice(starts[n], starts[n + 1]);
  const oldEntries = new Map<string, number>();
  for (let n = 1; n < old.length - 2; n++) oldEntries.set(identityOf(before[old[n]!]!), n);
  const compareSections = (o: number, f: number): void =>
    compareLines(section(before, old, o), section(after, fresh, f), old[o]!, changes);

  compareSections(0, 0);
  let next = 1;
  for (let f = 1; f < fresh.length - 2; f++) {
    const match = oldEntries.get(identityOf(after[fresh[f]!]!));
    if (match === undefined || match < next) {
      changes.add(old[next]!, old[next]!, section(after, fresh, f));
      continue;
    }
    changes.add(old[next]!, old[match]!, []);
    compareSections(match, f);
    next = match + 1;
  }
  const footer = old.length - 2;
  changes.add(old[next]!, old[footer]!, []);
  compareSections(footer, fresh.length - 2);
}

function identityOf(line: string): string {
  return line.split(" ", 3)[2] ?? "";
}

/** Adds the changes that keep the longest common sequence of lines; `offset`: number of the first old line. */
function compareLines(before: readonly string[], after: readonly string[], offset: number, changes: Changes): void {
  let start = 0;
  let [oldEnd, newEnd] = [before.length, after.length];
  while (start < oldEnd && start < newEnd && before[start] === after[start]) start++;
  while (oldEnd > start && newEnd > start && before[oldEnd - 1] === after[newEnd - 1]) {
    oldEnd--;
    newEnd--;
  }
  const rows = oldEnd - start;
  const columns = newEnd - start;
  const width = columns + 1;
  /** Length of the longest sequence that what is left of both has in common. */
  const common = new Uint16Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      common[i * width + j] = before[start + i] === after[start + j]
        ? common[(i + 1) * width + j + 1]! + 1
        : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!);
    }
  }
  for (let i = 0, j = 0; i < rows || j < columns;) {
    if (i < rows && j < columns && before[start + i] === after[start + j]) {
      i++;
      j++;
    } else if (j < columns && (i === rows || common[i * width + j + 1]! >= common[(i + 1) * width + j]!)) {
      changes.add(offset + start + i, offset + start + i, [after[start + j]!]);
      j++;
    } else {
      changes.add(offset + start + i, offset + start + i + 1, []);
      i++;
    }
  }
}
