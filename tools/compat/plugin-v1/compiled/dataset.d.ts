/** Sums, as many as are asked for. */
export declare function sumsDataset({ size }?: {
    size?: number;
}): AsyncGenerator<Record<string, unknown>>;
