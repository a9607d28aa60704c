import { tidy } from '@espalier/tensor';

/** Runs a body whose tensors are all disposed when it returns; what it returns is plain values. (`tidy` itself would look for tensors inside typed arrays, number by number.) */
export function scoped<T>(body: () => T): T {
  let result!: T;
  tidy(() => {
    result = body();
  });
  return result;
}
