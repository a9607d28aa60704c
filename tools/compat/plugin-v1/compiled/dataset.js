/** Sums, as many as are asked for. */
export async function* sumsDataset({ size = 4 } = {}) {
    for (let i = 0; i < size; i++)
        yield { prompt: `${i}+1=`, answer: String(i + 1) };
}
