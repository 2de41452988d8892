/** A program as a user of the library writes it: it launches, waits, closes, and ends because nothing is left. */
import process from "node:process";
import { authoritiesFromText, launchTestClient } from "./client_tests.ts";

const tor = await launchTestClient(authoritiesFromText(process.argv[2]!));
await tor.ready();
await tor.close();
// If anything were left that keeps the process alive, this would not be reached by it ending in time.
const limit = setTimeout(() => process.exit(1), 5_000);
limit.unref();
