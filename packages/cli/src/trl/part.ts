/** What a reader of fields that belong together works with. */
export interface PartContext {
  command: string;
  /** Every key of the file, as it stands there. */
  given: Readonly<Record<string, unknown>>;
  /** Sets a field of ours, by its camelCase name. */
  set(name: string, value: unknown): void;
  note(field: string, text: string): void;
  refuse(field: string, why: string, fix: string): never;
}
