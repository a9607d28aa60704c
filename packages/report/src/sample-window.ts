/**
 * Keeps records by step, at most about `limit` of them however many come: whole steps, evenly spread from the first to the last. While they fit, all are kept.
 */
export class SampleWindow<Record> {
  private groups: { ordinal: number; step: number | null; records: Record[] }[] = [];
  private steps = 0;
  private stride = 1;
  private held = 0;
  total = 0;

  constructor(private readonly limit: number) {}

  add(step: number | null, record: Record): void {
    this.total++;
    let group = this.groups[this.groups.length - 1];
    if (group === undefined || group.step !== step) {
      // The group before stood for the end until now.
      if (group !== undefined && group.ordinal % this.stride !== 0) this.drop((other) => other !== group);
      group = { ordinal: this.steps++, step, records: [] };
      this.groups.push(group);
    }
    if (group.records.length >= this.limit) return; // one step with more than all may have
    group.records.push(record);
    this.held++;
    while (this.held > this.limit && this.groups.length > 2) {
      this.stride *= 2;
      const last = group;
      this.drop((other) => other === last || other.ordinal % this.stride === 0);
    }
  }

  records(): Record[] {
    return this.groups.flatMap(({ records }) => records);
  }

  private drop(keep: (group: { ordinal: number }) => boolean): void {
    this.groups = this.groups.filter(keep);
    this.held = this.groups.reduce((sum, { records }) => sum + records.length, 0);
  }
}
