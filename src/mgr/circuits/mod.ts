/** Circuits as they are needed: built, kept ready, shared by isolation key, retired. */
export { CircuitManager, type CircuitManagerEvents, type CircuitManagerOptions } from "./circuit_manager.ts";
export { type Avoided, type CircuitRequest, type CircuitState, ManagedCircuit } from "./managed_circuit.ts";
