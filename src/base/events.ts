/**
 * Typed events without inheritance: an object owns an `Emitter` and shows its `on`.
 *
 * Listeners run synchronously, in the order they were added. One that throws does not stop the others; the
 * error is reported as an uncaught one, since it is a defect of the listener, not of the emitter.
 */

/** Event names and what each carries. */
export type EventMap = object;

/** Removes the listener it was returned for. */
export type Unsubscribe = () => void;

export class Emitter<Events extends EventMap> {
  readonly #listeners = new Map<keyof Events, Set<(payload: never) => void>>();

  on<Name extends keyof Events>(name: Name, listener: (payload: Events[Name]) => void): Unsubscribe {
    let listeners = this.#listeners.get(name);
    if (!listeners) this.#listeners.set(name, listeners = new Set());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  emit<Name extends keyof Events>(name: Name, payload: Events[Name]): void {
    const listeners = this.#listeners.get(name);
    if (!listeners) return;
    for (const listener of [...listeners]) {
      try {
        (listener as (payload: Events[Name]) => void)(payload);
      } catch (error) {
        reportError(error);
      }
    }
  }

  /** Forgets every listener. */
  clear(): void {
    this.#listeners.clear();
  }
}
