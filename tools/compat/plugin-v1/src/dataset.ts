/** Sums, as many as are asked for. */
export async function* sumsDataset({ size = 4 }: { size?: number } = {}): AsyncGenerator<Record<string, unknown>> {
  for (let i = 0; i < size; i++) yield { prompt: `${i}+1=`, answer: String(i + 1) };
}
