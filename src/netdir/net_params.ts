/** The network's parameters, as the authorities set them (dir-spec 3.4.1 "params", param-spec). */

/** What to assume where the consensus is silent, and what to hold its value to. */
export interface ParamRule {
  readonly default: number;
  readonly min?: number;
  readonly max?: number;
}

export class NetParams {
  /** No parameter is set: all have their defaults. */
  static readonly DEFAULTS = new NetParams(new Map());
  readonly #values: ReadonlyMap<string, number>;

  constructor(values: ReadonlyMap<string, number>) {
    this.#values = values;
  }

  /** The parameter's value, or its default, clamped to `min` and `max`. */
  get(name: string, rule: ParamRule): number {
    const value = this.#values.get(name) ?? rule.default;
    return Math.min(Math.max(value, rule.min ?? -0x8000_0000), rule.max ?? 0x7fff_ffff);
  }
}
