// Loads the Rust library that was just built, asks it for a product, and copies it under the name of its platform: node tools/release/collect-library.mjs linux-x64-gnu FOLDER
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { platforms } from './native-packages.mjs';
import { root } from './workspace.mjs';

const [name, folder] = process.argv.slice(2);
const platform = platforms.find((one) => one.name === name);
if (!platform || !folder) throw new Error(`usage: collect-library.mjs PLATFORM FOLDER; platforms: ${platforms.map((one) => one.name).join(', ')}`);
assert.deepEqual([process.platform, process.arch], [platform.os, platform.cpu], `this machine is not ${name}`);
const file = join(root, 'packages/native/espalier-native.node');
const library = createRequire(import.meta.url)(file);
const y = new Float32Array(1);
library.linearUnpacked(y, Float32Array.of(1, 2, 3), Float32Array.of(4, 5, 6), null, 1, 1, 3, 'fp32');
assert.equal(y[0], 32);
assert.deepEqual(library.features().refusedKernels, []);
mkdirSync(folder, { recursive: true });
copyFileSync(file, join(resolve(folder), `espalier-native.${name}.node`));
console.log(`${name}: ${library.features().fp32Kernel}, ${library.features().threads} threads`);
