/** Faults of the test network. */
export { LinkFaults, RelayFaults } from "./fault_settings.ts";
export { Faults } from "./faults.ts";
