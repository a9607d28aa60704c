export const columnTypes = ['text', 'number', 'boolean', 'json'] as const;
/** What a column of a CSV file holds. `json`: lists and messages. */
export type ColumnType = (typeof columnTypes)[number];

const readers: Readonly<Record<ColumnType, (text: string) => unknown>> = {
  text: (text) => text,
  number: (text) => (/^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i.test(text) ? Number(text) : undefined),
  boolean: (text) => (/^\s*(true|1|yes)\s*$/i.test(text) ? true : /^\s*(false|0|no)\s*$/i.test(text) ? false : undefined),
  json: (text) => {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return undefined;
    }
  },
};

/** Reads a field of a type; undefined: it is not of it. An empty field that is not text is null. */
export const cellReader = (type: ColumnType) => (text: string): unknown => (type !== 'text' && text.trim() === '' ? null : readers[type](text));
