/** A ggml tensor type: how many values a block holds and in how many bytes (`ggml-common.h`). */
export interface GgmlType {
  readonly name: string;
  readonly blockValues: number;
  readonly blockBytes: number;
}

const type = (name: string, blockValues: number, blockBytes: number): GgmlType => ({ name, blockValues, blockBytes });

/** The types that can be dequantised, by ggml's number. */
export const ggmlTypes: ReadonlyMap<number, GgmlType> = new Map([
  [0, type('f32', 1, 4)],
  [1, type('f16', 1, 2)],
  [2, type('q4_0', 32, 18)],
  [3, type('q4_1', 32, 20)],
  [6, type('q5_0', 32, 22)],
  [7, type('q5_1', 32, 24)],
  [8, type('q8_0', 32, 34)],
  [12, type('q4_k', 256, 144)],
  [14, type('q6_k', 256, 210)],
  [30, type('bf16', 1, 2)],
]);

/** Names of the other types, for the message that says that one cannot be read. */
export const otherGgmlTypes: ReadonlyMap<number, string> = new Map([
  [9, 'q8_1'], [10, 'q2_k'], [11, 'q3_k'], [13, 'q5_k'], [15, 'q8_k'], [16, 'iq2_xxs'], [17, 'iq2_xs'], [18, 'iq3_xxs'], [19, 'iq1_s'], [20, 'iq4_nl'],
  [21, 'iq3_s'], [22, 'iq2_s'], [23, 'iq4_xs'], [24, 'i8'], [25, 'i16'], [26, 'i32'], [27, 'i64'], [28, 'f64'], [29, 'iq1_m'], [34, 'tq1_0'], [35, 'tq2_0'], [39, 'mxfp4'],
]); // prettier-ignore
