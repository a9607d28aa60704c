import { mkdir, writeFile } from 'node:fs/promises';
import { packageConfig } from '../../tsup.base';
import { bundleWorker, quickjsWasm } from './bundle-workers.mjs';

export default packageConfig(['src/index.ts'], {
  async onSuccess() {
    await mkdir('dist', { recursive: true });
    await writeFile('dist/quickjs-worker.cjs', await bundleWorker('quickjs'));
    await writeFile('dist/typescript-worker.cjs', await bundleWorker('typescript'));
    await writeFile('dist/python-worker.cjs', await bundleWorker('python'));
    await writeFile('dist/quickjs.wasm', await quickjsWasm());
  },
});
