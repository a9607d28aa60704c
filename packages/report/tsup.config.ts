import { mkdir, writeFile } from 'node:fs/promises';
import { packageConfig } from '../../tsup.base';
import { bundlePage } from './bundle-page.mjs';

export default packageConfig(['src/index.ts'], {
  async onSuccess() {
    const { script, style } = await bundlePage();
    await mkdir('dist', { recursive: true });
    await writeFile('dist/page.js', script);
    await writeFile('dist/page.css', style);
  },
});
