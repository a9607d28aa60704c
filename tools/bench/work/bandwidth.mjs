// Bytes a second that all threads read from memory, far more than the caches hold: the limit of decoding.
import { loadNative } from '@espalier/native';
import { serve, timed } from '../lib/serve.mjs';

const native = loadNative();
if (!native) {
  console.error('the Rust kernels are not here');
  process.exit(1);
}
const data = new Float32Array(native.allocate(512 * 2 ** 20)).fill(1);
native.squaredSum([data]);
await serve({ features: native.features() }, async () => {
  const seconds = await timed(() => native.squaredSum([data]));
  return { seconds, bytesPerSecond: data.byteLength / seconds };
});
