import { parentPort } from 'node:worker_threads';
import { garbageCollector } from './collect-garbage';
import { serveEngine } from './host';
import { portOf } from './protocol';

// The entry of the engine's thread. Its only task is to answer; see host.ts.
if (parentPort) serveEngine(portOf(parentPort), garbageCollector());
