import { writeReport } from './write-report';

export interface ReportKeeperOptions {
  /** The largest share of the time that `update` may take. Default 0.02. */
  share?: number;
  /** Told the first time that the page could not be written; what it throws is ignored. */
  onFailure?(error: unknown): void | Promise<void>;
  /** How the page is written. */
  write?(dir: string): Promise<unknown>;
}

/**
 * Keeps the page of a run that is under way. It never throws: a page that cannot be written is no reason for a run to fail.
 *
 * @example
 * const report = new ReportKeeper(dir, { onFailure: (error) => console.error(error) });
 * await report.update(); // at a checkpoint: writes, unless the page takes too long for how long ago it was written
 * await report.finish(); // at the end: writes
 */
export class ReportKeeper {
  private written = -Infinity;
  private took = 0;
  private told = false;

  constructor(
    private readonly dir: string,
    private readonly options: ReportKeeperOptions = {},
  ) {}

  async update(): Promise<void> {
    if ((performance.now() - this.written) * (this.options.share ?? 0.02) >= this.took) await this.finish();
  }

  async finish(): Promise<void> {
    const began = performance.now();
    try {
      await (this.options.write ?? writeReport)(this.dir);
    } catch (error) {
      if (this.told) return;
      this.told = true;
      try {
        await this.options.onFailure?.(error);
      } catch {
        // it has been told
      }
    } finally {
      this.written = performance.now();
      this.took = this.written - began;
    }
  }
}
