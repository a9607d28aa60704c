/**
 * The part of TensorFlow's `event.proto` and `summary.proto` that scalars and texts need, written field by field:
 *
 *     Event     wall_time: double = 1, step: int64 = 2, file_version: string = 3, summary: Summary = 5, session_log: SessionLog = 7
 *     Summary   value: repeated Value = 1
 *     Value     tag: string = 1, simple_value: float = 2, tensor: TensorProto = 8, metadata: SummaryMetadata = 9
 *     SessionLog  status: enum = 1 (START = 1)
 *     TensorProto dtype: enum = 1 (DT_STRING = 7), tensor_shape: TensorShapeProto = 2, string_val: repeated bytes = 8
 *     TensorShapeProto  dim: repeated { size: int64 = 1 } = 2
 *     SummaryMetadata   plugin_data: { plugin_name: string = 1 } = 1
 */
const varintType = 0;
const fixed64Type = 1;
const bytesType = 2;
const fixed32Type = 5;

function varint(value: number | bigint): Buffer {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return Buffer.from(bytes);
}

const key = (field: number, type: number) => varint((field << 3) | type);
const integer = (field: number, value: number) => Buffer.concat([key(field, varintType), varint(value)]);
const message = (field: number, ...parts: readonly Uint8Array[]) => {
  const content = Buffer.concat(parts);
  return Buffer.concat([key(field, bytesType), varint(content.length), content]);
};
const text = (field: number, value: string) => message(field, Buffer.from(value, 'utf8'));
function double(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([key(field, fixed64Type), bytes]);
}
function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, fixed32Type), bytes]);
}

/** Seconds since 1970. */
export type WallTime = number;

/** The first event of a file. */
export const fileVersionEvent = (time: WallTime): Buffer => Buffer.concat([double(1, time), text(3, 'brain.Event:2')]);

/** Tells TensorBoard that the run goes on at `step`: what other files of the folder hold from there on is superseded. */
export const sessionStartEvent = (time: WallTime, step: number): Buffer => Buffer.concat([double(1, time), integer(2, step), message(7, integer(1, 1))]);

/** Numbers of one step, by tag. */
export function scalarsEvent(time: WallTime, step: number, scalars: Readonly<Record<string, number>>): Buffer {
  const values = Object.entries(scalars).map(([tag, value]) => message(1, text(1, tag), float(2, value)));
  return Buffer.concat([double(1, time), integer(2, step), message(5, ...values)]);
}

/** A text (Markdown) for TensorBoard's text plugin. */
export function textEvent(time: WallTime, step: number, tag: string, content: string): Buffer {
  const shape = message(2, message(2, integer(1, 1)));
  const tensor = message(8, integer(1, 7), shape, text(8, content));
  const metadata = message(9, message(1, text(1, 'text')));
  return Buffer.concat([double(1, time), integer(2, step), message(5, message(1, text(1, tag), metadata, tensor))]);
}
