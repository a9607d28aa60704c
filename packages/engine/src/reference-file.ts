import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { fromHf, openSafetensors, parameterSpecs, writeSafetensors, type Decoder } from '@espalier/models';
import { addInPlace, mul, tensor, tidy } from '@espalier/tensor';

const fileName = 'reference.safetensors';

/** Parameters that the reference has for itself, and not with the policy. */
const ownNames = (reference: Decoder, policy: Decoder) => [...reference.parameters].filter(([name, parameter]) => parameter !== policy.parameters.get(name)).map(([name]) => name);

/** `ref ← alpha · θ + (1 - alpha) · ref`, one parameter at a time. */
export function mixReference(reference: Decoder, policy: Decoder, alpha: number): void {
  for (const name of ownNames(reference, policy)) {
    const target = reference.parameters.get(name)!;
    const mixed = tidy(() => addInPlace(mul(target, 1 - alpha), policy.parameters.get(name)!, alpha));
    target.assign(mixed);
    mixed.dispose();
  }
}

/** Writes a reference that has moved, under Hugging Face's names. */
export function saveReference(dir: string, reference: Decoder, policy: Decoder): void {
  const weights = reference.weights();
  const entries = ownNames(reference, policy).map((name) => ({ name, shape: weights.tensors.get(name)!.shape, data: () => weights.read(name) }));
  writeSafetensors(join(dir, fileName), entries, { metadata: { format: 'espalier-reference' } });
}

/**
 * Opens what {@link saveReference} wrote, checked; null where the folder has none.
 * @throws EspalierError `bad_checkpoint` when it is another model's
 */
export function openReference(dir: string, reference: Decoder, policy: Decoder): { restore(): void; moved: boolean } | null {
  const path = join(dir, fileName);
  if (!existsSync(path)) return null;
  const specs = new Map(parameterSpecs(reference.config).map((spec) => [spec.name, spec]));
  const file = openSafetensors(path);
  try {
    const names = ownNames(reference, policy);
    for (const name of names) {
      const [here, there] = [specs.get(name)!.stored, file.tensors.get(name)?.shape];
      if (there?.join() !== here.join()) throw new EspalierError('bad_checkpoint', `${path}: ${name} is ${there ? `[${there.join(', ')}]` : 'absent'} there and [${here.join(', ')}] here`);
    }
    const stored = new Map(names.map((name) => [name, fromHf(specs.get(name)!, file.read(name))]));
    return {
      moved: true,
      restore() {
        for (const [name, values] of stored) assign(reference, name, values);
      },
    };
  } finally {
    file.close();
  }
}

/** Puts numbers, in the layout of memory, into a parameter. */
export function assign(decoder: Decoder, name: string, values: Float32Array): void {
  const target = decoder.parameters.get(name)!;
  const loaded = tensor(values, target.shape, 'float32');
  target.assign(loaded);
  loaded.dispose();
}
