import { tidy, together } from '@espalier/tensor';

/** Runs a body whose tensors are all disposed when it returns, and its kernels {@link together}; what it returns is plain values. (`tidy` itself would look for tensors inside typed arrays, number by number.) */
export function scoped<T>(body: () => T): T {
  let result!: T;
  tidy(() => {
    result = together(body);
  });
  return result;
}
