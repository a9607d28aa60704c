// docs/engine.md, from the kernels that are registered and the facts that the program goes by: npx tsx --conditions @espalier/source tools/docs/engine-page.mts
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nativeKernels } from '../../packages/native/src/kernels';
import { backendFacts, backendNames, type BackendFacts } from '../../packages/tensor/src/index';
import { portableKernels, tensorflowOperations } from '../../packages/tensor/src/ops/kernel';

export const pagePath = fileURLToPath(new URL('../../docs/engine.md', import.meta.url));
const { wheels, npm } = JSON.parse(readFileSync(new URL('../tensorflow/versions.json', import.meta.url), 'utf8')) as { wheels: Record<string, { name: string; version: string }[]>; npm: Record<string, string> };

const rust = nativeKernels.map(({ kernelName }) => kernelName);
const isFused = (name: string) => name.startsWith('Espalier');
const fused = [...new Set([...portableKernels, ...rust.filter(isFused)])].sort();
const code = (name: string) => `\`${name}\``;
const short = (name: string) => name.replace(/^Espalier/, '');

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string => [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n');

/** What serves a fused kernel on a backend. */
function served(name: string, backend: string): string {
  if (backend === 'native' && rust.includes(name)) return 'Rust';
  if (!portableKernels.has(name)) return '–';
  const operations = backend.startsWith('tensorflow') ? tensorflowOperations.get(name) : undefined;
  return operations ? operations.map(code).join(', ') : 'portable';
}

function counts(backend: string): string {
  const of = fused.map((name) => served(name, backend));
  const [own, portable, absent] = [of.filter((by) => by !== 'portable' && by !== '–').length, of.filter((by) => by === 'portable').length, of.filter((by) => by === '–').length];
  return [own > 0 ? `${own} of its own` : '', `${portable} portable`, absent > 0 ? `${absent} absent` : ''].filter(Boolean).join(', ');
}

const yes = (holds: boolean) => (holds ? 'yes' : 'no');

const properties: [string, (facts: BackendFacts, backend: string) => string][] = [
  ['what computes', ({ runs }) => runs],
  ['what it needs', ({ needs }) => needs],
  ['fused kernels', (_, backend) => counts(backend)],
  ['standard kernels', (_, backend) => (backend === 'native' ? `${rust.filter((name) => !isFused(name)).length} in Rust, the rest of \`cpu\`` : "its package's")],
  ['products of linear layers, head and attention', ({ precisions }) => (precisions.includes('bf16') ? 'bf16 operands where the processor multiplies them, else fp32; fp32 sums; for the sampler in eight bits where `samplerWeights` asks for it' : 'fp32')],
  ['updates in place', ({ inPlace }) => yes(inPlace)],
  ['a row is the same in any batch, to the bit', ({ batchInvariant }) => (batchInvariant ? 'yes' : 'not promised')],
  ['threads', ({ threads }) => threads],
  ['memory limit of its own', ({ memoryLimit }) => (memoryLimit ? `${memoryLimit / 2 ** 30} GB` : 'none')],
  ['limits', ({ limits }) => limits],
  ['what is tested', ({ verified }) => verified],
];

/** The page, as it should stand in docs/. */
export function enginePage(): string {
  const wheel = wheels['tfjs-node'][0];
  return `${[
    '# Backends of the engine',
    '<!-- made by tools/docs/engine-page.mts from packages/tensor/src/backend-facts.ts, the registered kernels and tools/tensorflow/versions.json -->',
    `Model code is written once. What computes it is a backend, the first of these that is here: ${backendNames.map(code).join(', ')}. \`ESPALIER_BACKEND\` or \`--backend\` says another;
\`espalier doctor\` what was found and why the others were not, \`espalier doctor --selftest\` whether the chosen one computes right. What has never run on a GPU is marked **unverified on GPU**.`,
    '## What differs',
    table(['', ...backendNames.map(code)], properties.map(([name, of]) => [name, ...backendNames.map((backend) => of(backendFacts[backend], backend))])),
    "Samples are drawn by a counter-based generator: the same seed gives the same random numbers on every backend, and the same tokens as far as the logits are the same. Weights and optimiser state are fp32 everywhere. A run that is to resume to the same bytes resumes on the backend that it began on.",
    '## Fused kernels',
    '*portable*: made of standard operations, in [packages/tensor/src/ops](../packages/tensor/src/ops). Names in code are operations of TensorFlow that serve in its place.',
    table(['kernel', '`native`', '`tensorflow`, `tensorflow-gpu`', '`wasm`', '`cpu`'], fused.map((name) => [code(short(name)), ...['native', 'tensorflow', 'wasm', 'cpu'].map((backend) => served(name, backend))])),
    `Standard operations in Rust on \`native\`: ${rust.filter((name) => !isFused(name)).sort().map(code).join(', ')}.`,
    '## TensorFlow',
    `\`@tensorflow/tfjs-node\` ${npm['@tensorflow/tfjs-node']} brings TensorFlow 2.9; its GPU sibling wants CUDA 11.2. One command builds the binding of either against a current TensorFlow (${wheel.name} ${wheel.version}, or \`tensorflow\` ${wheels['tfjs-node-gpu'][0].version} with CUDA 12) and puts it where the package looks. It needs Linux on x86-64, Python 3 with pip, and g++:`,
    '```sh\nnode tools/tensorflow/build.mjs                                   # CPU, into .cache/tensorflow; --package tfjs-node-gpu, --dir YOUR-PROJECT\nexport ESPALIER_TENSORFLOW_DIR=$PWD/.cache/tensorflow\nnpx espalier doctor --selftest --backend tensorflow\n```',
    `Node 23 and newer lack helpers that the package calls; \`@espalier/tensor\` gives them back before it loads it. On a machine without a GPU \`--backend tensorflow-gpu\` goes on by the processor and says so in one line. TensorFlow itself greets on standard error.
More in [tools/tensorflow](../tools/tensorflow/README.md).`,
  ].join('\n\n')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(pagePath, enginePage());
