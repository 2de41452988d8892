/** Waiting for what other processes do, which nobody announces. */

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Asks `ready` again and again until it answers something; the error says what was waited for. */
export async function poll<T>(
  what: string,
  timeoutMs: number,
  ready: () => Promise<T | undefined> | T | undefined,
  intervalMs = 100,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  while (true) {
    const answer = await ready();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`Cannot see ${what}: not so after ${timeoutMs} ms`);
    await delay(intervalMs);
  }
}
