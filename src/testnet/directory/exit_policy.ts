/** Exit policies, in full for server descriptors and summed up for everything else (dir-spec 2.1.1, 3.8.2). */

export interface ExitPolicy {
  /** As in a server descriptor: `accept *:80`, …, the last of which settles the rest. */
  readonly rules: readonly string[];
  /** What `rules` come to for most addresses: `accept 80,443` or `reject 1-1024`. */
  readonly summary: string;
  /** The same for IPv6; "reject 1-65535" where not given. */
  readonly summary6?: string;
}

export const REJECTS_ALL = "reject 1-65535";
export const NO_EXIT: ExitPolicy = { rules: ["reject *:*"], summary: REJECTS_ALL };
export const EXIT_TO_ALL: ExitPolicy = { rules: ["accept *:*"], summary: "accept 1-65535", summary6: "accept 1-65535" };
