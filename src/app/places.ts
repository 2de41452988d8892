/** Where the system wants files to be: the default torrc and data directory. */

/** What is known of the process and its user. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** As `process.platform` has it: "linux", "darwin", "win32", … */
  readonly platform: string;
  readonly workingDirectory: string;
}

/** torrc's places, best first; the first that exists is read. */
export function defaultTorrcPaths({ env, platform }: Surroundings): string[] {
  const home = homeOf(env);
  const paths: string[] = [];
  if (platform === "win32") {
    if (env["APPDATA"]) paths.push(`${env["APPDATA"]}/tunic/torrc`);
    return paths;
  }
  const config = absolute(env["XDG_CONFIG_HOME"]) ?? (home && `${home}/.config`);
  if (config) paths.push(`${config}/tunic/torrc`);
  if (platform === "darwin" && home) paths.push(`${home}/Library/Application Support/tunic/torrc`);
  paths.push("/etc/tunic/torrc");
  return paths;
}

/**
 * The data directory where none is named: systemd's state directory, else the XDG base directory's place (or the
 * platform's own); `undefined` where the user has no home.
 */
export function defaultDataDirectory({ env, platform }: Surroundings): string | undefined {
  // systemd may name several, with colons between them.
  const state = absolute(env["STATE_DIRECTORY"]?.split(":")[0]);
  if (state) return state;
  const home = homeOf(env);
  const xdg = absolute(env["XDG_DATA_HOME"]);
  if (xdg) return `${xdg}/tunic`;
  if (platform === "win32") return env["LOCALAPPDATA"] ? `${env["LOCALAPPDATA"]}/tunic` : undefined;
  if (!home) return undefined;
  return platform === "darwin" ? `${home}/Library/Application Support/tunic` : `${home}/.local/share/tunic`;
}

/** A path as a torrc has it, `~/` being the user's home, made absolute. */
export function expandPath(path: string, { env, platform, workingDirectory }: Surroundings): string {
  const home = homeOf(env);
  const expanded = path === "~" ? home ?? path : path.startsWith("~/") && home ? `${home}${path.slice(1)}` : path;
  return isAbsolute(expanded, platform) ? expanded : `${workingDirectory.replace(/\/+$/, "")}/${expanded}`;
}

export function isAbsolute(path: string, platform: string): boolean {
  return path.startsWith("/") || (platform === "win32" && /^(?:[a-zA-Z]:[\\/]|\\\\)/.test(path));
}

function homeOf(env: Surroundings["env"]): string | undefined {
  return (env["HOME"] ?? env["USERPROFILE"])?.replace(/\/+$/, "") || undefined;
}

/** The XDG specification has relative paths ignored. */
function absolute(path: string | undefined): string | undefined {
  return path?.startsWith("/") ? path.replace(/\/+$/, "") || "/" : undefined;
}
